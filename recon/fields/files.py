"""Fields as files: one .npz of plain arrays and a description in JSON. No pickle: a stranger's file runs no code.

What pruning took out of a table is not stored: one bit for each entry says which are left.
"""

import json
import zipfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from recon.errors import InputError
from recon.fields.field import FieldConfig, RadianceField
from recon.fields.occupancy import Occupancy
from recon.fields.rays import Box
from recon.files import atomic_path
from recon.sparse import HashGrid, HashGridConfig, HollowGrid, SaliencyMask

FORMAT = 1
MAX_LOG2_ENTRIES, MAX_SIDE = 24, 512
"""More than this in a description is taken for damage, not for a wish to use that much memory."""


def save_field(path: Path, field: RadianceField, occupancy: Occupancy) -> None:
    """Write a field and where it is empty, atomically.

    Raises:
        ResourceError: the disk is full or the folder not writable.
    """
    encoding = field.encoding
    hollow = encoding if isinstance(encoding, HollowGrid) else None
    about = {
        "format": FORMAT,
        "field": asdict(field.config),
        "box": asdict(field.box),
        "occupancy": {"resolution": occupancy.resolution, "step": occupancy.step},
        "mask": None if hollow is None else hollow.saliency.resolution,
    }
    arrays: dict[str, Any] = {
        "about": np.frombuffer(json.dumps(about).encode(), np.uint8),
        "occupancy": occupancy.packed().numpy(),
        **_pack_grid("table", encoding.grid if isinstance(encoding, HollowGrid) else encoding),
        **({} if hollow is None else _pack_grid("mask", hollow.saliency.grid)),
    }
    for net in ("shape_net", "color_net"):
        arrays |= {f"{net}.{name}": v.numpy() for name, v in getattr(field, net).state_dict().items()}
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)


def load_field(path: Path) -> tuple[RadianceField, Occupancy]:
    """What `save_field` wrote.

    Raises:
        InputError: the file is missing, damaged, or not a field.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            return _unpack({name: torch.from_numpy(file[name]) for name in file.files})
    except (OSError, EOFError, KeyError, ValueError, TypeError, RuntimeError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} is not a field that can be read ({error}). Train it again.") from error


def _pack_grid(name: str, grid: HashGrid) -> dict[str, np.ndarray]:
    arrays = {name: grid.table.detach().numpy()}
    if grid.slots is not None:
        arrays[f"{name}.kept"] = np.packbits((grid.slots >= 0).numpy())
    return arrays


def _unpack(arrays: Mapping[str, Tensor]) -> tuple[RadianceField, Occupancy]:
    about: dict[str, Any] = json.loads(arrays["about"].numpy().tobytes())
    if about["format"] != FORMAT:
        raise ValueError(f"format {about['format']}, expected {FORMAT}")
    described = about["field"]
    config = FieldConfig(**{**described, "grid": _checked(HashGridConfig(**described["grid"]))})
    field = RadianceField(config, Box(tuple(about["box"]["corner"]), float(about["box"]["side"])))
    field.encoding = _fill_grid("table", HashGrid(config.grid), arrays)
    if about["mask"] is not None:
        saliency = SaliencyMask(min(int(about["mask"]), MAX_SIDE))
        saliency.grid = _fill_grid("mask", saliency.grid, arrays)
        field.encoding = HollowGrid(field.encoding, saliency)
    for name in ("shape_net", "color_net"):
        net = getattr(field, name)
        net.load_state_dict({key: arrays[f"{name}.{key}"] for key in net.state_dict()})
    resolution = min(int(about["occupancy"]["resolution"]), MAX_SIDE)
    return field, Occupancy.unpacked(arrays["occupancy"], resolution, float(about["occupancy"]["step"]))


def _checked(config: HashGridConfig) -> HashGridConfig:
    """The same, unless it asks for more memory than any field we write."""
    if not 0 < config.levels <= 64 or not 0 < config.log2_entries <= MAX_LOG2_ENTRIES or config.finest > 2**20:
        raise ValueError(f"a hash grid of {config}")
    return config


def _fill_grid(name: str, grid: HashGrid, arrays: Mapping[str, Tensor]) -> HashGrid:
    """`grid` with the table, and the entries left, of a file."""
    if f"{name}.kept" in arrays:
        bits = np.unpackbits(arrays[f"{name}.kept"].numpy(), count=len(grid.table))
        grid = grid.pruned(torch.from_numpy(bits).bool())
    if arrays[name].shape != grid.table.shape or arrays[name].dtype != torch.float32:
        raise ValueError(f"{name} has the shape {tuple(arrays[name].shape)}, expected {tuple(grid.table.shape)}")
    grid.table = nn.Parameter(arrays[name])
    return grid
