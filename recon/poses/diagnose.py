"""What may be believed of a model, photo by photo and pair by pair, in plain sentences."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from recon.poses.consistency import Support
from recon.poses.degenerate import PANORAMIC, PLANAR, PLANAR_OR_PANORAMIC, is_turn
from recon.poses.features import Pair
from recon.poses.matches import Model, Tracks, Verified
from recon.poses.view_graph import (
    FALSE,
    MIN_AGREEMENT,
    MIN_PARALLAX_DEG,
    MIN_SECOND_LINK,
    SOUND,
    contested,
    groups,
    is_fixed,
    links_of,
    main_component,
    strained,
    uncontradicted,
)
from recon.types import PairDiagnostics, PoseStatus

MIN_CONSISTENT = 100
"""Agreeing matches that a photo needs, unless a pair of photos confirms it by looking into each other."""
SURE_PAIR = 0.4
"""Share of pixels on which the photos of a pair must agree when there is no third photo."""
MAX_FOCAL_UNCERTAINTY = 0.1
"""Relative standard deviation above which a focal length is a guess, and what hangs on it as well."""
OPEN_FOCAL = 0.25
"""From here on the focal length is open and the camera's turns and place with it: three photos whose focal length was
64% off agreed in 97% of their matches, with turns off by 20 degrees and an uncertainty of 0.5."""
LITTLE_PARALLAX_DEG = 2.0
"""Widest median angle between the rays of a set, below which depth is uncertain by a tenth and more."""
FOCAL_RANGE = (0.45, 4.0)
"""Sane focal lengths, in longest sides (16 mm to 144 mm on a full frame)."""

GENERAL, PLANE, ROTATION, NONE = "general", "plane", "rotation", "none"


@dataclass(frozen=True)
class Verdict:
    status: PoseStatus
    reason: str
    confidence: float


def judge(v: int, names: tuple[str, ...], model: Model, support: Support, pairs: list[PairDiagnostics]) -> Verdict:
    """Label photo v. `reason` is empty exactly when the status is `ok`."""
    if not model.registered[v]:
        return Verdict(PoseStatus.UNREGISTERED, why_unregistered(v, names, pairs), 0.0)
    problems = find_problems(v, names, model, support)
    status = PoseStatus.LOW if problems else PoseStatus.OK
    return Verdict(status, "; ".join(problems), confidence_of(evidence_of(v, model, support).ratio, not problems))


def find_problems(v: int, names: tuple[str, ...], model: Model, support: Support) -> list[str]:
    """What speaks against believing the position of placed photo v, in words; nothing when it is `ok`."""
    seen = evidence_of(v, model, support)
    problems = []
    if seen.agreeing < MIN_CONSISTENT and seen.sound_links < 2:
        problems.append(f"only {seen.agreeing} matches agree with its position")
    if seen.ratio < MIN_AGREEMENT:
        problems.append(f"{1 - seen.ratio:.0%} of its matches contradict its position")
    if model.registered.sum() == 2:
        problems.extend(_pair_problems(support))
    elif not seen.in_main:
        problems.append(_loose_tie(v, names, model, support))
    elif not seen.fixed:
        problems.append(f"held by one other photo only (second-best link: {seen.second} matches)")
    if model.registered.sum() > 2 and support.focal_uncertainty > OPEN_FOCAL:
        problems.append("the photos do not settle the focal length, and with it the position")
    sound = [pair for pair in links_of(support, SOUND) if v in pair]
    if sound and support.turns.issuperset(sound):
        other = names[_partner(sound[0], v)]
        problems.append(f"a turn on the spot explains what it and {other} show as well: step aside between photos")
    if not has_sane_focal(v, model):
        problems.append("the focal length found for it is hardly possible")
    return problems


def _pair_problems(support: Support) -> list[str]:
    """Two photos alone: nothing confirms them but their pixels, and a wrong focal length bends everything."""
    if max(support.dense.values(), default=0.0) < SURE_PAIR:
        return ["held by one other photo only, and the two do not look into each other well enough to be sure"]
    if not support.focal_uncertainty <= MAX_FOCAL_UNCERTAINTY:
        return ["two photos do not settle the focal length, and with it the position"]
    return []


def _loose_tie(v: int, names: tuple[str, ...], model: Model, support: Support) -> str:
    false = [pair for pair in links_of(support, FALSE) if v in pair]
    if false:
        other = names[_partner(false[0], v)]
        return f"it and {other} do not look into each other where their matches say they should"
    bent = strained(support, model.registered)
    if mine := [pair for pair in bent if v in pair]:
        flags, other = support.consistent[mine[0]], names[_partner(mine[0], v)]
        return f"{int((~flags).sum())} of its {len(flags)} matches with {other} contradict where the two stand"
    if bent and v in main_component(support, model.registered):
        return "what ties it to the largest group of photos are photos whose matches contradict where they stand"
    group = next((group for group in groups(support, model.registered) if v in group), {v})
    joints = [pair for pair in contested(support, model.registered) if len(group.intersection(pair)) == 1]
    if joints:
        flags = np.concatenate([support.consistent[pair] for pair in joints])
        who = "it" if len(group) == 1 else "it and the photos it stands with"
        return f"{int((~flags).sum())} of the {len(flags)} matches that tie {who} to the others contradict their places"
    return f"only weak links tie it to the largest group of photos (best: {max([*support.links(v), 0])} matches)"


def has_sane_focal(v: int, model: Model) -> bool:
    """Whether photo v's focal length lies in `FOCAL_RANGE`."""
    return bool(FOCAL_RANGE[0] <= model.focal_factors[v] <= FOCAL_RANGE[1])


