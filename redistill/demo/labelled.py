"""The labelled files of the demo, all of usual traffic, because labels lag behind."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import orjson

from distill.training.dataset import text_hash
from redistill.demo.utterances import Utterance, generate

TRAIN_ROWS: Final = 8_000
VALIDATION_ROWS: Final = 1_000
TEST_ROWS: Final = 4_000
#: Rows of usual and of shifted traffic that the teacher is trained on beside the labelled train set.
TEACHER_USUAL_ROWS: Final = 12_000
TEACHER_SHIFTED_ROWS: Final = 10_000


@dataclass(frozen=True, kw_only=True)
class LabelledFiles:
    """JSON Lines files of rows {"text", "label"}; no text of `test` is in another file."""

    train: Path
    validation: Path
    test: Path
    teacher: Path  #: the train set, and more rows of both worlds


def write_labelled(folder: Path, *, rng: np.random.Generator) -> LabelledFiles:
    """Draw the rows and write the files to `folder`, which is created.

    Rows whose text is in the test set are left out of the other files, which are therefore slightly shorter
    than the constants.
    """
    test = generate(TEST_ROWS, shift=0.0, rng=rng)
    fence = {text_hash(row.text) for row in test}

    def fenced(n: int, shift: float) -> list[Utterance]:
        return [row for row in generate(n, shift=shift, rng=rng) if text_hash(row.text) not in fence]

    validation, train = fenced(VALIDATION_ROWS, 0.0), fenced(TRAIN_ROWS, 0.0)
    more = fenced(TEACHER_USUAL_ROWS, 0.0) + fenced(TEACHER_SHIFTED_ROWS, 1.0)
    folder.mkdir(parents=True, exist_ok=True)
    return LabelledFiles(
        train=_written(folder / "train.jsonl", train),
        validation=_written(folder / "validation.jsonl", validation),
        test=_written(folder / "test.jsonl", test),
        teacher=_written(folder / "teacher.jsonl", train + more),
    )


def _written(path: Path, rows: Sequence[Utterance]) -> Path:
    path.write_bytes(b"".join(orjson.dumps({"text": row.text, "label": row.label}) + b"\n" for row in rows))
    return path
