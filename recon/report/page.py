"""The page: sections of HTML around inline pictures. Everything from outside is escaped."""

import base64
import html
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from recon.report import pictures
from recon.report.contents import HeldOutView, InputView, Report, ReportConfig
from recon.report.style import CSS
from recon.types import Cameras

STAGE_TITLES = {
    "images": "Reading photos",
    "poses": "Finding cameras",
    "dense": "Dense points",
    "placing": "Looking again at doubtful photos",
    "train": "Training",
    "evaluate": "Measuring",
    "export": "Video and report",
}
FILES = {
    "splats.ply": "the Gaussians, in the 3DGS layout: opens in SuperSplat and other splat viewers",
    "field.npz": "the radiance field that the pictures show; splats.ply lies on its surface",
    "cameras.json": "the cameras, in nerfstudio's transforms.json layout",
    "sparse/0": "the cameras and points as a COLMAP model",
    "points.ply": "the point cloud: opens in MeshLab, CloudCompare, Blender",
    "video.mp4": "a fly-through",
    "renders/": "the photos' views as rendered, with depth",
    "metrics.json": "everything that was measured",
}


def build_report(report: Report, config: ReportConfig) -> str:
    """The whole page as text."""
    sections = [
        _header(report, config),
        _warnings(report),
        _inputs(report, config),
        _held_out(report, config),
        _views(report, config),
        _cloud(report, config),
        _pairs(report, config),
        _costs(report),
        _training(report),
        _prior(report),
        _files(report),
        _settings(report),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_text(report.title)} - recon</title><style>{CSS}</style></head>\n"
        f"<body><main>\n{chr(10).join(s for s in sections if s)}\n</main></body></html>\n"
    )


def _text(value: Any) -> str:
    return html.escape(str(value))


