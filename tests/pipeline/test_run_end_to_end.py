"""The whole job on three of the demo photos at a tiny setting, through the command line: killed, resumed, repeated.

One scene serves all tests of this file: they follow the life of one run folder, in order.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from recon import pipeline
from recon.cli.options import parse
from recon.cli.run_command import photos_config
from recon.compress import read_ply, read_splats
from recon.data.colmap import read_model
from recon.data.transforms_json import read_transforms
from recon.errors import ResourceError
from recon.runfolder import RunFolder
from recon.types import ImageSet, PoseResult

ROOT = Path(__file__).parents[2]
PHOTOS = ("door_03.jpg", "door_05.jpg", "door_07.jpg", "door_09.jpg")
TINY = (
    *("--quality", "draft", "--holdout", "1", "--set", "images.max_side=400", "--set", "poses.max_side=400"),
    *("--set", "train.max_side=240", "--set", "train.steps=250", "--set", "train.init.max_gaussians=4000"),
    *("--set", "train.densify.max_gaussians=5000", "--set", "train.checkpoint_seconds=0.3"),
    *("--set", "train.publish_every=10", "--set", "video.frames=6", "--set", "video.max_side=160"),
)


def start(*args: str) -> subprocess.Popen[str]:
    def interruptible() -> None:  # a shell's background job ignores SIGINT, and so would its children
        signal.signal(signal.SIGINT, signal.default_int_handler)

    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    return subprocess.Popen(
        [sys.executable, "-m", "recon.cli", *args],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=environment,
        preexec_fn=interruptible,
    )  # fmt: skip


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=280)
    return process.returncode, out, err


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> bool:
    """Until the condition holds; False when the process ends first."""
    while process.poll() is None:
        if condition():
            return True
        time.sleep(0.01)
    return condition()


class Scene:
    """The photos, and the run folder the tests work on."""

    def __init__(self, folder: Path) -> None:
        self.photos = folder / "photos"
        self.photos.mkdir()
        for name in PHOTOS:
            shutil.copy(ROOT / "assets" / "demo" / name, self.photos / name)
        self.run = RunFolder(self.photos / "recon")
        self.command = ("run", "--images", str(self.photos), *TINY)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    scene = Scene(tmp_path_factory.mktemp("scene"))
    process = start(*scene.command)
    caught = wait_for((scene.run.checkpoints / "train.pt").exists, process)
    process.kill()
    _, _, err = finish(process)
    assert caught, f"no checkpoint was written before the run ended: {err}"
    return scene


@pytest.fixture(scope="module")
def resumed(scene: Scene) -> tuple[int, str, str]:
    """The killed run, started again."""
    scene.run.splats.unlink(missing_ok=True)
    return finish(start(*scene.command))


@pytest.mark.slow
def test_a_killed_run_resumes_in_the_middle_of_training(scene: Scene, resumed: tuple[int, str, str]) -> None:
    code, out, err = resumed
    assert code == 0, err
    assert re.fullmatch(
        r"Done in \d+ s: 3 of 3 photos placed, [\d ]+ Gaussians, [\d.]+ MB, [\d.]+ dB on 1 held-out photo -> \S+\. "
        r"View: recon view \S+\n",
        out,
    )
    assert "Finding cameras: already done" in err
    assert "Dense points: already done" in err
    assert re.search(r"Continuing from step [1-9]\d* of 250", scene.run.log.read_text())
    assert not scene.run.checkpoints.exists()


@pytest.mark.slow
def test_the_results_are_whole_and_right(scene: Scene, resumed: tuple[int, str, str]) -> None:
    metrics = json.loads(scene.run.metrics.read_text())
    splats = read_ply(scene.run.splats)
    assert len(splats) == metrics["gaussians"] > 1000
    known = read_transforms(scene.run.cameras)
    assert len(known.names) == 3
    assert all((scene.run.root / name).is_file() for name in known.names)
    assert len(read_model(scene.run.sparse).names) == 3
    held_out = metrics["held_out"]
    assert [view["name"] for view in held_out["views"]] == [photo["name"] for photo in metrics["photos"]["list"]
                                                            if photo["status"] == "held out"]  # fmt: skip
    assert "localized" in held_out["views"][0]["placed_by"]
    assert held_out["psnr"] > 17
    assert metrics["training_views"]["psnr"] > 18
    assert set(metrics["stages"]) == {"images", "poses", "dense", "placing", "train", "evaluate", "export"}
    assert 0 < metrics["total"]["peak_memory_bytes"] < 3e9
    assert not list(scene.run.root.rglob("*.part*"))


@pytest.mark.slow
def test_the_video_plays_and_moves(scene: Scene, resumed: tuple[int, str, str]) -> None:
    frames = iio.imread(scene.run.video, plugin="FFMPEG").astype(int)
    assert frames.shape[0] == 10  # six frames forth, four back
    assert frames.shape[1] % 2 == frames.shape[2] % 2 == 0
    assert frames.std() > 15
    assert np.abs(frames[0] - frames[5]).mean() > 1


@pytest.mark.slow
def test_the_report_is_one_self_contained_file(scene: Scene, resumed: tuple[int, str, str]) -> None:
    page = scene.run.report.read_text()
    assert not re.findall(r"""(?:src|href)\s*=\s*["'](?!data:)""", page)
    assert not re.findall(r"url\(|@import|<script|<link", page)
    for name in PHOTOS:
        assert name in page
    assert page.count("data:image/jpeg") > 12


