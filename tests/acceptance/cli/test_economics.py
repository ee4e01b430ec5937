"""`economics`: with the design's numbers, with both models on the test set, and on labelled traffic."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monitor.scoring.models import load
from monitor.storage.zstandard import zstd
from tests.support.world.models import CORPUS, answers
from tests.support.world.project import LABELS, findings, run, said, write_labelled

MISROUTES = """
[[metrics.misroutes]]
true = "escalation"
cost = 20
critical = true
"""


def economics(*arguments: str) -> dict[str, Any]:
    result = run("economics", *arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def outcomes(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in found["per_10k"]["outcomes"]}


def add(project: Path, text: str) -> None:
    path = project / "redistill.toml"
    path.write_text(f"{path.read_text()}\n{text}")


@pytest.mark.usefixtures("project")
def test_the_designs_numbers_are_the_designs() -> None:
    found = economics("--from", "configured")
    month, year = found["month"], found["year"]
    assert (month["teacher"], month["student"], month["saving"]) == (5.32, 2.24, 3.08)
    assert month["harm"]["estimate"] == 291.20
    assert (month["net_of_harm"], year["net_of_harm"]) == (-288.12, -3457.44)
    assert found["break_even"]["saving_per_10k"] == 2.08
    assert (month["monitoring"], found["monitoring"]["pays"]) == (7.56, False)
    assert {each["source"] for each in outcomes(found).values()} == {"design"}
    assert found["from"] == {"rows": None, "processor": None, "passed_over": []}


@pytest.mark.usefixtures("project")
def test_the_tables_show_what_people_decide_by() -> None:
    result = run("economics", "--from", "configured")
    assert (result.exit_code, result.stderr) == (0, "")
    right, break_even, net = (
        next(line for line in result.stdout.splitlines() if line.startswith(name))
        for name in ("right ", "break-even ", "net of harm  ")
    )
    assert [each.strip() for each in right.split("  ") if each.strip()] == [
        *("right", "9,210", "[9,136, 9,278]", "9,050", "[8,970, 9,125]", "-160", "[-201, -119]"),
        "design, 5,500 rows, paired",
    ]
    assert "a saving of 2.08 per 10,000 requests, or a misroute that costs 0.0001375, or 1.69" in break_even
    assert net.split() == ["net", "of", "harm", "-288.12", "-3,457.44"]
    assert "it costs more than the student saves" in result.stdout


def test_the_counts_are_those_of_both_models_on_the_test_set(project: Path, models: Path) -> None:
    write_labelled(project / "test.jsonl", [f"{text} {n}" for text in CORPUS for n in range(10)])
    add(project, MISROUTES)
    rows = [json.loads(line) for line in (project / "test.jsonl").read_text().splitlines()]
    truth = np.array([LABELS.index(row["label"]) for row in rows])
    found = economics()
    assert found["from"]["rows"] == str(project / "test.jsonl")
    assert found["from"]["processor"]
    counted = outcomes(found)
    assert {name: each["source"] for name, each in counted.items()} == dict.fromkeys(
        ("right", "low_cost_misroutes", "critical_misroutes", "late"), "test"
    )
    for role in ("teacher", "student"):
        predicted = answers(load(models / role), [row["text"] for row in rows]).argmax(axis=1)
        wrong, critical = predicted != truth, (truth == LABELS.index("escalation")) & (predicted != truth)
        shares = (~wrong, wrong & ~critical, critical)
        got = [counted[name][role]["estimate"] for name in [*counted][:3]]
        assert got == pytest.approx([10_000 * share.mean() for share in shares])
    month, right = found["month"], counted["right"]
    extra = right["teacher"]["estimate"] - right["student"]["estimate"]
    assert month["harm"]["estimate"] == pytest.approx(140 * extra * 0.013, abs=1e-6)
    assert month["harm"]["low"] <= month["harm"]["estimate"] <= month["harm"]["high"]


def test_the_harm_is_by_the_cost_matrix_if_it_is_asked_for(project: Path) -> None:
    add(project, f'{MISROUTES}\n[economics]\nharm = "cost-matrix"\n')
    found = economics("--from", "test")
    cost = outcomes(found)["misroute_cost"]["extra"]["estimate"]
    assert found["month"]["harm"]["estimate"] == pytest.approx(140 * cost, abs=1e-6)
    assert "cost of misroutes" in run("economics", "--from", "test").stdout
    refused = run("economics", "--from", "configured")
    assert refused.exit_code == 1
    assert said(refused).startswith("harm = 'cost-matrix' in [economics] needs [[metrics.misroutes]] and")


def test_the_counts_of_traffic_are_those_of_its_newest_labelled_sample(sound: Path) -> None:
    for path in (sound / "logs").rglob("*.gz"):
        lines = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
        labelled = [{**line, "label": LABELS[number % 4]} for number, line in enumerate(lines)]
        path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in labelled).encode()))
    assert run("cycle").exit_code == 0
    (path,) = (sound / "archive").rglob("*.zst")
    sample = [json.loads(line) for line in zstd.decompress(path.read_bytes()).splitlines()[1:]]
    found = economics("--from", "traffic")
    (right,) = outcomes(found).values()
    assert (right["name"], right["source"], right["rows"]) == ("right", "traffic", 100)
    assert found["from"]["rows"].startswith("window until ")
    for role in ("teacher", "student"):
        hits = [LABELS[np.argmax(each[f"{role}_logits"])] == each["label"] for each in sample]
        assert right[role]["estimate"] == pytest.approx(10_000 * np.mean(hits))


def test_what_cannot_be_used_is_passed_over_with_its_reason_unless_it_is_asked_for(migrated: Path) -> None:
    (migrated / "test.jsonl").unlink()
    shown = run("economics")
    assert shown.exit_code == 0
    assert "design, 5,500 rows, paired" in shown.stdout
    missing, unlabelled = shown.stderr.splitlines()
    assert missing.startswith("redistill: the counts are not from test: ")
    assert unlabelled == (
        "redistill: the counts are not from traffic: No archived sample of the student in service has 100 "
        "true labels: import some with `redistill labels import`."
    )
    assert len(economics()["from"]["passed_over"]) == 2
    for counts in ("test", "traffic"):
        assert run("economics", "--from", counts).exit_code == 1


def test_labels_of_selected_requests_are_not_counted(migrated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDISTILL__REDISTILL__LABEL_SOURCE", "selected")
    assert migrated.exists()
    refused = run("economics", "--from", "traffic")
    assert refused.exit_code == 1
    assert "label requests at random" in said(refused)


def test_doctor_warns_where_monitoring_costs_more_than_it_saves(sound: Path) -> None:
    assert "economics" not in findings()
    add(sound, "[economics]\ncost_per_10k_teacher = 0.038\n")
    finding = findings()["economics"]
    assert (finding["level"], finding["ok"]) == ("warning", True)
    assert "cost 7.56, and the student saves 3.08" in finding["found"]
