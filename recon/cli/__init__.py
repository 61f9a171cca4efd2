"""The `recon` command. Options live in `options`; each command's work in a module of its own, imported when it runs.

Nothing here imports torch until a command needs it, so that `recon --help` answers at once.
"""

import os
import sys
from collections.abc import Sequence

from recon.cli.console import Console
from recon.cli.failures import BROKEN_PIPE, explain
from recon.cli.options import parse


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point of the console script: parse, run, and exit with a code that means something."""
    sys.exit(run(sys.argv[1:] if argv is None else list(argv)))


def run(argv: Sequence[str]) -> int:
    """Run one command and return its exit code (see `recon.cli.failures`)."""
    try:
        options = parse(argv)
    except BrokenPipeError:  # `recon --help | head`: nobody reads on, and what is left must not be written at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    with Console(json_mode=options.common.json, debug=options.common.debug) as console:
        try:
            result = options.execute(console)
            console.finish(result)
            return result.exit_code
        except BaseException as error:
            failure = explain(error)
            console.fail(failure, error)
            return failure.exit_code