def _figure(picture: np.ndarray, caption: str, config: ReportConfig, alt: str = "") -> str:
    uri = pictures.data_uri(picture, config.jpeg_quality)
    height, width = picture.shape[:2]
    return (
        f'<figure><img src="{uri}" width="{width}" height="{height}" alt="{_text(alt or caption)}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _header(report: Report, config: ReportConfig) -> str:
    metrics = report.metrics
    seconds = metrics["total"]["seconds"]
    how = f"{_text(metrics['quality'])} quality on {_text(metrics['device'])}, {_duration(seconds)} in all"
    return (
        f"<header><h1>{_text(report.title)}</h1><p class='verdict'>{_text(report.verdict)}</p>"
        f"<p class='soft'>{how}; recon {_text(metrics['recon'])}</p>{_hero(report, config)}</header>"
    )


def _hero(report: Report, config: ReportConfig) -> str:
    """The fly-through if it is small enough, else the rendering of the middle photo."""
    rendered = [view.rendered for view in report.inputs if view.rendered is not None]
    if not rendered:
        return ""
    poster = pictures.data_uri(pictures.to_picture(rendered[len(rendered) // 2], 960), 88)
    cloud = pictures.cloud_picture(report.points, _placed_cameras(report), (600, 600))
    beside = f'<img class="side" src="{pictures.data_uri(cloud, config.jpeg_quality)}" alt="Points and cameras">'
    video = report.run_folder / "video.mp4"
    if video.is_file() and video.stat().st_size <= config.embed_video_mb * 1e6:
        clip = "data:video/mp4;base64," + base64.b64encode(video.read_bytes()).decode()
        return (
            f'<div class="hero"><video class="main" src="{clip}" poster="{poster}" autoplay muted loop playsinline '
            f"controls></video>{beside}</div>"
        )
    return f'<div class="hero"><img class="main" src="{poster}" alt="The scene as rendered">{beside}</div>'


def _warnings(report: Report) -> str:
    found = report.metrics["warnings"]
    return "".join(f'<p class="notice">{_text(message)}</p>' for message in found)


def _inputs(report: Report, config: ReportConfig) -> str:
    cards = "".join(_input_card(view, config) for view in report.inputs)
    return f"<section><h2>Photos</h2><div class='grid'>{cards}</div></section>"


def _input_card(view: InputView, config: ReportConfig) -> str:
    row = view.row
    labels = {"ok": "placed", "low": "placed, doubtful", "unregistered": "not placed"}
    facts = []
    if row["status"] != "unregistered":
        facts.append(f"confidence {row['confidence']:.0%}")
        if row["points_seen"]:
            facts.append(f"sees {row['points_seen']} points")
        if row["reprojection_error_px"] is not None:
            facts.append(f"off by {row['reprojection_error_px']:.2f} px")
    caption = (
        f"<b>{_text(view.name)}</b> <span class='tag {_text(row['status'])}'>{labels[row['status']]}</span>"
        f"<div class='meter'><i style='width:{100 * row['confidence']:.0f}%'></i></div>"
        f"{_text(', '.join(facts))}{' ' if facts else ''}{_text(row['reason'])}"
    )
    figure = _figure(pictures.to_picture(view.photo, config.picture_side), caption, config, view.name)
    return f"<div class='card'>{figure}</div>"


def _held_out(report: Report, config: ReportConfig) -> str:
    if not report.held_out:
        return (
            "<section><h2>New views</h2><p class='notice'>No photo was held out, so nothing here measures how good new "
            "views are. Run with <code>--holdout 1</code> to keep a photo aside and compare it with its rendering.</p>"
            "</section>"
        )
    summary = report.metrics["held_out"]
    means = [
        f"{summary[key]:.{digits}f} {unit}"
        for key, digits, unit in (("psnr", 2, "dB PSNR"), ("ssim", 3, "SSIM"), ("lpips", 3, "LPIPS"))
        if summary[key] is not None
    ]
    mean = f"<p>Mean of {summary['measured']}: {_text(', '.join(means))}.</p>" if means else ""
    rows = "".join(_held_out_row(view, config) for view in report.held_out)
    return f"<section><h2>Photos that were held out</h2>{mean}{rows}</section>"


def _held_out_row(view: HeldOutView, config: ReportConfig) -> str:
    if view.rendered is None:
        figure = _figure(pictures.to_picture(view.photo, config.picture_side), _text(view.name), config)
        reason = _text(view.scores.get("reason", ""))
        note = f"<p><span class='tag unregistered'>not placed</span> {reason}</p>"
        return f"<div class='card stack'><div class='row'>{figure}{note}</div></div>"
    truth = pictures.resized_to(view.photo, view.rendered)
    scores = f"{view.scores['psnr']:.2f} dB, SSIM {view.scores['ssim']:.3f}"
    if view.scores.get("lpips") is not None:
        scores += f", LPIPS {view.scores['lpips']:.3f}"
    error = pictures.shrink(pictures.error_map(view.rendered, truth), config.picture_side)
    figures = (
        _figure(pictures.to_picture(truth, config.picture_side), f"{_text(view.name)}, the photo", config)
        + _figure(pictures.to_picture(view.rendered, config.picture_side), f"rendered: {scores}", config)
        + _figure(error, "difference (yellow: a quarter of the range or more)", config)
    )
    placed = f"<figcaption>Placed by: {_text(view.scores['placed_by'])}.</figcaption>"
    return f"<div class='card stack'><div class='row'>{figures}</div>{placed}</div>"


def _views(report: Report, config: ReportConfig) -> str:
    placed = [view for view in report.inputs if view.rendered is not None]
    if not placed:
        return ""
    rows = "".join(_view_row(view, config) for view in placed)
    fit = report.metrics["training_views"]
    return (
        f"<section><h2>The photos' own views</h2><p class='soft'>Mean {fit['psnr']:.2f} dB. "
        f"{_text(fit['note'])}</p>{rows}</section>"
    )


def _view_row(view: InputView, config: ReportConfig) -> str:
    assert view.rendered is not None, "only placed photos have a row"
    side = config.picture_side
    limits = pictures.depth_range(view.stereo_depth, view.rendered_depth)
    figures = [
        _figure(pictures.to_picture(view.photo, side), _text(view.name), config),
        _figure(pictures.to_picture(view.rendered, side), "rendered", config),
    ]
    if view.rendered_depth is not None:
        depth = pictures.depth_picture(view.rendered_depth, limits, side)
        figures.append(_figure(depth, "depth as rendered (red near, blue far)", config))
    if view.stereo_depth is not None:
        depth = pictures.depth_picture(view.stereo_depth, limits, side)
        figures.append(_figure(depth, "depth from stereo (dark: unknown)", config))
    return f"<div class='card stack'><div class='row'>{''.join(figures)}</div></div>"


def _cloud(report: Report, config: ReportConfig) -> str:
    cameras = _placed_cameras(report)
    count = f"{len(report.points):,} points".replace(",", " ")
    figures = _figure(
        pictures.cloud_picture(report.points, cameras), f"{count} and the cameras, from behind them", config
    ) + _figure(pictures.cloud_picture(report.points, cameras, top=True), "from above", config)
    return f"<section><h2>Points and cameras</h2><div class='card'><div class='wide'>{figures}</div></div></section>"


def _placed_cameras(report: Report) -> Cameras:
    return report.cameras[torch.nonzero(report.cameras.registered)[:, 0]]


def _pairs(report: Report, config: ReportConfig) -> str:
    if not report.pairs:
        return ""
    best = sorted(report.pairs, key=lambda pair: -pair.n_inliers)
    drawn = [pair for pair in best if pair.points_i is not None and len(pair.points_i)][: config.max_pairs]
    images, names = report.photos.images, report.photos.names
    figures = "".join(
        "<div class='card'>"
        + _figure(
            pictures.match_picture(images[pair.i], images[pair.j], pair, config.picture_side // 2 + 60),
            f"{_text(names[pair.i])} and {_text(names[pair.j])}: {pair.n_inliers} matches that agree",
            config,
        )
        + "</div>"
        for pair in drawn
    )
    rows = (
        (
            _text(names[pair.i]),
            _text(names[pair.j]),
            pair.n_matches,
            pair.n_inliers,
            "" if pair.median_parallax_deg is None else f"{pair.median_parallax_deg:.1f}\u00b0",
            _text(pair.kind),
        )
        for pair in best
    )
    table = _table(("photo", "photo", "matches", "agree", "parallax", "relation"), rows, numeric=(2, 3, 4))
    return (
        f"<section><h2>Which photos see the same</h2><div class='wide'>{figures}</div>"
        f"<details><summary>All {len(best)} pairs</summary>{table}</details></section>"
    )


def _table(head: Iterable[str], rows: Iterable[Iterable[Any]], numeric: tuple[int, ...] = ()) -> str:
    """Cells are HTML already."""

    def cells(tag: str, values: Iterable[Any]) -> str:
        return "".join(f"<{tag}{' class=num' if i in numeric else ''}>{v}</{tag}>" for i, v in enumerate(values))

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f"<div class='scroll'><table><tr>{cells('th', head)}</tr>{body}</table></div>"


def _costs(report: Report) -> str:
    stages, total = report.metrics["stages"], report.metrics["total"]
    longest = max([cost["seconds"] for cost in stages.values()] + [1e-9])
    rows = "".join(
        f"<tr><td>{_text(STAGE_TITLES.get(name, name))}</td><td class='bar'><i style='width:"
        f"{100 * cost['seconds'] / longest:.1f}%'></i></td><td class='num'>{cost['seconds']:.1f} s</td>"
        f"<td class='num'>{cost['cpu_seconds']:.1f} CPU-s</td>"
        f"<td class='num'>{cost['peak_memory_bytes'] / 1e9:.2f} GB</td></tr>"
        for name, cost in stages.items()
    )
    summed = (
        f"<tr><th>Together</th><td></td><td class='num'>{total['seconds']:.1f} s</td>"
        f"<td class='num'>{total['cpu_seconds']:.1f} CPU-s</td>"
        f"<td class='num'>{total['peak_memory_bytes'] / 1e9:.2f} GB</td></tr>"
    )
    machine = report.metrics["machine"]
    where = f"{machine['processor']}, {machine['cores']} cores, rasterizer {report.metrics['rasterizer']}"
    note = "" if "export" in stages else " Writing this page and the video comes on top; metrics.json has it."
    return (
        f"<section><h2>Time and memory</h2><div class='card scroll'><table>{rows}{summed}</table></div>"
        f"<p class='soft'>{_text(where)}.{note}</p></section>"
    )


def _training(report: Report) -> str:
    history = report.metrics["training"].get("history", [])
    points = [(row["step"], row["psnr"]) for row in history if "psnr" in row]
    if len(points) < 2:
        return ""
    steps, values = zip(*points)
    low, high = min(values), max(max(values), min(values) + 1e-6)
    path = " ".join(f"{40 + 600 * s / steps[-1]:.1f},{150 - 130 * (v - low) / (high - low):.1f}" for s, v in points)
    return (
        "<section><h2>Training</h2><div class='card'><svg class='curve' viewBox='0 0 660 180' role='img' "
        "aria-label='PSNR on the training photos over the steps'>"
        "<line class='axis' x1='40' y1='150' x2='640' y2='150'/><line class='axis' x1='40' y1='20' x2='40' y2='150'/>"
        f"<polyline class='line' points='{path}'/><text x='4' y='24'>{high:.1f}</text>"
        f"<text x='4' y='154'>{low:.1f}</text>"
        f"<text x='600' y='170'>{int(steps[-1])} steps</text><text x='46' y='16'>dB on the photos trained on, at the "
        "resolution of the step</text></svg></div></section>"
    )


def _prior(report: Report) -> str:
    """What a prior for pictures gained on left-out photos, and how far it was so believed."""
    prior = report.metrics.get("prior")
    if not prior:
        return ""
    photos = prior.get("photos", [])
    rows = (
        (
            _text(p["name"]),
            f"{p['before_db']:.2f}",
            f"{p['after_db']:.2f}",
            f"{p['gain_db']:+.2f}",
            f"{p['counts']:.2f}",
        )
        for p in photos
    )
    head = ("left out", "rendering, dB", "repaired, dB", "gain, dB", "counts")
    table = _table(head, rows, numeric=(1, 2, 3, 4)) if photos else ""
    took = prior.get("gate_seconds", 0.0) + prior["repair_seconds"]
    late = " Its time ran out." if prior["out_of_time"] else ""
    spent = f"{prior['repaired_views']} views repaired in {prior['rounds']} rounds, {took:.1f} s in all.{late}"
    return (
        f"<section><h2>Prior for pictures: {_text(prior['name'])}</h2><p>{_text(prior['reason'])}</p>{table}"
        f"<p class='soft'>{_text(spent)}</p></section>"
    )


def _files(report: Report) -> str:
    root = report.run_folder
    present = [name for name in FILES if name == "metrics.json" or (root / name).exists()]
    rows = ((f"<code>{_text(name)}</code>", _size(root / name), _text(FILES[name])) for name in present)
    return (
        "<section><h2>Open the results</h2>"
        f"<pre>recon view {_text(shlex.quote(str(root)))}</pre>{_table(('file', 'size', 'what'), rows)}</section>"
    )


def _size(path: Path) -> str:
    if not path.is_file():
        return ""
    size = path.stat().st_size
    return f"{size / 1e6:.1f} MB" if size > 1e5 else f"{size / 1e3:.0f} kB"


def _settings(report: Report) -> str:
    text = yaml.safe_dump(report.config, sort_keys=False, allow_unicode=True)
    versions = ", ".join(f"{name} {version}" for name, version in report.metrics["versions"].items())
    return (
        f"<section><h2>Settings</h2><details><summary>All settings</summary><pre>{_text(text)}</pre></details>"
        f"<p class='soft'>{_text(versions)}</p></section>"
    )


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{int(seconds // 60)} min {int(seconds % 60)} s"
