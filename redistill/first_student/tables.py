"""The tables that `redistill distill` prints about a first student."""

from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import TYPE_CHECKING

from db.records import Metric
from redistill.display import show
from redistill.display.show import Column

if TYPE_CHECKING:
    from distill.first_student.maker import Student
    from distill.training.train import TrainingLog
    from redistill.first_student.make import Outcome

_EPOCHS = (
    Column(title="epoch", align="right"),
    Column(title="loss", align="right"),
    Column(title="KL (nats)", align="right"),
    Column(title="CE (nats)", align="right"),
    Column(title="KL's share of the gradient", align="right", spare=1),
    Column(title="validation accuracy", align="right"),
    Column(title="validation agreement", align="right"),
)
_GATES = (
    Column(title="gate"),
    Column(title="value", align="right"),
    Column(title="threshold", align="right"),
    Column(title="result"),
    Column(title="detail", spare=1),
)


def print_outcome(made: "Outcome") -> None:
    """Print the models side by side, the gates and the epochs of the student that was kept."""
    result, kept = made.result, made.result.kept
    roles = (f"{show.count(n)} {role}" for role, n in made.rows.items())
    loss = f"alpha {made.recipe.alpha}, T = {made.recipe.temperature:g}, seed {kept.seed}"
    show.facts(
        [
            ("teacher", show.version(made.teacher_version)),
            ("start", made.start),
            ("rows", ", ".join(roles)),
            ("training", f"{show.count(kept.log.steps)} steps, {loss}{_chosen_of(result.students)}"),
        ]
    )
    show.say("")
    print_epochs(kept.log)
    show.say("")
    show.listing(_columns(made), _rows(made))
    show.say(
        f"\nagreement, kl (nats) and js (nats) are with the teacher, at T = {made.recipe.temperature:g}."
    )
    if made.rare_labels:
        show.say(
            f"rare_class_accuracy is of the rarest labels in the train file: {', '.join(made.rare_labels)}."
        )
    show.say("")
    show.listing(
        _GATES,
        [
            [
                gate.gate,
                show.number(gate.value),
                show.number(gate.threshold),
                show.gate_result(gate.result),
                gate.detail or "",
            ]
            for gate in kept.measured.gates
        ],
    )
    show.facts(
        [("\nversion", f"\n{show.version(result.registered.version)}, in {result.registered.location}")]
    )


def print_epochs(log: "TrainingLog") -> None:
    """Print the log of a training, one line per epoch."""
    show.listing(
        _EPOCHS,
        [
            [
                str(number),
                show.number(epoch.loss),
                show.number(epoch.kl),
                show.number(epoch.ce),
                show.number(epoch.kl_gradient_share, decimals=2),
                show.number(epoch.validation and epoch.validation.accuracy),
                show.number(epoch.validation and epoch.validation.agreement),
            ]
            for number, epoch in enumerate(log.epochs, start=1)
        ],
    )


def print_document(made: "Outcome") -> None:
    """Print everything as JSON."""
    result = made.result
    show.print_json(
        {
            "version": result.registered.version,
            "location": result.registered.location,
            "teacher_version": made.teacher_version,
            "start": made.start,
            "rows": made.rows,
            "seed": result.kept.seed,
            "teacher": made.teacher,
            "students": [_document(each) for each in result.students],
            "baselines": [_document(each) for each in result.baselines],
        }
    )


def _document(student: "Student") -> dict[str, object]:
    """Return a student without the log of its steps, which is in a file beside the one that was kept."""
    training = {"steps": student.log.steps, "epochs": student.log.epochs}
    return {"seed": student.seed, "training": training, "measured": student.measured}


def _chosen_of(students: Sequence["Student"]) -> str:
    if len(students) == 1:
        return ""
    return f", the one of {len(students)} seeds with the highest accuracy on the validation rows"


def _columns(made: "Outcome") -> tuple[Column, ...]:
    of_seeds = f"mean ± sd of {len(made.result.students)}"
    several, baseline = len(made.result.students) > 1, bool(made.result.baselines)
    return (
        Column(title="on the test rows"),
        Column(title="teacher", align="right"),
        Column(title="student", align="right"),
        Column(title="95% interval"),
        *([Column(title=of_seeds)] if several else []),
        *(
            [Column(title="baseline (alpha 0)", align="right"), Column(title="95% interval")]
            if baseline
            else []
        ),
        *([Column(title=of_seeds)] if several and baseline else []),
    )


def _rows(made: "Outcome") -> list[list[show.Cell]]:
    result = made.result
    students, baselines = (
        [_by_name(each) for each in group] for group in (result.students, result.baselines)
    )
    kept = _by_name(result.kept)
    same_seed = [_by_name(each) for each in result.baselines if each.seed == result.kept.seed]
    teacher = {metric.name: metric for metric in made.teacher}
    several = len(students) > 1
    return [
        [
            name,
            _value(teacher.get(name)),
            _value(metric),
            _interval(metric),
            *([_spread(name, students)] if several else []),
            *(cell for each in same_seed for cell in (_value(each.get(name)), _interval(each.get(name)))),
            *([_spread(name, baselines)] if several and baselines else []),
        ]
        for name, metric in kept.items()
        if ":" not in name
    ]


def _by_name(student: "Student") -> Mapping[str, Metric]:
    return {metric.name: metric for metric in student.measured.test.metrics}


def _spread(name: str, students: Sequence[Mapping[str, Metric]]) -> str:
    values = [each[name].value for each in students]
    return f"{show.number(fmean(values))} ± {show.number(stdev(values))}"


def _value(metric: Metric | None) -> str:
    return show.number(metric.value) if metric else ""


def _interval(metric: Metric | None) -> str:
    return f"[{show.number(metric.low)}, {show.number(metric.high)}]" if metric else ""
