"""Plain splatting: 3DGS with nothing of ours that is made for few photos, from sparse points or from our dense ones."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from recon import pipeline
from recon.benchmark.runs import isolate
from recon.benchmark.runs.methods.base import Task, check_options, fitted
from recon.benchmark.runs.methods.ours import ReconMethod
from recon.benchmark.runs.methods.splatting import device_rasterizer, find_cameras, save_views
from recon.compress import read_splats, write_ply
from recon.data.transforms_json import read_transforms
from recon.errors import InputError
from recon.optimize import TrainConfig, train
from recon.pipeline.stages import dense_scene, posed_scene, publish
from recon.runfolder import RunFolder

ANYWHERE = 1e9
INITS = ("sparse", "dense")


@dataclass(frozen=True)
class PlainMethod:
    """Options: as for `recon`, and `init`. With `init=sparse` (the default), cameras that are not given come from
    COLMAP, as is usual (`poses.backend` changes it). With `init=dense`, cameras and points are those that `recon`
    itself starts from, so that the difference is what happens after.

    From 3DGS (Kerbl et al. 2023, section 5 and 7): one ball at each point, opacity 0.1, spherical harmonics of degree
    3, the loss of eq. 7 alone, fixed cameras. The optimiser, its rates and the measure of where to add Gaussians are
    those of `recon`, so that the difference is what the priors bring.
    """

    name: str = "plain"
    gpus: float = 0.0
    aligns: bool = True

    def check(self, options: Mapping[str, str]) -> None:
        """Raises InputError for an option that does not exist."""
        check_options(self.name, options, ("quality", "device", "init"), settings=True)
        if options.get("init", "sparse") not in INITS:
            raise InputError(f"init is {' or '.join(INITS)}, got {options['init']!r}.")

    def fit(self, task: Task) -> None:
        """Cameras, points, training."""
        if task.options.get("init") == "dense":
            pipeline.run(task.run_config(), until="placing")
            current = pipeline.open_finished(RunFolder(task.model))
            scene = dense_scene(current)
            publish(current, scene.cameras, scene.points)  # as placing has revised them
            known = read_transforms(task.model / "cameras.json")
            names, cameras = task.photo_names(known.names), known.cameras
        else:
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
        """As `recon` does it."""
        ReconMethod().align(task)


def without_priors(config: TrainConfig) -> TrainConfig:
    """The same steps and size, and nothing that few photos ask for."""
    terms = {name: 0.0 for name, value in vars(config.loss).items() if isinstance(value, float) and name != "ssim"}
    return replace(
        config,
        coarse_scale=1.0,
        sh_degree=3,
        dropout=0.0,
        decay=replace(config.decay, factor=1.0),
        random_background=False,
        refine_poses=False,
        refine_exposure=False,
        shine=replace(config.shine, above=ANYWHERE),
        init=replace(config.init, opacity=0.1, min_opacity=0.1, scale_factor=1.0, flatness=1.0, fill_below=0.0),
        hull=replace(config.hull, points=0),
        coherent=replace(config.coherent, cell_px=0.0),
        structure=replace(config.structure, every=0),
        backdrop=replace(config.backdrop, distance=0.0),
        undercoat=replace(config.undercoat, margin=0.0),
        horizon=replace(config.horizon, distance=0.0),
        densify=replace(
            config.densify,
            strategy="gradient",
            prune_opacity=0.005,
            max_angle=ANYWHERE,
            margin=ANYWHERE,
            floaters=replace(config.densify.floaters, at=()),
        ),
        loss=replace(config.loss, **terms),
    )
