"""Colours that a network knows: what it learns, what is left of its table, its file, and damage as plain errors."""

import io
import json
import random
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from reference.wall_views import likeness, three_cameras

from recon.compress import PRESETS, CompressConfig, read_splats, squeeze, write_splats
from recon.compress.codes import QuantiseConfig, quantise
from recon.compress.compact import COMPACT, Compact, Kind, start
from recon.compress.sog import Archive
from recon.errors import InputError
from recon.render import select_rasterizer
from recon.render.refit import RefitConfig
from recon.sparse import HashGridConfig
from recon.types import SH_C0, Splats

RASTERIZER = select_rasterizer("cpu")
CAMERAS = three_cameras(48, 0.3)
KINDS: tuple[Kind, ...] = ("field", "hybrid", "harmonics", "latents")


def wall(n: int = 300, K: int = 3) -> Splats:
    """A wall of small discs whose colours, their dependence on the direction, and opacities change slowly along it."""
    g = torch.Generator().manual_seed(0)
    xy = torch.rand(n, 2, generator=g) - 0.5
    means = torch.cat([xy, 1 + 0.05 * torch.rand(n, 1, generator=g)], 1)
    rgb = 0.5 + 0.4 * torch.stack([(4 * xy[:, 0]).sin(), (5 * xy[:, 1]).cos(), (3 * xy.sum(1)).sin()], 1)
    scales = torch.tensor([0.04, 0.04, 0.004]).log() + 0.2 * torch.randn(n, 3, generator=g)
    rest = 0.3 * (3 * xy[:, :1, None]).sin().expand(n, K, 3)
    return Splats(
        means, torch.randn(n, 4, generator=g), scales, 2 + 2 * xy[:, 0], ((rgb - 0.5) / SH_C0)[:, None], rest.clone()
    )


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind, config in list(COMPACT.items()):
        grid = HashGridConfig(4, 2, 9, coarsest=4, finest=32)
        monkeypatch.setattr("recon.compress.compact.model.TYPICAL", 300)
        monkeypatch.setitem(COMPACT, kind, replace(config, grid=grid, fit=150, batch=300))


