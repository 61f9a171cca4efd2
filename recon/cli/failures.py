"""From any exception to one clear message and an exit code.

0 done; 1 a bug of ours, or a benchmark of which something failed or got worse; 2, 3, 4, 5 as in `recon.errors`; 130
stopped with Ctrl-C.
"""

import errno
from dataclasses import dataclass

from recon.errors import ReconError, ResourceError

BUG = 1
INTERRUPTED = 130
BROKEN_PIPE = 141


@dataclass(frozen=True)
class Failure:
    """What to tell the user."""

    kind: str
    """`InputError`, `PoseError`, `ResourceError`, `MissingDependencyError`, `Interrupted` or `Bug`."""
    message: str
    exit_code: int


def explain(error: BaseException) -> Failure:
    """What `error` means for a user. The pipeline's own errors already say it; the machine's are put into words."""
    if isinstance(error, ReconError):
        return Failure(type(error).__name__, str(error), error.exit_code)
    if isinstance(error, KeyboardInterrupt):
        message = str(error) or "Stopped."
        return Failure("Interrupted", message, INTERRUPTED)
    if isinstance(error, SystemExit):
        code = error.code if isinstance(error.code, int) else BUG
        return Failure("Exit", "" if isinstance(error.code, int) else str(error.code or ""), code)
    if isinstance(error, BrokenPipeError):
        return Failure("Exit", "", BROKEN_PIPE)
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or _is_torch_allocation(error):
        return Failure("ResourceError", _out_of_memory(error), ResourceError.exit_code)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Failure("ResourceError", _disk_full(error), ResourceError.exit_code)
    if _is_torch_write(error):
        return Failure("ResourceError", _disk_full(error), ResourceError.exit_code)
    return Failure("Bug", f"{type(error).__name__}: {error}", BUG)


def _is_torch_allocation(error: BaseException) -> bool:
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def _is_torch_write(error: BaseException) -> bool:
    """torch.save reports a full disk as a RuntimeError of its zip writer."""
    return isinstance(error, RuntimeError) and "PytorchStreamWriter" in str(error)


def _out_of_memory(error: BaseException) -> str:
    first = (str(error) or type(error).__name__).splitlines()[0]
    return (
        f"Out of memory ({first}). Use smaller pictures, for instance --set train.max_side=480 or --quality draft, "
        "or close other programs. What is finished is kept."
    )


def _disk_full(error: BaseException) -> str:
    first = (str(error) or type(error).__name__).splitlines()[0]
    return (
        f"The disk is full ({first}). Free some space, or choose another folder with --out; what is finished is kept."
    )
