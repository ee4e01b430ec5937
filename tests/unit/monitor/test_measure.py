"""What one sample says about the distance between teacher and student."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy.spatial.distance import jensenshannon
from scipy.special import softmax
from scipy.stats import entropy

from db.records import Interval, Measurement, TeacherMeasurement
from monitor.divergence import LogitsError, js_divergence, kl_divergence
from monitor.intervals import bootstrap_mean, wilson
from monitor.measure import LabelNamesError, measure
from monitor.strata import Strata

NAMES = ("faq", "escalation", "chitchat")
Logits = NDArray[np.float64]


@pytest.fixture
def pair() -> tuple[Logits, Logits]:
    """2,000 requests over three labels; the student's logits are the teacher's with noise."""
    rng = np.random.default_rng(2025)
    teacher = rng.normal(scale=4, size=(2000, 3))
    return teacher, teacher + rng.normal(size=(2000, 3))


@pytest.fixture
def measured(pair: tuple[Logits, Logits]) -> Measurement:
    return measure(*pair, NAMES, temperature=3.0)


def test_agreement_is_counted_with_wilsons_interval(
    pair: tuple[Logits, Logits], measured: Measurement
) -> None:
    disagreements = int((pair[0].argmax(1) != pair[1].argmax(1)).sum())
    assert (measured.n, measured.disagreements) == (2000, disagreements)
    assert measured.agreement == wilson(2000 - disagreements, 2000)


def test_kl_is_the_mean_at_the_temperature_with_its_bootstrap_interval(
    pair: tuple[Logits, Logits], measured: Measurement
) -> None:
    p, q = (softmax(logits / 3, axis=1) for logits in pair)
    assert measured.kl.estimate == pytest.approx(entropy(p, q, axis=1).mean())
    assert measured.kl == bootstrap_mean(kl_divergence(*pair, 3.0))


def test_the_other_means_are_at_their_own_temperatures(
    pair: tuple[Logits, Logits], measured: Measurement
) -> None:
    """kl_t1 at T = 1, js at the same T as kl."""
    p, q = (softmax(logits, axis=1) for logits in pair)
    assert measured.kl_t1 == pytest.approx(entropy(p, q, axis=1).mean())
    assert measured.js == js_divergence(*pair, 3.0).mean()


def test_the_quantiles_are_of_kl_per_request(pair: tuple[Logits, Logits], measured: Measurement) -> None:
    kl = kl_divergence(*pair, 3.0)
    for quantile, share in [(measured.kl_p50, 0.5), (measured.kl_p95, 0.95), (measured.kl_p99, 0.99)]:
        assert np.mean(kl <= quantile) == pytest.approx(share, abs=1e-9)


def test_labels_are_the_teachers_first_ones(pair: tuple[Logits, Logits], measured: Measurement) -> None:
    """In the order of the names, each with its own count, share, agreement and KL."""
    teacher, student = pair
    assert [label.label for label in measured.per_label] == list(NAMES)
    for index, label in enumerate(measured.per_label):
        rows = teacher.argmax(1) == index
        agreeing = int((student[rows].argmax(1) == index).sum())
        assert (label.n, label.share) == (rows.sum(), rows.mean())
        assert label.agreement == wilson(agreeing, label.n)
        assert label.kl == pytest.approx(kl_divergence(teacher[rows], student[rows]).mean())


@given(arrays(np.float64, st.tuples(st.just(2), st.integers(1, 30), st.just(3)), elements=st.floats(-9, 9)))
def test_labels_add_up_to_the_whole(both: NDArray[np.float64]) -> None:
    """Counts and shares are a partition; the KL is the labels' mean, weighted by their shares."""
    found = measure(both[0], both[1], NAMES, temperature=3.0)
    assert sum(label.n for label in found.per_label) == found.n
    assert sum(label.share for label in found.per_label) == pytest.approx(1)
    disagreements = sum(round(label.n * (1 - label.agreement.estimate)) for label in found.per_label)
    assert disagreements == found.disagreements
    weighted = sum(label.share * label.kl for label in found.per_label)
    assert weighted == pytest.approx(found.kl.estimate, abs=1e-12)


def test_a_label_that_no_request_has_is_left_out() -> None:
    """The student's predictions of it do not bring it in."""
    found = measure([[2.0, 0.0, 1.0]] * 4, [[0.0, 2.0, 0.0]] * 4, NAMES, temperature=3.0)
    assert [(label.label, label.n) for label in found.per_label] == [("faq", 4)]
    assert found.per_label[0].agreement.estimate == 0


def test_nineteen_of_twenty_agreeing_is_ninety_five_hundredths_exactly() -> None:
    """The counts are whole numbers, so a rule can tell a tie from a breach."""
    teacher = np.tile([1.0, 0.0, 0.0], (20, 1))
    student = teacher.copy()
    student[0] = [0.0, 1.0, 0.0]
    found = measure(teacher, student, NAMES, temperature=3.0)
    assert (found.n, found.disagreements, found.agreement.estimate) == (20, 1, 0.95)
    assert found.exact_agreement == Fraction(19, 20)


