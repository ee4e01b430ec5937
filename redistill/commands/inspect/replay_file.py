"""The reader of JSON Lines files of cycles, for `replay --history`."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from operator import attrgetter
from pathlib import Path
from typing import NoReturn

from db.errors import RedistillError, quoted
from db.records import CyclePoint
from db.states import CycleStatus

_STATUS = {
    "evaluated": CycleStatus.EVALUATED,
    "inconclusive": CycleStatus.INCONCLUSIVE,
    "missing": CycleStatus.SKIPPED,
}
_METRICS = ("disagreements", "agreement", "kl", "kl_values", "kl_t1", "js")
_LARGEST_COUNT = 10**15
#: `1 - k / n`, computed in doubles, is off by less than this.
_DOUBLE_ERROR = Fraction(1, 2**52)


class HistoryFileError(RedistillError):
    """The history {path} cannot be read: {problem}."""


class HistoryLineError(RedistillError):
    """{path}, line {line}: {problem}."""


@dataclass(frozen=True, kw_only=True)
class _Line:
    path: Path
    number: int
    fields: Mapping[str, object]

    def refuse(self, field: str, problem: str) -> NoReturn:
        raise HistoryLineError(path=self.path, line=self.number, problem=f"field {field!r}: {problem}")

    def text(self, field: str) -> str | None:
        value = self.fields.get(field)
        if value is not None and not isinstance(value, str):
            self.refuse(field, f"expected a string, not {value}")
        return value

    def decimal(self, field: str) -> Decimal | None:
        value = self.fields.get(field)
        return None if value is None else self.as_decimal(field, value)

    def as_decimal(self, field: str, value: object) -> Decimal:
        if isinstance(value, bool) or not isinstance(value, int | Decimal):
            self.refuse(field, f"expected a number, not {quoted(value)}")
        return Decimal(value)

    def real(self, field: str) -> float | None:
        value = self.decimal(field)
        return None if value is None else self.as_real(field, value)

    def as_real(self, field: str, value: Decimal) -> float:
        if not math.isfinite(float(value)):
            self.refuse(field, f"expected a finite number, not {value}")
        return float(value)

    def count(self, field: str) -> int | None:
        value = self.decimal(field)
        if value is None:
            return None
        if not 0 <= value <= _LARGEST_COUNT or value % 1:
            self.refuse(field, f"expected a whole number in [0, {_LARGEST_COUNT}], not {value}")
        return int(value)


@dataclass(frozen=True, kw_only=True)
class _Counts:
    n: int | None
    disagreements: int | None
    agreement: Fraction | None = None  #: if the two are the terms of a fraction and not counts


def read_history(path: Path) -> tuple[CyclePoint, ...]:
    """Return the cycles of a JSON Lines file, sorted by window; the lines have any order, or are empty.

    A line may have `agreement` instead of `disagreements`: its decimal text is an exact rational number. If
    that is not a count out of `n`, the point's `n` is the denominator, and sequential rules ignore the cycle.
    A line may have `kl_values` instead of `kl`, which is then their mean. A cycle without a `status` is
    evaluated; the numbers of a cycle with another status are ignored. `missing` becomes CycleStatus.SKIPPED.

    Raises:
        HistoryFileError: the file cannot be read.
        HistoryLineError: a line is invalid; the message names the file, the line and the field.
    """
    line_of: dict[datetime, int] = {}
    points = []
    for line in _lines(path):
        point = _point(line)
        earlier = line_of.setdefault(point.window_end, line.number)
        if earlier != line.number:
            line.refuse("window_end", f"{point.window_end.isoformat()} is already on line {earlier}")
        points.append(point)
    return tuple(sorted(points, key=attrgetter("window_end")))


def _lines(path: Path) -> Iterator[_Line]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise HistoryFileError(path=path, problem=error.strerror) from error
    for number, raw in enumerate(content.splitlines(), start=1):
        if raw.strip():
            yield _Line(path=path, number=number, fields=_fields(path, number, raw))


def _fields(path: Path, number: int, raw: bytes) -> Mapping[str, object]:
    try:
        parsed = json.loads(raw.decode("utf-8-sig"), parse_float=Decimal, parse_constant=_no_constant)
    except (ValueError, ArithmeticError, RecursionError) as error:
        raise HistoryLineError(path=path, line=number, problem=f"not JSON: {error}") from error
    if not isinstance(parsed, dict):
        raise HistoryLineError(path=path, line=number, problem="expected a JSON object")
    return parsed


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number in JSON")


def _point(line: _Line) -> CyclePoint:
    window_end = _window_end(line)
    status = _status(line)
    if status is not CycleStatus.EVALUATED:
        return CyclePoint(window_end=window_end, status=status)
    if all(line.fields.get(field) is None for field in _METRICS):
        line.refuse("disagreements", "an evaluated cycle needs 'disagreements', 'agreement' or 'kl'")
    counts = _counts(line)
    return CyclePoint(
        window_end=window_end,
        status=status,
        teacher_version=line.text("teacher_version"),
        student_version=line.text("student_version"),
        n=counts.n,
        disagreements=counts.disagreements,
        agreement=counts.agreement,
        kl=_kl(line),
        kl_values=_kl_values(line),
        kl_t1=line.real("kl_t1"),
        js=line.real("js"),
    )


def _window_end(line: _Line) -> datetime:
    text = line.text("window_end")
    expected = "expected a time with an offset such as '2026-11-24T11:00:00Z'"
    try:
        moment = datetime.fromisoformat(text or "")
    except ValueError:
        line.refuse("window_end", f"{expected}, not {quoted(text)}")
    if moment.tzinfo is None:
        line.refuse("window_end", f"{expected}, not {quoted(text)}")
    return moment.astimezone(UTC)


def _status(line: _Line) -> CycleStatus:
    text = line.text("status") or "evaluated"
    if text not in _STATUS:
        line.refuse("status", f"expected one of {', '.join(_STATUS)}, not {quoted(text)}")
    return _STATUS[text]


def _counts(line: _Line) -> _Counts:
    n, disagreements = line.count("n"), line.count("disagreements")
    if n == 0:
        line.refuse("n", "an evaluated cycle has at least one request")
    if disagreements is None:
        return _counts_of_agreement(line, n)
    if n is None:
        line.refuse("n", "expected together with 'disagreements'")
    if disagreements > n:
        line.refuse("disagreements", f"expected at most n = {n}, not {disagreements}")
    return _Counts(n=n, disagreements=disagreements)


def _counts_of_agreement(line: _Line, n: int | None) -> _Counts:
    agreement = line.decimal("agreement")
    if agreement is None:
        return _Counts(n=n, disagreements=None)
    if not 0 <= agreement <= 1:
        line.refuse("agreement", f"expected a share in [0, 1], not {agreement}")
    return _nearest_counts(1 - Fraction(agreement), n)


def _nearest_counts(share: Fraction, n: int | None) -> _Counts:
    if n is not None and abs(n * share - round(n * share)) <= n * _DOUBLE_ERROR:
        return _Counts(n=n, disagreements=round(n * share))
    return _Counts(n=share.denominator, disagreements=share.numerator, agreement=1 - share)


def _kl(line: _Line) -> float | None:
    values = _kl_values(line)
    if not values or line.fields.get("kl") is not None:
        return line.real("kl")
    return math.fsum(values) / len(values)


def _kl_values(line: _Line) -> tuple[float, ...]:
    values = line.fields.get("kl_values")
    if values is None:
        return ()
    if not isinstance(values, list) or not values:
        line.refuse("kl_values", "expected a list of numbers, one per request")
    return tuple(line.as_real("kl_values", line.as_decimal("kl_values", value)) for value in values)
