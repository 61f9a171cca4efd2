"""Compressed PLY, SPZ and SOG: other programs' files, round trips within stated bounds, damage as plain errors."""

import gzip
import io
import itertools
import json
import math
import random
import struct
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from recon.compress import read_splats, write_splats
from recon.compress.order import canonical
from recon.compress.packing import from_smallest_three, morton_order, smallest_three
from recon.compress.spz import HEADER, MAGIC, TURN_SH
from recon.errors import InputError
from recon.geometry.so3 import quat_to_rotmat
from recon.types import Splats

FOREIGN = Path(__file__).parent / "foreign"
PACKED = (".compressed.ply", ".spz", ".sog")
HALF = 0.5 + 1e-3  # of a step, and rounding


def some_splats(n: int, K: int = 3, seed: int = 0) -> Splats:
    """In Morton order, which the writers of PLY and SPZ keep, and within what SPZ can hold."""
    g = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=g)

    means, scales = normal(n, 3) * 3, (normal(n, 3) - 4).clamp(-9.9, 5)
    sh0, rest = normal(n, 1, 3).clamp(-3, 3), (normal(n, K, 3) * 0.2).clamp(-0.9, 0.9)
    splats = Splats(means, normal(n, 4), scales, normal(n) * 2, sh0, rest)
    return splats[morton_order(means)]


def turn_between(a: Splats, b: Splats) -> torch.Tensor:
    """Degrees between the rotations."""
    unit = [torch.nn.functional.normalize(s.quats.double(), dim=1) for s in (a, b)]
    return 2 * torch.rad2deg(torch.acos((unit[0] * unit[1]).sum(1).abs().clamp(max=1)))


def matched(found: Splats, to: Splats) -> Splats:
    """In the order of `to`: other programs sort as they like."""
    index = torch.cdist(to.means, found.means).argmin(1)
    assert len(index.unique()) == len(to)
    return found[index]


# --- other programs' files


@pytest.mark.parametrize(
    ("name", "means", "scales", "rest"),
    [
        ("splats.compressed.ply", 0.006, 0.003, 0.016),
        ("splats.spz", 2**-13 + 1e-6, 1 / 32, 0.04),  # that writer rounds coefficients to 5 bits
        ("splats.sog", 4e-4, 0.01, 0.4),  # it stores 60 sets of coefficients as 32
    ],
)
def test_files_of_other_programs(name: str, means: float, scales: float, rest: float):
    truth = read_splats(FOREIGN / "splats.ply")
    found = matched(read_splats(FOREIGN / name), truth)
    assert float((found.means - truth.means).abs().max()) < means
    assert float((found.log_scales - truth.log_scales).abs().max()) < scales
    assert float((found.shN - truth.shN).abs().max()) < rest
    assert float((found.sh0 - truth.sh0).abs().max()) < 0.02
    assert float((found.opacities - truth.opacities).abs().max()) < 1.01 / 255
    assert float(turn_between(found, truth).max()) < 1.2


def test_spz_of_an_independent_library(tmp_path: Path):
    """Our file as gsply reads it, which knows neither our code nor Niantic's; it does not turn the axes."""
    gsply = pytest.importorskip("gsply")
    splats = some_splats(300, 3)
    write_splats(tmp_path / "a.spz", splats)
    found = gsply.read_spz(str(tmp_path / "a.spz"))
    assert np.abs(found.means * [1, -1, -1] - splats.means.numpy()).max() < 1e-5
    assert np.abs(found.scales - splats.log_scales.numpy()).max() < 1 / 32 + 1e-6


# --- round trips


