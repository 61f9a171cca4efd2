"""`recon export --format html`: the splats on one page that anyone can open from disk."""

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from recon.errors import InputError
from recon.files import write_text
from recon.report.scene_page import PageView, ScenePage, build_scene_page
from recon.types import Splats

if TYPE_CHECKING:  # the viewer is loaded when a page is made, and not with the commands
    from viewer.contents import Contents
    from viewer.display import DisplayFrame, View


def write_page(source: Path, out: Path) -> None:
    """Write the page of a run folder or a splat file: centred, upright and with the photos' views as in the viewer.

    Raises:
        InputError: no splats there, or none that can be seen.
        ResourceError: `out` cannot be written.
    """
    from viewer.contents import load
    from viewer.display import fit_display

    contents = load(source)
    if contents.splats is None:
        raise InputError(f"{source} has no splats yet. Make them with: recon train {source}")
    frame = fit_display(contents.cameras, contents.centers())
    start, photos = _views(contents, frame)
    page = ScenePage(contents.title, _in_display_units(contents.splats, frame), start, photos)
    write_text(out, build_scene_page(page))


def _views(contents: "Contents", frame: "DisplayFrame") -> tuple[PageView, tuple[PageView, ...]]:
    """The view to start with, and the photos'."""
    from viewer.display import camera_view, first_view, placed_indices

    first = first_view(contents.cameras, frame)
    start, photos = _page_view("", first, frame), []
    for index in placed_indices(contents.cameras):
        assert contents.cameras is not None, "nothing is placed without cameras"
        view = camera_view(contents.cameras, index, frame)
        photos.append(_page_view(contents.names[index], view, frame))
        if np.array_equal(view.position, first.position):
            start = photos[-1]
    return start, tuple(photos)


def _page_view(name: str, view: "View", frame: "DisplayFrame") -> PageView:
    position, target, up = (
        (float(x), float(y), float(z)) for x, y, z in (view.position, view.look_at, view.orbit_up(frame.up))
    )
    return PageView(name, position, target, up, view.fov_y_rad, view.aspect)


def _in_display_units(splats: Splats, frame: "DisplayFrame") -> Splats:
    """Shifted and scaled as a whole; harmonics stay, for nothing is turned."""
    means = frame.points(splats.means.numpy(force=True).astype(np.float64))
    return replace(
        splats,
        means=torch.from_numpy(means).float().to(splats.device),
        log_scales=splats.log_scales + math.log(frame.scale),
    )
