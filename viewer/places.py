"""Where the viewer may write: new files in its own folders inside the run folder, and `view.json` (`viewer.notes`)."""

import itertools
from pathlib import Path

from recon.errors import InputError


def new_path(run: Path, folder: str, stem: str, suffix: str) -> Path:
    """A path `run/folder/stem-1suffix` (or -2 and so on) that is not taken.

    Raises:
        InputError: `folder` is a link that leads out of the run folder.
    """
    inside = run / folder
    if not inside.resolve().is_relative_to(run.resolve()):
        raise InputError(
            f"{inside} leads out of {run}. Remove that link: the viewer only writes inside the run folder."
        )
    inside.mkdir(parents=True, exist_ok=True)
    return next(p for i in itertools.count(1) if not (p := inside / f"{stem}-{i}{suffix}").exists())
