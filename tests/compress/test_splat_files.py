"""Splats as PLY and .splat: exact round trips, the layout other programs expect, damage as plain errors."""

import errno
import logging
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from plyfile import PlyData, PlyElement

from recon.compress import SPLAT_SUFFIXES, read_ply, read_splats, write_ply, write_splats
from recon.compress.splat_format import ROW
from recon.errors import InputError, ResourceError
from recon.plyio import write_points
from recon.types import SH_C0, PointCloud, Splats


def random_splats(n: int, K: int = 0, seed: int = 0) -> Splats:
    generator = torch.Generator().manual_seed(seed)
    shapes = ((n, 3), (n, 4), (n, 3), (n,), (n, 1, 3), (n, K, 3))
    return Splats(*(torch.randn(shape, generator=generator) for shape in shapes))


def assert_equal(a: Splats, b: Splats) -> None:
    for name, value in a.tensors().items():
        assert torch.equal(value, b.tensors()[name]), name


# --- PLY


@pytest.mark.parametrize("K", [0, 3, 8, 15])
@pytest.mark.parametrize("n", [0, 1, 100])
def test_ply_round_trip_is_exact(tmp_path: Path, n: int, K: int):
    splats = random_splats(n, K)
    write_splats(tmp_path / "a.ply", splats)
    assert_equal(read_splats(tmp_path / "a.ply"), splats)


def test_ply_layout(tmp_path: Path):
    """Names, order, types and the channel-major order of f_rest, as the paper's code writes them."""
    splats = random_splats(4, 3)
    write_ply(tmp_path / "a.ply", splats)
    header = (tmp_path / "a.ply").read_bytes().partition(b"end_header")[0].decode()
    assert "format binary_little_endian 1.0" in header
    names = [line.split()[-1] for line in header.splitlines() if line.startswith("property")]
    rest = [f"f_rest_{i}" for i in range(9)]
    scales, rotation = ["scale_0", "scale_1", "scale_2"], ["rot_0", "rot_1", "rot_2", "rot_3"]
    colors = ["f_dc_0", "f_dc_1", "f_dc_2"]
    assert names == ["x", "y", "z", "nx", "ny", "nz", *colors, *rest, "opacity", *scales, *rotation]
    assert header.count("property float ") == len(names)
    vertex = PlyData.read(tmp_path / "a.ply")["vertex"]
    assert vertex["f_dc_1"][2] == splats.sh0[2, 0, 1]
    assert vertex["f_rest_2"][0] == splats.shN[0, 2, 0], "third coefficient of red"
    assert vertex["f_rest_3"][0] == splats.shN[0, 0, 1], "first coefficient of green"
    assert vertex["rot_0"][1] == splats.quats[1, 0]
    assert vertex["opacity"][3] == splats.logit_opacities[3]
    assert vertex["scale_2"][3] == splats.log_scales[3, 2]


def test_ply_of_other_programs(tmp_path: Path):
    """ASCII or big-endian, doubles, extra elements and another order of properties."""
    splats = random_splats(5)
    write_ply(tmp_path / "a.ply", splats)
    rows = PlyData.read(tmp_path / "a.ply")["vertex"].data
    shuffled = np.empty(len(rows), [(name, "f8") for name in reversed(rows.dtype.names or ())] + [("extra", "u1")])
    shuffled["extra"] = 0
    for name in rows.dtype.names or ():
        shuffled[name] = rows[name]
    other = PlyElement.describe(np.zeros(2, [("exif", "f4")]), "camera")
    for text, order in ((True, "="), (False, ">"), (False, "<")):
        PlyData([other, PlyElement.describe(shuffled, "vertex")], text=text, byte_order=order).write(
            str(tmp_path / "b.ply")
        )
        assert_equal(read_ply(tmp_path / "b.ply"), splats)


def test_broken_gaussians_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    splats = random_splats(5)
    splats.means[1, 0] = torch.nan
    splats.log_scales[2, 2] = torch.inf
    splats.logit_opacities[3] = torch.inf
    write_ply(tmp_path / "a.ply", splats)
    with caplog.at_level(logging.WARNING):
        found = read_ply(tmp_path / "a.ply")
    assert_equal(found, splats[torch.tensor([0, 3, 4])])
    assert "left out 2 of 5" in caplog.text


