"""An earlier version of the product, from this repository's history, to be run beside the present one."""

import io
import subprocess
import tarfile
from pathlib import Path
from typing import Final

import pytest

from tests.support.processes.product import ROOT

MISSING: Final = (
    "the version before is taken from the history, and git has no commit {commit} here ({cause}): run the "
    "tests in a clone with its whole history; `git fetch --unshallow` makes one of a shallow clone"
)


def unpacked(commit: str, folder: Path) -> Path:
    """Its source tree, in the folder; fails, and says what to do, where the history does not have it."""
    try:
        command = ["git", "-C", str(ROOT), "archive", "--format=tar", commit]
        archive = subprocess.run(command, capture_output=True, check=True).stdout
    except FileNotFoundError as error:
        pytest.fail(MISSING.format(commit=commit, cause=error))
    except subprocess.CalledProcessError as error:
        pytest.fail(MISSING.format(commit=commit, cause=" ".join(error.stderr.decode().split())))
    with tarfile.open(fileobj=io.BytesIO(archive)) as tree:
        tree.extractall(folder, filter="data")
    return folder
