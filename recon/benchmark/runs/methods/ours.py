"""Ours, through the pipeline that `recon run` drives."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from recon import pipeline
from recon.benchmark.runs import isolate
from recon.benchmark.runs.methods.base import Task, check_options, fitted
from recon.benchmark.runs.methods.splatting import device_rasterizer, save_views
from recon.compress import read_splats
from recon.config import preset_names
from recon.data import ImagesConfig, load_images
from recon.data.transforms_json import read_transforms, write_transforms
from recon.errors import InputError
from recon.optimize import align_camera
from recon.pipeline.repair import make_repairer
from recon.runfolder import open_run


@dataclass(frozen=True)
class ReconMethod:
    """Options: `quality` (a preset), `device`, `repair` (a prior for the pictures, as `recon render` has it), and any
    setting of `recon run --set`."""

    name: str = "recon"
    gpus: float = 0.0
    aligns: bool = True

    def check(self, options: Mapping[str, str]) -> None:
        """Raises InputError for an option that does not exist."""
        check_options(self.name, options, ("quality", "device", "repair"), settings=True)
        if options.get("quality", "standard") not in preset_names():
            raise InputError(f"No preset {options['quality']!r}. There are: {', '.join(preset_names())}.")

    def fit(self, task: Task) -> None:
        """All stages that make the splats."""
        pipeline.run(task.run_config(), until="train")
        known = read_transforms(task.model / "cameras.json")
        fitted(task, task.photo_names(known.names), known.cameras, [task.model / "splats.ply"])

    def render(self, task: Task) -> None:
        """The splats from the test cameras, repaired where that is asked for."""
        repairer = None
        if (name := task.options.get("repair", "none")) != "none":
            repairer = make_repairer(pipeline.open_finished(open_run(task.model)), name)
        save_views(task, read_splats(task.model / "splats.ply"), isolate.RENDERS, repairer=repairer)

    def align(self, task: Task) -> None:
        """Each test camera refined by itself against its photo; the splats stay as they are."""
        splats = read_splats(task.model / "splats.ply")
        names, cameras = task.tests()
        everything = ImagesConfig(max_side=1 << 20, min_photos=1, drop_duplicates=False)
        photos = load_images(task.folder / isolate.TESTS, everything)
        rasterizer = device_rasterizer(task)
        by_name = dict(zip(photos.names, photos.images))
        refined = [align_camera(splats, by_name[name], cameras[i], rasterizer) for i, name in enumerate(names)]
        aligned = replace(cameras, cam_from_world=torch.cat([camera.cam_from_world for camera in refined]))
        write_transforms(task.folder / isolate.ALIGNED_CAMERAS, names, aligned, images=isolate.TESTS)
        save_views(task, splats, isolate.ALIGNED, aligned)
