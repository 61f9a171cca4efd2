"""Splats as compressed PLY, the layout of PlayCanvas and SuperSplat: 16 bytes a Gaussian and 3K for its harmonics.

Gaussians stand in chunks of 256. The element `chunk` holds, as float32, the range of each chunk's positions, log scales
and colours; `vertex` four words a Gaussian: position and log scale in 11, 10 and 11 bits of the chunk's range, x on
top; the rotation as the index of its largest component (of w x y z) in 2 bits and the three others in 10 each; colour
in 8 bits a channel of the chunk's range, opacity in 8. `sh` holds the f_rest in 8 bits, from -4 to 4.

Layout as the readers of PlayCanvas' engine and splat-transform take it. Older files lack the colour's range: 0 to 1.
"""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from plyfile import PlyData, PlyElement
from torch import Tensor

from recon.compress.packing import (
    LARGEST,
    damaged,
    from_codes,
    from_smallest_three,
    morton_order,
    opacity_logits,
    smallest_three,
    to_codes,
)
from recon.files import atomic_path
from recon.types import SH_C0, Splats

CHUNK = 256
AXES, CHANNELS = ("x", "y", "z"), ("r", "g", "b")
POSITION = [f"{end}_{axis}" for end in ("min", "max") for axis in AXES]
SCALE = [f"{end}_scale_{axis}" for end in ("min", "max") for axis in AXES]
COLOR = [f"{end}_{channel}" for end in ("min", "max") for channel in CHANNELS]
PACKED = ["packed_position", "packed_rotation", "packed_scale", "packed_color"]
WORD_BITS = (11, 10, 11)
SH_RANGE = 8.0
SCALE_LIMIT = 20.0
"""Log scales are clamped to this on both sides."""
REST_COUNTS = (0, 9, 24, 45)


def write_compressed_ply(path: Path | str, splats: Splats) -> None:
    """Write `splats`, atomically, sorted along a Morton curve so that the chunks are small.

    Errors, at most: positions and log scales half a step of 1/1023 of the chunk's extent; opacity and colour 0.5/255
    (of the chunk's range of colours); rotation components 0.5/1023 * sqrt(2); coefficients 1/64, clamped to 4.

    Raises:
        ResourceError: the folder is not writable or the disk is full.
    """
    splats = splats.detach().to("cpu")
    splats = splats[morton_order(splats.means)]
    rgb = splats.sh0[:, 0] * SH_C0 + 0.5
    position, position_range = _chunked(splats.means)
    scale, scale_range = _chunked(splats.log_scales.clamp(-SCALE_LIMIT, SCALE_LIMIT))
    color, color_range = _chunked(rgb)
    words = [_pack_three(position), _pack_rotation(splats.quats), _pack_three(scale)]
    words.append(_join(torch.cat([to_codes(color, 8), to_codes(splats.opacities, 8)[:, None]], dim=1), (8, 8, 8, 8)))
    ranges = torch.cat([position_range, scale_range, color_range], dim=1).float().numpy()
    chunks = np.ascontiguousarray(ranges, "<f4").view([(name, "<f4") for name in POSITION + SCALE + COLOR])[:, 0]
    packed = np.stack([word.numpy().astype("<u4") for word in words], axis=1)
    elements = {"chunk": chunks, "vertex": np.ascontiguousarray(packed).view([(n, "<u4") for n in PACKED])[:, 0]}
    if splats.shN.shape[1]:
        elements["sh"] = _pack_harmonics(splats.shN)
    described = [PlyElement.describe(rows, name) for name, rows in elements.items()]
    with atomic_path(path) as temporary:
        PlyData(described, text=False, byte_order="<").write(str(temporary))


def is_compressed(vertices: np.ndarray) -> bool:
    """Whether these rows of a PLY file's element `vertex` are of this layout."""
    return "packed_position" in (vertices.dtype.names or ())


def read_compressed_ply(path: Path, vertex: np.ndarray) -> Splats:
    """Read a compressed PLY file whose element `vertex` `recon.plyio` has read.

    Raises:
        InputError: an element or a property is missing or of the wrong length, or the numbers make no sense.
    """
    elements = _other_elements(path)
    chunk, n = elements.get("chunk"), len(vertex)
    if chunk is None or not set(POSITION + SCALE) <= set(chunk.dtype.names or ()):
        raise damaged(path, "the element `chunk` of a compressed PLY is missing or incomplete")
    if not set(PACKED) <= set(vertex.dtype.names or ()):
        raise damaged(path, f"its vertices lack one of {', '.join(PACKED)}")
    if len(chunk) * CHUNK < n:
        raise damaged(path, f"it has {len(chunk)} chunks for {n} Gaussians")
    of = torch.arange(n) // CHUNK
    position, rotation, scale, color = (_word(path, vertex, name) for name in PACKED)
    rgba = from_codes(_split(color, (8, 8, 8, 8)), 8)
    rgb = rgba[:, :3]
    if set(COLOR) <= set(chunk.dtype.names or ()):
        rgb = _within(rgb, _ranges(path, chunk, COLOR)[of])
    return Splats(
        means=_within(_unpack_three(position), _ranges(path, chunk, POSITION)[of]).float(),
        quats=_unpack_rotation(rotation),
        log_scales=_within(_unpack_three(scale), _ranges(path, chunk, SCALE)[of]).float(),
        logit_opacities=opacity_logits(rgba[:, 3].float()),
        sh0=((rgb.float() - 0.5) / SH_C0)[:, None],
        shN=_unpack_harmonics(path, elements.get("sh"), n),
    )


