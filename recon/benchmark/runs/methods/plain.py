"""Plain splatting: 3DGS from sparse points with nothing of ours that is made for few photos."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from recon import pipeline
from recon.benchmark.runs import isolate
from recon.benchmark.runs.methods.base import Task, check_options, fitted
from recon.benchmark.runs.methods.splatting import device_rasterizer, find_cameras, save_views
from recon.compress import read_splats, write_ply
from recon.optimize import LossConfig, TrainConfig, train
from recon.pipeline.stages import posed_scene
from recon.runfolder import RunFolder

ANYWHERE = 1e9


@dataclass(frozen=True)
class PlainMethod:
    """Options: as for `recon`. Without given cameras they come from COLMAP, as is usual (`poses.backend` changes it).

    From 3DGS (Kerbl et al. 2023, section 5 and 7): one ball at each sparse point, opacity 0.1, spherical harmonics
    of degree 3, the loss of eq. 7 alone, fixed cameras. The optimiser, its rates and the measure of where to add
    Gaussians are those of `recon`, so that the difference is what the priors bring.
    """

    name: str = "plain"
    gpus: float = 0.0
    aligns: bool = False

    def check(self, options: Mapping[str, str]) -> None:
        """Raises InputError for an option that does not exist."""
        check_options(self.name, options, ("quality", "device"), settings=True)

    def fit(self, task: Task) -> None:
        """Cameras, sparse points, training."""
        names, cameras = find_cameras(task, backend="colmap")
        scene = posed_scene(pipeline.open_finished(RunFolder(task.model)))
        config = without_priors(task.run_config().train)
        result = train(scene, None, config, device_rasterizer(task))
        write_ply(task.model / "splats.ply", result.splats)
        fitted(task, names, cameras, [task.model / "splats.ply"])

    def render(self, task: Task) -> None:
        """The splats from the test cameras."""
        save_views(task, read_splats(task.model / "splats.ply"), isolate.RENDERS)

    def align(self, task: Task) -> None:
        """There is none."""
        raise AssertionError("refused before the job was made")


def without_priors(config: TrainConfig) -> TrainConfig:
    """The same steps and size, and nothing that few photos ask for."""
    return replace(
        config,
        coarse_scale=1.0,
        sh_degree=3,
        dropout=0.0,
        random_background=False,
        refine_poses=False,
        refine_exposure=False,
        init=replace(config.init, opacity=0.1, min_opacity=0.1, scale_factor=1.0, flatness=1.0, fill_below=0.0),
        densify=replace(config.densify, prune_opacity=0.005, max_angle=ANYWHERE, margin=ANYWHERE),
        loss=LossConfig(depth=0.0, alpha=0.0),
    )