def is_supported(v: int, model: Model, support: Support) -> bool:
    """Whether photo v would be labelled `ok`."""
    names = tuple(map(str, range(len(model.Ks))))
    return bool(model.registered[v]) and not find_problems(v, names, model, support)


@dataclass(frozen=True)
class Evidence:
    """What speaks for one photo's position."""

    agreeing: int
    ratio: float
    """Of its verified matches with placed photos, the share that agrees."""
    second: int
    """Agreeing matches of its second-best link: with one link only, nothing confirms it."""
    sound_links: int
    in_main: bool
    fixed: bool


def evidence_of(v: int, model: Model, support: Support) -> Evidence:
    """Gather what is known of photo v."""
    links = [*support.links(v), 0, 0]
    sound = sum(v in pair for pair in links_of(support, SOUND))
    main = main_component(support, uncontradicted(support, model.registered))
    return Evidence(
        agreeing=sum(links),
        ratio=support.ratio(v, model.registered),
        second=links[1],
        sound_links=sound,
        in_main=v in main and len(main) > 2 and 2 * len(main) >= int(model.registered.sum()),
        fixed=is_fixed(v, support),
    )


def confidence_of(ratio: float, believed: bool) -> float:
    """Chance that a placed photo is right: a logistic of the agreeing share of its matches and of its label.

    The weights were fitted to 237 photos of eleven scenes, and rounded; fitted to all scenes but one and tried on that,
    the Brier score was 0.06 (0.13 for one number for all).
    """
    return float(1 / (1 + np.exp(1.0 - 0.6 * ratio - (5.4 if believed else 0.0))))


def focal_warning(focal_px: float, longest_side: float, uncertainty: float = 0.0) -> str | None:
    """A sentence when an estimated focal length is hardly believable or hardly determined."""
    factor = focal_px / longest_side
    remedy = "Photos that keep their EXIF data, or views from more different directions, settle it."
    if not FOCAL_RANGE[0] <= factor <= FOCAL_RANGE[1]:
        return (
            f"The estimated focal length, {factor:.2f} times the photos' longest side, is unusual: depth may be "
            f"stretched or flattened. {remedy}"
        )
    if uncertainty > MAX_FOCAL_UNCERTAINTY:
        known = f"to {uncertainty:.0%}" if uncertainty < 1 else "not at all"
        return (
            f"The focal length, {factor:.2f} times the photos' longest side, is determined {known} by these photos: "
            f"depth may be stretched or flattened. {remedy}"
        )
    return None


