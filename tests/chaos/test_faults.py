"""kill -9 at random moments, while each process has a clock of its own, messages go by a proxy that fails
and PostgreSQL is behind a pooler that cuts all connections: what comes out is that of an undisturbed run.
"""

import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Final

from sqlalchemy import make_url

from tests.chaos.answers import Shy
from tests.chaos.delivery_checks import assert_delivered
from tests.chaos.faults import cut_off, failing_proxy, prepare
from tests.chaos.outcomes import Outcome, assert_as_told, assert_the_same, undisturbed
from tests.chaos.report import report
from tests.chaos.scenario import ALPHAS, Scenario
from tests.chaos.stage import Hunt, staged
from tests.chaos.test_chaos import SEED, assert_each_slot_once
from tests.support.servers.pgbouncer import pooling
from tests.support.world.tiny_world import World

KILLS: Final = 40
DRIFTS: Final = 2
CONNECTIONS: Final = 6  #: of the pooler to the server, for four processes with several threads each


def test_clocks_a_proxy_and_a_pooler_that_fail_change_nothing(
    database_url: str, world: World, tmp_path: Path
) -> None:
    scenario = Scenario(drifts=DRIFTS)
    with ExitStack() as stack:
        proxy = stack.enter_context(failing_proxy(SEED))
        through, n_cuts = database_url, lambda: 0
        if database_url.startswith("postgresql"):
            pooler = stack.enter_context(pooling(make_url(database_url), connections=CONNECTIONS))
            through = pooler.url.render_as_string(hide_password=False)
        variables = {"HTTP_PROXY": proxy.url, "http_proxy": proxy.url, "NO_PROXY": "", "no_proxy": ""}
        stage = stack.enter_context(
            staged(
                scenario,
                tmp_path / "site",
                world,
                database_url,
                Shy(),
                tokens_per_batch=20,
                prepare=partial(prepare, variables),
                through=through,
            )
        )
        if through != database_url:
            n_cuts = stack.enter_context(cut_off(pooler, SEED))
        hunt = Hunt(stage=stage, seed=SEED, per_act=KILLS // len(scenario.acts) + 1)
        began = time.monotonic()
        try:
            hunt.run()
        finally:
            print(report(stage, hunt.kills, seed=SEED, seconds=time.monotonic() - began))  # noqa: T201
            print(f"the proxy: {dict(proxy.done)}; the pooler cut off {n_cuts()} times")  # noqa: T201
        assert len(hunt.kills) >= KILLS
        assert proxy.done.total() - proxy.done["forward"] >= 8
        assert through == database_url or n_cuts() >= 10
        assert_each_slot_once(stage)
        assert_delivered(stage.engine, stage.receiver)
        found = Outcome.of(stage.engine)
        assert_as_told(found, ALPHAS[:DRIFTS])
        assert_the_same(found, undisturbed(stage.site, tmp_path / "undisturbed", stage.engine))
