"""What a photo's new or lost place does to the sparse points. Synthetic, since it must be known who saw which point."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from recon.geometry.projection import project
from recon.optimize.placing import Decision, Evidence, Placement
from recon.optimize.placing.decide import Action
from recon.pipeline.revising import LEAST_POINTS, points_of_others, with_placement, without_photo
from recon.types import Cameras, ImageSet, PairDiagnostics, PointCloud, PoseResult, PoseStatus

WRONG = 2
SIZE = (80, 60)


def points(n: int, depth: float, seed: int) -> Tensor:
    across = torch.rand(n, 2, generator=torch.Generator().manual_seed(seed)) - 0.5
    return torch.cat([across, torch.full((n, 1), depth)], dim=1)


def model(by_both: int = 40, with_wrong: int = 30) -> tuple[PoseResult, int]:
    """Photos 0 and 1 share `by_both` points; 0 and the wrong photo matched too, which made `with_wrong` more."""
    poses = torch.eye(4).repeat(3, 1, 1)
    poses[:, 0, 3] = torch.tensor([0.0, -0.3, 0.4])
    K = torch.tensor([[80.0, 0, 40], [0, 80, 30], [0, 0, 1]])
    cameras = Cameras.create(poses, K.repeat(3, 1, 1), *SIZE)
    right, wrong = points(by_both, 3.0, 0), points(with_wrong, 1.7, 1)
    cloud = PointCloud(torch.cat([right, wrong]), torch.rand(by_both + with_wrong, 3), torch.ones(by_both + with_wrong))

    def pair(i: int, j: int, seen: Tensor) -> PairDiagnostics:
        ends = [project(seen, cameras.cam_from_world[k], cameras.Ks[k])[0] for k in (i, j)]
        return PairDiagnostics(i, j, len(seen), len(seen), points_i=ends[0], points_j=ends[1])

    both = torch.cat([right, wrong])
    pairs = (pair(0, 1, right), pair(0, WRONG, both), PairDiagnostics(1, WRONG, 0, 0, kind="none"))
    ok = (PoseStatus.OK,) * 3
    return PoseResult(cameras, cloud, ok, ("",) * 3, torch.full((3,), 40), torch.ones(3), pairs), by_both


def test_points_that_took_the_photo_go_with_it() -> None:
    result, right = model()
    left = without_photo(result, WRONG)
    assert torch.equal(left.points.xyz, result.points.xyz[:right])
    assert torch.equal(left.points.rgb, result.points.rgb[:right])
    assert left.status[WRONG] is PoseStatus.UNREGISTERED
    assert torch.equal(points_of_others(result, 0).xyz, result.points.xyz)  # nothing else ties the others: all stay


def test_what_a_match_shows_must_be_at_both_its_ends() -> None:
    result, right = model()
    moved = result.points.xyz.clone()
    first = right  # of those that the wrong photo made
    moved[first, :2] *= 2.0 / moved[first, 2]  # photo 0 sees it where it did, the wrong one does not
    moved[first, 2] = 2.0
    moved[first + 1, 2] *= -1.0  # behind
    left = points_of_others(replace(result, points=replace(result.points, xyz=moved)), WRONG)
    assert torch.equal(left.xyz, moved[: right + 2])


def test_all_stay_where_hardly_any_would() -> None:
    result, _ = model(by_both=LEAST_POINTS - 1)
    assert len(points_of_others(result, WRONG)) == len(result.points)


@pytest.mark.parametrize("was_placed", [True, False])
def test_a_photo_that_moves_leaves_what_it_made_behind(was_placed: bool) -> None:
    result, right = model()
    result.cameras.registered[WRONG] = was_placed
    images = ImageSet(
        ("a", "b", "c"), (torch.zeros(60, 80, 3),) * 3, torch.full((3,), torch.nan), torch.zeros(3, dtype=torch.int64)
    )
    seen = points(20, 3.0, 5)
    found = Placement(torch.eye(4), Evidence(0.5, 0.5, 20, 0.8, 9), torch.full((20, 2), 30.0), seen)
    placed = with_placement(images, result, WRONG, Decision(Action.MOVED, None, found))
    before = result.points.xyz[:right] if was_placed else result.points.xyz
    assert torch.equal(placed.points.xyz, torch.cat([before, seen]))
