"""MapAnything (Keetha et al. 2025), through its package `mapanything`."""

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from recon.assets import Checkpoint, refuse_download
from recon.geometry import inverse_se3
from recon.poses.feedforward.backend import FeedForwardBackend
from recon.poses.feedforward.prediction import Canvas, Prediction, predicted

logger = logging.getLogger(__name__)

ENCODER_CODE = "facebookresearch/dinov2"
"""The package fetches the code of its image encoder from GitHub by torch.hub."""


class MapAnythingBackend(FeedForwardBackend):
    name = "mapanything"
    title = "MapAnything"
    module = "mapanything"
    # not on PyPI; its own requirements would put an older OpenCV in the place of recon's
    install = (
        "pip install '.[mapanything]' && pip install --no-deps git+https://github.com/facebookresearch/map-anything"
    )
    checkpoints = (
        Checkpoint("facebook/map-anything-apache", "Apache-2.0", 4_900_000_000),
        Checkpoint("facebook/map-anything", "CC BY-NC 4.0: no commercial use", 4_900_000_000),
    )

    def load(self, folder: Path) -> Any:
        model_class = self.package("mapanything.models").MapAnything
        encoder = json.loads((folder / "config.json").read_text(encoding="utf-8"))["encoder_config"]
        if encoder.get("encoder_str") != "dinov2":
            return model_class.from_pretrained(str(folder))
        encoder["torch_hub_pretrained"] = False  # it would fetch 4.5 GB that the checkpoint overwrites
        with encoder_code():
            return model_class.from_pretrained(str(folder), encoder_config=encoder)

    def ask(self, model: Any, photos: Sequence[Float[Tensor, "_ _ 3"]], device: torch.device) -> Prediction:
        pictures = [(photo.clamp(0, 1) * 255).round().to(torch.uint8).numpy() for photo in photos]
        views = self.package("mapanything.utils.image").preprocess_inputs([{"img": picture} for picture in pictures])
        canvases = [_canvas(photo, view["img"].shape[-2:]) for photo, view in zip(photos, views)]
        said = model.infer(views)

        def gathered(name: str) -> Tensor:
            return torch.cat([view[name] for view in said]).float().cpu()

        Ks = gathered("intrinsics")
        Ks[:, :2, 2] += 0.5  # the package puts the first pixel's centre at (0, 0)
        poses = inverse_se3(gathered("camera_poses"))
        return predicted(photos, canvases, poses, Ks, gathered("depth_z")[..., 0], gathered("conf"))


@contextmanager
def encoder_code() -> Iterator[None]:
    """While the model is built: let torch.hub take the encoder's code from its cache without asking GitHub.

    Raises:
        MissingDependencyError: the code is not cached, and downloads are not allowed.
    """
    cached = sorted(Path(torch.hub.get_dir()).glob(f"{ENCODER_CODE.replace('/', '_')}_*/hubconf.py"))
    if not cached:
        refuse_download(
            f"The files of the image encoder's code ({ENCODER_CODE} on GitHub, Apache-2.0, 3 MB)",
            f"put a copy of it at {torch.hub.get_dir()}/{ENCODER_CODE.replace('/', '_')}_main",
        )
        logger.warning("Downloading the code of %s from GitHub (Apache-2.0, 3 MB).", ENCODER_CODE)
        yield
        return
    original = torch.hub.load

    def load(repository: str, model: str, *args: Any, **options: Any) -> Any:
        if repository != ENCODER_CODE:
            return original(repository, model, *args, **options)
        options.pop("force_reload", None)
        return original(str(cached[0].parent), model, *args, source="local", **options)

    torch.hub.load = load  # type: ignore[assignment]
    try:
        yield
    finally:
        torch.hub.load = original


def _canvas(photo: Tensor, canvas_size: Sequence[int]) -> Canvas:
    """The package covers its canvas with the photo, sides rounded down, and crops what overhangs about the middle."""
    (height, width), (canvas_height, canvas_width) = photo.shape[:2], canvas_size
    scale = max(canvas_width / width, canvas_height / height) + 1e-8
    w, h = int(width * scale), int(height * scale)
    return Canvas(w / width, h / height, -((w - canvas_width) // 2), -((h - canvas_height) // 2))
