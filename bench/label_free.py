"""Accuracy without labels, on CLINC150 with real models: how far off it is, and what 200 labels repair.

Windows have 1,500 requests of the held-out splits. "new" requests are on topics that the teacher knows and
the student was never taught; "out of scope" ones belong to no label. The teacher is calibrated on the 500
rows of the validation file, which has usual topics only. The peer is NannyML's CBPE: the student's own
probability, with isotonic regression per label on the same file. Prints Markdown tables.

    make bench-label-free DATA=FOLDER
    PYTHONPATH=.:examples/clinc150 python bench/label_free.py FOLDER --windows 10 --resamples 100
"""

import argparse
import math
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from clinc150_world import models
from corpus import Corpus, Utterance, read_corpus
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression
from scipy.special import softmax

from db.records import AccuracyEstimates
from distill.evaluation.temperature import fit_temperature
from monitor.labels.estimated_accuracy import estimate
from monitor.scoring.batches import score
from monitor.scoring.models import Model, load, match_labels
from monitor.stop import never_stopped
from monitor.strata import Strata
from triggers.wilson import score_interval

_SEED: Final = 2025
_REQUESTS: Final = 1_500
_LABELS: Final = 200
_SHARES: Final = (0.0, 0.1, 0.2, 0.4, 0.6)
_OUT_OF_SCOPE: Final = (0.05, 0.1, 0.2, 0.3)

Rows = NDArray[np.intp]


@dataclass(frozen=True, kw_only=True, eq=False)
class Answers:
    """Both models' logits on the texts of one part of the corpus, and its true labels; -1: out of scope."""

    teacher: NDArray[np.float32]
    student: NDArray[np.float32]
    truth: Rows

    @property
    def right(self) -> NDArray[np.bool_]:
        return np.asarray(self.student.argmax(axis=1) == self.truth)

    def at(self, rows: Rows) -> "Answers":
        return Answers(teacher=self.teacher[rows], student=self.student[rows], truth=self.truth[rows])


@dataclass(frozen=True, kw_only=True)
class Service:
    """The validation file and the traffic, as both models answer them."""

    validation: Answers
    traffic: Answers
    usual: Rows
    new_topics: Rows
    out_of_scope: Rows
    peer: Callable[[Answers], float]  #: the accuracy that NannyML's CBPE estimates

    @property
    def temperature(self) -> float:
        return fit_temperature(self.validation.teacher, self.validation.truth)

    def window(self, strange: Rows, share: float, rng: np.random.Generator) -> Rows:
        """Draw the requests of a window; no text occurs twice."""
        n = round(_REQUESTS * share)
        drawn = [rng.choice(self.usual, _REQUESTS - n, replace=False), rng.choice(strange, n, replace=False)]
        return rng.permutation(np.concatenate(drawn))

    def estimates(self, rows: Rows, n_labels: int = 0) -> AccuracyEstimates:
        """Return the product's estimates of a window, the first requests of which have true labels."""
        found = self.traffic.at(rows)
        return estimate(
            found.teacher,
            found.student,
            Strata.one(rows.size),
            temperature=self.temperature,
            calibration_rows=self.validation.truth.size,
            truth=dict(enumerate(found.truth[:n_labels].tolist())),
        )


def service(folder: Path, data: Path) -> Service:
    """Return the service; the models and their answers are made once and cached."""
    corpus = read_corpus(data, np.random.default_rng(_SEED))
    teacher, student = (load(path) for path in models(folder, corpus))
    traffic = (*corpus.usual, *corpus.new_topics, *corpus.out_of_scope)
    validation = _answers(corpus, corpus.validation, teacher, student)
    ends = np.cumsum([len(corpus.usual), len(corpus.new_topics)])
    usual, new_topics, out_of_scope = np.split(np.arange(len(traffic)), ends)
    return Service(
        validation=validation,
        traffic=_answers(corpus, traffic, teacher, student),
        usual=usual,
        new_topics=new_topics,
        out_of_scope=out_of_scope,
        peer=cbpe(validation),
    )


def cbpe(reference: Answers) -> Callable[[Answers], float]:
    """Return NannyML's estimate of accuracy from the student's own confidence.

    Each label's probability is calibrated by isotonic regression against the others on the reference; the
    estimate is the mean normalised probability of the predicted labels.
    """
    p = softmax(reference.student.astype(np.float64), axis=1)
    fits = []
    for label in range(p.shape[1]):
        order = np.argsort(p[:, label], kind="stable")
        fits.append(
            (p[order, label], isotonic_regression((reference.truth[order] == label).astype(np.float64)).x)
        )

    def estimated(found: Answers) -> float:
        raw = softmax(found.student.astype(np.float64), axis=1)
        calibrated = np.column_stack([np.interp(raw[:, label], *fit) for label, fit in enumerate(fits)])
        first = found.student.argmax(axis=1)
        total = calibrated.sum(axis=1)
        return float(np.mean(calibrated[np.arange(first.size), first] / np.where(total > 0, total, 1.0)))

    return estimated


