"""`python -m recon.cli` is the `recon` command."""

from recon.cli import main

main()
