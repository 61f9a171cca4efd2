"""What a run folder holds for other programs: cameras.json, sparse/0, points.ply and the photos they speak of."""

from pathlib import Path

import pytest
import torch

from recon import data, pipeline
from recon.config import RunConfig
from recon.data.transforms_json import read_transforms
from recon.pipeline.stages import Photos, publish
from recon.types import Cameras, PointCloud, PoseResult, PoseStatus

K = torch.tensor([[80.0, 0, 32], [0, 80, 48], [0, 0, 1]])


def published(demo_images: Path, out: Path, names: list[str], n_lost: int = 0) -> Path:
    """The folder `out` after the demo's photos `names` were published, the last `n_lost` of them unplaced."""
    loaded = data.load_images(demo_images, data.ImagesConfig(max_side=96))
    images = data.select(loaded, [loaded.names.index(name) for name in names])
    n = len(names)
    width, height = images.images[0].shape[1], images.images[0].shape[0]
    everyone = Cameras.create(torch.eye(4).repeat(n, 1, 1), K.repeat(n, 1, 1), width, height)
    everyone.registered[n - n_lost :] = False
    points = PointCloud(torch.rand(5, 3), torch.rand(5, 3), torch.ones(5))
    result = PoseResult(everyone, points, (PoseStatus.OK,) * n, ("",) * n, torch.full((n,), 5), torch.ones(n))
    run = pipeline.Run(RunConfig(demo_images, out), pipeline.STAGES, lambda event: None)
    run.keep("images", Photos(images))
    run.keep("poses", result)
    publish(run, everyone[everyone.registered], points)
    return out


@pytest.mark.parametrize("n_lost", [0, 1])
def test_photos_that_left_the_set_leave_the_folder(demo_images: Path, tmp_path: Path, n_lost: int) -> None:
    names = [f"door_{number}.jpg" for number in ("03", "05", "07", "09")]
    out = published(demo_images, tmp_path / "recon", names, n_lost)
    assert sorted(path.name for path in (out / "images").iterdir()) == names
    (out / "images" / "mine.jpg").write_bytes(b"not recon's")
    published(demo_images, out, names[:2])
    assert sorted(path.name for path in (out / "images").iterdir()) == [*names[:2], "mine.jpg"]
    assert read_transforms(out / "cameras.json").names == tuple(f"images/{name}" for name in names[:2])


def test_cameras_that_cannot_be_read_cost_no_photo(demo_images: Path, tmp_path: Path) -> None:
    out = published(demo_images, tmp_path / "recon", ["door_03.jpg", "door_05.jpg"])
    (out / "cameras.json").write_text("{")
    published(demo_images, out, ["door_05.jpg"])
    assert sorted(path.name for path in (out / "images").iterdir()) == ["door_03.jpg", "door_05.jpg"]
    assert read_transforms(out / "cameras.json").names == ("images/door_05.jpg",)
