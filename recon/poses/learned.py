"""Learned features on kornia's modules with the weights that ship: ALIKED and LightGlue.

XFeat with LighterGlue was tried as the cheap first step: at 0.5 CPU-s a pair it costs more than ALIKED with nearest
neighbours (0.05 s a pair), and its whole-pixel keypoints double the rotation errors.
"""

from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from recon.assets import weight_path
from recon.errors import MissingDependencyError
from recon.poses.features import Features, at_work_size, nearest_neighbours, shrink, turn_back

ALIKED_WEIGHTS = "aliked/aliked-n16.safetensors"
ALIKED_LIGHTGLUE_WEIGHTS = "aliked/aliked-lightglue-fp16.safetensors"


def available() -> tuple[bool, str]:
    """Whether kornia and the weights are here, and what to do if not."""
    if find_spec("kornia") is None:
        return False, "kornia is not installed: pip install kornia"
    try:
        for name in (ALIKED_WEIGHTS, ALIKED_LIGHTGLUE_WEIGHTS):
            weight_path(name)
    except MissingDependencyError as error:
        return False, str(error)
    return True, ""


class AlikedMatcher:
    """ALIKED-n16 (Zhao et al. 2023), matched by nearest neighbours or LightGlue (Lindenberger et al., ICCV 2023)."""

    name = "aliked"

    def __init__(self, max_side: int, max_features: int = 2048, *, enlarge: bool = True) -> None:
        self.max_side, self.max_features, self.enlarge = max_side, max_features, enlarge

    def extract(self, photos: Sequence[Float[Tensor, "_ _ 3"]]) -> list[Features]:
        return [self.extract_turned(photo, 0) for photo in photos]

    def extract_turned(self, photo: Float[Tensor, "H W 3"], turns: int) -> Features:
        """The strongest `max_features` keypoints, found after `turns` quarter turns, in pixels of the photo as given.

        The descriptors are not invariant to turns: photos held sideways match upright ones only when turned back.
        """
        small = at_work_size(photo, self.max_side) if self.enlarge else shrink(photo, self.max_side)
        seen = torch.rot90(small, turns, dims=(0, 1)).permute(2, 0, 1)[None].contiguous()
        with torch.inference_mode():
            found: Any = _aliked(self.max_features)(seen)[0]
        size = (small.shape[1], small.shape[0])
        upright = turn_back(found.keypoints.clone() + 0.5, size, turns)
        return _in_photo(photo, small, upright, found.descriptors, turns)

    def nearest(self, a: Features, b: Features) -> Int[Tensor, "M 2"]:
        """Mutual nearest neighbours of the descriptors: twenty times cheaper than LightGlue, for easy pairs."""
        return nearest_neighbours(a.descriptors, b.descriptors, max_ratio=0.9, max_angle_rad=1.2)

    def match(self, a: Features, b: Features) -> Int[Tensor, "M 2"]:
        return _glue(_aliked_lightglue(), a, b)


def _in_photo(photo: Tensor, small: Tensor, keypoints: Tensor, descriptors: Tensor, turns: int = 0) -> Features:
    """Keypoints of the resized photo in pixels of the photo itself."""
    height, width = photo.shape[:2]
    scale = torch.tensor([width / small.shape[1], height / small.shape[0]])
    return Features(keypoints.clone() * scale, descriptors.clone(), (width, height), turns)


def _glue(model: nn.Module, a: Features, b: Features) -> Int[Tensor, "M 2"]:
    if not len(a) or not len(b):
        return torch.zeros((0, 2), dtype=torch.int64)
    sides = []
    for features in (a, b):
        keypoints, size = features.as_seen()
        sides.append(
            {
                "keypoints": keypoints[None],
                "descriptors": features.descriptors[None],
                "image_size": torch.tensor([size]),
            }
        )
    with torch.inference_mode():
        return model({"image0": sides[0], "image1": sides[1]})["matches"][0].clone()


@cache
def _aliked(max_features: int) -> nn.Module:
    from kornia.feature import ALIKED

    model = ALIKED("aliked-n16", max_num_keypoints=max_features, detection_threshold=0.0)
    return _load(model, ALIKED_WEIGHTS)


@cache
def _aliked_lightglue() -> nn.Module:
    from kornia.feature import LightGlue

    no_download: Any = None
    model = LightGlue(features=no_download, input_dim=128)
    return _load(model, ALIKED_LIGHTGLUE_WEIGHTS)


def _load(model: nn.Module, name: str) -> nn.Module:
    """Load a shipped file into `model`, widening stored halves. Only what the file was stripped of may be missing."""
    from safetensors.torch import load_file

    state = {key: value.float() for key, value in load_file(weight_path(name)).items()}
    missing, unexpected = model.load_state_dict(state, strict=False)
    derived = ("num_batches_tracked", "hw_grid", "confidence_thresholds")
    lost = [key for key in missing if not any(part in key for part in derived)]
    assert not lost + unexpected, f"{name} does not fit the module: missing {lost}, unexpected {unexpected}"
    return model.eval()
