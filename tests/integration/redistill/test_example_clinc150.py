"""The scripts of examples/clinc150 can be started, also where their extra is not installed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("script", ["run.py", "out_of_scope.py", "watching.py", "new_intents.py"])
def test_a_script_imports_and_says_how_it_is_used(script: str) -> None:
    """It needs neither data nor matplotlib nor the MiniLM for that."""
    ended = subprocess.run(
        [sys.executable, ROOT / "examples" / "clinc150" / script, "--help"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert "--data" in ended.stdout
