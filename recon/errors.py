"""Errors a user can cause. Each says what happened, what was found, and what to do.

The command line prints the message without a traceback and exits with the class's code; everything else is a bug of
ours and keeps its traceback.
"""


class ReconError(Exception):
    """Base of all errors shown to the user as a plain sentence."""

    exit_code = 1


class InputError(ReconError):
    """The photos, files or options given cannot be used."""

    exit_code = 2


class PoseError(ReconError):
    """Too few photos could be placed relative to each other."""

    exit_code = 3


class ResourceError(ReconError):
    """The machine said no: disk full, folder not writable, out of memory, device missing."""

    exit_code = 4


class MissingDependencyError(ReconError):
    """An optional package or weight file that the request needs is not installed."""

    exit_code = 5
