"""The page is self-contained, escapes what comes from outside, and says what it does not know."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recon.geometry import look_at
from recon.report import HeldOutView, InputView, Report, ReportConfig, build_report, pictures
from recon.types import Cameras, ImageSet, PairDiagnostics, PointCloud


def photo(seed: int, height: int = 60, width: int = 80) -> torch.Tensor:
    return torch.rand(height, width, 3, generator=torch.Generator().manual_seed(seed))


def make_cameras(n: int) -> Cameras:
    eyes = torch.stack([torch.linspace(-1, 1, n), torch.zeros(n), torch.full((n,), -4.0)], dim=1)
    poses = look_at(eyes, torch.zeros(n, 3), torch.tensor([0.0, -1.0, 0.0]).expand(n, 3))
    K = torch.tensor([[80.0, 0, 40], [0, 80, 30], [0, 0, 1]]).expand(n, 3, 3)
    return Cameras.create(poses, K, 80, 60)


def make_row(status: str, reason: str = "") -> dict[str, Any]:
    placed = status != "unregistered"
    return {
        "status": status,
        "reason": reason,
        "confidence": 0.9 if placed else 0.0,
        "points_seen": 120 if placed else 0,
        "reprojection_error_px": 0.4 if placed else None,
    }


def make_metrics(**changes: Any) -> dict[str, Any]:
    cost = {"seconds": 2.0, "cpu_seconds": 3.0, "peak_memory_bytes": 5 * 10**8}
    return {
        "recon": "0.1.0",
        "quality": "draft",
        "device": "cpu",
        "rasterizer": "cpu",
        "stages": {"images": cost, "poses": cost},
        "total": cost,
        "warnings": [],
        "training": {"history": [{"step": s, "psnr": 15.0 + s} for s in range(1, 6)]},
        "training_views": {"psnr": 27.5, "note": "no measure of quality", "views": []},
        "machine": {"processor": "test", "cores": 2},
        "versions": {"python": "3.11"},
        **changes,
    }


@pytest.fixture
def report(tmp_path: Path) -> Report:
    depth = torch.rand(60, 80) + 1
    depth[:10] = 0
    images = (photo(0), photo(1), photo(2))
    pair = PairDiagnostics(0, 1, 40, 30, 4.0, "general", torch.rand(30, 2) * 60, torch.rand(30, 2) * 60)
    return Report(
        title="<script>alert(1)</script>",
        verdict="2 of 3 photos placed",
        inputs=[
            InputView("a.jpg", images[0], make_row("ok"), photo(3), depth, depth),
            InputView("b.jpg", images[1], make_row("low", "weak link"), photo(4), depth, None),
            InputView("c<b>.jpg", images[2], make_row("unregistered", "no overlap with a.jpg & b.jpg")),
        ],
        held_out=[],
        points=PointCloud(torch.randn(500, 3), torch.rand(500, 3), torch.rand(500)),
        cameras=make_cameras(2),
        pairs=(pair,),
        photos=ImageSet(("a.jpg", "b.jpg", "c<b>.jpg"), images, torch.full((3,), float("nan")), torch.zeros(3).long()),
        metrics=make_metrics(),
        config={"train": {"steps": 5}},
        run_folder=tmp_path,
    )


def test_it_loads_nothing_and_escapes_names(report: Report) -> None:
    page = build_report(report, ReportConfig())
    assert not re.findall(r"""(?:src|href|poster)\s*=\s*["'](?!data:)""", page)
    assert not re.findall(r"url\(|@import|<link|<script", page)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "c&lt;b&gt;.jpg" in page
    assert "viewport" in page


def test_it_says_which_photo_was_not_placed_and_why(report: Report) -> None:
    page = build_report(report, ReportConfig())
    assert "not placed" in page
    assert "no overlap with a.jpg &amp; b.jpg" in page
    assert "placed, doubtful" in page


def test_without_held_out_photos_it_claims_nothing_about_new_views(report: Report) -> None:
    page = build_report(report, ReportConfig())
    assert "nothing here measures how good new views are" in page
    assert "no measure of quality" in page
    assert "SSIM" not in page


