"""Tables of scores: one for each track and kind of poses, data sets apart, and one of the scenes."""

from collections.abc import Sequence
from dataclasses import replace
from statistics import stdev

from recon.benchmark.evaluate import mean_or_none
from recon.benchmark.results import Cell, Table
from recon.benchmark.runs.score import COSTS, Scored

TITLES = {
    "psnr_masked": "PSNR-M",
    "ssim_masked": "SSIM-M",
    "lpips_masked": "LPIPS-M",
    "psnr": "PSNR",
    "ssim": "SSIM",
    "lpips": "LPIPS",
}
POSE_TITLES = {"auc@30": "AUC@30", "rra@15": "RRA@15", "rta@15": "RTA@15"}
"""Of the inputs' estimated cameras; angles in degrees."""
UNITS = {"seconds": ("seconds", 1.0), "cpu_seconds": ("CPU-s", 1.0), "peak_memory_bytes": ("peak GB", 1e9),
         "size_bytes": ("MB", 1e6)}  # fmt: skip
NOTE = (
    "A scene's figure is the mean over its test views, the set's the mean over its scenes, then over seeds; sd: "
    "standard deviation of the first figure over seeds. -M: on the object (PSNR on the mask's pixels, SSIM and LPIPS "
    "in its bounding box). Views that were not shown count as black. Costs: from photos to the stored scene, mean per "
    "scene."
)


def tables(scored: Sequence[Scored]) -> list[Table]:
    """A table for each track and kind of poses, then the scenes."""
    kinds = sorted({(s.track, s.poses) for s in scored})
    found = [set_table([s for s in scored if (s.track, s.poses) == kind], *kind) for kind in kinds]
    return [*found[:-1], replace(found[-1], note=NOTE), scene_table(scored)]


def title(track: str, poses: str) -> str:
    """Heading of a track."""
    name = {"1": "Track 1 (3 photos)", "2": "Track 2 (9 photos)"}.get(track, f"{track} photos")
    return f"{name}, {poses} poses" if poses else name


def set_table(scored: Sequence[Scored], track: str, poses: str) -> Table:
    """A row for each entry and data set."""
    groups = sorted({(s.dataset, s.entry) for s in scored})
    rows = [set_row([s for s in scored if (s.dataset, s.entry) == group]) for group in groups]
    shown = [name for name in TITLES if any(row[name] is not None for row in rows)]
    shown += [name for name in POSE_TITLES if any(row[name] is not None for row in rows)]
    figures = tuple((TITLES | POSE_TITLES)[name] for name in shown)
    columns = ("data set", "entry", "scenes", "seeds", "not shown", "sd", *figures)
    costs = tuple(UNITS[name][0] for name in COSTS)
    body: list[tuple[Cell, ...]] = [
        (*group, row["scenes"], row["seeds"], row["missing"], row["sd"], *(row[name] for name in shown),
         *(row[name] for name in COSTS))
        for group, row in zip(groups, rows)
    ]  # fmt: skip
    return Table(title(track, poses), (*columns, *costs), tuple(body))


def set_row(scored: Sequence[Scored]) -> dict[str, Cell]:
    """Means of one entry on one data set, and what they are of."""
    row = set_means(scored)
    return row | {
        "scenes": len({s.scene for s in scored}),
        "seeds": len({s.seed for s in scored}),
        "missing": sum(s.missing for s in scored),
    }


def set_means(scored: Sequence[Scored]) -> dict[str, Cell]:
    """Means of one entry on one data set: over the scenes of a seed, then over seeds."""
    seeds = sorted({s.seed for s in scored})
    by_seed = [[s for s in scored if s.seed == seed] for seed in seeds]
    means: dict[str, Cell] = {}
    for name in TITLES:
        values = [mean_or_none([s.report.mean()[name] for s in group]) for group in by_seed]
        means[name] = mean_or_none(values)
        present = [value for value in values if value is not None]
        if present and "sd" not in means:
            means["sd"] = stdev(present) if len(present) > 1 else None
    for name in POSE_TITLES:
        means[name] = mean_or_none([(s.report.poses or {}).get(name) for s in scored])
    for name in COSTS:
        mean = mean_or_none([s.costs[name] for s in scored])
        means[name] = None if mean is None else mean / UNITS[name][1]
    return means


def scene_table(scored: Sequence[Scored]) -> Table:
    """A row for each scene and entry, means over seeds."""
    keys = sorted({(s.track, s.poses, s.dataset, s.scene, s.entry) for s in scored})
    groups = [[s for s in scored if (s.track, s.poses, s.dataset, s.scene, s.entry) == key] for key in keys]
    means = [set_means(group) for group in groups]
    shown = [name for name in TITLES if any(row[name] is not None for row in means)]
    rows: list[tuple[Cell, ...]] = [
        (title(key[0], key[1]), *key[2:], *(row[name] for name in shown), row["seconds"], row["size_bytes"],
         " ".join(sorted({s.reason for s in group if s.reason})) or None)
        for key, group, row in zip(keys, groups, means)
    ]  # fmt: skip
    columns = ("track", "data set", "scene", "entry", *(TITLES[name] for name in shown), "seconds", "MB", "failed")
    return Table("Scenes", columns, tuple(rows))