def set_warning(pairs: list[PairDiagnostics], support: Support) -> str | None:
    """A sentence when it is not single photos but the whole set that carries little depth."""
    sound = links_of(support, SOUND)
    if not sound:
        return None
    if support.turns.issuperset(sound):
        return (
            "All photos seem to be taken from the same spot: turning the camera shows no depth. Take a step aside "
            "between photos, about a tenth of the distance to the subject."
        )
    widest = max(support.parallax_deg[pair] for pair in sound)
    if widest < LITTLE_PARALLAX_DEG:
        return (
            f"The photos were taken from places close together (the subject turns by {widest:.1f} degrees at most): "
            "depth is uncertain. Step further aside between photos."
        )
    if all(pair.kind == PLANE for pair in pairs if (pair.i, pair.j) in sound):
        return (
            "Everything that the photos have in common lies in one plane. If there is more than a flat surface to see, "
            "add photos that show it from the side."
        )
    return None


def why_cut(v: int, names: tuple[str, ...], support: Support, registered: NDArray) -> str:
    """Why a photo that the mapper placed is left out all the same, and which photo would tie it to the others."""
    main = main_component(support, registered)
    mine = [pair for pair in support.consistent if v in pair and (set(pair) - {v}) <= main]
    other = (
        names[_partner(max(mine, key=lambda pair: int(support.consistent[pair].sum())), v)] if mine else "the others"
    )
    group = ", ".join(names[u] for u in sorted(main))
    return (
        f"what it shows could not be tied to the largest group of photos ({group}): look-alike parts match, but its "
        f"photo and {other} do not look into each other; add a photo between it and {other}"
    )


def _partner(pair: Pair, v: int) -> int:
    return pair[1] if pair[0] == v else pair[0]


def why_unregistered(v: int, names: tuple[str, ...], pairs: list[PairDiagnostics]) -> str:
    """The likeliest cause, and what to do about it."""
    mine = [p for p in pairs if v in (p.i, p.j)]
    best = max(mine, key=lambda p: p.n_inliers, default=None)
    if best is None or best.n_inliers < MIN_SECOND_LINK:
        seen = (
            f" (best: {best.n_inliers} matches with {names[_partner((best.i, best.j), v)]})"
            if best and best.n_inliers
            else ""
        )
        return f"no overlap with the other photos was found{seen}; add a photo between it and its neighbours"
    other = names[_partner((best.i, best.j), v)]
    if best.kind == ROTATION:
        return f"taken from the same spot as {other} (no parallax); step aside between photos"
    if best.kind == PLANE:
        return f"sees only a flat surface together with {other}; add a photo that shows something at another depth"
    return f"matches {other} ({best.n_inliers} matches) but no position agrees with the rest; add a photo between them"


def describe_pairs(
    tracks: Tracks,
    verified: Verified,
    model: Model | None,
    support: Support | None,
    focal_px: NDArray | None,
    sizes: NDArray,
) -> list[PairDiagnostics]:
    """Diagnostics of every matched pair; positions in photo pixels.

    `sizes` [V, 2] and `focal_px` [V] are in working pixels; None where lenses are not known beforehand.
    """
    described = []
    for (i, j), inliers in verified.inliers.items():
        flags = support.consistent[i, j] if support else np.ones(len(inliers), bool)
        registered = model is not None and bool(model.registered[[i, j]].all())
        kept = inliers[flags] if registered else inliers
        parallax = support.parallax_deg[i, j] if support and registered else np.nan
        points = [
            torch.from_numpy(tracks.keypoints[v][kept[:, side]] / tracks.scale[v]).float()
            for side, v in enumerate((i, j))
        ]
        described.append(
            PairDiagnostics(
                i=i,
                j=j,
                n_matches=len(tracks.matches[i, j]),
                n_inliers=len(kept),
                median_parallax_deg=None if np.isnan(parallax) else float(parallax),
                kind=_kind((i, j), tracks, verified, parallax, focal_px, sizes),
                points_i=points[0],
                points_j=points[1],
            )
        )
    return described


def _kind(
    pair: Pair, tracks: Tracks, verified: Verified, parallax: float, focal_px: NDArray | None, sizes: NDArray
) -> str:
    """COLMAP's classes folded into four; a homography is told apart by whether it can be a turn of the camera."""
    config = verified.kind[pair]
    if not len(verified.inliers[pair]) or config in (0, 1):
        return NONE
    if config not in (PLANAR, PANORAMIC, PLANAR_OR_PANORAMIC):
        return GENERAL
    if is_turn(pair, tracks, verified, sizes, focal_px):
        return ROTATION
    return PLANE if config == PLANAR or not parallax > MIN_PARALLAX_DEG else GENERAL
