"""`recon run`, `recon poses` and `recon train`: bring a run folder up to date."""

import os
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from recon import config as configuration
from recon import events, pipeline
from recon.assets import CONSENT
from recon.cli.allocator import keep_memory
from recon.cli.compiling import announce_compiling
from recon.cli.console import Console, Result
from recon.cli.options import Command, Limits, Live, Photos, Poses, Prior, Run, Settings, Train
from recon.cli.progress import progress_sink
from recon.config import RunConfig
from recon.data.masks import is_folder
from recon.errors import InputError
from recon.pipeline import RunResult
from recon.pipeline.summary import thousands
from recon.poses import BACKENDS
from recon.runfolder import open_run

KEPT = ("images_dir", "known_poses", "holdout", "images", "poses")
"""What `recon train` leaves as it was: which photos there are, and where their cameras are."""

FSGS_WEIGHT = 0.05
"""Of the correlation of depth with a network's (Zhu et al. 2024, "FSGS"), where no other term was asked for."""


def execute(options: Command, console: Console) -> Result:
    """Run the stages that the command asks for."""
    keep_memory()
    if isinstance(options, Train):
        return _bring_up_to_date(train_config(options), "export", options.live, console)
    if isinstance(options, Poses):
        return _bring_up_to_date(photos_config(options), "poses", Live(), console)
    assert isinstance(options, Run), "no other command comes here"
    return _bring_up_to_date(photos_config(options), "export", options.live, console)


def photos_config(options: Run | Poses) -> RunConfig:
    """The configuration of a run that starts from photos: preset, file, options, in this order."""
    photos = options.photos
    if photos.allow_download:
        os.environ[CONSENT] = "1"
    images_dir = photos.images.expanduser().absolute()
    out_dir = (photos.out.expanduser() if photos.out else images_dir / "recon").absolute()
    base = RunConfig(images_dir=images_dir, out_dir=out_dir)
    config = _with_seed(_with_settings(base, options.quality, options.settings), options.settings.seed)
    if isinstance(options, Run):
        config = _with_limits(_with_prior(config, options.prior), options.limits)
    if isinstance(options, Run) and options.representation != "splats":
        config = replace(config, representation=options.representation)
    if isinstance(options, Run) and options.mesh:
        config = replace(config, mesh=replace(config.mesh, enabled=True))
    return _with_photos(config, photos)


def train_config(options: Train) -> RunConfig:
    """The configuration of an existing run, with another one for what comes after the cameras."""
    folder = open_run(options.run, need={"cameras": "recon poses --images FOLDER"})
    saved = replace(configuration.load(folder.config), out_dir=folder.root.absolute())
    if options.allow_download:
        os.environ[CONSENT] = "1"
    wanted = _with_settings(saved, options.quality, options.settings)
    if changed := [name for name in KEPT if getattr(wanted, name) != getattr(saved, name)]:
        raise InputError(
            f"recon train keeps photos and cameras as they are; the settings change {', '.join(changed)}. "
            "To change those, use recon run."
        )
    wanted = _with_limits(_with_prior(_with_seed(wanted, options.settings.seed), options.prior), options.limits)
    return replace(wanted, **{name: getattr(saved, name) for name in KEPT})


def _with_settings(base: RunConfig, quality: str | None, settings: Settings) -> RunConfig:
    config = configuration.resolve(base, quality=quality, config=settings.config, assignments=settings.set)
    return config if settings.device is None else replace(config, device=settings.device)


def _with_seed(config: RunConfig, seed: int | None) -> RunConfig:
    return config if seed is None else configuration.with_seed(config, seed)


def _with_prior(config: RunConfig, asked: Prior) -> RunConfig:
    pseudo = config.train.pseudo
    if asked.prior is not None:
        pseudo = replace(pseudo, prior=asked.prior)
    if asked.prior_seconds is not None:
        pseudo = replace(pseudo, seconds=asked.prior_seconds)
    config = replace(config, train=replace(config.train, pseudo=pseudo))
    return config if asked.depth_prior is None else _with_depth_prior(config, asked.depth_prior)


def _with_depth_prior(config: RunConfig, name: str) -> RunConfig:
    """Names the model, and turns on a term that listens to it if none does."""
    loss = config.train.loss
    heard = any((loss.ranking, loss.correlation, loss.patch_correlation, loss.scale_shift))
    if name != "none" and not heard:
        config = replace(config, train=replace(config.train, loss=replace(loss, correlation=FSGS_WEIGHT)))
    return replace(config, depth_prior=replace(config.depth_prior, model=name))


