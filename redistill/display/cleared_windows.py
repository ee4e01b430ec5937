"""Windows without a verdict that true labels, which arrived since, would give one."""

from sqlalchemy import Connection

from db.cycles import labels
from redistill.display import show
from triggers.settings import TeacherPolicy
from triggers.teacher.trust import is_cleared

_TIME = "%Y-%m-%dT%H:%M:%SZ"


def advice_on_cleared(connection: Connection, monitor: str, policy: TeacherPolicy) -> str | None:
    """Return the command that judges again the windows whose teacher true labels have cleared since.

    Their teacher was not believed for its mix of labels alone. None where there is no such window.
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
        f"true labels clear the teacher in {windows} without a verdict: `redistill cycle --rejudge "
        f"{found[0].window_start:{_TIME}} {found[-1].window_end:{_TIME}}`"
    )
