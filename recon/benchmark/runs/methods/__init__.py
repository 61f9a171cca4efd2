"""The methods that can be compared, by name. To add one: write a class like those here, and a line in `METHODS`."""

from recon.benchmark.runs.methods.base import Method, Task
from recon.benchmark.runs.methods.external import GsplatMethod, OpenSplatMethod, SplatfactoMethod
from recon.benchmark.runs.methods.nearest import CopyMethod
from recon.benchmark.runs.methods.ours import ReconMethod
from recon.benchmark.runs.methods.plain import PlainMethod
from recon.errors import InputError

__all__ = ["METHODS", "Method", "Task", "method_named"]

METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        ReconMethod(),
        PlainMethod(),
        CopyMethod(),
        OpenSplatMethod(),
        GsplatMethod(),
        SplatfactoMethod(),
    )
}


def method_named(name: str) -> Method:
    """The method called `name`.

    Raises:
        InputError: there is none.
    """
    if name not in METHODS:
        raise InputError(f"No method {name!r}. There are: {', '.join(METHODS)}.")
    return METHODS[name]