@pytest.mark.parametrize(("n", "K"), [(1, 0), (1, 15), (256, 3), (257, 8), (700, 0), (700, 15)])
def test_compressed_ply_bounds(tmp_path: Path, n: int, K: int):
    splats = some_splats(n, K)
    write_splats(tmp_path / "a.compressed.ply", splats)
    found = read_splats(tmp_path / "a.compressed.ply")
    for start in range(0, n, 256):
        rows = slice(start, start + 256)
        for values, back in ((splats.means, found.means), (splats.log_scales, found.log_scales)):
            extent = (values[rows].amax(0) - values[rows].amin(0)) / torch.tensor([2047.0, 1023.0, 2047.0])
            assert bool(((values[rows] - back[rows]).abs() <= HALF * extent + 1e-5).all())
        extent = (splats.sh0[rows].amax(0) - splats.sh0[rows].amin(0)) / 255
        assert bool(((splats.sh0[rows] - found.sh0[rows]).abs() <= HALF * extent + 1e-5).all())
    assert float((splats.opacities - found.opacities).abs().max()) < HALF / 255
    assert n == 0 or K == 0 or float((splats.shN - found.shN).abs().max()) <= 1 / 64 + 1e-6
    assert float(turn_between(splats, found).max()) < 0.3
    assert found.shN.shape == splats.shN.shape


@pytest.mark.parametrize("K", [0, 3, 8, 15])
def test_spz_bounds(tmp_path: Path, K: int):
    splats = some_splats(500, K)
    write_splats(tmp_path / "a.spz", splats)
    found = read_splats(tmp_path / "a.spz")
    bits = HEADER.unpack_from(gzip.decompress((tmp_path / "a.spz").read_bytes()))[4]
    assert bits == 23 - math.ceil(math.log2(float(splats.means.abs().max())))
    assert float((splats.means - found.means).abs().max()) <= 2.0 ** -(bits + 1) * 1.01
    assert float((splats.log_scales - found.log_scales).abs().max()) <= 1 / 32 + 1e-6
    assert float((splats.opacities - found.opacities).abs().max()) < HALF / 255
    assert float((splats.sh0 - found.sh0).abs().max()) < HALF / (255 * 0.15)
    assert K == 0 or float((splats.shN - found.shN).abs().max()) <= 1 / 256 + 1e-6
    assert float(turn_between(splats, found).max()) < 0.3


@pytest.mark.parametrize(("n", "K"), [(1, 0), (1, 15), (5, 3), (700, 0), (300, 3), (200, 15), (200, 8)])
def test_sog_bounds(tmp_path: Path, n: int, K: int):
    splats = some_splats(n, K)
    write_splats(tmp_path / "a.sog", splats)
    found = matched(read_splats(tmp_path / "a.sog"), splats)
    splats = canonical(splats)  # SOG gets each Gaussian in one of its equal forms

    def near(x: torch.Tensor) -> torch.Tensor:
        return x.sign() * x.abs().log1p()

    def step(x: torch.Tensor) -> torch.Tensor:
        return (x.amax() - x.amin()) / 255

    extent = near(splats.means).amax(0) - near(splats.means).amin(0)
    assert bool(((near(splats.means) - near(found.means)).abs() <= HALF * extent / 32767 + 1e-6).all())
    assert float((splats.log_scales - found.log_scales).abs().max()) <= HALF * step(splats.log_scales) + 1e-5
    assert float((splats.sh0 - found.sh0).abs().max()) <= HALF * step(splats.sh0) + 1e-5
    assert float((splats.opacities - found.opacities).abs().max()) < HALF / 255
    # Three components off by half a step, the fourth by their sum.
    assert float(turn_between(splats, found).max()) < 1.1
    if K:  # fewer than 4096 Gaussians have a set of coefficients each
        assert float((splats.shN - found.shN).abs().max()) <= HALF * step(splats.shN) + 1e-5


@pytest.mark.parametrize("suffix", PACKED)
def test_a_second_trip_changes_nothing_that_shows(tmp_path: Path, suffix: str):
    write_splats(tmp_path / f"a{suffix}", some_splats(200, 3))
    first = read_splats(tmp_path / f"a{suffix}")
    write_splats(tmp_path / f"b{suffix}", first)
    second = matched(read_splats(tmp_path / f"b{suffix}"), first)
    assert float((first.means - second.means).abs().max()) < 0.02
    assert float((first.opacities - second.opacities).abs().max()) < 1e-4


