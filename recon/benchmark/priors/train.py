"""Training the embedded prior: seeded, on the CPU, the best moment chosen on scenes it never learns from."""

import copy
import logging
import math
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from statistics import fmean

import torch
import torch.nn.functional as F
from torch import Tensor

from recon.benchmark.priors.examples import (
    VaryConfig,
    draw_batch,
    halved,
    learnable,
    read_examples,
    window_paths,
)
from recon.errors import InputError
from recon.metrics import psnr
from recon.metrics.lpips import alexnet_features, load_lpips
from recon.priors.diffusion.embedded import save_network
from recon.priors.diffusion.fitting import LossConfig, Pair, pair_loss
from recon.priors.diffusion.network import BlendNet, Correction, NetworkConfig, Planes, compose, predict

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FitConfig:
    """How long, how fast, on what."""

    steps: int = 1200
    batch: int = 8
    rate: float = 6e-4
    """Adam's, reached after a twentieth of the steps, then down to nothing along a cosine."""
    decay: float = 0.01
    """Of the weights (AdamW)."""
    average: float = 0.998
    """Of the weights' running mean, which is what is kept."""
    least_psnr: float = 14.0
    """Renderings farther from the truth than this are not learnt from."""
    check_every: int = 200
    check_views: int = 36
    """Views of held-out scenes that choose the best moment, at most."""
    seed: int = 0
    network: NetworkConfig = field(default_factory=NetworkConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    vary: VaryConfig = field(default_factory=VaryConfig)


@dataclass(frozen=True)
class Data:
    """Pairs to learn from, and those of held-out scenes, one view each, with their names."""

    train: list[Pair]
    held_out: list[tuple[str, Pair]]

    @property
    def views(self) -> int:
        return sum(len(pair.truth) for pair in self.train)


def read_data(folders: Sequence[Path], held_out: Sequence[str], config: FitConfig) -> Data:
    """All windows of some folders, whole scenes held out.

    Raises:
        InputError: nothing is left on one side.
    """
    train: list[Pair] = []
    kept: list[tuple[str, Pair]] = []
    for path in (path for folder in folders for path in window_paths(folder)):
        for example in read_examples(path, config.network.references):
            pair = learnable(example.pair, config.least_psnr)
            if pair is not None and example.scene in held_out:
                views = range(len(pair.truth))
                kept += [(example.scene, halved(Pair(pair.planes.view(v), pair.truth[v : v + 1]))) for v in views]
            elif pair is not None and min(pair.truth.shape[-2:]) >= config.vary.crop:
                train.append(halved(pair))
    missing = set(held_out) - {scene for scene, _ in kept}
    if not train or missing or not held_out:
        raise InputError(
            f"There are {len(train)} pairs to learn from and {len(kept)} held out, none of them of "
            f"{', '.join(sorted(missing)) or 'any scene'}. Make more windows, or hold out other scenes."
        )
    order = torch.randperm(len(kept), generator=torch.Generator().manual_seed(config.seed)).tolist()
    each = max(1, config.check_views // len(held_out))
    by_scene = {scene: [kept[i] for i in order if kept[i][0] == scene][:each] for scene in held_out}
    return Data(train, [one for scene in held_out for one in by_scene[scene]])


def fit(data: Data, config: FitConfig, out: Path | None = None) -> BlendNet:
    """The network at its best moment; written to `out` whenever it is better than before."""
    torch.manual_seed(config.seed)
    network = BlendNet(config.network)
    mean = copy.deepcopy(network).requires_grad_(False).eval()
    best, best_gain = copy.deepcopy(mean), 0.0
    optimizer = torch.optim.AdamW(network.parameters(), lr=config.rate, weight_decay=config.decay)
    generator = torch.Generator().manual_seed(config.seed)
    perceptual = AlexDistance() if config.loss.perceptual > 0 else None
    started, losses = time.process_time(), []
    for step in range(1, config.steps + 1):
        for group in optimizer.param_groups:
            group["lr"] = config.rate * schedule(step / config.steps)
        batch = draw_batch(data.train, config.batch, config.vary, generator)
        with torch.autocast("cpu", torch.bfloat16):
            loss = pair_loss(network, batch, config.loss, generator, perceptual)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        _follow(mean, network, min(config.average, step / (step + 10)))
        losses.append(loss.item())
        if step % config.check_every == 0 or step == config.steps:
            gains = held_out_gains(mean, data.held_out)
            gain = fmean(gains.values())
            seconds = time.process_time() - started
            listed = " ".join(f"{scene} {value:+.2f}" for scene, value in gains.items())
            logger.info("step %d: loss %.4f, gain %+.3f dB (%s), %.0f s", step, fmean(losses), gain, listed, seconds)
            losses.clear()
            if gain > best_gain:
                best, best_gain = copy.deepcopy(mean), gain
                if out is not None:
                    save_network(best, out)
    return best


def schedule(progress: float) -> float:
    """The learning rate as a share of the highest: up in a straight line, down along a cosine."""
    return min(progress / 0.05, 0.5 + 0.5 * math.cos(math.pi * progress))


@torch.no_grad()
def _follow(mean: BlendNet, network: BlendNet, share: float) -> None:
    for kept, now in zip(mean.parameters(), network.parameters()):
        kept.lerp_(now, 1 - share)


@torch.no_grad()
def held_out_gains(network: BlendNet, pairs: Sequence[tuple[str, Pair]]) -> dict[str, float]:
    """PSNR of the network's pictures over the plain blend's, in dB, mean over the views of each scene."""
    gains: dict[str, list[float]] = defaultdict(list)
    for scene, pair in pairs:
        planes = Planes(*(getattr(pair.planes, f.name).float() for f in fields(Planes)))
        truth = pair.truth.float().movedim(1, -1)
        with torch.autocast("cpu", torch.bfloat16):
            correction = predict(network, planes, torch.Generator().manual_seed(0))
        nothing = Correction(*(torch.zeros_like(getattr(correction, f.name)) for f in fields(Correction)))
        repaired, plain = (compose(planes, each).clamp(0, 1).movedim(1, -1) for each in (correction, nothing))
        gains[scene].append(float(psnr(repaired, truth) - psnr(plain, truth)))
    return {scene: fmean(values) for scene, values in gains.items()}


class AlexDistance:
    """LPIPS (`recon.metrics.lpips`) of whole batches."""

    def __init__(self) -> None:
        self.weights = load_lpips()

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        distance = a.new_zeros(())
        for layer, x in enumerate(alexnet_features(torch.cat([a, b]), self.weights)):
            first, second = F.normalize(x.float(), dim=1, eps=1e-6).chunk(2)
            head = self.weights[f"lin{layer}.weight"].flatten()
            distance = distance + ((first - second).square().mean((0, 2, 3)) * head).sum()
        return distance
