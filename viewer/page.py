"""A scene on one page that anyone can open from disk: centred, upright and with the photos' views as they are here."""

import math
from dataclasses import replace

import numpy as np
import torch

from recon.report.scene_page import PageView, ScenePage, build_scene_page
from recon.types import Splats
from viewer.contents import Contents
from viewer.display import DisplayFrame, View, camera_view, first_view, placed_indices


def page_of(contents: Contents, splats: Splats, frame: DisplayFrame) -> str:
    """The page as HTML, `splats` inside; title, cameras and names are those of `contents`.

    Raises:
        InputError: no splats that can be seen.
    """
    start, photos = _views(contents, frame)
    return build_scene_page(ScenePage(contents.title, _in_display_units(splats, frame), start, photos))


def _views(contents: Contents, frame: DisplayFrame) -> tuple[PageView, tuple[PageView, ...]]:
    """The view to start with, and the photos'."""
    first = first_view(contents.cameras, frame)
    start, photos = _page_view("", first, frame), []
    for index in placed_indices(contents.cameras):
        assert contents.cameras is not None, "nothing is placed without cameras"
        view = camera_view(contents.cameras, index, frame)
        photos.append(_page_view(contents.names[index], view, frame))
        if np.array_equal(view.position, first.position):
            start = photos[-1]
    return start, tuple(photos)


def _page_view(name: str, view: View, frame: DisplayFrame) -> PageView:
    position, target, up = (
        (float(x), float(y), float(z)) for x, y, z in (view.position, view.look_at, view.orbit_up(frame.up))
    )
    return PageView(name, position, target, up, view.fov_y_rad, view.aspect)


def _in_display_units(splats: Splats, frame: DisplayFrame) -> Splats:
    """Shifted and scaled as a whole; harmonics stay, for nothing is turned."""
    means = frame.points(splats.means.numpy(force=True).astype(np.float64))
    return replace(
        splats,
        means=torch.from_numpy(means).float().to(splats.device),
        log_scales=splats.log_scales + math.log(frame.scale),
    )
