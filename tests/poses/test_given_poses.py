"""The backend for given cameras, where the source could not place every photo."""

from dataclasses import replace

import pytest
import torch
from pose_scenes import NAMES, door, door_truth

from recon.errors import PoseError
from recon.poses import PosesConfig, estimate
from recon.types import PoseStatus

KNOWN = PosesConfig(backend="known")


def test_a_photo_that_the_source_did_not_place_stays_unregistered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its entry in the file has a lens, but the pose is a placeholder: it must not become a camera at the origin."""
    monkeypatch.setattr("recon.poses.known.ENOUGH_POINTS", 1)
    names = NAMES[:3]
    truth = door_truth(names, 320)
    known = {name: replace(truth[v], registered=torch.tensor([v != 1])) for v, name in enumerate(names)}
    result = estimate(door(names, 320), KNOWN, known=known)
    assert result.cameras.registered.tolist() == [True, False, True]
    assert result.cameras.confidence.tolist() == [1, 0, 1]
    assert result.status == (PoseStatus.OK, PoseStatus.UNREGISTERED, PoseStatus.OK)
    assert result.reasons == ("", "no camera is given for it", "")
    assert any(names[1] in warning for warning in result.warnings)
    assert torch.equal(result.cameras.cam_from_world[1], torch.eye(4))
    torch.testing.assert_close(result.cameras.Ks[1], truth.Ks[1])
    assert result.n_observations[1] == 0


def test_unplaced_photos_do_not_count() -> None:
    truth = door_truth(NAMES[:2], 100)
    known = {name: replace(truth[v], registered=torch.tensor([v == 0])) for v, name in enumerate(NAMES[:2])}
    with pytest.raises(PoseError, match="Cameras are given for 1 of the 2 photos"):
        estimate(door(NAMES[:2], 100), KNOWN, known=known)
