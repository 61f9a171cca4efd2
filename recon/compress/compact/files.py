"""`.csog`: a SOG file whose colours a small network knows. Beside what SOG has (one grey for all, or one opacity, where
the network says better) there are

- `colors.json`: which network and grid;
- `network.bin`: its weights in half precision, in PyTorch's order;
- `table.lzma`: the grid's rows, a byte a number, as a raw LZMA2 stream; pruned ones are zeros, which cost little;
- or `latents.webp`: the Gaussians' own numbers plus 128, one pixel each.
"""

import json
import lzma
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor, nn

from recon.compress.codes import Codes, dequantise
from recon.compress.compact.fit import places
from recon.compress.compact.model import MOST_LOG2_ENTRIES, CompactConfig, Kind, Painter
from recon.compress.packing import damaged, read_bytes
from recon.compress.sog import COEFFICIENTS, Archive, image_bytes, image_size, sog_members, zip_bytes
from recon.sparse import HashGridConfig
from recon.types import Splats

FORMAT = 1
LZMA = [{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 20, "lc": 0, "lp": 0, "pb": 0}]
"""Numbers without a context: about as small as their entropy of order 0."""
ZERO = 128
MOST_LEVELS, FINEST, WIDEST = 32, 1 << 16, 512
"""More than this in a description is taken for damage, not for a wish to use that much memory."""
LARGEST = 1e4
"""Coefficients and logits beyond this are no colours."""


@dataclass(frozen=True)
class Compact:
    """Gaussians without colours, and the painter that knows these."""

    codes: Codes
    painter: Painter

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, index: Int[Tensor, " M"]) -> "Compact":
        """A subset."""
        painter = self.painter
        if painter.latents is not None:
            painter = Painter(painter.config, len(index), painter.coefficients)
            painter.load_state_dict(self.painter.state_dict() | {"latents": self.painter.numbers[index]})
        return Compact(self.codes[index], painter)

    def packed(self) -> bytes:
        """The file."""
        config, codes = self.painter.config, self.codes
        if not config.stores_opacity:
            codes = replace(codes, opacities=torch.full_like(codes.opacities, 255))
        if not config.stores_color:
            codes = replace(codes, colors=torch.zeros_like(codes.colors))
        about = {"format": FORMAT, "coefficients": self.painter.coefficients, "config": config.stored()}
        weights = nn.utils.parameters_to_vector(self.painter.networks())
        numbers = self.painter.codes()
        files = {
            "colors.json": json.dumps(about, separators=(",", ":")).encode(),
            "network.bin": weights.detach().numpy().astype("<f2").tobytes(),
        }
        if config.kind == "latents":
            files["latents.webp"] = image_bytes(numbers + ZERO, *image_size(len(codes)))
        else:
            table = numbers.numpy().astype(np.int8).tobytes()
            files["table.lzma"] = lzma.compress(table, lzma.FORMAT_RAW, filters=LZMA)
        return zip_bytes(sog_members(codes) | files)

    def splats(self) -> Splats:
        """What is to be shown."""
        rounded = dequantise(self.codes)
        with torch.no_grad():
            return self.painter.paint(rounded, places(rounded.means, self.codes))


def read_csog(path: Path | str) -> Splats:
    """Read what `recon compress --colors` wrote.

    Raises:
        InputError: unreadable, damaged, truncated, or of another version.
    """
    path = Path(path)
    return unpack(path, read_bytes(path))


def unpack(path: Path, data: bytes) -> Splats:
    """The splats in the bytes of a file; `path` is for errors.

    Raises:
        InputError: damaged, truncated, or of another version.
    """
    archive = Archive(path, data)
    codes, about = archive.codes(), archive.json("colors.json")
    if about.get("format") != FORMAT:
        raise damaged(path, f"its colours are of format {about.get('format')!r}, expected {FORMAT}")
    try:
        painter = Painter(_config(about["config"]), len(codes), _coefficients(about["coefficients"]))
        _fill(painter, archive, len(codes))
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RuntimeError, lzma.LZMAError) as error:
        raise damaged(path, f"its colours cannot be read ({error})") from error
    splats = Compact(codes, painter).splats()
    if not all(bool((v.abs() < LARGEST).all()) for v in (splats.sh0, splats.shN, splats.logit_opacities)):
        raise damaged(path, "its network gives no colours")
    return splats


def _config(given: dict[str, Any]) -> CompactConfig:
    """A painter's description, unless it asks for more memory than any that we write."""
    config = CompactConfig(**{**given, "grid": HashGridConfig(**given["grid"])})
    grid = config.grid
    numbers = (grid.levels, grid.features, grid.log2_entries, grid.coarsest, grid.finest, config.latents, config.hidden)
    if config.kind not in get_args(Kind) or not all(type(n) is int and n > 0 for n in numbers):
        raise ValueError(f"{config}")
    large = grid.levels > MOST_LEVELS or grid.log2_entries > MOST_LOG2_ENTRIES or grid.finest > FINEST
    if large or config.latents > 4 or config.hidden > WIDEST or not 0 < float(config.steps_per_unit) < LARGEST:
        raise ValueError(f"{config}")
    grid.layout()  # raises where it makes no sense
    return config


def _coefficients(count: int) -> int:
    if count not in COEFFICIENTS:
        raise ValueError(f"{count!r} coefficients")
    return count


@torch.no_grad()
def _fill(painter: Painter, archive: Archive, count: int) -> None:
    """Put a file's numbers and weights into a painter."""
    parameters = list(painter.networks())
    n_weights = sum(p.numel() for p in parameters)
    weights = torch.from_numpy(np.frombuffer(_exactly(archive, "network.bin", 2 * n_weights), "<f2").astype(np.float32))
    nn.utils.vector_to_parameters(weights, parameters)
    numbers = painter.numbers
    if painter.latents is not None:
        codes = archive.pixels("latents.webp", count)[:count, : numbers.shape[1]] - ZERO
    else:
        decoder = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=LZMA)
        table = decoder.decompress(archive.file("table.lzma", 2 * numbers.numel() + 1024), numbers.numel() + 1)
        codes = torch.from_numpy(np.frombuffer(table, np.int8).astype(np.int64)).reshape(numbers.shape)
    numbers.copy_(codes.float() / painter.config.steps_per_unit)


def _exactly(archive: Archive, name: str, size: int) -> bytes:
    data = archive.file(name, size)
    if len(data) != size:
        raise ValueError(f"{name} has {len(data)} bytes, expected {size}")
    return data
