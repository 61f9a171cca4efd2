"""Several runs of a scene in one world, and pictures that show two of them at once."""

from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch

from recon.geometry import Sim3
from recon.types import Cameras
from viewer.contents import Contents
from viewer.display import fit_display, placed_indices
from viewer.looks import RGB, Look, Model, Picture, common_span, draw_look

_LINE, _INK, _GROUND = (255, 255, 255), (235, 235, 235), (24, 26, 31)


@dataclass(frozen=True)
class Comparison:
    """Which two runs are shown, and how they share the picture."""

    left: int = 0
    right: int = 1
    wipe: float = 0.5
    """Where the left run ends, in shares of the picture's width."""
    side_by_side: bool = False
    """Both from the same place, each in its half, instead of a wipe."""


def align(reference: Contents, other: Contents) -> Sim3:
    """The similarity that takes the other run's world to the reference's.

    From the cameras of the photos that both have placed: the mean turn between their orientations (which two cameras
    on a line do not leave open, as their centres would), and scale and shift from their centres. Without a common
    photo, what the two scenes are about is put into one place.
    """
    ours, theirs = _by_name(reference), _by_name(other)
    common = sorted(ours.keys() & theirs.keys())
    if not common:
        return _by_frame(reference, other)
    a, b = (torch.stack([poses[name] for name in common]).double() for poses in (ours, theirs))
    U, _, Vh = torch.linalg.svd((a[:, :3, :3].transpose(1, 2) @ b[:, :3, :3]).sum(0))
    R = U @ torch.diag(torch.tensor([1.0, 1.0, float(torch.det(U @ Vh).sign())], dtype=torch.float64)) @ Vh
    centers_a, centers_b = (-(p[:, :3, :3].transpose(1, 2) @ p[:, :3, 3:])[..., 0] for p in (a, b))
    spread_a, spread_b = (torch.linalg.vector_norm(c - c.mean(0), dim=1).mean() for c in (centers_a, centers_b))
    same_place = min(float(spread_a), float(spread_b)) <= 0.0
    scale = _by_frame(reference, other).scale if same_place else spread_a / spread_b
    return Sim3(scale, R, centers_a.mean(0) - scale * (R @ centers_b.mean(0)))


def _by_name(contents: Contents) -> dict[str, torch.Tensor]:
    cameras = contents.cameras
    return {} if cameras is None else {contents.names[i]: cameras.cam_from_world[i] for i in placed_indices(cameras)}


def _by_frame(reference: Contents, other: Contents) -> Sim3:
    ours, theirs = (fit_display(c.cameras, c.centers()) for c in (reference, other))
    scale = torch.tensor(theirs.scale / ours.scale, dtype=torch.float64)
    t = torch.from_numpy(ours.origin).double() - scale * torch.from_numpy(theirs.origin).double()
    return Sim3(scale, torch.eye(3, dtype=torch.float64), t)


def draw_comparison(
    models: list[Model], titles: list[str], camera: Cameras, comparison: Comparison, look: Look, background: RGB
) -> Picture:
    """Two of `models` in one picture: left and right of a wipe, or each in its half."""
    width, height = int(camera.width[0]), int(camera.height[0])
    cut = width // 2 if comparison.side_by_side else round(min(max(comparison.wipe, 0.0), 1.0) * width)
    shift = width // 4 if comparison.side_by_side else 0
    picture = np.empty((height, width, 3), dtype=np.uint8)
    span = common_span([models[i] for i in (comparison.left, comparison.right)], camera) if look is Look.DEPTH else None
    for which, first, last in ((comparison.left, 0, cut), (comparison.right, cut, width)):
        if last > first:
            from_pixel = shift if comparison.side_by_side else first
            picture[:, first:last] = draw_look(
                models[which], _columns(camera, from_pixel, last - first), look, background, span
            )
    line = max(1, width // 640)
    if 0 < cut < width:
        picture[:, max(cut - line, 0) : cut + line] = _LINE
    size = max(0.4, min(width, height) / 900)
    for which, x in ((comparison.left, 12), (comparison.right, cut + 12)):
        if titles[which] and x < width - 24:
            _label(picture, titles[which][:40], (x, height - 14), size)
    return picture


def _label(picture: Picture, text: str, at: tuple[int, int], size: float) -> None:
    """Write on a dark ground, from the lower left corner `at`."""
    (width, height), below = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, 1)
    x, y = at
    cv2.rectangle(picture, (x - 5, y - height - 5), (x + width + 5, y + below), _GROUND, cv2.FILLED)
    cv2.putText(picture, text, at, cv2.FONT_HERSHEY_SIMPLEX, size, _INK, 1, cv2.LINE_AA)


def _columns(camera: Cameras, first: int, count: int) -> Cameras:
    """The camera of `count` columns of its picture, from column `first` on."""
    Ks = camera.Ks.clone()
    Ks[:, 0, 2] -= first
    return replace(camera, Ks=Ks, width=torch.full_like(camera.width, count))
