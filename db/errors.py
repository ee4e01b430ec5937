"""The one base of every error that a person can mend."""


class RedistillError(Exception):
    """An expected failure; subclasses state their message, with {fields}, as their docstring."""

    exit_code = 1

    def __init__(self, **fields: object) -> None:
        self.fields = fields
        super().__init__(" ".join((self.__doc__ or "").split()).format(**fields))


class LeaseLostError(RedistillError):
    """The lease {name!r} (fencing token {token}) is held by another process now: nothing of this
    attempt was written; the other process goes on.
    """