def _answers(corpus: Corpus, part: Sequence[Utterance], teacher: Model, student: Model) -> Answers:
    texts = [each.text for each in part]
    number = {label: index for index, label in enumerate(corpus.labels)}
    order = [teacher.labels.index(label) for label in corpus.labels]
    return Answers(
        teacher=_logits(teacher, texts)[:, order],
        student=_logits(student, texts)[:, match_labels(teacher, student)][:, order],
        truth=np.array([number.get(each.label, -1) for each in part], dtype=np.intp),
    )


def _logits(model: Model, texts: Sequence[str]) -> NDArray[np.float32]:
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "redistill" / "clinc150"
    path = home / f"logits-{model.version[:16]}-{len(texts)}.npy"
    if not path.is_file():
        found = score(
            model, texts, tokens_per_batch=4_096, stopped=never_stopped, progress=lambda _done: None
        )
        np.save(path, found)
    return np.asarray(np.load(path), dtype=np.float32)


def _errors(given: Service, windows: int) -> Iterator[Sequence[str]]:
    yield (
        "requests",
        "true accuracy",
        "agreement",
        "teacher's confidence",
        "CBPE of the student",
        "interval covers",
    )
    for strange, name, shares in (
        (given.new_topics, "new", _SHARES),
        (given.out_of_scope, "out of scope", _OUT_OF_SCOPE),
    ):
        for share in shares:
            rng = np.random.default_rng([_SEED, round(share * 100)])
            truth, own, peer, covered, agreement = [], [], [], [], []
            for _ in range(windows):
                rows = given.window(strange, share, rng)
                found, right = given.estimates(rows).by_confidence, given.traffic.right[rows].mean()
                if found is None:
                    raise LookupError(f"no estimate with {given.temperature=}")
                part = given.traffic.at(rows)
                truth.append(right)
                own.append(abs(found.estimate - right))
                peer.append(abs(given.peer(part) - right))
                covered.append(found.low <= right <= found.high)
                agreement.append(np.mean(part.teacher.argmax(axis=1) == part.student.argmax(axis=1)))
            yield (
                f"{share:.0%} {name}" if share else "usual",
                f"{np.mean(truth):.3f}",
                f"{np.mean(agreement):.3f}",
                f"{np.mean(own):.3f} ({max(own):.3f})",
                f"{np.mean(peer):.3f} ({max(peer):.3f})",
                f"{np.mean(covered):.2f}",
            )


def _with_labels(given: Service, resamples: int) -> Iterator[Sequence[str]]:
    yield (
        "requests", "true accuracy", "by 200 labels: error", "covers", "width", "labels alone: width",
        "200 labels are worth", "withheld",
    )  # fmt: skip
    for strange, name, shares in (
        (given.new_topics, "new", (0.0, 0.4)),
        (given.out_of_scope, "out of scope", _OUT_OF_SCOPE),
    ):
        for share in shares:
            yield _repaired(given, strange, share, f"{share:.0%} {name}" if share else "usual", resamples)


def _repaired(given: Service, strange: Rows, share: float, name: str, resamples: int) -> Sequence[str]:
    """Return the row of one kind of traffic, whose requests are drawn with replacement."""
    rng = np.random.default_rng([_SEED, 7, round(share * 100)])
    right = given.traffic.right
    truth = (1 - share) * right[given.usual].mean() + share * right[strange].mean()
    found, alone, contradicted = [], [], 0
    for _ in range(resamples):
        is_strange = rng.random(_REQUESTS) < share
        rows = np.where(is_strange, rng.choice(strange, _REQUESTS), rng.choice(given.usual, _REQUESTS))
        estimates = given.estimates(rows, _LABELS)
        if estimates.by_labels is None:  # a random selection that looks like a chosen one, in 1 of 10,000
            continue
        found.append(estimates.by_labels)
        alone.append(score_interval(float(right[rows[:_LABELS]].mean()), _LABELS))
        contradicted += bool(estimates.contradicted)
    errors = np.array([each.estimate - truth for each in found])
    own = np.array([each.estimate - truth for each in alone])
    worth = _LABELS * float(np.mean(own**2) / np.mean(errors**2))
    return (
        name,
        f"{truth:.3f}",
        f"{np.abs(errors).mean():.3f}",
        f"{np.mean([each.low <= truth <= each.high for each in found]):.3f}",
        f"{np.mean([each.high - each.low for each in found]):.3f}",
        f"{np.mean([each.high - each.low for each in alone]):.3f}",
        f"{worth:.0f}",
        f"{contradicted / resamples:.2f}",
    )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder of CLINC150's data_full.json and domains.json")
    parser.add_argument("--windows", type=int, default=40, help="windows per row of the first table")
    parser.add_argument("--resamples", type=int, default=2_000, help="windows per row of the second table")
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        given = service(Path(folder), wanted.data)
    print(f"temperature of the teacher: {given.temperature:.3f}")
    standard_error = math.sqrt(0.95 * 0.05 / wanted.resamples)
    for title, table in (
        (f"Mean (largest) absolute error over {wanted.windows} windows", _errors(given, wanted.windows)),
        (
            f"{_LABELS} random labels; the standard error of a coverage is {standard_error:.3f}",
            _with_labels(given, wanted.resamples),
        ),
    ):
        print(f"\n### {title}\n")
        head = next(table)
        print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}")
        for row in table:
            print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
