"""Scores of rendered views against photos: per image, per scene, per set of scenes.

Predict to disk, then score from disk: whoever rendered, ours or a peer's, is measured by the same code. A scene's
figure is the mean over its images, a set's figure the mean over its scenes (not over all images), as papers report.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from recon.data import ImagesConfig, load_images
from recon.data.decode import UnreadablePhotoError, decode_photo
from recon.data.folder import find_by_stem
from recon.errors import InputError
from recon.metrics import ImageScores, score_image
from recon.metrics.scores import METRICS
from recon.types import ImageSet

FULL_SIZE = 1 << 20
"""No photo is wider: read at full size."""


@dataclass(frozen=True)
class SceneReport:
    """One scene's images, and what it took to get there."""

    name: str
    images: tuple[ImageScores, ...]
    poses: dict[str, float | None] | None = None
    """`PoseErrors.summary()`, where true cameras are known."""
    seconds: float | None = None
    """From photos to splats."""
    size_bytes: int | None = None
    """Of the stored scene."""

    def mean(self) -> dict[str, float | None]:
        """Each metric's mean over the images that have it; None where none has."""
        return {metric: mean_or_none([getattr(image, metric) for image in self.images]) for metric in METRICS}


@dataclass(frozen=True)
class EvalReport:
    """A set of scenes. JSON serialisable through `to_dict`."""

    scenes: tuple[SceneReport, ...]

    def mean(self) -> dict[str, float | None]:
        """Each metric's mean over the scenes that have it, pose errors, seconds and bytes included."""
        rows = [scene_row(scene) for scene in self.scenes]
        names = dict.fromkeys(name for row in rows for name in row)
        return {name: mean_or_none([row.get(name) for row in rows]) for name in names}

    def to_dict(self) -> dict[str, Any]:
        """Everything, means included, as plain values; no NaN and no infinity."""
        scenes = [{**asdict(scene), "mean": scene.mean()} for scene in self.scenes]
        return {"mean": self.mean(), "scenes": scenes}


def scene_row(scene: SceneReport) -> dict[str, float | None]:
    """A scene as one row of a table."""
    row = scene.mean() | (scene.poses or {})
    return row | {"seconds": scene.seconds, "size_bytes": scene.size_bytes}


def mean_or_none(values: Sequence[float | None]) -> float | None:
    present = [value for value in values if value is not None]
    return fmean(present) if present else None


def evaluate_images(name: str, predicted: ImageSet, true: ImageSet) -> SceneReport:
    """Score renderings in memory. Pairs them by file name without suffix; masks are those of `true`.

    Raises:
        InputError: a photo has no rendering, two renderings share a name, or sizes differ.
    """
    stems = [Path(n).stem for n in predicted.names]
    if repeated := sorted({stem for stem in stems if stems.count(stem) > 1}):
        raise InputError(f"Several renderings of scene {name} are called {', '.join(repeated)}. Keep one of each.")
    by_stem = dict(zip(stems, predicted.images))
    if missing := [n for n in true.names if Path(n).stem not in by_stem]:
        raise missing_renderings(name, missing)
    scores = (
        score_image(photo, by_stem[Path(photo).stem], true.images[i], None if true.masks is None else true.masks[i])
        for i, photo in enumerate(true.names)
    )
    return SceneReport(name, tuple(scores))


def evaluate_folders(name: str, predicted: Path, true: Path, masks: Path | None = None) -> SceneReport:
    """Score every photo in `true` against the file of the same stem in `predicted`, one at a time.

    Args:
        masks: folder of masks named like the photos; else the photos' alpha channels, if any.

    Raises:
        InputError: a folder cannot be used, a photo has no rendering, a file is unreadable, or sizes differ.
    """
    photos = load_images(true, ImagesConfig(max_side=FULL_SIZE, masks=masks, min_photos=1, drop_duplicates=False))
    paths = [find_by_stem(predicted, (Path(photo).stem, photo)) for photo in photos.names]
    if missing := [photo for photo, path in zip(photos.names, paths) if path is None]:
        raise missing_renderings(f"{name} in {predicted}", missing)
    scores = []
    for i, (photo, path) in enumerate(zip(photos.names, paths)):
        assert path is not None, "missing renderings were refused above"
        try:
            rendering = decode_photo(path, FULL_SIZE, ImagesConfig.max_megapixels).rgb
        except UnreadablePhotoError as error:
            raise InputError(f"Rendering {path} cannot be read: {error}. Render it again.") from error
        mask = None if photos.masks is None else photos.masks[i]
        scores.append(score_image(photo, rendering, photos.images[i], mask))
    return SceneReport(name, tuple(scores))


def evaluate_set(predicted: Path, true: Path, scenes: Sequence[str], masks: str | None = None) -> EvalReport:
    """Score `predicted/<scene>` against `true/<scene>` for every scene.

    Args:
        masks: name of a folder of masks inside each true scene.
    """
    return EvalReport(
        tuple(
            evaluate_folders(scene, predicted / scene, true / scene, None if masks is None else true / scene / masks)
            for scene in scenes
        )
    )


def missing_renderings(where: str, photos: list[str]) -> InputError:
    some = ", ".join(photos[:5]) + (f" and {len(photos) - 5} more" if len(photos) > 5 else "")
    return InputError(
        f"No rendering of {some} for scene {where}. Render every photo that is to be scored, under the photo's name."
    )