@pytest.mark.parametrize("suffix", PACKED)
def test_the_same_splats_give_the_same_bytes(tmp_path: Path, suffix: str):
    for name in "ab":
        write_splats(tmp_path / f"{name}{suffix}", some_splats(100))
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


@pytest.mark.parametrize("suffix", PACKED)
def test_extremes(tmp_path: Path, suffix: str):
    """Opaque, transparent, a quaternion of zeros, all at one place: finite, and the same opacities."""
    n = 4
    ones = torch.ones(n, 3)
    opacity = torch.tensor([-torch.inf, torch.inf, 0.0, 30.0])
    splats = Splats(ones * 2, torch.zeros(n, 4), ones * -30, opacity, torch.zeros(n, 1, 3), torch.zeros(n, 3, 3))
    write_splats(tmp_path / f"a{suffix}", splats)
    found = read_splats(tmp_path / f"a{suffix}")
    assert all(bool(torch.isfinite(value).all()) for value in found.tensors().values())
    torch.testing.assert_close(found.means, ones * 2, atol=1e-4, rtol=0)
    assert found.opacities.sort().values.tolist() == pytest.approx([0, 0.5, 1, 1], abs=0.003)


def test_spz_axes():
    """Half a turn about x: the harmonics' sign is that of their basis function when y and z are negated."""
    x, y, z = 0.3, 0.5, math.sqrt(1 - 0.34)

    def basis(x: float, y: float, z: float) -> list[float]:
        return [
            *(y, z, x, x * y, y * z, 2 * z * z - x * x - y * y, x * z, x * x - y * y, y * (3 * x * x - y * y)),
            *(x * y * z, y * (4 * z * z - x * x - y * y), z * (2 * z * z - 3 * x * x - 3 * y * y)),
            *(x * (4 * z * z - x * x - y * y), z * (x * x - y * y), x * (x * x - 3 * y * y)),
        ]

    signs = [math.copysign(1, b / a) for a, b in zip(basis(x, y, z), basis(x, -y, -z))]
    assert signs == TURN_SH.tolist()


def test_smallest_three_against_matrices():
    quats = torch.randn(500, 4, generator=torch.Generator().manual_seed(3))
    largest, others = smallest_three(quats)
    assert float(others.abs().max()) <= 1 + 1e-6
    back = from_smallest_three(largest, others)
    unit = torch.nn.functional.normalize(quats, dim=1)
    torch.testing.assert_close(quat_to_rotmat(back), quat_to_rotmat(unit), atol=1e-5, rtol=0)


# --- damage


def attempt(path: Path, data: bytes) -> bool:
    """Whether the file is refused; anything but splats or an `InputError`, or a long wait, fails the test."""
    path.write_bytes(data)
    started = time.process_time()
    refused, splats = "", some_splats(0)
    try:
        splats = read_splats(path)
    except InputError as error:
        refused = str(error)
    assert time.process_time() - started < 2
    assert not refused or str(path) in refused
    if refused:
        return True
    assert all(bool(torch.isfinite(v).all()) for v in (splats.means, splats.log_scales, splats.quats, splats.sh0))
    return False


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("whole")
    for suffix in PACKED:
        write_splats(folder / f"a{suffix}", some_splats(40, 3))
    return {suffix: (folder / f"a{suffix}").read_bytes() for suffix in PACKED}


