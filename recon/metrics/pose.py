"""How far estimated cameras are from true ones, in float64.

Pairwise errors need no alignment: for every two photos, the angle between estimated and true relative rotation, and
between the directions of estimated and true relative translation. A pair with an unregistered photo counts as a
failure (180 degrees). Positions are compared after the best similarity (ATE).
"""

import itertools
import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from recon.errors import InputError
from recon.geometry import Sim3, angle_between, inverse_se3, rotation_angle, umeyama
from recon.types import Cameras


@dataclass(frozen=True)
class PoseErrors:
    """Errors of one scene: per pair of photos, and per photo."""

    pairs: Int[Tensor, "N 2"]
    rotation_deg: Float[Tensor, " N"]
    """Relative rotation error per pair."""
    translation_deg: Float[Tensor, " N"]
    """Error of the relative translation's direction per pair; NaN where the true centres coincide."""
    position: Float[Tensor, " V"]
    """Distance from the true centre after alignment, in true world units; NaN where unregistered."""
    focal: Float[Tensor, " V"]
    """`|estimated / true - 1|` of the focal length; NaN where unregistered."""
    alignment: Sim3
    """True world from estimated world."""

    @property
    def worst_deg(self) -> Float[Tensor, " N"]:
        """The larger of both errors per pair; rotation alone where there is no direction to compare."""
        return torch.fmax(self.rotation_deg, self.translation_deg)

    @property
    def ate(self) -> float:
        """Root mean square of `position` over registered photos (absolute trajectory error)."""
        return float(self.position.square().nanmean().sqrt())

    def rra(self, threshold_deg: float) -> float:
        """Relative rotation accuracy: share of pairs within the threshold."""
        return share_within(self.rotation_deg, threshold_deg)

    def rta(self, threshold_deg: float) -> float:
        """Relative translation accuracy: share of pairs (that have a direction) within the threshold."""
        return share_within(self.translation_deg[~self.translation_deg.isnan()], threshold_deg)

    def auc(self, threshold_deg: float) -> float:
        """Area under the recall curve of `worst_deg` up to the threshold, as a share of the best possible."""
        return recall_auc(self.worst_deg, threshold_deg)

    def summary(self) -> dict[str, float | None]:
        """The figures papers report; angles in degrees, None where undefined. JSON serialisable."""
        values = {f"rra@{x}": self.rra(x) for x in (5, 15, 30)}
        values |= {f"rta@{x}": self.rta(x) for x in (5, 15, 30)}
        values |= {f"auc@{x}": self.auc(x) for x in (3, 5, 10, 30)}
        values |= {"rotation_median_deg": float(self.rotation_deg.median())}
        values |= {"translation_median_deg": float(self.translation_deg.nanmedian())}
        values |= {"ate": self.ate, "focal_median": float(self.focal.nanmedian())}
        return {name: value if math.isfinite(value) else None for name, value in values.items()}


def pose_errors(estimated: Cameras, true: Cameras, *, sign_free: bool = False) -> PoseErrors:
    """Compare cameras of the same photos in the same order. `estimated.registered` says which were placed.

    Args:
        sign_free: count a direction and its opposite as equal (at most 90 degrees apart), as evaluations of two-view
            methods do, whose essential matrix leaves the sign open.

    Raises:
        InputError: fewer than two photos, or different numbers of them.
    """
    if len(estimated) != len(true) or len(true) < 2:
        raise InputError(
            f"Need estimated and true cameras of the same two or more photos, got {len(estimated)} and {len(true)}. "
            "Match them by file name first."
        )
    registered = estimated.registered
    pairs = torch.tensor(list(itertools.combinations(range(len(true)), 2)))
    rotation, translation = relative_errors_deg(estimated.cam_from_world, true.cam_from_world, pairs, sign_free)
    failed = ~registered[pairs].all(-1)
    rotation = torch.where(failed, 180.0, rotation)
    translation = torch.where(failed & ~translation.isnan(), 180.0, translation)
    position, alignment = aligned_distances(estimated, true)
    focal = (relative_focal(estimated) / relative_focal(true) - 1).abs()
    focal = torch.where(registered, focal, torch.nan)
    return PoseErrors(pairs, rotation, translation, position, focal, alignment)


def relative_errors_deg(
    estimated: Float[Tensor, "V 4 4"], true: Float[Tensor, "V 4 4"], pairs: Int[Tensor, "N 2"], sign_free: bool
) -> tuple[Tensor, Tensor]:
    """Rotation and translation-direction error in degrees of each pair's relative pose, both [N]."""
    i, j = pairs.unbind(-1)
    relative = [poses.double()[j] @ inverse_se3(poses.double()[i]) for poses in (estimated, true)]
    rotation = rotation_angle(relative[0][:, :3, :3] @ relative[1][:, :3, :3].transpose(1, 2))
    t_estimated, t_true = (pose[:, :3, 3] for pose in relative)
    angle = angle_between(t_estimated, t_true)
    # Cameras that stand on one spot have no direction. An estimate that claims so of apart ones is as wrong as can be.
    spots = torch.linalg.vector_norm(t_estimated, dim=-1), torch.linalg.vector_norm(t_true, dim=-1)
    angle = torch.where(spots[0] <= 1e-6 * spots[0].max(), torch.pi, angle)
    if sign_free:
        angle = torch.minimum(angle, torch.pi - angle)
        angle = torch.where(spots[0] <= 1e-6 * spots[0].max(), torch.pi / 2, angle)
    angle = torch.where(spots[1] <= 1e-6 * spots[1].max(), torch.nan, angle)
    return rotation.rad2deg(), angle.rad2deg()


def aligned_distances(estimated: Cameras, true: Cameras) -> tuple[Float[Tensor, " V"], Sim3]:
    """Distance of each registered centre from the true one after Umeyama alignment, and that alignment."""
    registered = estimated.registered
    distances = torch.full((len(true),), torch.nan, dtype=torch.float64, device=registered.device)
    if not registered.any():
        return distances, Sim3.identity(torch.float64, registered.device)
    source, target = estimated.centers.double()[registered], true.centers.double()[registered]
    alignment = umeyama(source, target)
    distances[registered] = torch.linalg.vector_norm(alignment.apply_points(source) - target, dim=-1)
    return distances, alignment


def relative_focal(cameras: Cameras) -> Float[Tensor, " V"]:
    """Focal length over image width, mean of both axes: comparable between sizes of one photo."""
    Ks = cameras.Ks.double()
    return (Ks[:, 0, 0] / cameras.width + Ks[:, 1, 1] / cameras.width) / 2


def share_within(errors: Float[Tensor, " N"], threshold: float) -> float:
    """Share of errors at or below the threshold; NaN of none."""
    return float((errors <= threshold).double().mean())


def recall_auc(errors: Float[Tensor, " N"], threshold: float) -> float:
    """Area under recall(error) from 0 to the threshold by the trapezoid rule, over the threshold; NaN of no errors.

    The curve joins (0, 0) and (k-th smallest error, k / N) by straight lines and stays level after the last error
    within the threshold, as in the evaluations of relative pose since SuperGlue.
    """
    n = errors.numel()
    if n == 0:
        return math.nan
    within = errors.double().sort().values
    within = within[within <= threshold]
    recall = torch.arange(n + 1, dtype=torch.float64, device=errors.device)[: within.numel() + 1] / n
    end = within.new_tensor([threshold])
    x = torch.cat([within.new_zeros(1), within, end])
    return float(torch.trapezoid(torch.cat([recall, recall[-1:]]), x) / threshold)
