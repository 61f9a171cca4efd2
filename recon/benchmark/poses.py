"""`recon bench poses`: cameras from 3, 6 and 9 photos of scenes whose cameras are known, focal length withheld.

The scenes are not part of the package: set RECON_DATA to a folder that holds them (`datasets/README.md` names them).
A case is *solved* when every pair of its photos is within 15 degrees in rotation and in direction of translation. A
photo is *right* when it is within 15 degrees of both against at least half of the other placed photos.
"""

import logging
import math
import os
import resource
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import pairwise, product
from pathlib import Path
from statistics import mean, median

import torch

from recon.benchmark import machine
from recon.benchmark.pose_subsets import committed_path, read_subsets, viewing_angles_deg, widest_gap_deg
from recon.benchmark.registry import BenchOptions
from recon.benchmark.results import BenchResult, Cell, Table
from recon.data import load_images
from recon.data.known import load_posed, match
from recon.errors import InputError, PoseError
from recon.metrics import PoseErrors, pose_errors
from recon.poses import PosesConfig, estimate
from recon.types import Cameras, ImageSet, PoseResult, PoseStatus

logger = logging.getLogger(__name__)

BACKENDS = ("colmap", "auto")
RIGHT_DEG = 15.0
GAP_BINS_DEG = (0.0, 30.0, 60.0, 180.0)
CONFIDENCE_BINS = (0.0, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 1.01)
SUMMARY_COLUMNS = (
    "photos", "backend", "solved", "RRA@5", "RRA@15", "RTA@5", "RTA@15", "AUC@5", "AUC@30", "ATE/spread",
    "registered", "wrong but ok", "right and ok", "focal error", "CPU-s",
)  # fmt: skip
GAP_COLUMNS = tuple(
    map(SUMMARY_COLUMNS.index, ("backend", "solved", "AUC@30", "wrong but ok", "right and ok", "CPU-s"))
)
QUICK_SCENES = ("dev/lund_door", "dev/synth_FlightHelmet")
"""What the short run takes: small photos, one easy scene and one hard one, 3 photos each."""


@dataclass(frozen=True)
class Case:
    """One subset of one scene."""

    scene: str
    subset: str
    names: tuple[str, ...]


@dataclass(frozen=True)
class Outcome:
    """What one backend made of one case."""

    case: Case
    backend: str
    cpu_seconds: float
    errors: PoseErrors | None
    """None when no two photos were placed."""
    ok: tuple[bool, ...]
    right: tuple[bool, ...]
    registered: tuple[bool, ...]
    confidence: tuple[float, ...]
    spread: float
    """Root mean square distance of the true centres from their mean."""
    gap_deg: float = math.nan
    """See `widest_gap_deg`."""

    @property
    def solved(self) -> bool:
        return self.errors is not None and bool(self.errors.worst_deg.max() <= RIGHT_DEG)


def run(options: BenchOptions) -> BenchResult:
    """Every committed case (the quick run: the 3-photo cases of `QUICK_SCENES`) with every backend.

    Raises:
        InputError: RECON_DATA is not set, or holds none of the scenes.
    """
    started = _cpu_seconds()
    root = data_root()
    cases = find_cases(root, quick=options.quick)
    outcomes = []
    for case, name in product(cases, BACKENDS):
        outcomes.append(run_case(root, case, name, options.seed))
        logger.info("%s %s %s: %s", case.scene, case.subset, name, "solved" if outcomes[-1].solved else "not solved")
    return BenchResult(
        name="poses",
        description="Cameras from a handful of photos, unknown focal length",
        command="recon bench poses" if options.quick else "recon bench poses --full",
        tables=make_tables(outcomes),
        machine=machine.describe(),
        versions=machine.versions(),
        seeds={"poses": options.seed},
        options={"quick": options.quick},
        date=datetime.now(UTC).strftime("%Y-%m-%d"),
        cpu_seconds=_cpu_seconds() - started,
    )


def make_tables(outcomes: Sequence[Outcome]) -> tuple[Table, ...]:
    """Everything that is printed of the outcomes."""
    return summary_table(outcomes), gap_table(outcomes), case_table(outcomes), calibration_table(outcomes)