def _with_limits(config: RunConfig, limits: Limits) -> RunConfig:
    given = {name: value for name, value in vars(limits).items() if value is not None}
    for name, value in given.items():
        if value <= 0:
            raise InputError(f"--{name.replace('_', '-')} must be more than 0, got {value}.")
    return replace(config, train=replace(config.train, budget=replace(config.train.budget, **given)))


def _with_photos(config: RunConfig, photos: Photos) -> RunConfig:
    if photos.holdout:
        config = replace(config, holdout=photos.holdout)
    if photos.masks is not None:
        masks = photos.masks.expanduser().absolute() if is_folder(photos.masks) else photos.masks
        config = replace(config, images=replace(config.images, masks=masks))
    if photos.poses == "auto":
        return config
    if photos.poses in BACKENDS:
        return replace(config, poses=replace(config.poses, backend=photos.poses))
    known = Path(photos.poses).expanduser()
    if known.exists():
        return replace(config, known_poses=known.absolute())
    raise InputError(
        f"--poses {photos.poses} is neither a backend ({', '.join(sorted(BACKENDS))}) nor an existing file or folder."
    )


def _bring_up_to_date(config: RunConfig, until: str, live: Live, console: Console) -> Result:
    viewer: Any = None
    announce_compiling(console)
    with ExitStack() as stack:
        sink = bars = stack.enter_context(progress_sink(console))
        if live.view:
            viewer = _live_viewer(config, live.port, console)
            sink = events.fan_out(bars, viewer)
        try:
            result = pipeline.run(config, sink, until)
        except KeyboardInterrupt:
            kept = f"What is finished is kept in {_shown(config.out_dir)}; the same command goes on from there."
            raise KeyboardInterrupt(
                f"Stopped. {kept if config.out_dir.exists() else 'Nothing was finished yet.'}"
            ) from None
        except Exception as error:
            if viewer is not None:
                viewer.fail(str(error))
            raise
    outcome = Result(_json(result, viewer), _lines(result, until, live.view))
    if viewer is None:
        return outcome
    console.finish(outcome)
    _keep_viewing(viewer, config, console)
    return Result({}, printed=True)


def _live_viewer(config: RunConfig, port: int, console: Console) -> Any:
    from viewer import LiveViewer

    viewer = LiveViewer(config.images_dir.name, port=port)
    console.note(f"Viewer: {viewer.url}")
    return viewer


def _keep_viewing(viewer: Any, config: RunConfig, console: Console) -> None:
    """Leave the page up, with the finished run, until Ctrl-C."""
    if (config.out_dir / "splats.ply").exists():
        viewer.finish(config.out_dir, config.images_dir)
    console.note(f"The viewer stays at {viewer.url}; Ctrl-C ends it.")
    viewer.wait()


def _json(result: RunResult, viewer: Any) -> dict[str, Any]:
    return {
        "status": "nothing to do" if result.nothing_to_do else "done",
        "run": str(result.folder.root),
        "verdict": result.verdict,
        "computed": list(result.computed),
        "resumed": list(result.resumed),
        "metrics": result.metrics,
        **({"viewer": viewer.url} if viewer is not None else {}),
    }


def _lines(result: RunResult, until: str, viewing: bool) -> list[str]:
    """The line at the end, after one per photo that is missing."""
    metrics, shown = result.metrics, _shown(result.folder.root)
    lines = [
        f"Not placed: {photo['name']}: {photo['reason']}"
        for photo in metrics["photos"]["list"]
        if photo.get("status") == "unregistered"
    ]
    took = sum(metrics["stages"][name]["seconds"] for name in result.computed)
    start = "Nothing to do, all results are there" if result.nothing_to_do else f"Done in {_duration(took)}"
    if until == "poses":
        count = thousands(metrics["sparse_points"])
        what = f"{metrics['photos']['placed']} of {metrics['photos']['used']} photos placed, {count} points"
        return [*lines, f"{start}: {what} -> {shown}. Next: recon train {shown}"]
    end = "" if viewing else f" View: recon view {shown}"
    return [*lines, f"{start}: {result.verdict} -> {shown}.{end}"]


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{int(seconds // 60)} min {int(seconds % 60)} s"


def _shown(path: Path) -> str:
    """The path as one would type it here: relative when it is below the present folder."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
