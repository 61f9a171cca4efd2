"""How near renderings, the plain blend and a network come to photos that neither has seen."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from recon.benchmark.priors.examples import read_examples
from recon.benchmark.results import Cell, Table
from recon.metrics import lpips, psnr, ssim
from recon.priors.diffusion import BlendPrior, NullPrior, Prior
from recon.priors.diffusion.embedded import EmbeddedPrior, load_network

METRICS = ("psnr", "ssim", "lpips")


@dataclass(frozen=True)
class Score:
    """One view of one stage of a window."""

    scene: str
    arm: str
    values: tuple[float, float, float]
    """PSNR, SSIM, LPIPS."""


def arms(weights: Path | None) -> dict[str, Prior]:
    """What is compared: the shipped network, or the one of a file."""
    return {
        "render": NullPrior(),
        "blend": BlendPrior(),
        "embedded": EmbeddedPrior(None if weights is None else load_network(weights)),
    }


def score(windows: Sequence[Path], priors: dict[str, Prior]) -> list[Score]:
    """Every view of every stage, by every arm."""
    scores = []
    for path in windows:
        for example in read_examples(path):
            for arm, prior in priors.items():
                images = prior.repair(example.views).images.clamp(0, 1)
                for image, truth in zip(images, example.truth):
                    fidelity = float(psnr(image, truth)), float(ssim(image[None], truth[None]).mean())
                    scores.append(Score(example.scene, arm, (*fidelity, float(lpips(image, truth)))))
    return scores


def score_table(scores: Sequence[Score]) -> Table:
    """A line for each scene, and the mean over scenes; gains are over the renderings."""
    by_scene: dict[str, dict[str, list[tuple[float, float, float]]]] = defaultdict(lambda: defaultdict(list))
    for one in scores:
        by_scene[one.scene][one.arm].append(one.values)
    means = {
        scene: {arm: tuple(map(fmean, zip(*values))) for arm, values in by_arm.items()}
        for scene, by_arm in by_scene.items()
    }
    names = list(next(iter(means.values())))
    rows = [_row(scene, [means[scene][arm] for arm in names]) for scene in means]
    everywhere = [tuple(map(fmean, zip(*(means[scene][arm] for scene in means)))) for arm in names]
    return Table(
        title="Views that neither splats nor network have seen",
        columns=("scene", *(f"{arm} {metric}" for metric in METRICS for arm in names)),
        rows=(*rows, _row("mean", everywhere)),
        note="Means over the views of a scene, then over scenes.",
    )


def _row(name: str, values: Sequence[Sequence[float]]) -> tuple[Cell, ...]:
    return (name, *(round(value[k], 2 if k == 0 else 4) for k in range(len(METRICS)) for value in values))
