"""Photos measured against a run with given cameras: whose camera is taken, from where, and what is done without one."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from recon import data, pipeline
from recon.config import RunConfig
from recon.data.transforms_json import write_transforms
from recon.events import Event, Warned
from recon.pipeline import evaluate
from recon.pipeline.core import Run
from recon.pipeline.evaluate import GIVEN, LOCALIZED, place, score, summarize
from recon.pipeline.stages import Photos, Trained, read_photos
from recon.types import Cameras, ImageSet, PointCloud, PoseResult, PoseStatus, Rendering, Splats

USED, HELD_OUT = ("door_01.jpg", "door_05.jpg", "door_09.jpg"), ("door_03.jpg",)
OTHERS = ("door_07.jpg", "door_11.jpg")
SIDE = 160


class Scene:
    """A run on some of the demo photos, with a camera file for all; another folder with the rest."""

    def __init__(self, demo: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.other, self.heard, self.localized = root, root / "other", list[Event](), list[ImageSet]()
        for folder, names in (("photos", USED + HELD_OUT), ("other", OTHERS), ("all", USED + HELD_OUT + OTHERS)):
            (root / folder).mkdir()
            for name in names:
                shutil.copy(demo / name, root / folder)
        meta = json.loads((demo / "transforms.json").read_text())
        self.frames = {frame["file_path"]: frame for frame in meta["frames"]}
        self.write()
        monkeypatch.setattr(evaluate, "localize", self.localize)

    def write(self, leave_out: tuple[str, ...] = (), **shared: Any) -> None:
        frames = [frame for name, frame in self.frames.items() if name not in leave_out]
        (self.root / "transforms.json").write_text(json.dumps({"frames": frames, **shared}))

    def run(self) -> Run:
        """With the photos read, one of them held out, and no camera estimated."""
        config = RunConfig(
            self.root / "photos",
            self.root / "recon",
            images=data.ImagesConfig(max_side=SIDE),
            known_poses=self.root / "transforms.json",
            device="cpu",
        )
        run = Run(config, pipeline.STAGES, self.heard.append)
        photos = read_photos(run)
        rows = [[i for i, name in enumerate(photos.used.names) if name in names] for names in (USED, HELD_OUT)]
        run.keep("images", Photos(*(data.select(photos.used, some) for some in rows), photos.known))
        run.keep("poses", unplaced(photos.used))
        return run

    def queries(self, folder: str = "other") -> ImageSet:
        """As `recon eval --images` reads them."""
        found = data.load_images(self.root / folder, data.ImagesConfig(max_side=SIDE))
        return data.select(found, [i for i, name in enumerate(found.names) if name not in USED])

    def localize(self, queries: ImageSet, *rest: object) -> PoseResult:
        """A stand-in that places every photo at the same place."""
        self.localized.append(queries)
        found = unplaced(queries)
        n = len(queries)
        poses = torch.eye(4).repeat(n, 1, 1)
        poses[:, 2, 3] = 5
        cameras = replace(found.cameras, cam_from_world=poses, registered=torch.ones(n, dtype=torch.bool))
        return replace(found, cameras=cameras, status=(PoseStatus.LOW,) * n, reasons=("few matches",) * n)


def unplaced(images: ImageSet) -> PoseResult:
    n = len(images)
    height, width = images.images[0].shape[:2]
    K = torch.tensor([[200.0, 0, width / 2], [0, 200, height / 2], [0, 0, 1]])
    cameras = Cameras.create(torch.eye(4).repeat(n, 1, 1), K.repeat(n, 1, 1), width, height)
    return PoseResult(
        cameras=replace(cameras, registered=torch.zeros(n, dtype=torch.bool)),
        points=PointCloud(torch.zeros(0, 3), torch.zeros(0, 3), torch.zeros(0)),
        status=(PoseStatus.UNREGISTERED,) * n,
        reasons=("nowhere",) * n,
        n_observations=torch.full((n,), 7),
        reprojection_error_px=torch.full((n,), 0.5),
    )


@pytest.fixture
def scene(demo_images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(demo_images, tmp_path, monkeypatch)


def test_a_held_out_photo_that_the_file_could_not_place_has_no_camera(scene: Scene) -> None:
    names = tuple(scene.frames)
    given = data.load_posed(scene.root / "transforms.json").cameras
    registered = torch.tensor([name not in HELD_OUT for name in names])
    write_transforms(scene.root / "transforms.json", names, replace(given, registered=registered))
    run = scene.run()
    assert "unregistered_frames" in json.loads((scene.root / "transforms.json").read_text())
    poses = place(run, run.value("images").held_out).poses
    assert poses.cameras.registered.tolist() == [False]
    assert poses.status == (PoseStatus.UNREGISTERED,)
    assert poses.reasons == ("no camera is given for it",)
    assert not scene.localized


def test_other_photos_take_their_cameras_from_the_file(scene: Scene) -> None:
    placed = place(scene.run(), scene.queries())
    assert placed.poses.cameras.registered.all()
    assert placed.given == (True, True)
    assert not scene.localized
    everyone = data.apply_known(data.load_posed(scene.root / "transforms.json"), scene.queries("all"))[1]
    torch.testing.assert_close(placed.poses.cameras.cam_from_world, everyone.cam_from_world[1:])
    torch.testing.assert_close(placed.poses.cameras.Ks, everyone.Ks[1:])


def test_other_photos_are_straightened_as_the_runs_were(scene: Scene) -> None:
    """Also one that has the name of a held-out photo; those that the run holds out are straight already."""
    scene.write(camera_model="OPENCV", k1=-0.2)
    run = scene.run()
    bent = scene.queries("all")
    assert bent.names == HELD_OUT + OTHERS
    placed = place(run, bent)
    straight, _ = data.apply_known(data.load_posed(scene.root / "transforms.json"), bent)
    assert all(torch.equal(a, b) for a, b in zip(placed.images.images, straight.images))
    assert not torch.equal(placed.images.images[1], bent.images[1])
    held_out = run.value("images").held_out
    assert torch.equal(held_out.images[0], straight.images[0])
    assert place(run, held_out).images.images[0] is held_out.images[0]


def test_a_photo_without_a_camera_is_localized(scene: Scene) -> None:
    scene.write(leave_out=OTHERS[1:])
    run, queries = scene.run(), scene.queries()
    placed = place(run, queries)
    assert [some.names for some in scene.localized] == [OTHERS[1:]]
    assert placed.given == (True, False)
    assert placed.poses.status == (PoseStatus.OK, PoseStatus.LOW)
    assert placed.poses.reasons == ("", "few matches")
    assert placed.poses.cameras.cam_from_world[1, 2, 3] == 5
    assert placed.poses.n_observations.tolist() == [0, 7]
    assert placed.poses.reprojection_error_px.isnan().tolist() == [True, False]


def test_a_photo_does_not_take_the_camera_of_the_runs(scene: Scene) -> None:
    """`door_05.png` fits the camera `door_05.jpg` by its stem, but that is of a photo of the run."""
    shutil.move(scene.other / OTHERS[0], scene.other / "door_05.png")
    placed = place(scene.run(), scene.queries())
    assert placed.images.names == ("door_05.png", OTHERS[1])
    assert placed.given == (False, True)


def test_without_the_file_photos_are_localized(scene: Scene) -> None:
    run = scene.run()
    (scene.root / "transforms.json").write_text("{")
    placed = place(run, scene.queries())
    assert placed.given == (False, False)
    assert placed.poses.cameras.registered.all()
    assert any("cannot be read again" in event.message for event in scene.heard if isinstance(event, Warned))


def test_only_localized_photos_are_aligned_and_called_so(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.write(leave_out=OTHERS[1:])
    run = scene.run()
    cameras = run.value("poses").cameras
    run.keep("poses", replace(run.value("poses"), cameras=replace(cameras, registered=torch.ones(4, dtype=torch.bool))))
    run.keep("train", Trained(Splats(*(torch.zeros(1, *s) for s in ((3,), (4,), (3,), (), (1, 3), (0, 3)))), cameras))
    aligned: list[Cameras] = []

    def align(splats: Splats, truth: torch.Tensor, camera: Cameras, rasterizer: object) -> Cameras:
        aligned.append(camera)
        return camera

    def view(splats: Splats, camera: Cameras, rasterizer: object) -> Rendering:
        height, width = int(camera.height), int(camera.width)
        return Rendering(*(torch.zeros(height, width, *rest) for rest in ((3,), (), ())))

    monkeypatch.setattr(evaluate, "align_camera", align)
    monkeypatch.setattr(evaluate, "with_refined_lens", lambda camera, before, after: camera)
    monkeypatch.setattr(evaluate, "render_view", view)
    monkeypatch.setattr(evaluate, "_scores", lambda run, rgb, truth: {"psnr": 1.0, "ssim": 0.5, "lpips": None})
    scored, lost = score(run, scene.queries())
    assert not lost
    assert [float(camera.cam_from_world[0, 2, 3]) for camera in aligned] == [5]
    assert [view["placed_by"] for view in summarize(scored, lost)["views"]] == [GIVEN, LOCALIZED]
