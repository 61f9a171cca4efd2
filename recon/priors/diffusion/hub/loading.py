"""Where a big model is, whether it may be used, and what is missing if not. Looking never touches the network."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
import torch

from recon.assets import Checkpoint, cached_checkpoint, obtain_checkpoint
from recon.errors import InputError, MissingDependencyError
from recon.priors.diffusion.base import Licence, Repaired, Views

logger = logging.getLogger(__name__)

INSTALL = "pip install '.[prior]'"
HUB = "https://huggingface.co"


@dataclass(frozen=True)
class HubModel:
    """A published model, or a folder laid out like one, and what it costs to use."""

    checkpoint: Checkpoint
    memory_bytes: int = 0
    """About what it takes while it runs in half precision, guessed from the size of the weights; 0 where unknown."""
    commercial: bool = True

    @property
    def licence(self) -> Licence:
        own = Path(self.checkpoint.id).expanduser().is_dir()
        url = "" if own else f"{HUB}/{self.checkpoint.id}"
        return Licence(self.checkpoint.licence, url, self.checkpoint.size_bytes / 1e6, self.commercial)


def diffusers_files(*parts: str, variant: str = "fp16") -> tuple[str, ...]:
    """The files of a diffusers repository that `parts`, such as `unet`, are loaded from.

    Args:
        variant: which of the stored precisions; empty for the plain files.
    """
    dot = f".{variant}" if variant else ""
    files = ["model_index.json"]
    for part in parts:
        if part.startswith("tokenizer"):
            files += [f"{part}/{name}" for name in ("merges.txt", "vocab.json", "tokenizer_config.json")]
        elif part in ("scheduler", "feature_extractor"):
            files.append(f"{part}/{'scheduler_config' if part == 'scheduler' else 'preprocessor_config'}.json")
        else:
            stem = "model" if "encoder" in part else "diffusion_pytorch_model"
            files += [f"{part}/config.json", f"{part}/{stem}{dot}.safetensors"]
    return tuple(files)


def stored_variant(folder: Path) -> str | None:
    """diffusers' `variant` of a folder: `fp16` where its denoising network is stored in half precision only."""
    plain, half = (folder / "unet" / f"diffusion_pytorch_model{dot}.safetensors" for dot in ("", ".fp16"))
    return "fp16" if half.is_file() and not plain.is_file() else None


def pick_model(choices: Sequence[HubModel], wanted: str = "") -> HubModel:
    """The model called `wanted`, which may be a folder; the first where nothing is asked for."""
    if not wanted:
        return choices[0]
    if Path(wanted).expanduser().is_dir():
        return HubModel(Checkpoint(wanted, "its own", files=()))
    known = {model.checkpoint.id: model for model in choices}
    files = choices[0].checkpoint.files
    return known.get(wanted, HubModel(Checkpoint(wanted, "unknown, see its page", files=files), commercial=False))


def whats_missing(packages: Sequence[str], models: Sequence[HubModel], install: str = INSTALL) -> str:
    """What stands in the way of using `models` here, in sentences; empty if nothing does.

    Args:
        install: the command that installs `packages`.
    """
    said = []
    if absent := [package for package in packages if find_spec(package) is None]:
        said.append(f"Not installed: {', '.join(absent)}. Install: {install}.")
    for model in models:
        if cached_checkpoint(model.checkpoint) is None:
            use = "" if model.commercial else "; no commercial use"
            said.append(
                f"Not on this machine: {model.checkpoint}{use}. Get it: run once with --allow-download or "
                f"RECON_ALLOW_DOWNLOAD=1, or hf download {model.checkpoint.id}."
            )
    numbers = working_device()[1].itemsize / torch.float16.itemsize
    wanted, had = numbers * max((model.memory_bytes for model in models), default=0), memory_bytes()
    if wanted > had:
        said.append(f"Needs about {wanted / 1e9:.0f} GB of memory, found {had / 1e9:.0f} GB. Choose a smaller prior.")
    return " ".join(said)


def memory_bytes() -> int:
    """Of the device that models run on."""
    return torch.cuda.mem_get_info()[1] if torch.cuda.is_available() else psutil.virtual_memory().total


def find_package(name: str, wanted_by: str, install: str = INSTALL) -> Any:
    """An optional package, imported.

    Raises:
        MissingDependencyError: it is not installed, or does not work.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise MissingDependencyError(
            f"{wanted_by} needs the package {name}, which is not installed or does not work ({error}). "
            f"Install it: {install}."
        ) from error


def working_device() -> tuple[torch.device, torch.dtype]:
    """Where models run, and in what precision: CPUs compute half precision slowly or not at all."""
    return (torch.device("cuda"), torch.float16) if torch.cuda.is_available() else (torch.device("cpu"), torch.float32)


class HubNetwork(ABC):
    """What the big models share: found, checked and loaded when first used.

    Args:
        checkpoints: ids or folders in place of the published models, in the order of `models`; empty for the default.

    Raises:
        InputError: more checkpoints than it has models.
    """

    name: str
    title: str
    """In sentences."""
    packages: tuple[str, ...] = ("diffusers", "transformers")
    install: str = INSTALL
    models: tuple[tuple[HubModel, ...], ...]
    """For each model it needs the choices, the default first."""

    def __init__(self, *checkpoints: str) -> None:
        if len(checkpoints) > len(self.models):
            ids = ", ".join(choices[0].checkpoint.id for choices in self.models)
            raise InputError(
                f"{self.title} takes at most {len(self.models)} checkpoint(s), in the place of {ids}; got "
                f"{len(checkpoints)}: {', '.join(checkpoints)}. Leave some out."
            )
        wanted = (*checkpoints, *[""] * (len(self.models) - len(checkpoints)))
        self.chosen = tuple(pick_model(choices, name) for choices, name in zip(self.models, wanted, strict=True))
        self.licence = self.chosen[0].licence
        self.device, self.dtype = working_device()
        self._loaded: Any = None

    def available(self) -> tuple[bool, str]:
        missing = whats_missing(self.packages, self.chosen, self.install)
        return not missing, missing

    @abstractmethod
    def load(self, *folders: Path) -> Any:
        """The networks with the weights of `folders`, on `self.device` in `self.dtype`."""

    def loaded(self) -> Any:
        """What `load` made, made now if it was not yet.

        Raises:
            MissingDependencyError: a package or weights are missing and may not be downloaded.
            ResourceError: the download failed.
        """
        if self._loaded is None:
            for package in self.packages:
                _hush(find_package(package, self.title, self.install))
            folders = [obtain_checkpoint(model.checkpoint, logger.warning) for model in self.chosen]
            self._loaded = self.load(*folders)
        return self._loaded


class HubPrior(HubNetwork):
    """A big model as a prior."""

    @abstractmethod
    def repair(self, views: Views) -> Repaired:
        """As `Prior.repair`."""


def _hush(package: Any) -> None:
    """No progress bars of its own: recon shows one."""
    if (said := getattr(getattr(package, "utils", None), "logging", None)) is not None:
        said.disable_progress_bar()
