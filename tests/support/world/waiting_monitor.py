"""Configurations of monitors that start quickly: their database cannot be reached, so they wait for it."""

from pathlib import Path
from typing import Final

#: A port at which nothing listens.
UNREACHABLE: Final = "postgresql://nobody@127.0.0.1:9/nothing"


def written(path: Path, *, name: str = "waiting", url: str = UNREACHABLE, port: int = 0) -> Path:
    """Write a configuration, and return its path."""
    draft = path.with_suffix(".tmp")
    draft.write_text(
        f"""
[monitor]
name = "{name}"
every = "1h"
[traffic]
uri = "logs"
[teacher]
uri = "teacher"
[student]
uri = "student"
[redistill]
train = "train.jsonl"
test = "test.jsonl"
[database]
url = "{url}"
[web]
port = {port}
""",
        encoding="utf-8",
    )
    draft.replace(path)
    return path
