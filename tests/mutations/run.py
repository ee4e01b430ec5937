"""Apply each deliberate break to a copy of the product, run its tests, and print whether they noticed.

python tests/mutations/run.py [NUMBER…]    # all of them, or the named ones, in minutes
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.mutations.breaks import BREAKS, Break

ROOT = Path(__file__).parents[2]
COPIED = (
    "db",
    "triggers",
    "monitor",
    "distill",
    "redistill",
    "migrations",
    "tests",
    "docs",
    "pyproject.toml",
)


def main() -> None:
    chosen = [int(each) for each in sys.argv[1:]] or range(len(BREAKS))
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in COPIED:
            source = ROOT / name
            (shutil.copytree if source.is_dir() else shutil.copy)(source, copy / name)
        missed = [number for number in chosen if not _is_caught(number, BREAKS[number], copy)]
    print(f"{len(chosen) - len(missed)} of {len(chosen)} caught", f"missed: {missed}" if missed else "")
    sys.exit(bool(missed))


def _is_caught(number: int, change: Break, copy: Path) -> bool:
    file = copy / change.file
    whole = file.read_text(encoding="utf-8")
    file.write_text(whole.replace(change.old, change.new), encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-x",
        "-m",
        "not slow",
        "-p",
        "no:cacheprovider",
        change.tests,
    ]
    try:
        ended = subprocess.run(
            command, cwd=copy, env={**os.environ, "PYTHONPATH": str(copy)}, capture_output=True, check=False
        )
    finally:
        file.write_text(whole, encoding="utf-8")
    is_caught = ended.returncode == 1  # tests failed; other codes mean that they did not run
    print(
        f"{number:2} {'caught' if is_caught else 'MISSED'} {change.file}: {change.new.strip()[:60]}",
        flush=True,
    )
    return is_caught


if __name__ == "__main__":
    main()
