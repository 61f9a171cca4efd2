"""`recon eval`: a result against photos that it was not made from."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.table import Table

from recon import data
from recon.cli.allocator import keep_memory
from recon.cli.compiling import announce_compiling
from recon.cli.console import Console, Result
from recon.cli.options import Eval
from recon.cli.progress import progress_sink
from recon.data.masks import is_folder
from recon.errors import InputError
from recon.pipeline import open_finished
from recon.pipeline.core import Run
from recon.pipeline.evaluate import save_views, score, summarize
from recon.runfolder import open_run
from recon.types import ImageSet


def execute(options: Eval, console: Console) -> Result:
    """Place the photos against the finished model, render them and compare."""
    folder = open_run(options.run, need={"splats": f"recon train {options.run}"})
    keep_memory()
    announce_compiling(console)
    with progress_sink(console) as sink:
        run = open_finished(folder, sink, options.device)
        queries = _queries(run, options.images)
        scored, unplaced = score(run, queries)
    target = folder.renders / ("held_out" if options.images is None else "eval")
    save_views(target, [(view.name, view.rendering) for view in scored])
    summary = summarize(scored, unplaced)
    value = {"status": "done", "run": str(folder.root), "renders": str(target), **summary}
    return Result(value, [_table(summary), f"Renders: {target}"])


def _queries(run: Run, extra: Path | None) -> ImageSet:
    """The photos to measure with: none that the run was made from."""
    photos = run.value("images")
    if extra is None:
        if photos.held_out is None:
            raise InputError(
                f"{run.folder.root} was made from all its photos, so there is nothing to measure with. Make it again "
                "with recon run --holdout 1, or give other photos of the scene with --images."
            )
        return photos.held_out
    masks = None if is_folder(run.config.images.masks) else run.config.images.masks  # the folder is the run's photos'
    found = data.load_images(extra, replace(run.config.images, masks=masks, min_photos=1))
    used = set(photos.used.names)
    new = [i for i, name in enumerate(found.names) if name not in used]
    if not new:
        raise InputError(f"All photos in {extra} were used to make {run.folder.root}. Give others of the same scene.")
    return data.select(found, new)


def _table(summary: dict[str, Any]) -> Table:
    table = Table(title=f"{summary['measured']} measured, {summary['not_placed']} not placed")
    for title in ("photo", "PSNR", "SSIM", "LPIPS", "placed by"):
        table.add_column(title, justify="left" if title in ("photo", "placed by") else "right")
    mean = {"name": "mean", "placed_by": "", **{k: summary[k] for k in ("psnr", "ssim", "lpips")}}
    for view in [*summary["views"], mean]:
        numbers = [
            f"{view[k]:.{d}f}" if view.get(k) is not None else "-" for k, d in (("psnr", 2), ("ssim", 3), ("lpips", 3))
        ]
        how = view["placed_by"] if view["placed_by"] is not None else f"not placed: {view['reason']}"
        table.add_row(view["name"], *numbers, how)
    return table
