"""What the report shows."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor

from recon.types import Cameras, ImageSet, PairDiagnostics, PointCloud


@dataclass(frozen=True)
class ReportConfig:
    """How large the report's pictures are."""

    picture_side: int = 400
    """Longest side of small pictures in pixels."""
    jpeg_quality: int = 82
    max_pairs: int = 6
    """Pairs of photos whose matches are drawn."""
    embed_video_mb: float = 4.0
    """A larger video is left out of the page (it lies beside it)."""


@dataclass(frozen=True)
class InputView:
    """One photo of the run."""

    name: str
    photo: Float[Tensor, "_ _ 3"]
    row: dict[str, Any]
    """status, reason, confidence, points_seen, reprojection_error_px."""
    rendered: Float[Tensor, "_ _ 3"] | None = None
    """What its camera shows of the result; None for a photo that was not placed."""
    rendered_depth: Float[Tensor, "_ _"] | None = None
    stereo_depth: Float[Tensor, "_ _"] | None = None


@dataclass(frozen=True)
class HeldOutView:
    """One photo that no stage has seen."""

    name: str
    photo: Float[Tensor, "_ _ 3"]
    rendered: Float[Tensor, "_ _ 3"] | None
    scores: dict[str, Any]
    """psnr, ssim, lpips, placed_by; or reason where it could not be placed."""


@dataclass(frozen=True)
class Report:
    """Everything the page is made of."""

    title: str
    verdict: str
    inputs: list[InputView]
    held_out: list[HeldOutView]
    points: PointCloud
    cameras: Cameras
    pairs: tuple[PairDiagnostics, ...]
    photos: ImageSet
    """What the pairs' indices and positions refer to."""
    metrics: dict[str, Any]
    config: dict[str, Any]
    run_folder: Path
