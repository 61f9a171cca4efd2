"""Where weights lie: small ones that ship with recon, and large ones that users fetch from the Hugging Face hub.

Leans on nothing of ours but the errors. The hub's cache is read without its library, so that looking costs nothing
and never touches the network; only `obtain_checkpoint` does, and only when the user has said so.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from recon.errors import MissingDependencyError, ResourceError

PACKAGE = Path(__file__).parent
CONSENT = "RECON_ALLOW_DOWNLOAD"
"""Environment variable with which a user allows downloads of weights."""


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


@dataclass(frozen=True)
class Checkpoint:
    """Weights on the Hugging Face hub, or in a folder that is laid out like one of its repositories."""

    id: str
    """`organisation/name`, or the path of a folder."""
    licence: str
    size_bytes: int = 0
    """About; 0 where unknown."""
    files: tuple[str, ...] = ("config.json", "model.safetensors")
    """What is needed of the repository."""
    note: str = ""
    """What a user has to know besides, such as that access must be asked for."""

    def __str__(self) -> str:
        size = f", about {self.size_bytes / 1e9:.1f} GB" if self.size_bytes else ""
        return f"{self.id} (licence {self.licence}{size}{', ' + self.note if self.note else ''})"


def cached_checkpoint(checkpoint: Checkpoint) -> Path | None:
    """The folder that holds all files of a checkpoint, None if there is none. Looks only at this machine's disk."""
    folder = Path(checkpoint.id).expanduser()
    if not folder.is_dir():
        folder = _hub_cache() / f"models--{checkpoint.id.replace('/', '--')}"
        snapshots = sorted(folder.glob("snapshots/*"), key=lambda path: path.stat().st_mtime, reverse=True)
    else:
        snapshots = [folder]
    return next((path for path in snapshots if all((path / name).is_file() for name in checkpoint.files)), None)


def downloads_allowed() -> bool:
    """Whether the user has agreed to downloads of weights."""
    return _is_set(CONSENT)


def obtain_checkpoint(checkpoint: Checkpoint, tell: Callable[[str], None]) -> Path:
    """The folder of a checkpoint, downloaded first if it is not here and the user allows it.

    Args:
        checkpoint: what to get.
        tell: hears the model's id, licence and size before anything is downloaded.

    Raises:
        MissingDependencyError: it is not here, and downloads are not allowed or not possible.
        ResourceError: the download failed.
    """
    found = cached_checkpoint(checkpoint)
    if found is not None:
        return found
    refuse_download(f"The weights {checkpoint}", f"fetch them yourself: hf download {checkpoint.id}")
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise MissingDependencyError(
            "Downloading weights needs huggingface_hub: pip install huggingface_hub."
        ) from error
    tell(f"Downloading {checkpoint} from the Hugging Face hub to {_hub_cache()}.")
    try:
        return Path(snapshot_download(checkpoint.id, allow_patterns=list(checkpoint.files)))
    except Exception as error:  # the hub's own errors, those of its HTTP library and the disk's
        reason = (str(error) or type(error).__name__).strip().splitlines()[0]
        raise ResourceError(
            f"The weights {checkpoint.id} could not be downloaded ({reason}). Check the network"
            f"{', and that you have been given access (' + checkpoint.note + ')' if checkpoint.note else ''}; "
            f"a copy made elsewhere works too: put its folder's path where the model's name stands."
        ) from error


def refuse_download(what: str, otherwise: str) -> None:
    """Raise unless downloads are possible and allowed.

    Args:
        what: what would be downloaded, as the subject of a sentence in the plural.
        otherwise: how to get it without recon.

    Raises:
        MissingDependencyError: the environment says offline, or the user has not agreed.
    """
    if _is_set("HF_HUB_OFFLINE"):
        raise MissingDependencyError(
            f"{what} are not on this machine, and HF_HUB_OFFLINE forbids to download them. Unset it, or {otherwise}."
        )
    if not downloads_allowed():
        raise MissingDependencyError(
            f"{what} are not on this machine. To agree to the licence and the download, use --allow-download or set "
            f"{CONSENT}=1; or {otherwise}."
        )


def _is_set(variable: str) -> bool:
    return os.environ.get(variable, "").strip().lower() in ("1", "true", "yes", "on")


def _hub_cache() -> Path:
    """Where huggingface_hub keeps its downloads (its documentation, "Environment variables")."""
    if own := os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE"):
        return Path(own).expanduser()
    caches = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    home = os.environ.get("HF_HOME")
    return (Path(home).expanduser() if home else caches / "huggingface") / "hub"
