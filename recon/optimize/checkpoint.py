"""The file that an interrupted training is continued from."""

import io
import logging
from pathlib import Path
from typing import Any

import torch

from recon.files import atomic_path

logger = logging.getLogger(__name__)
FINGERPRINT = "fingerprint"


def write_checkpoint(path: Path, state: dict[str, Any], fingerprint: dict[str, Any]) -> None:
    """Write `state` atomically. `fingerprint` says what it belongs to."""
    buffer = io.BytesIO()
    torch.save(state | {FINGERPRINT: fingerprint}, buffer)  # to a file, torch hides a full disk behind a RuntimeError
    with atomic_path(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def read_checkpoint(path: Path, fingerprint: dict[str, Any], device: torch.device) -> dict[str, Any] | None:
    """The state, if `path` is there, can be read and belongs to the same photos and settings."""
    if not path.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # a damaged file must not stop a run that can start over
        logger.warning("Ignoring the unreadable checkpoint %s (%s); training starts over.", path, error)
        return None
    if state.get(FINGERPRINT) != fingerprint:
        logger.info("The checkpoint %s belongs to other photos or settings; training starts over.", path)
        return None
    return state
