"""Stage results come back from disk as they were."""

import errno
from pathlib import Path

import numpy as np
import pytest
import torch

from recon.errors import InputError, ResourceError
from recon.pipeline import store
from recon.types import Cameras, DepthMaps, PairDiagnostics, PointCloud, PoseResult, PoseStatus


def make_result() -> PoseResult:
    cameras = Cameras.create(torch.eye(4).repeat(2, 1, 1), torch.eye(3).repeat(2, 1, 1) * 50, 64, 48)
    pair = PairDiagnostics(0, 1, 20, 15, 3.5, "general", torch.rand(15, 2), torch.rand(15, 2))
    return PoseResult(
        cameras=cameras,
        points=PointCloud(torch.rand(7, 3), torch.rand(7, 3), torch.rand(7)),
        status=(PoseStatus.OK, PoseStatus.LOW),
        reasons=("", "few matches"),
        n_observations=torch.tensor([7, 5]),
        reprojection_error_px=torch.tensor([0.5, float("nan")]),
        pairs=(pair,),
        warnings=("careful",),
        backend="test",
        extras={"features": [{"uv": np.arange(6.0).reshape(3, 2)}], "share": 0.9, "kept": (1, None)},
    )


def test_a_pose_result_survives(tmp_path: Path) -> None:
    result = make_result()
    store.save(tmp_path / "poses.safetensors", result)
    back = store.load(tmp_path / "poses.safetensors")
    assert isinstance(back, PoseResult)
    assert torch.equal(back.cameras.cam_from_world, result.cameras.cam_from_world)
    assert back.cameras.registered.dtype == torch.bool
    assert back.status == result.status
    assert back.pairs[0].median_parallax_deg == 3.5
    assert torch.equal(back.pairs[0].points_j, result.pairs[0].points_j)
    assert torch.isnan(back.reprojection_error_px[1])
    assert np.array_equal(back.extras["features"][0]["uv"], result.extras["features"][0]["uv"])
    assert back.extras["kept"] == (1, None)


def test_optional_parts_stay_away(tmp_path: Path) -> None:
    depths = DepthMaps((torch.rand(3, 4),), (torch.rand(3, 4),))
    store.save(tmp_path / "d.safetensors", {"depths": depths})
    assert store.load(tmp_path / "d.safetensors")["depths"].normals is None


def test_what_cannot_be_stored_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="object"):
        store.save(tmp_path / "x.safetensors", {"what": object()})
    assert not (tmp_path / "x.safetensors").exists()


@pytest.mark.parametrize("content", [b"", b"not a safetensors file at all", b"\xff" * 64])
def test_a_damaged_file_is_an_input_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(InputError, match="damaged"):
        store.load(path)


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.safetensors"
    store.save(path, {"old": torch.ones(3)})

    def full(self: Path, content: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(ResourceError, match="No space left"):
        store.save(path, {"new": torch.zeros(3)})
    monkeypatch.undo()
    assert torch.equal(store.load(path)["old"], torch.ones(3))
    assert [p.name for p in tmp_path.iterdir()] == ["x.safetensors"]
