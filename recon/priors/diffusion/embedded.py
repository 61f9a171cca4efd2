"""The prior that ships with recon: the network of `recon.priors.diffusion.network` and its weights, on any CPU."""

import copy
import functools
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from recon.assets import weight_path
from recon.errors import InputError, MissingDependencyError
from recon.files import atomic_path
from recon.priors.diffusion.base import Licence, Repaired, Views
from recon.priors.diffusion.fitting import Pair, adapt
from recon.priors.diffusion.network import BlendNet, NetworkConfig, Planes, compose, confidence_logits, predict

WEIGHTS = "embedded_prior/embedded_prior.safetensors"
CONFIG_KEY = "config"
"""Of the file's metadata: the `NetworkConfig` as JSON."""


class EmbeddedPrior:
    """A plain blend that has learnt, from scenes with truth, which photo to believe where."""

    name = "embedded"
    licence = Licence("Apache-2.0", megabytes=2.4)

    def __init__(self, network: BlendNet | None = None) -> None:
        """With `network`, that one; the shipped one otherwise, read when it is first asked."""
        self._network = network

    @property
    def network(self) -> BlendNet:
        """Raises MissingDependencyError where the weights are not."""
        if self._network is None:
            self._network = shipped_network()
        return self._network

    def available(self) -> tuple[bool, str]:
        try:
            weight_path(WEIGHTS)
        except MissingDependencyError as error:
            return self._network is not None, "" if self._network is not None else str(error)
        return True, ""

    @torch.no_grad()
    def repair(self, views: Views) -> Repaired:
        """One view after the other, as they may be large; the noise is each view's own, by `views.seed`."""
        images, confidences = [], []
        network = self.network.to(views.rgb.device)
        planes = Planes.of(first_references(views, network.config.references))
        for v in range(len(views)):
            one = planes.view(v)
            generator = torch.Generator().manual_seed(views.seed)
            with torch.autocast("cpu", torch.bfloat16, enabled=has_fast_bfloat16()):
                correction = predict(network, one, generator)
            images.append(compose(one, correction).clamp(0, 1))
            confidences.append(confidence_logits(one, correction).sigmoid())
        return Repaired(torch.cat(images).movedim(1, -1).contiguous(), torch.cat(confidences))

    def taught(self, seen: Sequence[tuple[Views, Float[Tensor, "H W 3"]]], steps: int) -> "EmbeddedPrior":
        pairs = [
            Pair(Planes.of(first_references(views, self.network.config.references)), truth.movedim(-1, 0)[None])
            for views, truth in seen
        ]
        return EmbeddedPrior(adapt(self.network, pairs, steps))

    def state_dict(self) -> dict[str, Any]:
        return self.network.state_dict()

    def with_state(self, state: dict[str, Any]) -> "EmbeddedPrior":
        network = copy.deepcopy(self.network)
        network.load_state_dict(state)
        return EmbeddedPrior(network)


def first_references(views: Views, count: int) -> Views:
    """Views of their `count` nearest photos.

    Raises:
        InputError: they have fewer.
    """
    if views.nearest.shape[1] < count:
        raise InputError(
            f"The embedded prior looks at {count} photos of each view, got {views.nearest.shape[1]}. "
            f"Make the views with references={count}."
        )
    names = ("nearest", "warped", "warped_own", "valid")
    return replace(views, **{name: getattr(views, name)[:, :count] for name in names})


def has_fast_bfloat16() -> bool:
    """Whether this CPU computes in bfloat16 itself; where it does not, emulation is slower than float32."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


@functools.cache
def shipped_network() -> BlendNet:
    """The network with the weights that ship with recon, read once.

    Raises:
        MissingDependencyError: they are not there.
    """
    return load_network(weight_path(WEIGHTS))


def save_network(network: BlendNet, path: Path) -> None:
    """Write weights in half precision, with the network's shape."""
    tensors = {name: value.detach().half().contiguous() for name, value in network.state_dict().items()}
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, {CONFIG_KEY: json.dumps(asdict(network.config))})


def load_network(path: Path) -> BlendNet:
    """What `save_network` wrote, in single precision."""
    with safe_open(path, "pt") as file:
        config = json.loads(file.metadata()[CONFIG_KEY])
        tensors = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118 (no mapping)
    network = BlendNet(NetworkConfig(**{**config, "channels": tuple(config["channels"])}))
    network.load_state_dict(tensors)
    return network.eval().requires_grad_(False)
