"""Videos decode to what went in, at even sizes; without ffmpeg there are frames and a reason."""

from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
import torch

from recon import video
from recon.errors import MissingDependencyError
from recon.types import Cameras
from recon.video import VideoConfig


def moving_square(frames: int, width: int, height: int) -> list[np.ndarray]:
    pictures = []
    for i in range(frames):
        picture = np.full((height, width, 3), 40, np.uint8)
        picture[10:30, 5 + 4 * i : 25 + 4 * i] = (220, 60, 60)
        pictures.append(picture)
    return pictures


def test_an_mp4_decodes_to_the_frames(tmp_path: Path) -> None:
    frames = moving_square(8, 96, 64)
    path = tmp_path / "v.mp4"
    assert video.write_mp4(path, frames, (96, 64), VideoConfig(fps=12)) == 8
    back = iio.imread(path, plugin="FFMPEG")
    assert back.shape == (8, 64, 96, 3)
    assert np.abs(back.astype(int) - np.stack(frames).astype(int)).mean() < 6
    assert iio.immeta(path, plugin="FFMPEG")["fps"] == 12
    assert "yuv420p" in iio.immeta(path, plugin="FFMPEG")["pix_fmt"]
    assert [p.name for p in tmp_path.iterdir()] == ["v.mp4"]


@pytest.mark.parametrize(
    ("given", "max_side", "expected"),
    [
        ((535, 800), 480, (320, 480)),
        ((535, 800), None, (534, 800)),
        ((101, 33), 50, (50, 16)),
        ((7, 5), None, (16, 16)),
    ],
)
def test_sizes_are_even(given: tuple[int, int], max_side: int | None, expected: tuple[int, int]) -> None:
    assert video.even_size(*given, max_side) == expected


def test_forth_and_back_turns_without_repeating() -> None:
    frames = [np.full((1, 1, 3), i, np.uint8) for i in (1, 2, 3, 4)]
    assert [int(frame[0, 0, 0]) for frame in video.forth_and_back(frames)] == [1, 2, 3, 4, 3, 2]


def test_path_cameras_keep_the_field_of_view() -> None:
    K = torch.tensor([[[400.0, 0, 200], [0, 400, 300], [0, 0, 1]]])
    like = Cameras.create(torch.eye(4)[None], K, 400, 600)
    small = video.path_cameras(torch.eye(4).repeat(3, 1, 1), like, (200, 300))
    assert len(small) == 3
    assert small.Ks[0].tolist() == [[200, 0, 100], [0, 200, 150], [0, 0, 1]]


def test_without_ffmpeg_frames_are_written_and_the_reason_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(video, "ffmpeg_path", lambda: None)
    with pytest.raises(MissingDependencyError, match="pip install imageio-ffmpeg"):
        video.write_mp4(tmp_path / "v.mp4", [], (16, 16), VideoConfig())
    written = video.write_video(tmp_path / "v.mp4", moving_square(3, 32, 32), (32, 32), VideoConfig())
    assert sorted(p.name for p in written.iterdir()) == ["frame_0000.png", "frame_0001.png", "frame_0002.png"]
    assert "pip install imageio-ffmpeg" in caplog.text


def test_a_failure_while_rendering_leaves_no_file(tmp_path: Path) -> None:
    def frames():
        yield np.zeros((32, 32, 3), np.uint8)
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        video.write_mp4(tmp_path / "v.mp4", frames(), (32, 32), VideoConfig())
    assert list(tmp_path.iterdir()) == []
