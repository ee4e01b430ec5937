"""docs/queue.md: what it says about workers in ECS is what the code does."""

import inspect
import json
import re
import tomllib
from pathlib import Path

from botocore import xform_name
from botocore.session import get_session

from db.queue import MAX_ATTEMPTS
from db.states import TaskEnd
from redistill.checks import ecs as checks
from redistill.configuration.template import _TEMPLATE
from triggers.worker_tasks import ecs, steps
from triggers.worker_tasks.settings import EcsSection

DOCS = Path(__file__).parents[3] / "docs"
DOC = (DOCS / "queue.md").read_text(encoding="utf-8")
SECTION = DOC.partition("\n## Starting a worker per job in ECS\n")[2].partition("\n## ")[0]
WORDS = " ".join(SECTION.split())


def test_the_keys_are_those_of_the_section_with_its_defaults() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (.+?) \|", SECTION, re.MULTILINE))
    defaults = {
        name: "required" if field.is_required() else field.default
        for name, field in EcsSection.model_fields.items()
    }
    said = {"required": "required", "none": None, "false": False}
    command = json.loads(rows.pop("command").strip("`"))
    assert tuple(command) == defaults.pop("command")
    assert {name: said[told] for name, told in rows.items()} == {
        name: None if default == () else default for name, default in defaults.items()
    }


def test_its_configuration_and_that_of_the_template_are_accepted() -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", SECTION, re.DOTALL)
    EcsSection.model_validate(tomllib.loads(example)["ecs"])
    commented = _TEMPLATE.partition("# [ecs]")[2].partition("\n\n")[0]
    lines = [line.removeprefix("# ") for line in f"# [ecs]{commented}".splitlines()]
    EcsSection.model_validate(tomllib.loads("\n".join(lines))["ecs"])


def test_the_policy_has_the_calls_that_are_made_and_no_other() -> None:
    (text,) = re.findall(r"```json\n(.*?)```", SECTION, re.DOTALL)
    granted: set[str] = set()
    for statement in json.loads(text)["Statement"]:
        actions = statement["Action"]
        granted |= {actions} if isinstance(actions, str) else set(actions)
    operations = get_session().get_service_model("ecs").operation_names
    source = inspect.getsource(ecs) + inspect.getsource(checks)
    made = {f"ecs:{name}" for name in operations if f".{xform_name(name)}(" in source}
    assert granted == made | {"iam:PassRole"}


def test_its_numbers_are_those_of_the_code() -> None:
    assert f"every {steps.LOOK.total_seconds():.0f} seconds until the job is claimed" in WORDS
    assert steps.LOOK_AT_WORK.total_seconds() == 60
    assert "and every minute afterwards" in WORDS
    longest = ecs._CONFIG.connect_timeout + ecs._CONFIG.read_timeout
    assert f"Each call ends after at most {longest} seconds" in WORDS
    assert "retried after 30 s, then 1, 2, 4, 8, 15, 15, … minutes" in WORDS  # tests of the steps
    assert f"within {steps.PATIENCE.total_seconds() / 60:.0f} minutes (`overdue`)" in WORDS
    assert f"In the first {steps.SETTLED.total_seconds() / 60:.0f} minutes this is ignored" in WORDS
    assert f"fail {steps.MAX_FRUITLESS} times for a reason that a person must fix" in WORDS
    assert f"or {steps.MAX_TRIES} times in total" in WORDS
    assert MAX_ATTEMPTS == 5
    assert "The sixth gives the job up" in WORDS


def test_the_states_name_what_may_pass_and_how_often_it_is_tried() -> None:
    states = (DOCS / "states.md").read_text(encoding="utf-8")
    section = " ".join(states.partition("\n## Worker task\n")[2].partition("\n## ")[0].split())
    told = section.rpartition(" | ")[2].partition(" may be transient: ")[0]
    assert {TaskEnd(name) for name in re.findall(r"`(\w+)`", told)} == steps._PASSING
    assert f"after {steps.MAX_TRIES} tries in a row" in section
    assert f"For the other reasons, {steps.MAX_FRUITLESS} tries are enough" in section


def test_the_runbook_says_what_to_do_about_each_reason_that_a_job_can_fail_with() -> None:
    runbook = (DOCS / "runbook.md").read_text(encoding="utf-8")
    section = runbook.partition("\n## job-failed\n")[2].partition("\n## ")[0]
    told = {
        name
        for row in re.findall(r"^\| (`.+?) \|", section, re.MULTILINE)
        for name in re.findall(r"`(\w+)`", row)
    }
    assert told == set(TaskEnd) - {TaskEnd.WORKER_GONE, TaskEnd.JOB_ENDED}
