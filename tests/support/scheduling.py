"""Which tests one process of pytest-xdist runs."""

from typing import Final

from xdist.scheduler import LoadFileScheduling

#: Files that inspect the same site, which costs a training to make.
_TOGETHER: Final = tuple(f"tests/acceptance/invariants/test_{number}_" for number in (6, 8))


class ByFile(LoadFileScheduling):  # type: ignore[misc]  # it has no types
    """A file's tests run in one process, and so do those of files that share what is costly to make."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::", 1)[0]
        return _TOGETHER[0] if file.startswith(_TOGETHER) else file
