"""What methods that make splats share: from photos to a project for other programs, and from splats to pictures."""

from dataclasses import replace

from recon import pipeline
from recon.benchmark.runs.methods.base import Task
from recon.data.transforms_json import read_transforms
from recon.pipeline.pictures import render_view, save_rgb
from recon.pipeline.repair import Repairer
from recon.render import Rasterizer, select_rasterizer
from recon.types import Cameras, Splats


def device_rasterizer(task: Task) -> Rasterizer:
    """The renderer of this machine, or of the option `device`."""
    return select_rasterizer(task.options.get("device", "auto"))


def save_views(
    task: Task, splats: Splats, kind: str, cameras: Cameras | None = None, repairer: Repairer | None = None
) -> None:
    """Render the test cameras, or `cameras` of the same views, to `kind/NAME.png`; with `repairer`, repaired."""
    names, tests = task.tests()
    cameras = tests if cameras is None else cameras
    rasterizer = device_rasterizer(task)
    splats = splats.to(rasterizer.device)
    for i, stem in enumerate(name.rsplit(".", 1)[0] for name in names):
        seen = render_view(splats, cameras[i], rasterizer)
        save_rgb(task.folder / kind / f"{stem}.png", (seen if repairer is None else repairer(seen, cameras[i])).rgb)


def find_cameras(task: Task, backend: str) -> tuple[list[str], Cameras]:
    """Only the cameras and sparse points: given ones are taken and triangulated, else `backend` estimates them.

    `task.model` then holds `cameras.json` (nerfstudio), `sparse/0` (COLMAP), `points.ply` and `images/`.
    """
    wanted = replace(task, options={"poses.backend": backend} | task.options)
    pipeline.run(wanted.run_config(), until="poses")
    known = read_transforms(task.model / "cameras.json")
    return task.photo_names(known.names), known.cameras
