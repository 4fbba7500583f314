"""Errors that a user can cause. Each carries one line: what is wrong, where, what would be right.

The command line prints that line and leaves with status 2 (status 1 for `MismatchError`); anything else that
escapes is a bug and shows its traceback.
"""

import warnings


def printable(text: str) -> str:
    """A text without what a terminal would act on: names in a file may hold anything.

    >>> printable("fc\\x1b[2J")
    'fc?[2J'
    """
    return "".join(c if c.isprintable() else "?" for c in text)


def caused_by_ctrl_c(error: BaseException) -> bool:
    """Whether an error came out of a `KeyboardInterrupt`, which a library has caught and made an error of its own.

    >>> try:
    ...     try:
    ...         raise KeyboardInterrupt
    ...     except BaseException:
    ...         raise SystemError("a call returned a result with an exception set")
    ... except SystemError as error:
    ...     caused_by_ctrl_c(error)
    True
    """
    seen: set[int] = set()
    before: list[BaseException | None] = [error]
    while before:
        one = before.pop()
        if isinstance(one, KeyboardInterrupt):
            return True
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            before += [one.__cause__, one.__context__]
    return False


def no_more_warnings() -> None:
    """For the handler of a signal that ends the process: what is left half done is nobody's mistake.

    Amaranth warns of every component that was made and not used, Python of files that nobody closed.
    """
    warnings.simplefilter("ignore")


class EieError(Exception):
    """Base of every error that the user's input, files or machine can cause.

    Examples
    --------
    >>> import eie
    >>> try:
    ...     eie.ArchConfig(n_pe=12)
    ... except eie.EieError as error:
    ...     print(error)
    n_pe must be a power of two from 1 to 256, not 12
    """


class ConfigError(EieError):
    """An `ArchConfig` that no machine can have."""


class LayerError(EieError):
    """A compressed layer, or an input vector for it, that breaks its own rules."""


class CapacityError(EieError):
    """A layer that does not fit the memories of a configuration."""


class ModelError(EieError):
    """A trained network that cannot be read or compressed."""


class FormatError(EieError):
    """A `.eie` file that is truncated, corrupt, hostile, or newer than this version."""


class SimulatorMissing(EieError):
    """A simulator is not installed; the text holds the line that installs it."""


class OutputError(EieError):
    """An output file or folder that cannot be written."""


class ClusterError(EieError):
    """A cluster that cannot be reached, has no workers or other versions, or was lost."""


class SimulationError(EieError):
    """A simulator run that did not end as it should (build failure, time-out, tests not executed)."""


class MismatchError(EieError):
    """Two engines disagree: the first divergence, and the command that replays it."""