def data_root() -> Path:
    """The folder of test scenes.

    Raises:
        InputError: the environment does not name one.
    """
    root = os.environ.get("RECON_DATA")
    if not root or not Path(root).is_dir():
        raise InputError(
            "The poses benchmark needs scenes with known cameras. Set RECON_DATA to a folder that holds them as "
            "dev/NAME and bench/NAME with a transforms.json each (see datasets/README.md)."
        )
    return Path(root)


def find_cases(root: Path, *, quick: bool) -> list[Case]:
    """The committed cases whose scenes are there, smallest first."""
    cases = [
        Case(scene, subset, tuple(names))
        for scene, subsets in read_subsets(committed_path()).items()
        for subset, names in subsets.items()
        if (root / scene / "transforms.json").is_file() and (not quick or (scene in QUICK_SCENES and len(names) == 3))
    ]
    if not cases:
        raise InputError(f"{root} (RECON_DATA) holds none of the benchmark's scenes. See datasets/README.md.")
    return sorted(cases, key=lambda case: len(case.names))


def run_case(root: Path, case: Case, backend: str, seed: int = 0) -> Outcome:
    """Estimate one case and compare with the truth."""
    images, truth = load_case(root, case)
    started = _cpu_seconds()
    try:
        result = estimate(images, PosesConfig(backend=backend, seed=seed))
    except PoseError:
        result = None
    seconds = _cpu_seconds() - started
    spread = float((truth.centers - truth.centers.mean(0)).square().sum(1).mean().sqrt())
    gap = widest_gap_deg(viewing_angles_deg(truth))
    if result is None:
        nobody = (False,) * len(images)
        return Outcome(case, backend, seconds, None, nobody, nobody, nobody, (0.0,) * len(images), spread, gap)
    errors = pose_errors(result.cameras, truth)
    registered = tuple(bool(flag) for flag in result.cameras.registered)
    ok = tuple(status is PoseStatus.OK for status in result.status)
    confidence = tuple(result.cameras.confidence.tolist())
    right = right_photos(errors, result)
    return Outcome(case, backend, seconds, errors, ok, right, registered, confidence, spread, gap)


def load_case(root: Path, case: Case) -> tuple[ImageSet, Cameras]:
    """Photos of a case with their focal length withheld, and their true cameras."""
    known = load_posed(root / case.scene / "transforms.json")
    files = {Path(name).name: root / case.scene / name for name in known.names}
    with tempfile.TemporaryDirectory(prefix="recon-bench-") as folder:
        for name in case.names:
            (Path(folder) / name).symlink_to(files[name].resolve())
        images = load_images(folder)
    images = replace(images, focal_px=torch.full((len(images),), math.nan), masks=None)
    return images, match(known, images)


