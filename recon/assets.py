"""Where small weight files lie. Leans on nothing of ours but the errors."""

import os
from pathlib import Path

from recon.errors import MissingDependencyError

PACKAGE = Path(__file__).parent


def weight_folders() -> tuple[Path, ...]:
    """Where weights are looked for, first match wins: `$RECON_WEIGHTS`, the installed package, the source tree."""
    own = os.environ.get("RECON_WEIGHTS")
    shipped = (PACKAGE / "_assets" / "weights", PACKAGE.parent / "assets" / "weights")
    return (Path(own), *shipped) if own else shipped


def weight_path(name: str) -> Path:
    """Path of a weight file such as `lpips/lpips_alex_v0.1.safetensors`.

    Raises:
        MissingDependencyError: no folder has it.
    """
    for folder in weight_folders():
        if (path := folder / name).is_file():
            return path
    looked = ", ".join(str(folder) for folder in weight_folders())
    raise MissingDependencyError(
        f"Weight file {name} was not found (looked in {looked}). "
        "Reinstall recon, or set RECON_WEIGHTS to a folder that holds it."
    )