@pytest.mark.parametrize("suffix", PACKED)
def test_truncated_anywhere(tmp_path: Path, whole: dict[str, bytes], suffix: str):
    data = whole[suffix]
    ends = [*range(0, len(data), max(1, len(data) // 60)), len(data) - 1]
    assert all(attempt(tmp_path / f"b{suffix}", data[:end]) for end in ends)


@pytest.mark.parametrize("suffix", PACKED)
def test_flipped_bytes(tmp_path: Path, whole: dict[str, bytes], suffix: str):
    rng = random.Random(1)
    refused = 0
    for _ in range(120):
        broken = bytearray(whole[suffix])
        for _ in range(rng.randint(1, 6)):
            broken[rng.randrange(len(broken))] = rng.randrange(256)
        refused += attempt(tmp_path / f"b{suffix}", bytes(broken))
    assert refused > (5 if suffix == ".compressed.ply" else 60), "gzip and zip carry checksums, PLY does not"


def test_damage_behind_the_checksums(tmp_path: Path, whole: dict[str, bytes]):
    """Bytes are changed before gzip and zip add checksums, so that the readers themselves must cope."""
    rng = random.Random(2)
    plain = gzip.decompress(whole[".spz"])
    with zipfile.ZipFile(io.BytesIO(whole[".sog"])) as archive:
        names = [name for name in archive.namelist() for _ in range(12)]
        files = {name: archive.read(name) for name in set(names)}
    refused = 0
    for name in names:
        broken = bytearray(plain)
        broken[rng.randrange(16)] = rng.randrange(256)
        refused += attempt(tmp_path / "b.spz", gzip.compress(bytes(broken)))
        content = bytearray(files[name])
        for _ in range(3):
            content[rng.randrange(len(content))] = rng.randrange(256)
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as archive:
            for other, data in files.items():
                archive.writestr(other, bytes(content) if other == name else data)
        refused += attempt(tmp_path / "b.sog", out.getvalue())
    assert 40 < refused < 2 * len(names), "some damage cannot be told from other splats"


@pytest.mark.parametrize("suffix", PACKED)
def test_other_files_under_the_suffix(tmp_path: Path, suffix: str):
    for data in (b"", b"ply\n", b"PK\3\4", b"\x1f\x8b", b"NGSP", random.Random(0).randbytes(5000)):
        assert attempt(tmp_path / f"a{suffix}", data)


def spz(count: int, body: bytes, version: int = 3, degree: int = 0, bits: int = 12) -> bytes:
    return gzip.compress(HEADER.pack(MAGIC, version, count, degree, bits, 0, 0) + body)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (spz(1 << 31, b""), "Gaussians in"),
        (spz(100_000, b"\0" * 100), "ends too early"),
        (spz(3, b"\0" * 59), "ends too early"),
        (spz(1, b"\0" * 20, version=1), "version 1"),
        (spz(1, b"\0" * 100, degree=4), "degree 4"),
        (spz(1, b"\0" * 20, bits=99), "fractional bits"),
        (gzip.compress(b"\0" * (1 << 24))[:-9], "ends too early"),
        (gzip.compress(b"short"), "ends too early"),
        (gzip.compress(struct.pack("<16s", b"something else")), "first bytes"),
        (b"NGSP" + b"\4\0\0\0" * 8, "version 4"),
    ],
    ids=itertools.count(),  # gzip writes the time into its header: the bytes would be another name in each process
)
def test_spz_errors(tmp_path: Path, data: bytes, says: str):
    (tmp_path / "a.spz").write_bytes(data)
    with pytest.raises(InputError, match=says):
        read_splats(tmp_path / "a.spz")


def test_spz_of_version_4_names_the_way_out():
    with pytest.raises(InputError, match="Save it as version 3"):
        read_splats(FOREIGN / "splats_v4.spz")


def test_spz_of_version_2(tmp_path: Path):
    """One Gaussian by hand: a quarter turn about x, stored as 8-bit x y z with axes turned, w not."""
    turned = round(math.sqrt(0.5) * 127.5 + 127.5)
    body = bytes([0, 16, 0, 0, 240, 255, 0, 0, 0]) + bytes([255]) + bytes([128] * 3) + bytes([160] * 3)
    (tmp_path / "a.spz").write_bytes(spz(1, body + bytes([turned, 128, 127]), version=2))
    found = read_splats(tmp_path / "a.spz")
    assert found.means[0].tolist() == [1.0, 1.0, 0.0]
    assert found.log_scales[0].tolist() == [0.0, 0.0, 0.0]
    assert found.quats[0].tolist() == pytest.approx([math.sqrt(0.5), math.sqrt(0.5), 0, 0], abs=0.01)


def test_positions_that_spz_cannot_hold(tmp_path: Path):
    splats = some_splats(2)
    splats.means[0, 0] = 1e9
    with pytest.raises(InputError, match=r"2\^23"):
        write_splats(tmp_path / "a.spz", splats)


def with_meta(data: bytes, change: Callable[[dict], None], files: dict[str, bytes] | None = None) -> bytes:
    """A SOG file with another meta.json, and perhaps other images."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            content = (files or {}).get(name, old.read(name))
            if name == "meta.json":
                meta = json.loads(content)
                change(meta)
                content = json.dumps(meta).encode()
            new.writestr(name, content, zipfile.ZIP_DEFLATED)
    return out.getvalue()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda m: m.update(version=1), "version 1"),
        (lambda m: m.pop("version"), "version 1"),
        (lambda m: m.update(count=10**12), "Gaussians in"),
        (lambda m: m.update(count=-1), "Gaussians in"),
        (lambda m: m.update(count="many"), "many"),
        (lambda m: m.update(count=2000), "for 2000 Gaussians"),
        (lambda m: m.pop("means"), "lacks something"),
        (lambda m: m["means"].update(mins=[0, 1]), "has 2 numbers"),
        (lambda m: m["means"].update(mins=[0, 1, 1e30]), "make no sense"),
        (lambda m: m["means"].update(files=["../../etc/passwd"]), "cannot be unpacked"),
        (lambda m: m["scales"].update(codebook=[]), "has 0 numbers"),
        (lambda m: m["scales"].update(codebook="abc"), "lacks something"),
        (lambda m: m["shN"].update(bands=7), "lacks something"),
        (lambda m: m["shN"].update(bands=-1), "entries|for"),
        (lambda m: m["shN"].update(count=0), "0 entries"),
        (lambda m: m["shN"].update(count=2), "beyond the 2"),
        (lambda m: m.clear(), "version 1"),
    ],
)
def test_sog_errors(tmp_path: Path, whole: dict[str, bytes], change: Callable[[dict], None], says: str):
    assert not attempt(tmp_path / "a.sog", with_meta(whole[".sog"], lambda m: None))
    (tmp_path / "a.sog").write_bytes(with_meta(whole[".sog"], change))
    with pytest.raises(InputError, match=says):
        read_splats(tmp_path / "a.sog")


def test_sog_bombs(tmp_path: Path, whole: dict[str, bytes]):
    """Images of a hundred million pixels and megabytes of zeros are refused before they are unpacked."""
    wide = io.BytesIO()
    Image.new("L", (12000, 12000)).save(wide, "PNG")
    for name, content in (("sh0.webp", wide.getvalue()), ("quats.webp", bytes(1 << 24))):
        assert attempt(tmp_path / "a.sog", with_meta(whole[".sog"], lambda m: None, {name: content}))
    blown = with_meta(whole[".sog"], lambda m: m.update(asset={"generator": " " * (2 << 20)}))
    assert len(blown) < 50_000
    assert attempt(tmp_path / "a.sog", blown)


def test_compressed_ply_with_missing_parts(tmp_path: Path, whole: dict[str, bytes]):
    data = whole[".compressed.ply"]
    for old, new in (
        (b"element chunk", b"element chonk"),
        (b"float min_x", b"float min_q"),
        (b"uint packed_color", b"uint packed_colour"),
        (b"uchar f_rest_8", b"uchar f_rest_9"),
        (b"property uint packed_scale", b"property int packed_scale"),
    ):
        assert old in data
        assert attempt(tmp_path / "b.compressed.ply", data.replace(old, new, 1))