def header(*lines: str) -> bytes:
    return "\n".join(["ply", *lines, "end_header", ""]).encode()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "an empty file"),
        (b"PK\3\4 a zip", "not a PLY file"),
        (b"ply\nformat ascii 1.0\n", "no end"),
        (header("format binary_little_endian 1.0", "element face 0"), "no `vertex`"),
        (header("format binary_little_endian 1.0", "element vertex 9999999999999999999999"), "truncated"),
        (header("format ascii 1.0", "element vertex 3", "property float x") + b"1\n", "damaged"),
        (header("format weird 1.0", "element vertex 0"), "damaged"),
        (header("format ascii 1.0", "element vertex 1", "property list uchar int i") + b"1 2\n", "list properties"),
        (header("format ascii 1.0", "element vertex 1", "property uint packed_position") + b"1\n", "compressed PLY"),
        (header("format ascii 1.0", "element vertex 1", "property float f_dc_0") + b"1\n", "lacks x, y, z"),
    ],
)
def test_ply_errors(tmp_path: Path, data: bytes, says: str):
    (tmp_path / "a.ply").write_bytes(data)
    with pytest.raises(InputError, match=says):
        read_splats(tmp_path / "a.ply")


def test_point_cloud_is_not_splats(tmp_path: Path):
    write_points(tmp_path / "points.ply", PointCloud(torch.randn(3, 3), torch.rand(3, 3), torch.ones(3)))
    with pytest.raises(InputError, match="point cloud or mesh, not splats"):
        read_splats(tmp_path / "points.ply")


def test_wrong_number_of_coefficients(tmp_path: Path):
    splats = random_splats(2, 3)
    write_ply(tmp_path / "a.ply", splats)
    data = (tmp_path / "a.ply").read_bytes().replace(b"property float f_rest_8", b"property float unknown1")
    (tmp_path / "a.ply").write_bytes(data)
    with pytest.raises(InputError, match="8 f_rest properties"):
        read_splats(tmp_path / "a.ply")


def test_truncated_anywhere(tmp_path: Path):
    write_ply(tmp_path / "a.ply", random_splats(30, 3))
    data = (tmp_path / "a.ply").read_bytes()
    for end in range(0, len(data), 64):
        (tmp_path / "b.ply").write_bytes(data[:end])
        with pytest.raises(InputError):
            read_ply(tmp_path / "b.ply")


def test_fuzzed_headers(tmp_path: Path):
    """Random edits, mostly in the header: splats or an InputError, nothing else, at once."""
    write_ply(tmp_path / "a.ply", random_splats(10, 3))
    data = (tmp_path / "a.ply").read_bytes()
    end = data.index(b"end_header") + 11
    rng = random.Random(1)
    refused = 0
    for _ in range(400):
        broken = bytearray(data)
        for _ in range(rng.randint(1, 5)):
            at = rng.randrange(end) if rng.random() < 0.9 else rng.randrange(len(data))
            broken[at] = rng.choice(b"0123456789 \n\0aceilnprtvxy") if rng.random() < 0.7 else rng.randrange(256)
        (tmp_path / "b.ply").write_bytes(bytes(broken))
        try:
            read_ply(tmp_path / "b.ply")
        except InputError:
            refused += 1
    assert refused > 200


# --- .splat


def test_splat_rows(tmp_path: Path):
    """One Gaussian by hand: half red, opacity 0.2, no rotation."""
    splats = Splats(
        torch.tensor([[1.0, 2.0, 3.0]]),
        torch.tensor([[2.0, 0.0, 0.0, 0.0]]),
        torch.tensor([[0.1, 0.2, 0.3]]).log(),
        torch.tensor([0.2]).logit(),
        ((torch.tensor([[[0.5, 0.0, 1.0]]]) - 0.5) / SH_C0),
        torch.zeros(1, 0, 3),
    )
    write_splats(tmp_path / "a.splat", splats)
    data = (tmp_path / "a.splat").read_bytes()
    assert len(data) == 32
    assert np.frombuffer(data[:24], "<f4") == pytest.approx([1, 2, 3, 0.1, 0.2, 0.3])
    assert list(data[24:]) == [128, 0, 255, 51, 255, 128, 128, 128]


