"""The one tree of errors: what was expected, what came, where, and what to do about it."""

from __future__ import annotations

EXIT_DONE = 0
EXIT_FAILED_ITEMS = 1
EXIT_WRONG_USE = 2
EXIT_ENVIRONMENT = 3
EXIT_INTERRUPTED = 130


class WhyWrongError(Exception):
    """Expected trouble: the message is for the user, and no traceback is needed.

    Attributes:
        exit_code: Status with which the command line ends.

    Example:
        >>> import whywrong as ww
        >>> try:
        ...     ww.open_run("no/such/folder")
        ... except ww.WhyWrongError as error:
        ...     error.exit_code
        2
    """

    exit_code = EXIT_WRONG_USE


class InputError(WhyWrongError, ValueError):
    """An argument, option or setting breaks its contract."""


class UnmatchedLabelError(InputError):
    """A label of the data belongs to no class of the model, or to several.

    Attributes:
        label: The label, as written in the data.
    """

    def __init__(self, message: str, label: str) -> None:
        super().__init__(message)
        self.label = label

    def __reduce__(self) -> tuple[type[UnmatchedLabelError], tuple[str, str]]:
        return type(self), (str(self), self.label)


class ModelError(WhyWrongError):
    """The classifier cannot be loaded or does not behave as a classifier."""


class AccessError(ModelError):
    """A method asks for more than the owner of the classifier lets us see."""


class NotDifferentiableError(ModelError):
    """No gradient reaches the pixels."""


class NonFiniteError(ModelError):
    """The classifier returns NaN or infinity."""


class ModelRaisedError(ModelError, RuntimeError):
    """The user's model raised; its own exception is the cause."""


class DataError(WhyWrongError):
    """The data set as a whole cannot be read or matched."""


class BadItemError(DataError):
    """One item cannot be used; the run records the reason and goes on.

    Attributes:
        reason: Short text that is stored with the item.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class RunFolderError(WhyWrongError):
    """A run folder is missing, locked, damaged or belongs to another run."""


class EnvironmentFailure(WhyWrongError):
    """Disk, memory or a worker failed; what is committed stays, and the run can be resumed."""

    exit_code = EXIT_ENVIRONMENT


class DeviceFailure(EnvironmentFailure):
    """A GPU failed, which no image is to blame for: whatever it is asked from now on in this process fails too."""
