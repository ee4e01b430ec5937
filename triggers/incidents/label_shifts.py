"""The change of the requests since a cycle's reference, in words for the on-call."""

from collections.abc import Mapping, Sequence

from db.records import InputDrift, ShareChange

_SHOWN = 3
_LEAST = 0.01  #: smaller changes of a share are not reported


def largest_moves(then: Mapping[str, float], now: Mapping[str, float]) -> tuple[ShareChange, ...]:
    """Return the labels whose shares changed most, the largest change first: at most three, by at least 0.01.

    Example:
        >>> largest_moves({"faq": 0.5, "checkout": 0.5}, {"faq": 0.4, "checkout": 0.495, "returns": 0.105})
        (ShareChange(label='returns', then=0.0, now=0.105), ShareChange(label='faq', then=0.5, now=0.4))
    """
    moves = [
        ShareChange(label=each, then=then.get(each, 0.0), now=now.get(each, 0.0)) for each in {*then, *now}
    ]
    moves.sort(key=lambda move: (-abs(move.now - move.then), move.label))
    return tuple(move for move in moves[:_SHOWN] if abs(move.now - move.then) >= _LEAST)


def what_moved(found: InputDrift, moves: Sequence[ShareChange]) -> str:
    """Describe in one line the labels that moved, and how well the texts are distinguished."""
    labels = ", ".join(f"{move.label} {move.then:.0%} -> {move.now:.0%}" for move in moves)
    return (
        f"{labels or 'no label by 1 percentage point or more'}; label mix PSI {found.psi.estimate:.3f} "
        f"[{found.psi.low:.3f}, {found.psi.high:.3f}]; texts distinguished from those of cycle "
        f"{found.reference_cycle_id} with accuracy {found.accuracy:.2f} (0.5: alike), p = {found.p_value:.2g}"
    )