def right_photos(errors: PoseErrors, result: PoseResult) -> tuple[bool, ...]:
    """Per photo, whether it agrees with at least half of the other placed photos."""
    placed = result.cameras.registered
    flags = []
    for v in range(len(placed)):
        mine = (errors.pairs == v).any(1) & placed[errors.pairs].all(1)
        worst = errors.worst_deg[mine].sort().values
        flags.append(bool(len(worst) and worst[(len(worst) - 1) // 2] <= RIGHT_DEG))
    return tuple(flags)


def summary_table(outcomes: Sequence[Outcome]) -> Table:
    """One row per number of photos and backend."""
    sizes = sorted({len(o.case.names) for o in outcomes})
    groups = [[o for o in outcomes if (len(o.case.names), o.backend) == (n, b)] for n in sizes for b in BACKENDS]
    return Table(
        title="Cases of near, even and wide subsets",
        columns=SUMMARY_COLUMNS,
        rows=tuple(_summary(group) for group in groups if group),
        note=(
            "Shares over all pairs or photos; a case without a model counts with zero. ATE after a similarity, median "
            "over the cases with at least three photos placed; focal error: median over cases; CPU-s: mean per case. "
            "wrong but ok: of all photos; right and ok: of the right photos."
        ),
    )


def _summary(group: Sequence[Outcome]) -> tuple[Cell, ...]:
    def share(function: str, threshold: float) -> float:
        return mean(getattr(o.errors, function)(threshold) if o.errors else 0.0 for o in group)

    ok, right, registered = ([flag for o in group for flag in getattr(o, n)] for n in ("ok", "right", "registered"))
    wrong_ok = [a and not b for a, b in zip(ok, right)]
    ate = [o.errors.ate / o.spread for o in group if o.errors and sum(o.registered) >= 3]
    focal = [float(o.errors.focal.nanmedian()) for o in group if o.errors]
    return (
        len(group[0].case.names),
        group[0].backend,
        f"{sum(o.solved for o in group)}/{len(group)}",
        *(share("rra", x) for x in (5.0, RIGHT_DEG)),
        *(share("rta", x) for x in (5.0, RIGHT_DEG)),
        *(share("auc", x) for x in (5.0, 30.0)),
        median(ate) if ate else None,
        mean(map(float, registered)),
        mean(map(float, wrong_ok)),
        sum(a and b for a, b in zip(ok, right)) / sum(right) if any(right) else None,
        median(focal) if focal else None,
        mean(o.cpu_seconds for o in group),
    )


def gap_table(outcomes: Sequence[Outcome]) -> Table:
    """The main figures apart by how far apart the photos stand."""
    rows: list[tuple[Cell, ...]] = []
    for n, (low, high), backend in product(
        sorted({len(o.case.names) for o in outcomes}), pairwise(GAP_BINS_DEG), BACKENDS
    ):
        group = [o for o in outcomes if (len(o.case.names), o.backend) == (n, backend) and low < o.gap_deg <= high]
        if group:
            row = _summary(group)
            rows.append((n, f"{low:g} to {high:g}", *(row[k] for k in GAP_COLUMNS)))
    return Table(
        title="By the widest gap that has to be bridged",
        columns=("photos", "gap (deg)", *(SUMMARY_COLUMNS[k] for k in GAP_COLUMNS)),
        rows=tuple(rows),
        note="gap: the largest angle between viewing directions in the tree of smallest angles that joins the photos.",
    )


def case_table(outcomes: Sequence[Outcome]) -> Table:
    """One row per case and backend."""
    rows: list[tuple[Cell, ...]] = []
    for o in outcomes:
        worst = float(o.errors.worst_deg.max()) if o.errors else None
        labels = "".join(
            "-"
            if not placed
            else {(True, True): "o", (True, False): "X", (False, True): "l", (False, False): "w"}[a, b]
            for placed, a, b in zip(o.registered, o.ok, o.right)
        )
        focal = float(o.errors.focal.nanmedian()) if o.errors else None
        where: tuple[Cell, ...] = (o.case.scene, o.case.subset, o.gap_deg)
        rows.append((*where, o.backend, str(o.solved), worst, labels, focal, o.cpu_seconds))
    return Table(
        title="Each case",
        columns=(
            "scene",
            "subset",
            "gap (deg)",
            "backend",
            "solved",
            "worst pair (deg)",
            "photos",
            "focal error",
            "CPU-s",
        ),
        rows=tuple(rows),
        note="photos: o right and ok, l right but low, w wrong and low, X wrong but ok, - not placed.",
    )


def calibration_table(outcomes: Sequence[Outcome]) -> Table:
    """How often photos of a confidence are right, per backend. Only placed photos count."""
    rows: list[tuple[Cell, ...]] = []
    scores = []
    for backend in BACKENDS:
        placed = [
            (c, float(right))
            for o in outcomes
            if o.backend == backend
            for c, right, flag in zip(o.confidence, o.right, o.registered)
            if flag
        ]
        for low, high in pairwise(CONFIDENCE_BINS):
            found = [(c, right) for c, right in placed if low <= c < high]
            if found:
                rows.append((backend, f"{low:g} to {min(high, 1):g}", len(found), *map(mean, zip(*found))))
        if placed:
            scores.append(f"{backend} {mean((c - right) ** 2 for c, right in placed):.3f}")
    return Table(
        title="Confidence against truth",
        columns=("backend", "confidence", "photos", "mean confidence", "share right"),
        rows=tuple(rows),
        note=f"Brier score (0 is perfect, 0.25 a coin): {', '.join(scores) or 'no photo was placed'}.",
    )


def _cpu_seconds() -> float:
    """Of this process and of the child processes it has waited for."""
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
