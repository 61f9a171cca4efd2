"""Fly-through videos: frames to H.264 through ffmpeg, or to PNG files where there is no ffmpeg."""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy import ndarray
from PIL import Image
from torch import Tensor

from recon.errors import MissingDependencyError, ResourceError
from recon.files import atomic_path
from recon.types import Cameras

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class VideoConfig:
    """The fly-through of a finished scene."""

    frames: int = 90
    """Frames that are rendered; an open path is shown forth and back, so it lasts twice as long. 0 makes no video."""
    fps: int = 24
    max_side: int = 640
    """Longest side in pixels (sizes are made even, as H.264 wants)."""
    path: Literal["interpolate", "orbit", "spiral"] = "interpolate"
    crf: int = 20
    """H.264 quality: lower is better and larger; 18 to 23 is usual."""


def ffmpeg_path() -> str | None:
    """The ffmpeg that would be used, or None."""
    try:
        import imageio_ffmpeg

        return imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError):
        return None


def even_size(width: int, height: int, max_side: int | None = None) -> tuple[int, int]:
    """Width and height scaled to `max_side` (never up) and rounded down to even numbers of at least 16."""
    scale = 1.0 if max_side is None else min(1.0, max_side / max(width, height))
    return max(16, round(width * scale) // 2 * 2), max(16, round(height * scale) // 2 * 2)


def path_cameras(cam_from_world: Float[Tensor, "F 4 4"], like: Cameras, size: tuple[int, int]) -> Cameras:
    """Cameras of a path with the lens that `like` has on average, at `size` (width, height), centred."""
    width, height = size
    scale = (like.width + like.height).to(like.Ks) / (width + height)
    focal = (like.Ks[:, 0, 0] / scale).median()
    K = torch.tensor([[1.0, 0.0, width / 2], [0.0, 1.0, height / 2], [0.0, 0.0, 1.0]]).to(like.Ks)
    K[0, 0] = K[1, 1] = focal
    return Cameras.create(cam_from_world, K.expand(len(cam_from_world), 3, 3).clone(), width, height)


def to_bytes(rgb: Float[Tensor, "H W 3"]) -> UInt8[ndarray, "H W 3"]:
    """A picture in [0, 1] as 8-bit values."""
    return (rgb.detach().clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()


def forth_and_back(frames: Iterable[ndarray]) -> Iterator[ndarray]:
    """The frames, then the same in reverse without repeating the turning points: loops smoothly at no extra cost."""
    kept = []
    for frame in frames:
        kept.append(frame)
        yield frame
    yield from kept[-2:0:-1]


def write_mp4(path: Path, frames: Iterable[ndarray], size: tuple[int, int], config: VideoConfig) -> int:
    """Encode 8-bit RGB frames of `size` (width, height, both even) as H.264 yuv420p; returns the number of frames.

    Raises:
        MissingDependencyError: there is no ffmpeg.
        ResourceError: ffmpeg failed, usually for a full disk.
    """
    if ffmpeg_path() is None:
        raise MissingDependencyError(
            "No ffmpeg found, so no MP4 can be written. Install it with: pip install imageio-ffmpeg "
            "(or your system's ffmpeg package)."
        )
    import imageio_ffmpeg

    count = 0
    with atomic_path(path) as temporary:
        writer = imageio_ffmpeg.write_frames(
            str(temporary),
            size,
            fps=config.fps,
            codec="libx264",
            pix_fmt_out="yuv420p",
            macro_block_size=2,
            quality=None,
            output_params=["-crf", str(config.crf), "-preset", "veryfast", "-movflags", "+faststart"],
        )
        try:
            writer.send(None)
            for frame in frames:
                writer.send(np.ascontiguousarray(frame))
                count += 1
        except OSError as error:
            raise ResourceError(f"ffmpeg could not write {path}: {str(error).splitlines()[0]}") from error
        finally:
            writer.close()
    return count


def write_frames(folder: Path, frames: Iterable[ndarray]) -> int:
    """Frames as `frame_0000.png` and on; returns their number."""
    count = 0
    for count, frame in enumerate(frames, start=1):
        with atomic_path(folder / f"frame_{count - 1:04d}.png") as temporary:
            Image.fromarray(frame).save(temporary, compress_level=3)
    return count


def write_video(path: Path, frames: Iterable[ndarray], size: tuple[int, int], config: VideoConfig) -> Path:
    """An MP4 at `path`; without ffmpeg, PNG frames in a folder of the same name, with a warning that says why."""
    if ffmpeg_path() is not None:
        write_mp4(path, frames, size, config)
        return path
    folder = path.with_suffix("")
    log.warning(
        "No ffmpeg found: wrote PNG frames to %s instead of a video. For MP4: pip install imageio-ffmpeg", folder
    )
    write_frames(folder, frames)
    return folder