@given(
    arrays(np.float64, st.tuples(st.just(2), st.integers(1, 25), st.just(3)), elements=st.floats(-9, 9)),
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 40)), min_size=25, max_size=25),
)
def test_a_request_counts_as_much_as_it_stands_for(
    both: NDArray[np.float64], strata: list[tuple[int, int]]
) -> None:
    """Agreement, KL and shares are those of a window in which each sampled request lies N / n times."""
    of = np.array([stratum for stratum, _ in strata][: both.shape[1]])
    n = np.bincount(of, minlength=3)
    times = np.array([1 + strata[index][1] for index in range(3)])
    found = measure(
        both[0], both[1], NAMES, temperature=3.0, strata=Strata(sizes=(n * times).tolist(), of=of)
    )
    window = np.repeat(both, times[of], axis=1)
    whole = measure(window[0], window[1], NAMES, temperature=3.0)
    assert found.exact_agreement == whole.exact_agreement
    assert found.kl.estimate == pytest.approx(whole.kl.estimate, abs=1e-12)
    assert found.js == pytest.approx(whole.js, abs=1e-12)
    assert found.agreement.low <= whole.agreement.estimate <= found.agreement.high
    assert sum(found.by_stratum) == found.disagreements
    for label, same in zip(found.per_label, whole.per_label, strict=True):
        assert label.share == pytest.approx(same.share)
        assert label.agreement.estimate == pytest.approx(same.agreement.estimate)
        assert label.kl == pytest.approx(same.kl, abs=1e-12)


def test_every_number_is_a_plain_python_number(measured: Measurement) -> None:
    """They go to SQL and JSON, which do not know numpy's."""
    plain = {int, float, str, Interval, Fraction, tuple, dict, TeacherMeasurement, type(None)}
    assert {type(share) for share in measured.teacher.confusion.values()} == {float}
    for record in (measured, measured.agreement, measured.teacher, *measured.per_label):
        for name, value in vars(record).items():
            assert type(value) in plain, name


def test_the_teacher_is_measured_by_itself_at_t_1(pair: tuple[Logits, Logits], measured: Measurement) -> None:
    """Confidence and entropy with the interval of a mean, and its labels' mix against the student's."""
    p = softmax(pair[0], axis=1)
    teacher = measured.teacher
    assert teacher.confidence.estimate == pytest.approx(p.max(axis=1).mean())
    assert teacher.entropy.estimate == pytest.approx(entropy(p, axis=1).mean())
    for interval, values in ((teacher.confidence, p.max(axis=1)), (teacher.entropy, entropy(p, axis=1))):
        reach = 1.96 * values.std() / math.sqrt(values.size)
        assert (interval.low, interval.high) == pytest.approx(
            (interval.estimate - reach, interval.estimate + reach), abs=reach / 20
        )
    mixes = [np.bincount(logits.argmax(1), minlength=3) / 2000 for logits in pair]
    assert teacher.label_gap == pytest.approx(jensenshannon(*mixes) ** 2)  # type: ignore[call-overload]
    assert teacher.n_effective == 2000


def test_the_teacher_is_weighted_by_what_its_requests_stand_for(pair: tuple[Logits, Logits]) -> None:
    """Half of the sample is of a stratum that is a tenth of the window."""
    strata = Strata(sizes=(9_000, 1_000), of=np.repeat([0, 1], 1000))
    teacher = measure(*pair, NAMES, temperature=3.0, strata=strata).teacher
    weights = np.repeat([1.8, 0.2], 1000)
    assert teacher.confidence.estimate == pytest.approx((softmax(pair[0], axis=1).max(1) * weights).mean())
    assert teacher.n_effective == pytest.approx(2000**2 / np.square(weights).sum())
    mixes = [np.bincount(logits.argmax(1), weights, minlength=3) / 2000 for logits in pair]
    assert teacher.label_gap == pytest.approx(jensenshannon(*mixes) ** 2)  # type: ignore[call-overload]
    confusion = np.zeros((3, 3))
    for one, other, weight in zip(pair[0].argmax(1), pair[1].argmax(1), weights, strict=True):
        confusion[one, other] += weight / 2000
    assert teacher.confusion == {
        (NAMES[one], NAMES[other]): pytest.approx(confusion[one, other])
        for one, other in np.argwhere(confusion).tolist()
    }


def test_no_requests_have_no_agreement_and_no_kl() -> None:
    none = np.empty((0, 3))
    found = measure(none, none, NAMES, temperature=3.0)
    assert (found.n, found.disagreements, found.per_label) == (0, 0, ())
    for value in (found.agreement.low, found.kl.estimate, found.kl_p95, found.kl_t1, found.js):
        assert math.isnan(value)


def test_names_and_columns_must_match(pair: tuple[Logits, Logits]) -> None:
    with pytest.raises(LabelNamesError, match=r"2 label names .* 3 labels"):
        measure(*pair, NAMES[:2], temperature=3.0)


def test_a_row_that_is_not_finite_is_refused(pair: tuple[Logits, Logits]) -> None:
    teacher, student = pair
    student[17, 1] = math.nan
    with pytest.raises(LogitsError, match=r"student's .* row 17"):
        measure(teacher, student, NAMES, temperature=3.0)