def quickly(kind: Kind | None, **limits: int) -> CompressConfig:
    few = RefitConfig(steps=4)
    return replace(
        PRESETS["web"], times_smaller=None, keep=0.9, views=3, max_side=48, fit=few, settle=few, colors=kind, **limits
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_looks_alike_and_is_read_back(tmp_path: Path, kind: Kind) -> None:
    squeezed = squeeze(wall(), quickly(kind), CAMERAS, RASTERIZER)
    assert likeness(squeezed.splats, wall(), CAMERAS) > 25
    path = tmp_path / "a.csog"
    path.write_bytes(squeezed.data)
    again = read_splats(path)
    for name, value in squeezed.splats.tensors().items():
        assert torch.equal(value, getattr(again, name)), name
    assert again.shN.shape == (270, 3, 3)
    assert float((again.shN - wall().shN.mean(0)).abs().max()) > 0.1, "it has learned how colours change"


def test_harmonics_are_better_than_none() -> None:
    """At nearly the same size, where `web` has no room for a palette of them."""
    with_them, without = (squeeze(wall(), quickly(kind), CAMERAS, RASTERIZER) for kind in ("harmonics", None))
    assert without.splats.shN.shape[1] == 0
    assert likeness(with_them.splats, wall(), CAMERAS) > likeness(without.splats, wall(), CAMERAS) + 1


def test_what_is_stored_is_a_sog_file_of_its_own(tmp_path: Path) -> None:
    """Other programs then show colours without harmonics."""
    squeezed = squeeze(wall(), quickly("harmonics"), CAMERAS, RASTERIZER)
    (tmp_path / "a.sog").write_bytes(squeezed.data)
    plain = read_splats(tmp_path / "a.sog")
    assert torch.equal(plain.sh0, squeezed.splats.sh0)
    assert torch.equal(plain.logit_opacities, squeezed.splats.logit_opacities)


def test_the_table_is_pruned_and_stays_so() -> None:
    splats = wall()
    codes = quantise(replace(splats, shN=splats.shN[:, :0]), QuantiseConfig())
    painter = start(splats, codes, torch.ones(len(splats)), replace(COMPACT["field"], keep=0.3))
    rows = (painter.numbers.detach() != 0).any(1)
    assert 0.1 < float(rows.float().mean()) <= 0.3
    painter.zero_grad()
    painter(torch.rand(200, 3), splats.log_scales[:200]).sum().backward()
    assert painter.numbers.grad is not None
    assert not painter.numbers.grad[~rows].any()
    assert painter.numbers.grad[rows].any()


def test_some_of_them_keep_their_colours() -> None:
    splats = wall(60)
    codes = quantise(replace(splats, shN=splats.shN[:, :0]), QuantiseConfig())
    whole = Compact(codes, start(splats, codes, torch.ones(60), COMPACT["latents"]))
    index = torch.tensor([3, 50, 7])
    assert torch.allclose(whole[index].splats().sh0, whole.splats().sh0[index], atol=1e-6)
    assert len(whole[index].packed()) < len(whole.packed())


@pytest.mark.parametrize("kind", ["harmonics", "latents"])
def test_limits_hold(kind: Kind) -> None:
    size = len(squeeze(wall(3000), quickly(kind)).data)
    small = squeeze(wall(3000), quickly(kind, target_bytes=round(0.7 * size)))
    assert 0.6 * size < len(small.data) <= 0.7 * size
    assert len(squeeze(wall(), quickly(kind, max_gaussians=100)).splats) == 100


def test_without_harmonics_there_is_nothing_to_know() -> None:
    with pytest.raises(InputError, match="no harmonics"):
        squeeze(wall(50, 0), quickly("harmonics"))
    assert squeeze(wall(50, 0), quickly("field")).splats.shN.shape[1] == 0


def test_others_write_it_not(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="recon compress --colors"):
        write_splats(tmp_path / "a.csog", wall(10))


# --- damage


def attempt(path: Path, data: bytes) -> bool:
    """Whether the file is refused; anything but sound splats or an `InputError` fails the test."""
    path.write_bytes(data)
    refused = ""
    splats = wall(0)
    try:
        splats = read_splats(path)
    except InputError as error:
        refused = str(error)
    assert not refused or str(path) in refused
    if refused:
        return True
    assert all(bool(torch.isfinite(v).all()) for v in (splats.sh0, splats.shN, splats.logit_opacities))
    return False


@pytest.fixture(scope="module", params=["hybrid", "latents"])
def whole(request: pytest.FixtureRequest) -> bytes:
    splats = wall(40)
    codes = quantise(replace(splats, shN=splats.shN[:, :0]), QuantiseConfig())
    few = replace(COMPACT[request.param], grid=HashGridConfig(2, 2, 6, coarsest=3, finest=6), fit=3)
    return Compact(codes, start(splats, codes, torch.ones(40), few)).packed()


def test_truncated_anywhere(tmp_path: Path, whole: bytes) -> None:
    ends = range(0, len(whole), len(whole) // 50)
    assert all(attempt(tmp_path / "a.csog", whole[:end]) for end in ends)


def test_flipped_bytes(tmp_path: Path, whole: bytes) -> None:
    rng = random.Random(0)
    refused = 0
    for _ in range(60):
        broken = bytearray(whole)
        for _ in range(3):
            broken[rng.randrange(len(broken))] = rng.randrange(256)
        refused += attempt(tmp_path / "a.csog", bytes(broken))
    assert refused > 30


def members(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def zipped(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


def test_damage_behind_the_checksums(tmp_path: Path, whole: bytes) -> None:
    rng, files, refused = random.Random(1), members(whole), 0
    own = [name for name in ("colors.json", "network.bin", "table.lzma", "latents.webp") if name in files]
    for name in own:
        assert attempt(tmp_path / "a.csog", zipped({n: d for n, d in files.items() if n != name})), f"{name} is gone"
        assert attempt(tmp_path / "a.csog", zipped(files | {name: files[name][:-2]}))
        for _ in range(15):
            broken = bytearray(files[name])
            broken[rng.randrange(len(broken))] = rng.randrange(256)
            refused += attempt(tmp_path / "a.csog", zipped(files | {name: bytes(broken)}))
    assert refused > 10


@pytest.mark.parametrize(
    ("changed", "value"),
    [
        ("kind", "magic"),
        ("latents", 5),
        ("latents", True),
        ("hidden", 10**9),
        ("hidden", -1),
        ("steps_per_unit", 0),
        ("steps_per_unit", "x"),
        ("grid", {"levels": 10**9}),
        ("grid", {"levels": 1, "features": 3}),
        ("grid", {"finest": 2**40}),
        ("grid", {"log2_entries": 60}),
        ("grid", 7),
        ("nonsense", 1),
    ],
)
def test_descriptions_that_make_no_sense(tmp_path: Path, whole: bytes, changed: str, value: object) -> None:
    files = members(whole)
    about = json.loads(files["colors.json"])
    about["config"][changed] = value
    assert attempt(tmp_path / "a.csog", zipped(files | {"colors.json": json.dumps(about).encode()}))


def test_a_later_format_is_said(tmp_path: Path, whole: bytes) -> None:
    files = members(whole)
    about = json.loads(files["colors.json"]) | {"format": 2}
    path = tmp_path / "a.csog"
    path.write_bytes(zipped(files | {"colors.json": json.dumps(about).encode()}))
    with pytest.raises(InputError, match="format 2"):
        read_splats(path)
    assert Archive(path, path.read_bytes()).codes().positions.shape == (40, 3)
