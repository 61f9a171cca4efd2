"""The file that an interrupted training is continued from."""

import hashlib
import io
import logging
from pathlib import Path
from typing import Any

import torch

from recon.files import atomic_path
from recon.types import DepthMaps, PosedScene

logger = logging.getLogger(__name__)
FINGERPRINT = "fingerprint"


def digest(scene: PosedScene, *maps: DepthMaps | None) -> str:
    """Of all that a training starts from: photos, masks, cameras, points, and depth where there is any."""
    cameras, points = scene.cameras, scene.points
    parts = {
        "images": scene.images,
        "masks": scene.masks or (),
        "cameras": (cameras.cam_from_world, cameras.Ks, cameras.confidence),
        "points": (points.xyz, points.rgb, points.confidence),
    }
    for k, one in enumerate(maps):
        if one is not None:
            parts[f"depth {k}"] = (*one.depth, *one.confidence, *(one.normals or ()))
    known = hashlib.blake2b(digest_size=16)
    for name, tensors in parts.items():
        for tensor in tensors:
            known.update(f"{name} {tuple(tensor.shape)}".encode())
            known.update(tensor.detach().cpu().contiguous().numpy().data)
    return known.hexdigest()


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
