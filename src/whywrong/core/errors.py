"""The tree of errors; messages say what was expected, what came, where, and what to do."""

from __future__ import annotations

EXIT_DONE = 0
EXIT_FAILED_ITEMS = 1
EXIT_WRONG_USE = 2
EXIT_ENVIRONMENT = 3
EXIT_RULE_MET = 4
EXIT_UNDECIDED = 5
EXIT_INTERRUPTED = 130


class WhyWrongError(Exception):
    """Expected failure, whose message is for the user and needs no traceback.

    Attributes:
        exit_code: Exit status of the command line.

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
    """Raised if an argument, option or setting is invalid."""


class UnmatchedLabelError(InputError):
    """Raised if a label of the data matches no class of the model, or several.

    Attributes:
        label: The label, as written in the data.
    """

    def __init__(self, message: str, label: str) -> None:
        super().__init__(message)
        self.label = label

    def __reduce__(self) -> tuple[type[UnmatchedLabelError], tuple[str, str]]:
        return type(self), (str(self), self.label)


class ModelError(WhyWrongError):
    """Raised if the classifier cannot be loaded or does not behave as a classifier."""


class AccessError(ModelError):
    """Raised if a method needs more access than the classifier allows."""


class NotDifferentiableError(ModelError):
    """Raised if no gradient reaches the pixels."""


class NonFiniteError(ModelError):
    """Raised if the classifier returns NaN or infinity."""


class ModelRaisedError(ModelError, RuntimeError):
    """Raised if the user's model raised; the original exception is the cause."""


class DataError(WhyWrongError):
    """Raised if the data set as a whole cannot be read or matched."""


class BadItemError(DataError):
    """Raised if one item cannot be used; the run records the reason and continues.

    Attributes:
        reason: Short text that is stored with the item.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class RunFolderError(WhyWrongError):
    """Raised if a run folder is missing, locked, damaged or belongs to another run."""


class EnvironmentFailure(WhyWrongError):
    """Raised if disk, memory or a worker failed; committed results stay, and the run can be resumed."""

    exit_code = EXIT_ENVIRONMENT


class DeviceFailure(EnvironmentFailure):
    """Raised if a GPU failed, which no image caused; all further calls on it in this process fail too."""