def test_held_out_photos_are_shown_beside_their_rendering_with_scores(report: Report) -> None:
    scores = {"psnr": 21.25, "ssim": 0.8, "lpips": 0.125, "placed_by": "given camera"}
    lost = {"placed_by": None, "reason": "no matches"}
    summary = {"measured": 1, "not_placed": 1, "psnr": 21.25, "ssim": 0.8, "lpips": 0.125}
    report = replace(
        report,
        held_out=[
            HeldOutView("h.jpg", photo(7, 120, 160), photo(8), scores),
            HeldOutView("l.jpg", photo(9), None, lost),
        ],
        metrics=make_metrics(held_out=summary),
    )
    page = build_report(report, ReportConfig())
    assert "21.25 dB, SSIM 0.800, LPIPS 0.125" in page
    assert "given camera" in page
    assert "no matches" in page
    assert "nothing here measures" not in page


def test_a_small_video_is_inside_and_a_large_one_beside(report: Report) -> None:
    (report.run_folder / "video.mp4").write_bytes(b"0" * 1000)
    assert "data:video/mp4;base64," in build_report(report, ReportConfig())
    assert "data:video/mp4" not in build_report(report, ReportConfig(embed_video_mb=0.0001))


def test_it_stays_small(report: Report) -> None:
    page = build_report(report, ReportConfig())
    assert len(page) < 1_000_000
    assert json.dumps(page).isascii()


def test_the_cloud_picture_shows_points_and_every_camera() -> None:
    points = PointCloud(torch.randn(4000, 3) * 0.5, torch.tensor([[1.0, 1.0, 1.0]]).expand(4000, 3), torch.ones(4000))
    for top in (False, True):
        picture = pictures.cloud_picture(points, make_cameras(3), (300, 200), top=top)
        assert picture.shape == (200, 300, 3)
        assert (picture == 255).all(-1).sum() > 300
        for color in pictures.ACCENTS[:3]:
            assert (picture == np.array(color)).all(-1).sum() > 15


def test_near_points_cover_far_ones() -> None:
    points = PointCloud(
        torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 3.0]]), torch.tensor([[1.0, 0, 0], [0, 1.0, 0]]), torch.ones(2)
    )
    canvas = np.zeros((20, 20, 3), np.uint8)
    uv = torch.tensor([[10.0, 10.0], [10.0, 10.0]])
    pictures._paint(canvas, uv, torch.tensor([4.0, 7.0]), (points.rgb * 255).to(torch.uint8).numpy())
    assert canvas[10, 10].tolist() == [255, 0, 0]


def test_error_maps_are_dark_where_equal_and_bright_where_not() -> None:
    truth = torch.full((10, 10, 3), 0.5)
    rendered = truth.clone()
    rendered[:5] = 0.9
    error = pictures.error_map(rendered, truth).astype(int).sum(-1)
    assert error[7, 7] < 30
    assert error[2, 2] > 500


def test_unknown_depth_is_drawn_as_backdrop() -> None:
    depth = torch.full((8, 8), 2.0)
    depth[0] = 0
    depth[4:] = 4.0
    picture = pictures.depth_picture(depth, pictures.depth_range(depth))
    assert picture[0, 0].tolist() == list(pictures.BACKDROP)
    assert picture[1, 0].tolist() != picture[7, 0].tolist()
    assert pictures.depth_range(torch.zeros(3, 3), None) == (0.0, 1.0)


def test_matches_of_photos_of_different_sizes_are_drawn() -> None:
    pair = PairDiagnostics(0, 1, 5, 5, None, "general", torch.rand(5, 2) * 40, torch.rand(5, 2) * 40)
    picture = pictures.match_picture(photo(0, 50, 80), photo(1, 90, 60), pair, 100)
    assert picture.shape[0] == 90
    assert any((picture == np.array(color)).all(-1).any() for color in pictures.ACCENTS)
    plain = pictures.match_picture(photo(0), photo(1), replace(pair, points_i=None, points_j=None), 100)
    assert not any((plain == np.array(color)).all(-1).sum() > 5 for color in pictures.ACCENTS)


def test_what_a_prior_gained_is_told(report: Report) -> None:
    assert "Prior for pictures" not in build_report(report, ReportConfig())
    photo = {"name": "a<b>.jpg", "before_db": 20.0, "after_db": 20.5, "gain_db": 0.5, "counts": 1.0}
    prior = {
        "name": "blend", "reason": "It gained.", "photos": [photo], "gate_seconds": 4.0, "repair_seconds": 2.5,
        "repaired_views": 12, "rounds": 1, "out_of_time": True,
    }  # fmt: skip
    page = build_report(replace(report, metrics=make_metrics(prior=prior)), ReportConfig())
    for said in ("Prior for pictures: blend", "It gained.", "a&lt;b&gt;.jpg", "+0.50", "6.5 s in all", "ran out"):
        assert said in page
