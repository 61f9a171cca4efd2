"""Pictures of a finished run, repaired: on the demo photos, two of six held out, at a tiny setting."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from recon import cli, pipeline
from recon.config import RunConfig, resolve
from recon.metrics import psnr
from recon.pipeline import repair
from recon.pipeline.core import Run
from recon.pipeline.evaluate import Scored, score
from recon.pipeline.pictures import render_view
from recon.pipeline.repair import Repairer, as_splats_show, make_repairer
from recon.priors.diffusion import NullPrior, Repaired, Views
from recon.priors.diffusion.warps import nearest_photos
from recon.runfolder import open_run
from recon.types import Cameras, Rendering

DEMO = Path(__file__).parents[2] / "assets" / "demo"
TINY = (
    "images.max_side=160", "train.max_side=160", "train.steps=60", "train.init.max_gaussians=4000",
    "train.densify.max_gaussians=5000", "train.pseudo.gate.steps=40", "train.pseudo.gate.photos=2", "dense.scale=1",
)  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Splats of four photos with their cameras."""
    config = resolve(RunConfig(DEMO, tmp_path_factory.mktemp("repair") / "run"), quality="draft", assignments=TINY)
    known = replace(config, known_poses=DEMO / "transforms.json", holdout=2, device="cpu")
    pipeline.run(known, until="train")
    return pipeline.open_finished(open_run(known.out_dir))


@pytest.fixture(scope="module")
def held_out(run: Run) -> list[Scored]:
    scored, unplaced = score(run, run.value("images").held_out)
    assert not unplaced
    return scored


class Noise(NullPrior):
    """Sure of nonsense."""

    def repair(self, views: Views) -> Repaired:
        generator = torch.Generator().manual_seed(0)
        return Repaired(torch.rand(views.rgb.shape, generator=generator), torch.ones_like(views.alpha))


def mean_psnr(held_out: list[Scored], repairer: Repairer | None) -> float:
    shown = [one.rendering if repairer is None else repairer(one.rendering, one.camera) for one in held_out]
    values = [psnr(picture.rgb.clamp(0, 1), one.truth) for picture, one in zip(shown, held_out)]
    return float(torch.stack(values).mean())


@pytest.mark.parametrize("name", ["blend", "embedded"])
def test_held_out_views_are_not_worse_when_repaired(run: Run, held_out: list[Scored], name: str) -> None:
    repairer = make_repairer(run, name)
    assert repairer is not None
    assert 0 < repairer.judgement.strength <= 1
    assert mean_psnr(held_out, repairer) > mean_psnr(held_out, None) - 0.05


def test_a_sabotaged_prior_changes_nothing(run: Run, held_out: list[Scored], monkeypatch) -> None:
    monkeypatch.setattr(repair, "make_prior", lambda name, checkpoints=(): Noise())
    repairer = make_repairer(run, "blend")
    assert repairer is not None
    assert repairer.judgement.strength == 0
    off = replace(repairer, judgement=replace(repairer.judgement, strength=0.0))
    assert torch.equal(off(held_out[0].rendering, held_out[0].camera).rgb, held_out[0].rendering.rgb)
    assert mean_psnr(held_out, repairer) > mean_psnr(held_out, None) - 0.05


def test_a_photo_is_brought_to_the_colours_of_the_splats() -> None:
    generator = torch.Generator().manual_seed(0)
    shown = torch.rand(12, 16, 3, generator=generator).repeat_interleave(8, 0).repeat_interleave(8, 1)
    seen = Rendering(shown, torch.ones(96, 128), torch.ones(96, 128))
    photo = 0.7 * shown + 0.1
    assert torch.allclose(as_splats_show(photo, seen), shown, atol=0.02)


def test_rendered_pictures_say_that_they_are_repaired(run: Run, tmp_path: Path, capsys) -> None:
    command = ["render", str(run.folder.root), "--path", "spiral", "--frames", "2", "--max-side", "96", "--no-video"]
    assert cli.run([*command, "--out", str(tmp_path), "--device", "cpu", "--repair", "blend"]) == 0
    about = json.loads((tmp_path / "renders.json").read_text())
    assert about["repair"]["prior"] == "blend"
    assert about["repair"]["strength"] > 0
    assert "not all in the splats" in about["repair"]["note"]
    assert "Repaired by blend" in "".join(capsys.readouterr())
    assert cli.run([*command, "--out", str(tmp_path / "plain"), "--device", "cpu", "--repair", "none"]) == 0
    assert "repair" not in json.loads((tmp_path / "plain" / "renders.json").read_text())
    pictures = [(tmp_path / folder / "frame_0001.png").read_bytes() for folder in (".", "plain")]
    assert pictures[0] != pictures[1]
    assert cli.run([*command, "--out", str(tmp_path / "unknown"), "--repair", "magic"]) != 0


def test_what_is_looked_at_is_repaired_and_what_is_measured_is_not(run: Run, tmp_path: Path) -> None:
    """Along a path, and at given cameras, without a word about it."""
    for path in ("spiral", str(run.folder.cameras)):
        command = ["render", str(run.folder.root), "--path", path, "--frames", "1", "--max-side", "96", "--no-video"]
        assert cli.run([*command, "--out", str(tmp_path / str(path == "spiral")), "--device", "cpu"]) == 0
    looked_at, measured = (json.loads((tmp_path / name / "renders.json").read_text()) for name in ("True", "False"))
    assert looked_at["repair"]["prior"] == "blend"
    assert "repair" not in measured


def test_a_film_does_not_jump_where_another_photo_becomes_the_second_nearest(run: Run) -> None:
    """Two views a hair apart, on the two sides of the place where the second nearest photo is another one."""
    repairer = make_repairer(run, "blend")
    cameras = repairer.scenery.cameras
    begin, end = cameras[0].centers[0], cameras[len(cameras) - 1].centers[0]

    def view(share: float) -> Cameras:
        pose = cameras.cam_from_world[0].clone()
        pose[:3, 3] = -pose[:3, :3] @ begin.lerp(end, share)
        return replace(cameras[0], cam_from_world=pose[None])

    def nearest(share: float) -> set[int]:
        return set(nearest_photos(view(share), cameras, 2)[0].tolist())

    low, high = 0.0, 1.0
    assert nearest(low) != nearest(high)
    for _ in range(16):
        middle = (low + high) / 2
        low, high = (middle, high) if nearest(middle) == nearest(0.0) else (low, middle)
    changes = []
    for camera in (view(low), view(high)):
        seen = render_view(run.value("train").splats, camera, run.rasterizer)
        changes.append(repairer(seen, camera).rgb - seen.rgb)
    size = float(changes[0].abs().mean())
    assert size > 1e-3
    assert float((changes[1] - changes[0]).abs().mean()) < 0.02 * size
