"""On real intents the loop closes with the configuration that `redistill init` writes (CLINC150; case 57)."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.world.clinc import EXAMPLE, SEED, data_folder

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("with_labels", [True, False], ids=["true labels", "none"])
def test_intents_that_the_student_was_never_taught_end_with_a_student_that_knows_them(
    tmp_path: Path,
    with_labels: bool,  # noqa: FBT001
) -> None:
    """The third breach orders, the candidate is promoted, the next windows are healthy, the incident ends."""
    data = data_folder()
    sys.path.insert(0, str(EXAMPLE))
    from intents import read_intents  # noqa: PLC0415 - found from here on
    from new_intents import ORDERED, SHARES, install, live  # noqa: PLC0415

    rng = np.random.default_rng(SEED)
    corpus = read_intents(data, rng)
    installed = install(tmp_path / "clinc150", corpus, SEED)
    live(installed, corpus, rng, with_labels=with_labels)

    def shown(*command: str) -> Any:  # noqa: ANN401 - any JSON value
        return json.loads(installed.run(*command, "--json"))

    cycles = shown("history")
    assert [cycle["verdict"] for cycle in cycles] == [
        "healthy" if number < 3 or number > ORDERED else "breached" for number in range(len(SHARES))
    ]
    assert cycles[ORDERED]["agreement_streak"] == 3
    assert cycles[ORDERED]["order_reason"] == "ordered"
    assert all(cycle["agreement"] > 0.95 for cycle in cycles[ORDERED + 1 :])
    (job,) = shown("jobs", "list")
    assert (job["rule"], job["status"], job["decision"]) == ("low-agreement", "succeeded", "promoted")
    assert (job["cycle_id"], job["candidate_version"]) == (ORDERED + 1, cycles[-1]["student_version"])
    (incident,) = shown("incidents", "list")
    assert (incident["kind"], incident["state"]) == ("drift", "resolved")
