"""The scripts of examples/clinc150 can be started, also where their extra is not installed."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
SCRIPTS = ("run.py", "out_of_scope.py", "watching.py", "new_intents.py")
#: Runs each script of the command line with --help, in one process that loads torch once.
RUN_EACH = """
import runpy, sys
scripts = sys.argv[1:]
for script in scripts:
    sys.argv = [script, "--help"]
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as ended:
        assert not ended.code, script
"""


def test_each_script_imports_and_says_how_it_is_used() -> None:
    """It needs neither data nor matplotlib nor the MiniLM for that."""
    folder = ROOT / "examples" / "clinc150"
    ended = subprocess.run(
        [sys.executable, "-c", RUN_EACH, *(str(folder / script) for script in SCRIPTS)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    for script in SCRIPTS:
        assert f"usage: {script}" in ended.stdout
    assert ended.stdout.count("--data DATA") >= len(SCRIPTS)