def _other_elements(path: Path) -> dict[str, np.ndarray]:
    """Copies of the elements beside `vertex`. That the file is as long as its header says has been checked before."""
    try:
        with path.open("rb") as stream:
            elements = PlyData.read(stream, mmap="c").elements
            return {element.name: np.array(element.data) for element in elements if element.name in ("chunk", "sh")}
    except (Exception, RecursionError, MemoryError) as error:  # a damaged header can trip any line of the parser
        raise damaged(path, "its chunks or harmonics cannot be read") from error


def _chunked(values: Float[Tensor, "N 3"]) -> tuple[Float[Tensor, "N 3"], Float[Tensor, "C 6"]]:
    """Values in units of their chunk's range, and the ranges: minima, maxima."""
    n, chunks = len(values), -(-len(values) // CHUNK)
    of = torch.arange(n) // CHUNK
    index = of[:, None].expand(-1, 3)
    low = torch.zeros(chunks, 3).scatter_reduce(0, index, values.float(), "amin", include_self=False)
    high = torch.zeros(chunks, 3).scatter_reduce(0, index, values.float(), "amax", include_self=False)
    return (values - low[of]) / (high - low)[of].clamp_min(1e-30), torch.cat([low, high], dim=1)


def _within(unit: Float[Tensor, "N 3"], ranges: Float[Tensor, "N 6"]) -> Float[Tensor, "N 3"]:
    return ranges[:, :3] * (1 - unit) + ranges[:, 3:] * unit


def _ranges(path: Path, chunk: np.ndarray, names: list[str]) -> Float[Tensor, "C 6"]:
    if any(chunk.dtype[name].kind != "f" for name in names):
        raise damaged(path, "its chunks' ranges are not numbers")
    table = np.stack([chunk[name].astype(np.float64) for name in names], axis=1)
    if not (np.isfinite(table).all() and (np.abs(table) < LARGEST).all()):
        raise damaged(path, "its chunks' ranges make no sense")
    return torch.from_numpy(table)


def _word(path: Path, vertex: np.ndarray, name: str) -> Int[Tensor, " N"]:
    if vertex.dtype[name].kind != "u" or vertex.dtype[name].itemsize != 4:
        raise damaged(path, f"{name} is not a 32-bit word")
    return torch.from_numpy(vertex[name].astype(np.int64))


def _join(parts: Int[Tensor, "N P"], bits: tuple[int, ...]) -> Int[Tensor, " N"]:
    """Numbers side by side in one word, the first on top."""
    word = torch.zeros(len(parts), dtype=torch.int64)
    for i, width in enumerate(bits):
        word = (word << width) | parts[:, i]
    return word


def _split(word: Int[Tensor, " N"], bits: tuple[int, ...]) -> Int[Tensor, "N P"]:
    """The inverse of `_join`."""
    below = [sum(bits[i + 1 :]) for i in range(len(bits))]
    return torch.stack([(word >> shift) & ((1 << width) - 1) for shift, width in zip(below, bits)], dim=1)


def _pack_three(unit: Float[Tensor, "N 3"]) -> Int[Tensor, " N"]:
    codes = torch.stack([to_codes(unit[:, i], bits) for i, bits in enumerate(WORD_BITS)], dim=1)
    return _join(codes, WORD_BITS)


def _unpack_three(word: Int[Tensor, " N"]) -> Float[Tensor, "N 3"]:
    codes = _split(word, WORD_BITS)
    return torch.stack([from_codes(codes[:, i], bits) for i, bits in enumerate(WORD_BITS)], dim=1)


def _pack_rotation(quats: Float[Tensor, "N 4"]) -> Int[Tensor, " N"]:
    largest, others = smallest_three(quats)
    return _join(torch.cat([largest[:, None], to_codes(others / 2 + 0.5, 10)], dim=1), (2, 10, 10, 10))


def _unpack_rotation(word: Int[Tensor, " N"]) -> Float[Tensor, "N 4"]:
    parts = _split(word, (2, 10, 10, 10))
    return from_smallest_three(parts[:, 0], from_codes(parts[:, 1:], 10) * 2 - 1)


def _pack_harmonics(shN: Float[Tensor, "N K 3"]) -> np.ndarray:
    """Channel-major bytes, as in an ordinary PLY file; a code c stands for the middle of its 1/256 of the range."""
    flat = shN.transpose(1, 2).reshape(len(shN), -1)
    codes = ((flat / SH_RANGE + 0.5) * 256).floor().clamp(0, 255).to(torch.uint8).numpy()
    return np.ascontiguousarray(codes).view([(f"f_rest_{i}", "u1") for i in range(codes.shape[1])])[:, 0]


def _unpack_harmonics(path: Path, rows: np.ndarray | None, n: int) -> Float[Tensor, "N K 3"]:
    if rows is None:
        return torch.zeros(n, 0, 3)
    names = [name for name in rows.dtype.names or () if name.startswith("f_rest_")]
    count = len(names)
    if count not in REST_COUNTS or set(names) != {f"f_rest_{i}" for i in range(count)} or len(rows) != n:
        raise damaged(path, f"its element `sh` has {len(rows)} rows of {count} coefficients for {n} Gaussians")
    if any(rows.dtype[name] != np.uint8 for name in names):
        raise damaged(path, "its coefficients are not bytes")
    codes = torch.from_numpy(np.stack([rows[f"f_rest_{i}"] for i in range(count)], axis=1).astype(np.float32))
    # The ends stand for themselves, not for the middle of their step: as the readers of PlayCanvas have it.
    unit = torch.where(codes == 0, 0.0, torch.where(codes == 255, 1.0, (codes + 0.5) / 256))
    return ((unit - 0.5) * SH_RANGE).reshape(n, 3, count // 3).transpose(1, 2).contiguous()
