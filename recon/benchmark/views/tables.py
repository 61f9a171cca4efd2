"""The tables of `recon bench views`: means, gains with their spread, given against estimated cameras, scenes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from recon.benchmark.evaluate import mean_or_none
from recon.benchmark.results import Cell, Table
from recon.benchmark.runs.score import ALIGNED_MARK, COSTS, Scored
from recon.benchmark.runs.tables import TITLES, UNITS
from recon.benchmark.views.arms import Arm
from recon.benchmark.views.marks import marks_table

NOISE_DB = 0.2
"""Nothing smaller is called a difference: single scenes vary by more than a decibel between seeds."""
MIN_SEEDS = 3
WITHIN = "within noise"
MEANS_NOTE = (
    "A scene's figure is the mean over its test views, the row's the mean over scenes, then over seeds; sd: standard "
    "deviation of PSNR over seeds. -M: on the object, scenes with masks only. Views that were not shown are black. "
    "seconds, CPU-s, peak GB: of making the scene, means. Estimated poses: the test cameras are brought to the "
    f"estimated world by a similarity and a change of lens fitted to the inputs; rows with{ALIGNED_MARK}: then each is "
    "moved by itself to fit its photo, the scene held fixed (as InstantSplat and SparseAGS evaluate)."
)
GAINS_NOTE = (
    "PSNR of the arm less that of the other, on the same scenes and seeds; spread: standard deviation over seeds of "
    f"the mean over scenes. {WITHIN}: under {NOISE_DB} dB or under the spread."
)


@dataclass(frozen=True)
class Group:
    """Figures that go into one mean."""

    photos: str
    poses: str
    dataset: str
    entry: str

    @staticmethod
    def of(one: Scored) -> "Group":
        return Group(one.track, one.poses, one.dataset, one.entry)


def make_tables(scored: Sequence[Scored], arms: Sequence[Arm], max_side: int) -> tuple[Table, ...]:
    """Everything that is printed; tables that would be empty are left out."""
    kinds = sorted({(int(s.track), s.poses) for s in scored}, key=lambda kind: (kind[0], kind[1] != "given"))
    found = []
    for photos, poses in kinds:
        part = [s for s in scored if (s.track, s.poses) == (str(photos), poses)]
        title = f"{photos} photos, {poses} poses"
        found += [means_table(part, f"{title}, up to {max_side} pixels"), gains_table(part, arms, f"{title}: gains")]
    found += [poses_table(scored), scenes_table(scored), marks_table(scored, max_side)]
    return tuple(table for table in found if table.rows)


def means_table(scored: Sequence[Scored], title: str) -> Table:
    """A row for each data set and arm, in the order they come."""
    groups = list(dict.fromkeys(map(Group.of, scored)))
    rows = [(group, [s for s in scored if Group.of(s) == group]) for group in sorted(groups, key=lambda g: g.dataset)]
    shown = [name for name in TITLES if any(seed_means(members, _metric(name)) for _, members in rows)]
    costs = [name for name in COSTS if name != "size_bytes"]
    body: list[tuple[Cell, ...]] = [
        (
            group.dataset, group.entry, len({s.scene for s in members}), len({s.seed for s in members}),
            sum(s.missing for s in members),
            *(mean_or_none(list(seed_means(members, _metric(name)).values())) for name in shown),
            spread(list(seed_means(members, _metric("psnr")).values())),
            *(_cost(members, name) for name in costs),
        )
        for group, members in rows
    ]  # fmt: skip
    columns = ("scenes are", "arm", "scenes", "seeds", "not shown", *(TITLES[name] for name in shown), "sd")
    return Table(title, (*columns, *(UNITS[name][0] for name in costs)), tuple(body), MEANS_NOTE)


def gains_table(scored: Sequence[Scored], arms: Sequence[Arm], title: str) -> Table:
    """Each arm against those that it is to be compared with; with estimated poses where test cameras were refined."""
    rows: list[tuple[Cell, ...]] = []
    mark = ALIGNED_MARK if any(s.entry.endswith(ALIGNED_MARK) for s in scored) else ""
    for dataset in sorted({s.dataset for s in scored}):
        part = [s for s in scored if s.dataset == dataset]
        for arm, other in [(one, label) for one in arms for label in one.against]:
            ours, theirs = ([s for s in part if s.entry == f"{label}{mark}"] for label in (arm.label, other))
            gains = paired_gains(ours, theirs, _metric("psnr"))
            if gains:
                masked = mean_or_none(list(paired_gains(ours, theirs, _metric("psnr_masked")).values()))
                gain, sd = fmean(gains.values()), spread(list(gains.values()))
                rows.append(
                    (dataset, arm.label, other, gain, sd, len(gains), masked, verdict(gain, sd, len(gains)), arm.about)
                )
    columns = ("scenes are", "arm", "against", "gain dB", "spread", "seeds", "gain-M dB", "verdict", "what it is")
    return Table(title, columns, tuple(rows), GAINS_NOTE)


def poses_table(scored: Sequence[Scored]) -> Table:
    """What is lost where cameras have to be estimated."""
    rows: list[tuple[Cell, ...]] = []
    given = [s for s in scored if s.poses == "given"]
    for photos, dataset, entry in dict.fromkeys((s.track, s.dataset, s.entry) for s in given):
        ours, theirs = (
            [s for s in scored if (s.track, s.dataset, s.poses, s.entry) == (photos, dataset, poses, entry + mark)]
            for poses, mark in (("estimated", ALIGNED_MARK), ("given", ""))
        )
        gains = list(paired_gains(ours, theirs, _metric("psnr")).values())
        if gains:
            gain, sd = fmean(gains), spread(gains)
            rows.append((int(photos), dataset, entry, gain, sd, len(gains), verdict(gain, sd, len(gains))))
    columns = ("photos", "scenes are", "arm", "difference dB", "spread", "seeds", "verdict")
    note = "PSNR with estimated poses (test cameras refined as said above) less that with given ones (nothing refined)."
    return Table("Estimated against given poses", columns, tuple(rows), note)


def scenes_table(scored: Sequence[Scored]) -> Table:
    """A row for each scene and arm, means over seeds."""
    kinds = list(dict.fromkeys((int(s.track), s.poses, s.scene, s.entry) for s in scored))
    kinds.sort(key=lambda kind: (kind[0], kind[1] != "given", kind[2]))
    groups = [[s for s in scored if (int(s.track), s.poses, s.scene, s.entry) == kind] for kind in kinds]
    shown = [name for name in TITLES if any(seed_means(group, _metric(name)) for group in groups)]
    rows: list[tuple[Cell, ...]] = [
        (
            *kind,
            *(mean_or_none(list(seed_means(group, _metric(name)).values())) for name in shown),
            spread(list(seed_means(group, _metric("psnr")).values())),
            _cost(group, "cpu_seconds"),
            " ".join(sorted({s.reason for s in group if s.reason})) or None,
        )
        for kind, group in zip(kinds, groups)
    ]
    columns = ("photos", "poses", "scene", "arm", *(TITLES[name] for name in shown), "sd", "CPU-s", "failed")
    return Table("Scenes", columns, tuple(rows))


Figure = Callable[[Scored], float | None]


def seed_means(scored: Sequence[Scored], figure: Figure) -> dict[int, float]:
    """Mean over the scenes that have the figure, for each seed."""
    means = {
        seed: mean_or_none([figure(s) for s in scored if s.seed == seed]) for seed in sorted({s.seed for s in scored})
    }
    return {seed: mean for seed, mean in means.items() if mean is not None}


def paired_gains(ours: Sequence[Scored], theirs: Sequence[Scored], figure: Figure) -> dict[int, float]:
    """For each seed, the mean over scenes of ours less theirs; what only one of them has does not count."""
    other = {(s.seed, s.scene): figure(s) for s in theirs}
    gains: dict[int, list[float]] = {}
    for one in ours:
        a, b = figure(one), other.get((one.seed, one.scene))
        if a is not None and b is not None:
            gains.setdefault(one.seed, []).append(a - b)
    return {seed: fmean(values) for seed, values in sorted(gains.items())}


def spread(values: Sequence[float]) -> float | None:
    """Standard deviation over seeds; None of one seed."""
    return stdev(values) if len(values) > 1 else None


def verdict(gain: float, sd: float | None, seeds: int) -> str:
    """Whether a difference is one."""
    if abs(gain) < NOISE_DB or (sd is not None and abs(gain) < sd):
        return WITHIN
    seen = "" if seeds >= MIN_SEEDS else f" ({seeds} {'seed' if seeds == 1 else 'seeds'})"
    return ("better" if gain > 0 else "worse") + seen


def _metric(name: str) -> Figure:
    return lambda one: one.report.mean()[name]


def _cost(scored: Sequence[Scored], name: str) -> float | None:
    mean = mean_or_none([s.costs[name] for s in scored])
    return None if mean is None else mean / UNITS[name][1]
