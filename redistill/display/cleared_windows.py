"""Windows without a verdict that could be judged now, because true labels have arrived since."""

from sqlalchemy import Connection

from db.cycles import labels
from redistill.display import show
from triggers.settings import TeacherPolicy
from triggers.teacher.trust import is_cleared

_TIME = "%Y-%m-%dT%H:%M:%SZ"


def advice_on_cleared(connection: Connection, monitor: str, policy: TeacherPolicy) -> str | None:
    """Return the command that rejudges the windows whose teacher has since been confirmed by true labels.

    The label mix was the only reason to consider that teacher unhealthy. None if there is no such window.
    """
    found = [
        each.slot
        for each in labels.of_moved_labels(connection, monitor)
        if is_cleared(each.correctness, each.agreement, policy)
    ]
    if not found:
        return None
    windows = show.counted(len(found), "window")
    return (
        f"true labels confirm the teacher in {windows} without a verdict: judge them again with `redistill "
        f"cycle --rejudge {found[0].window_start:{_TIME}} {found[-1].window_end:{_TIME}}`"
    )
