"""Splats as `.splat`: 32 bytes each and no header, the format of the first web viewers.

A row is 3 float32 position, 3 float32 scale (activated), 4 bytes red green blue alpha (alpha is the activated
opacity), 4 bytes wxyz unit quaternion as 128 + 128 q. Colour has no view dependence; quaternion and colour are exact
only to 8 bits, position and scale to float32.
"""

import logging
from pathlib import Path

import numpy as np
import torch

from recon.errors import InputError
from recon.files import atomic_path
from recon.types import SH_C0, Splats

logger = logging.getLogger(__name__)

ROW = np.dtype([("position", "<f4", 3), ("scale", "<f4", 3), ("rgba", "u1", 4), ("quat", "u1", 4)])
SMALLEST_SCALE = 1e-12
"""Stands in for a scale of 0, whose logarithm could not be stored."""
LARGEST = 1e18
"""Positions and scales beyond this are noise read as float32 (their squares overflow)."""


def read_splat(path: Path | str) -> Splats:
    """Read a `.splat` file; the result has SH degree 0.

    Raises:
        InputError: unreadable, empty, not a multiple of 32 bytes, or not plausible as splats.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"Could not read {path}: {error.strerror or error}. Check the path.") from error
    if not data or len(data) % ROW.itemsize:
        raise InputError(
            f"{path} has {len(data)} bytes; a .splat file has 32 for each Gaussian. "
            "It is truncated or another format: export or download it again."
        )
    rows = np.frombuffer(data, ROW)
    numbers = np.concatenate([rows["position"], rows["scale"]], axis=1)
    if not (np.isfinite(numbers).all() and (np.abs(numbers) < LARGEST).all() and (rows["scale"] >= 0).all()):
        raise InputError(f"{path} is not a .splat file: its positions and scales make no sense. Give a .ply or .splat.")
    return _from_rows(rows)


def write_splat(path: Path | str, splats: Splats) -> None:
    """Write `splats` as `.splat`, atomically, in their order. View-dependent colour is lost, with a logged warning.

    Raises:
        ResourceError: the folder is not writable or the disk is full.
    """
    if splats.sh_degree > 0:
        logger.warning("%s: the .splat format has no view-dependent colour; it was left out", path)
    rows = np.empty(len(splats), ROW)
    rows["position"] = splats.means.detach().cpu().numpy()
    rows["scale"] = splats.scales.detach().cpu().numpy()
    rgba = torch.cat([splats.rgb, splats.opacities[:, None]], dim=1)
    rows["rgba"] = _to_bytes(rgba * 255)
    rows["quat"] = _to_bytes(128 + 128 * torch.nn.functional.normalize(splats.quats, dim=1))
    with atomic_path(path) as temporary:
        temporary.write_bytes(rows.tobytes())


def _from_rows(rows: np.ndarray) -> Splats:
    rgba = torch.from_numpy(rows["rgba"].astype(np.float32)) / 255
    # A quarter of a step away from 0 and 1, where the logit is infinite; it still rounds back to the same byte.
    opacity = rgba[:, 3].clamp(0.25 / 255, 1 - 0.25 / 255)
    quats = (torch.from_numpy(rows["quat"].astype(np.float32)) - 128) / 128
    quats[quats.norm(dim=1) == 0] = torch.tensor([1.0, 0.0, 0.0, 0.0])
    return Splats(
        means=torch.from_numpy(rows["position"].copy()),
        quats=torch.nn.functional.normalize(quats, dim=1),
        log_scales=torch.from_numpy(rows["scale"].copy()).clamp_min(SMALLEST_SCALE).log(),
        logit_opacities=opacity.logit(),
        sh0=((rgba[:, :3] - 0.5) / SH_C0)[:, None],
        shN=torch.zeros(len(rows), 0, 3),
    )


def _to_bytes(values: torch.Tensor) -> np.ndarray:
    return values.detach().cpu().round().clamp(0, 255).to(torch.uint8).numpy()
