"""The page's encoding keeps what its docstring promises; the page is self-contained and escapes what it is given."""

import base64
import gzip
import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from recon import cli
from recon.compress import write_ply
from recon.errors import InputError
from recon.geometry import quat_to_rotmat, rotation_angle
from recon.report.scene_page import PageView, ScenePage, build_scene_page
from recon.report.scene_page.encoding import CHUNK, pack
from recon.types import SH_C0, Splats

VIEW = PageView("", (0.0, 0.0, -10.0), (0.0, 0.0, 0.0), (0.0, -1.0, 0.0), 0.9, 1.5)


def random_splats(n: int, degree: int = 3) -> Splats:
    generator = torch.Generator().manual_seed(n)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    return Splats(
        means=5 * normal(n, 3),
        quats=normal(n, 4),
        log_scales=normal(n, 3) - 3,
        logit_opacities=2 * normal(n),
        sh0=0.7 * normal(n, 1, 3),
        shN=0.2 * normal(n, (degree + 1) ** 2 - 1, 3),
    )


def unpack(header: dict, payload: bytes) -> Splats:
    """The naive inverse of `pack`, one plane after the other."""
    raw, n = np.frombuffer(gzip.decompress(payload), np.uint8), header["count"]
    n_chunks = -(-n // CHUNK)
    boxes = np.repeat(raw[: 24 * n_chunks].view(np.float32).reshape(-1, 6), CHUNK, axis=0)[:n].astype(float)
    planes = iter(raw[24 * n_chunks :].reshape(-1, n).astype(np.int64))

    def colors() -> np.ndarray:
        green, red, blue = next(planes), next(planes), next(planes)
        return np.stack([(red + green) % 256, green, (blue + green) % 256], axis=1)

    means = np.stack([next(planes) + 256 * next(planes) for _ in range(3)], axis=1) / 4095 * boxes[:, 3:] + boxes[:, :3]
    low, step = header["logSigma"]
    log_scales = low + step * np.stack([next(planes) for _ in range(3)], axis=1)
    small = np.stack([next(planes) for _ in range(3)], axis=1)
    high = next(planes)
    small = (small + 256 * np.stack([high >> 2 & 1, high >> 3 & 1, high >> 4 & 1], axis=1)) / 511 * 2**0.5 - 0.5**0.5
    quats = np.stack([np.insert(q, at, np.sqrt(max(0.0, 1 - (q**2).sum()))) for q, at in zip(small, high & 3)])
    base = header["color"][0] + header["color"][1] * colors() / 255
    opacities = torch.from_numpy(next(planes) / 255)
    shN = [((colors() + 128) % 256 - 128) / 64 for _ in range((header["degree"] + 1) ** 2 - 1)]
    assert next(planes, None) is None, "planes are left"
    return Splats(
        torch.from_numpy(means),
        torch.from_numpy(quats),
        torch.from_numpy(log_scales),
        opacities.logit(),
        torch.from_numpy((base - 0.5) / SH_C0)[:, None],
        torch.from_numpy(np.stack(shN, axis=1)) if shN else torch.zeros(n, 0, 3),
    )


def inside(page: str, pattern: str) -> str:
    found = re.search(pattern, page, re.S)
    assert found, pattern
    return found[1]


def matched(original: Splats, back: Splats) -> Splats:
    """Of the original, the nearest neighbour of each decoded Gaussian."""
    nearest = torch.cdist(back.means.float(), original.means).argmin(dim=1)
    assert len(set(nearest.tolist())) == len(back)
    return original[nearest]


@pytest.mark.parametrize(("n", "degree"), [(1, 0), (700, 1), (1000, 3)])
def test_decoded_values_are_within_the_stated_bounds(n: int, degree: int) -> None:
    splats = random_splats(n, degree)
    packed = pack(splats)
    back = unpack(packed.header, packed.payload)
    truth = matched(splats, back)
    assert len(back) == int((splats.opacities >= 1 / 255).sum())
    assert packed.header["degree"] == degree
    # The largest chunk's box is no larger than the scene; typically it is far smaller.
    assert (back.means - truth.means).abs().max() <= (splats.means.amax(0) - splats.means.amin(0)).max() / 8190 + 1e-5
    span = float(splats.log_scales.max() - splats.log_scales.min())
    assert (back.log_scales - truth.log_scales).abs().max() <= span / 510 + 1e-5
    angles = rotation_angle(quat_to_rotmat(back.quats).transpose(1, 2) @ quat_to_rotmat(truth.quats.double()))
    assert torch.rad2deg(angles).max() < 0.6
    assert (back.opacities - truth.opacities).abs().max() <= 0.5 / 255 + 1e-5
    base, true_base = (s.sh0 * SH_C0 + 0.5 for s in (back, truth))
    assert (base - true_base.clamp(-0.25, 1.25)).abs().max() <= 0.75 / 255 + 1e-5
    if degree:
        assert (back.shN - truth.shN.clamp(-127 / 64, 127 / 64)).abs().max() <= 0.5 / 64 + 1e-5


def test_what_cannot_be_seen_is_left_out() -> None:
    splats = random_splats(50, 1)
    splats.logit_opacities[:] = 1.0
    splats.logit_opacities[3] = -9.0
    splats.means[7, 1] = float("nan")
    splats.shN[11, 2, 0] = float("inf")
    splats.quats[13] = 0.0
    splats.log_scales[17, 0] = -float("inf")  # a disc: stays
    packed = pack(splats)
    back = unpack(packed.header, packed.payload)
    assert len(back) == 46
    assert all(bool(torch.isfinite(t).all()) for name, t in back.tensors().items() if name != "logit_opacities")
    with pytest.raises(InputError, match="None of the 50 Gaussians"):
        pack(replace(splats, logit_opacities=torch.full((50,), -9.0)))


def test_page_is_at_most_a_fifth_of_the_ply(demo_images: Path, tmp_path: Path) -> None:
    """One Gaussian for each pixel of a photo, on a bent wall: colours and neighbourhoods as scenes have them."""
    with Image.open(demo_images / "door_05.jpg") as photo:
        smooth = photo.convert("RGB").resize((80, 120)).resize((160, 240))  # neighbours share most of their colour
    colors = torch.from_numpy(np.array(smooth)).float() / 255
    v, u = torch.meshgrid(torch.arange(240.0), torch.arange(160.0), indexing="ij")
    n = u.numel()
    noise = random_splats(n, 1)
    splats = Splats(
        means=torch.stack([u / 40, v / 40, torch.sin(u / 30)], dim=-1).reshape(n, 3) + 0.002 * noise.means,
        quats=torch.tensor([1.0, 0, 0, 0]) + 0.1 * noise.quats,
        log_scales=0.3 * noise.log_scales - 3,
        logit_opacities=0.4 * noise.logit_opacities + 2,
        sh0=((colors - 0.5) / SH_C0).reshape(n, 1, 3),
        shN=0.05 * noise.shN[:, :, :1] + 0.01 * noise.shN,  # mostly brightness
    )
    write_ply(tmp_path / "splats.ply", splats)
    page = build_scene_page(ScenePage("wall", splats, VIEW))
    assert len(page.encode()) < (tmp_path / "splats.ply").stat().st_size / 5


def test_what_comes_from_outside_is_escaped() -> None:
    evil = '</title></script><script>alert(1)</script><img src="x" onerror="alert(2)">&{{payload}}'
    page = build_scene_page(ScenePage(evil, random_splats(20, 0), VIEW, (replace(VIEW, name=evil),)))
    assert "<script>alert" not in page
    assert "<img" not in page
    assert page.count("&lt;/title&gt;") == 2  # the title, and the heading
    assert page.count("{{payload}}") == 3  # as text, twice escaped, once in the scene's JSON
    scene = json.loads(inside(page, r'<script id="scene" type="application/json">(.*?)</script>'))
    assert scene["photos"][0]["name"] == evil
    assert "20 Gaussians" in page.replace("\u202f", " ")


def test_page_needs_nothing_else_and_only_its_own_script_and_style_may_run() -> None:
    page = build_scene_page(ScenePage("scene", random_splats(20, 0), VIEW))
    assert not re.findall(r"""(?:src|href)\s*=\s*["']?(?!["']|data:)|url\(|@import|\bimport\b|https?:""", page)
    policy = inside(page, r'Content-Security-Policy" content="([^"]*)"')
    assert policy.startswith("default-src 'none';")
    script = inside(page, r'<script type="module">(.*?)</script>')
    style = inside(page, r"<style>(.*?)</style>")
    for text, name in ((script, "script-src"), (style, "style-src")):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{name} 'sha256-{digest}';" in policy


def test_command_takes_a_splat_file_and_says_what_it_needs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = tmp_path / "a <b>.ply", tmp_path / "page.html"
    write_ply(source, random_splats(30, 1))
    assert cli.run(["export", str(source), "--format", "html", "--out", str(out)]) == 0
    page = out.read_text(encoding="utf-8")
    assert "<h1>a &lt;b&gt;</h1>" in page
    scene = json.loads(inside(page, r'<script id="scene" type="application/json">(.*?)</script>'))
    assert scene["photos"] == []
    assert scene["start"]["up"] == [0.0, -1.0, 0.0]
    for wrong in (["--html", str(tmp_path / "a.png")], [], ["--html", str(out), "--format", "ply"]):
        assert cli.run(["export", str(source), *wrong]) == 2
    (tmp_path / "run").mkdir()
    assert cli.run(["export", str(tmp_path / "run"), "--html", str(out)]) == 2
    assert "not a run folder" in capsys.readouterr().err
    assert out.read_text(encoding="utf-8") == page
