"""`python -m recon.benchmark.priors pairs|train|score`: the embedded prior, from scenes to its model card."""

import logging
import sys

import tyro

from recon.benchmark.priors.commands import Pairs, Score, Train
from recon.errors import ReconError


def main() -> int:
    """Exit code 0, or that of an error of ours with its message as the last line."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    command = tyro.extras.subcommand_cli_from_dict(
        {"pairs": Pairs, "train": Train, "score": Score}, description=__doc__
    )
    try:
        command.run()
    except ReconError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


sys.exit(main())