def test_splat_round_trip(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    splats = random_splats(200, 3)
    with caplog.at_level(logging.WARNING):
        write_splats(tmp_path / "a.splat", splats)
    assert "view-dependent" in caplog.text
    found = read_splats(tmp_path / "a.splat")
    assert torch.equal(found.means, splats.means)
    torch.testing.assert_close(found.scales, splats.scales)
    torch.testing.assert_close(found.opacities, splats.opacities, atol=0.5 / 255 + 1e-6, rtol=0)
    torch.testing.assert_close(found.rgb, splats.rgb, atol=0.5 / 255 + 1e-6, rtol=0)
    dot = (found.quats * torch.nn.functional.normalize(splats.quats, dim=1)).sum(1)
    assert float(dot.min()) > 0.9999
    assert found.sh_degree == 0
    write_splats(tmp_path / "b.splat", found)
    first, second = (np.frombuffer((tmp_path / f"{x}.splat").read_bytes(), ROW) for x in "ab")
    assert (first["rgba"] == second["rgba"]).all(), "a second trip changes no colour or opacity"


def test_splat_extremes(tmp_path: Path):
    """Opacity 0 and 1, scale 0, a zero quaternion: finite values that write back to the same bytes."""
    rows = np.zeros(2, ROW)
    rows["rgba"][0] = 255
    rows["quat"] = 128
    (tmp_path / "a.splat").write_bytes(rows.tobytes())
    splats = read_splats(tmp_path / "a.splat")
    assert all(bool(torch.isfinite(value).all()) for value in splats.tensors().values())
    write_splats(tmp_path / "b.splat", splats)
    again = np.frombuffer((tmp_path / "b.splat").read_bytes(), ROW)
    assert (again["rgba"] == rows["rgba"]).all()


@pytest.mark.parametrize("size", [0, 1, 31, 33, 63])
def test_splat_of_a_wrong_size(tmp_path: Path, size: int):
    (tmp_path / "a.splat").write_bytes(bytes(size))
    with pytest.raises(InputError, match=f"{size} bytes"):
        read_splats(tmp_path / "a.splat")


def test_noise_is_not_a_splat_file(tmp_path: Path):
    (tmp_path / "a.splat").write_bytes(random.Random(0).randbytes(32 * 100))
    with pytest.raises(InputError, match="make no sense"):
        read_splats(tmp_path / "a.splat")


# --- the door


def test_suffix_chooses_the_format(tmp_path: Path):
    for suffix in SPLAT_SUFFIXES:
        path = tmp_path / f"a{suffix.upper()}"
        write_splats(path, random_splats(3))
        assert len(read_splats(path)) == 3
    for action in (lambda: read_splats(tmp_path / "a.obj"), lambda: write_splats(tmp_path / "a.obj", random_splats(1))):
        with pytest.raises(InputError, match=r"Unknown splat format \.obj"):
            action()
    with pytest.raises(InputError, match="is a folder"):
        read_splats(tmp_path)
    with pytest.raises(InputError, match="Could not read"):
        read_splats(tmp_path / "gone.ply")
    with pytest.raises(InputError, match="Could not read"):
        read_splats(tmp_path / "gone.splat")


@pytest.mark.parametrize("suffix", SPLAT_SUFFIXES)
def test_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str):
    path = tmp_path / f"a{suffix}"
    write_splats(path, random_splats(2))
    before = path.read_bytes()

    def disk_full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(PlyData, "write", disk_full)
    monkeypatch.setattr(Path, "write_bytes", disk_full)
    with pytest.raises(ResourceError, match="No space left"):
        write_splats(path, random_splats(3))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("suffix", SPLAT_SUFFIXES)
def test_unwritable_place(tmp_path: Path, suffix: str):
    (tmp_path / "blocked").write_text("a file where the folder should be")
    with pytest.raises(ResourceError, match="Could not write"):
        write_splats(tmp_path / "blocked" / f"a{suffix}", random_splats(1))