@pytest.mark.slow
def test_a_second_run_redoes_nothing(scene: Scene, resumed: tuple[int, str, str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in scene.run.root.rglob("*") if path.is_file()}
    code, out, err = finish(start(*scene.command, "--json"))
    assert code == 0, err
    result = json.loads(out)
    assert result["status"] == "nothing to do"
    assert result["computed"] == []
    after = {path: path.stat().st_mtime_ns for path in scene.run.root.rglob("*") if path.is_file()}
    changed = {path.name for path in after if after[path] != before.get(path)}
    assert changed <= {"log.txt", ".lock"}


def tiny_config(scene: Scene, *extra: str) -> pipeline.RunConfig:
    return photos_config(parse([*scene.command, *extra]))  # type: ignore[arg-type]


@pytest.mark.slow
def test_only_what_depends_on_a_setting_would_be_redone(scene: Scene, resumed: tuple[int, str, str]) -> None:
    def stale(*extra: str) -> list[str]:
        run = pipeline.Run(tiny_config(scene, *extra), pipeline.STAGES)
        return [name for name, key in run.plan().items() if run.folder.finished(name, key) is None]

    assert stale() == []
    assert stale("--set", "train.steps=251") == ["train", "evaluate", "export"]
    assert stale("--set", "video.fps=12") == ["export"]
    assert stale("--set", "dense.neighbours=2") == ["dense", "placing", "train", "evaluate", "export"]
    assert stale("--set", "poses.max_side=300") == ["poses", "dense", "placing", "train", "evaluate", "export"]
    everything = ["images", "poses", "dense", "placing", "train", "evaluate", "export"]
    assert stale("--set", "images.max_side=300") == everything
    with Image.open(scene.photos / PHOTOS[0]) as picture:
        picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(scene.photos / "door_99.png")
    assert stale()[0] == "images"
    (scene.photos / "door_99.png").unlink()
    assert stale() == []


@pytest.mark.slow
def test_a_failing_run_leaves_the_results_alone(
    scene: Scene, resumed: tuple[int, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [path for path in scene.run.root.rglob("*") if path.is_file() and path.name not in ("log.txt", ".lock")]
    before = {path: path.read_bytes() for path in files}

    def full(*args: object, **options: object) -> None:
        raise ResourceError("Could not write: No space left on device.")

    monkeypatch.setattr("recon.pipeline.stages.train", full)
    with pytest.raises(ResourceError, match="No space left"):
        pipeline.run(tiny_config(scene, "--set", "train.steps=20"))
    assert {path: path.read_bytes() for path in files} == before
    assert "No space left" in scene.run.log.read_text()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ply", "splat", "points", "transforms", "colmap", "mesh"])
def test_exports_read_back(scene: Scene, resumed: tuple[int, str, str], tmp_path: Path, kind: str) -> None:
    from recon import cli

    suffixes = {"ply": ".ply", "splat": ".splat", "points": ".ply", "transforms": ".json", "colmap": "", "mesh": ".glb"}
    suffix = suffixes[kind]
    out = tmp_path / f"export{suffix}"
    assert cli.run(["export", str(scene.run.root), "--format", kind, "--out", str(out)]) == 0
    original = read_ply(scene.run.splats)
    if kind in ("ply", "splat"):
        back = read_splats(out)
        assert len(back) == len(original)
        assert torch.allclose(back.means.sum(0), original.means.sum(0), rtol=1e-3, atol=1e-2)
    elif kind == "points":
        assert out.stat().st_size > 1000
    elif kind == "mesh":
        mesh = trimesh.load(out, force="mesh")
        assert len(mesh.faces) > 1000
        assert mesh.visual.uv.shape == (len(mesh.vertices), 2)
    else:
        known = read_transforms(out) if kind == "transforms" else read_model(out)
        ours = read_transforms(scene.run.cameras)
        assert [Path(n).name for n in known.names] == [Path(n).name for n in ours.names]
        assert torch.allclose(known.cameras.cam_from_world, ours.cameras.cam_from_world, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("path", ["orbit", "cameras"])
def test_render_writes_pictures_depth_and_video(
    scene: Scene, resumed: tuple[int, str, str], tmp_path: Path, path: str
) -> None:
    from recon import cli

    given = str(scene.run.cameras) if path == "cameras" else path
    command = ["render", str(scene.run.root), "--path", given, "--frames", "5", "--max-side", "120", "--depth"]
    assert cli.run([*command, "--out", str(tmp_path), "--json"]) == 0
    index = json.loads((tmp_path / "renders.json").read_text())["views"]
    assert len(index) == (3 if path == "cameras" else 5)
    with Image.open(tmp_path / index[0]["rgb"]) as picture:
        assert max(picture.size) <= 120
        assert np.asarray(picture).std() > 15
    with Image.open(tmp_path / index[0]["depth"]) as depth:
        assert depth.mode.startswith("I")
    assert len(list(tmp_path.glob("*.mp4"))) == 1


@pytest.mark.slow
def test_render_leaves_open_what_lies_behind(scene: Scene, resumed: tuple[int, str, str], tmp_path: Path) -> None:
    """The same picture over black, over white and over nothing; only the splats' own share may differ."""
    from recon import cli

    pictures = {}
    for behind in ("black", "white", "transparent"):
        command = ["render", str(scene.run.root), "--path", "spiral", "--frames", "2", "--max-side", "120"]
        assert cli.run([*command, "--background", behind, "--out", str(tmp_path / behind)]) == 0
        with Image.open(tmp_path / behind / "frame_0000.png") as picture:
            pictures[behind] = np.asarray(picture).astype(float)
    assert pictures["transparent"].shape[2] == 4
    colour, alpha = pictures["transparent"][..., :3], pictures["transparent"][..., 3:] / 255
    assert np.abs(colour * alpha - pictures["black"]).max() <= 2
    assert np.abs(colour * alpha + 255 * (1 - alpha) - pictures["white"]).max() <= 2
    assert len(list((tmp_path / "transparent").glob("*.mp4"))) == 1


@pytest.mark.slow
def test_eval_measures_photos_that_the_run_did_not_use(
    scene: Scene,
    resumed: tuple[int, str, str],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Placing is stood in for by a camera of the run, as it takes long; the rest is real."""
    from recon import cli

    def nearby(queries: ImageSet, images: ImageSet, result: PoseResult, config: object) -> PoseResult:
        return replace(result, cameras=result.cameras[1], reasons=("",))

    monkeypatch.setattr("recon.pipeline.evaluate.localize", nearby)
    shutil.copytree(scene.photos, tmp_path / "more", ignore=shutil.ignore_patterns("recon"))
    assert cli.run(["eval", str(scene.run.root), "--images", str(tmp_path / "more"), "--json"]) == 0
    summary = json.loads(capfd.readouterr().out)
    held_out = json.loads(scene.run.metrics.read_text())["held_out"]
    assert [view["name"] for view in summary["views"]] == [view["name"] for view in held_out["views"]]
    assert 8 < summary["psnr"] < held_out["psnr"] + 3
    (tmp_path / "more" / held_out["views"][0]["name"]).unlink()
    assert cli.run(["eval", str(scene.run.root), "--images", str(tmp_path / "more")]) == 2


@pytest.mark.slow
def test_ctrl_c_keeps_what_is_done_and_says_how_to_go_on(
    scene: Scene, resumed: tuple[int, str, str], tmp_path: Path
) -> None:
    """With the cameras given, so that only the stages after them take time."""
    out, few = tmp_path / "out", tmp_path / "few"
    few.mkdir()
    for name in read_transforms(scene.run.cameras).names:
        shutil.copy(scene.photos / Path(name).name, few)
    command = ("run", "--images", str(few), "--out", str(out), *TINY[:2], *TINY[4:])
    process = start(*command, "--poses", str(scene.run.cameras), "--set", "train.steps=100000")
    reached = wait_for((out / "stages" / "dense.json").exists, process)
    process.send_signal(signal.SIGINT)
    code, stdout, err = finish(process)
    assert reached, err
    assert code == 130
    assert "the same command goes on from there" in err
    assert "Traceback" not in err
    assert stdout == ""
    folder = RunFolder(out)
    assert folder.record("dense") is not None
    assert folder.cameras.is_file()
    assert not list(out.rglob("*.part*"))
