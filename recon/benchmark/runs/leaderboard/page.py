"""The page: for each track, kind of poses and data set a table, plots, and the scenes' pictures side by side."""

import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from recon.benchmark.results import Cell, show
from recon.benchmark.runs.leaderboard.charts import COLORS, Point, scatter
from recon.benchmark.runs.leaderboard.style import CSS, SCRIPT
from recon.benchmark.runs.score import COSTS, Scored, read_file, read_picture
from recon.benchmark.runs.sets import open_truth, view_file
from recon.benchmark.runs.tables import NOTE, POSE_TITLES, TITLES, UNITS, set_row, title
from recon.data.formats import Scene
from recon.files import write_text
from recon.report import pictures
from recon.report.style import CSS as HOUSE_CSS

HIGHER_IS_BETTER = {"psnr_masked", "ssim_masked", "psnr", "ssim", *POSE_TITLES}
LOWER_IS_BETTER = {"lpips_masked", "lpips", *COSTS, "missing"}


@dataclass(frozen=True)
class PageConfig:
    """How much the page carries: a picture is about 30 kB."""

    picture_side: int = 480
    error_side: int = 240
    views_per_scene: int = 2
    jpeg_quality: int = 82


def write_page(file: Path, scored: Sequence[Scored], out: Path, truth: Path, config: PageConfig | None = None) -> None:
    """Write the leaderboard of a scored run.

    Args:
        out: the run's folder, for its pictures.
        truth: as for scoring, for the photos.

    Raises:
        InputError: a photo of the truth is missing.
        ResourceError: the folder is not writable or the disk is full.
    """
    write_text(file, _Page(out, truth, config or PageConfig()).build(scored))


class _Page:
    """Keeps the pictures, each of which is in the page once."""

    def __init__(self, out: Path, truth: Path, config: PageConfig) -> None:
        self.out, self.truth, self.config = out, truth, config
        self.pictures: dict[str, str] = {}
        self.colors: dict[str, str] = {}

    def build(self, scored: Sequence[Scored]) -> str:
        entries = list(dict.fromkeys(s.entry for s in scored))
        self.colors = {entry: COLORS[i % len(COLORS)] for i, entry in enumerate(entries)}
        kinds = sorted({(s.track, s.poses, s.dataset) for s in scored})
        sections = [self._section([s for s in scored if (s.track, s.poses, s.dataset) == kind], kind) for kind in kinds]
        scenes = len({(s.dataset, s.scene) for s in scored})
        lead = f"{len(entries)} entries on {scenes} scene{'s' if scenes > 1 else ''}. A click on a column sorts by it."
        data = json.dumps(self.pictures).replace("<", "\\u003c")
        return (
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>Leaderboard - recon</title><style>{HOUSE_CSS}{CSS}</style></head>\n<body><main>"
            f"<header><h1>Leaderboard</h1><p class='verdict'>{lead}</p><p class='soft'>{html.escape(NOTE)}</p></header>"
            f"{''.join(sections)}</main>\n<script type='application/json' id='pictures'>{data}</script>"
            f"<script>{SCRIPT}</script></body></html>\n"
        )

    def _section(self, scored: Sequence[Scored], kind: tuple[str, str, str]) -> str:
        track, poses, dataset = kind
        present = dict.fromkeys(s.entry for s in scored)
        rows = {entry: set_row([s for s in scored if s.entry == entry]) for entry in present}
        blocks = "".join(
            self._scene([s for s in scored if s.scene == scene], open_) for scene, open_ in _first_open(scored)
        )
        return (
            f"<section><h2>{html.escape(title(track, poses))} <small>{html.escape(dataset)}</small></h2>"
            f"{self._table(rows)}{self._plots(rows)}{blocks}</section>"
        )

    def _table(self, rows: Mapping[str, Mapping[str, Cell]]) -> str:
        names = {**TITLES, "sd": "sd", **POSE_TITLES, **{name: UNITS[name][0] for name in COSTS}}
        names |= {"missing": "not shown", "scenes": "scenes", "seeds": "seeds"}
        shown = [name for name in names if any(row[name] is not None for row in rows.values())]
        best = {name: _best(name, [row[name] for row in rows.values()]) for name in shown}
        head = "<th data-first='ascending'>entry</th>" + "".join(
            f"<th class='num'{' data-first=ascending' if name in LOWER_IS_BETTER else ''}>{names[name]}</th>"
            for name in shown
        )
        body = "".join(
            f"<tr><td><i class='dot' style='background:{self.colors[entry]}'></i>{html.escape(entry)}</td>"
            + "".join(_cell(row[name], row[name] == best[name]) for name in shown)
            + "</tr>"
            for entry, row in rows.items()
        )
        return (
            f"<div class='card scroll'><table class='sortable'><thead><tr>{head}</tr></thead>"
            f"<tbody>{body}</tbody></table></div>"
        )

    def _plots(self, rows: Mapping[str, Mapping[str, Cell]]) -> str:
        masked = any(row["psnr_masked"] is not None for row in rows.values())
        quality = "psnr_masked" if masked else "psnr"
        plots = []
        for cost, name in (("seconds", "seconds a scene"), ("size_bytes", "megabytes stored")):
            points = [
                Point(entry, float(x), float(y), self.colors[entry])
                for entry, row in rows.items()
                if isinstance(x := row[cost], float) and isinstance(y := row[quality], float)
            ]
            if plot := scatter(points, name, f"{TITLES[quality]} (dB)"):
                plots.append(f"<div class='card'>{plot}</div>")
        legend = "".join(
            f"<span><i style='background:{self.colors[entry]}'></i>{html.escape(entry)}</span>" for entry in rows
        )
        return f"<div class='wide' style='margin-top:12px'>{''.join(plots)}</div><div class='legend'>{legend}</div>"

    def _scene(self, scored: Sequence[Scored], is_open: bool) -> str:
        shown = list({s.entry: s for s in sorted(scored, key=lambda one: -one.seed)}.values())  # each one's first seed
        shown.sort(key=lambda one: list(self.colors).index(one.entry))
        sizes = [(image.width, image.height) for image in shown[0].report.images]
        truth = open_truth(self.truth, shown[0].scene, max(sizes[0]))
        names = [image.name for image in shown[0].report.images][: self.config.views_per_scene]
        views = "".join(self._view(truth, name, shown) for name in names)
        return (
            f"<details class='card stack' style='margin-top:12px'{' open' if is_open else ''}>"
            f"<summary>{html.escape(shown[0].scene)}</summary>{views}</details>"
        )

    def _view(self, truth: Scene, name: str, scored: Sequence[Scored]) -> str:
        row = next(i for i, index in enumerate(truth.indices) if view_file(truth, index) == name)
        photo = truth.image(row)
        keys = {"photo": self._keep(f"photo/{truth.name}/{name}/{photo.shape[1]}", photo)}
        errors = []
        for one in scored:
            rendering = read_picture(read_file(self.out / one.folder, name), name)
            rendering = torch.zeros_like(photo) if rendering is None else rendering
            keys[one.entry] = self._keep(f"{one.folder}/{name}", rendering)
            errors.append(self._error(one, name, rendering, photo))
        best = max(scored, key=_quality).entry
        first, last = self._select(keys, best), self._select(keys, "photo")
        return (
            f"<div class='view'><div><div class='wipe' style='aspect-ratio:{photo.shape[1]}/{photo.shape[0]}'>"
            f"<img class='under' alt='right picture'><img class='over' alt='left picture'></div>"
            f"<input type='range' min='0' max='100' step='any' value='50' aria-label='where the pictures meet'>"
            f"<div class='choose'>{first}<span>and</span>{last}"
            f"<span class='soft'>{html.escape(name)}</span></div></div>"
            f"<div class='errors'>{''.join(errors)}</div></div>"
        )

    def _keep(self, key: str, picture: Float[Tensor, "H W 3"]) -> str:
        if key not in self.pictures:
            small = pictures.to_picture(picture, self.config.picture_side)
            self.pictures[key] = pictures.data_uri(small, self.config.jpeg_quality)
        return key

    def _error(self, one: Scored, name: str, rendering: Tensor, photo: Tensor) -> str:
        map_ = pictures.shrink(pictures.error_map(rendering, photo), self.config.error_side)
        uri = pictures.data_uri(map_, self.config.jpeg_quality)
        caption = f"{html.escape(one.entry)}, {_psnr(one, name):.1f} dB"
        return (
            f"<figure><img src='{uri}' width='{map_.shape[1]}' height='{map_.shape[0]}' "
            f"alt='Error of {html.escape(one.entry)}'><figcaption>{caption}</figcaption></figure>"
        )

    def _select(self, keys: Mapping[str, str], chosen: str) -> str:
        options = "".join(
            f"<option value='{html.escape(key)}'{' selected' if label == chosen else ''}>{html.escape(label)}</option>"
            for label, key in keys.items()
        )
        return f"<select aria-label='picture'>{options}</select>"


def _first_open(scored: Sequence[Scored]) -> list[tuple[str, bool]]:
    """The scenes, the first of which is unfolded."""
    scenes = list(dict.fromkeys(s.scene for s in scored))
    return [(scene, i == 0) for i, scene in enumerate(scenes)]


def _quality(one: Scored) -> float:
    """What decides which entry is shown first: PSNR, on the object where there are masks."""
    mean = one.report.mean()
    return next(value for value in (mean["psnr_masked"], mean["psnr"]) if value is not None)


def _psnr(one: Scored, name: str) -> float:
    """Of one view."""
    return next(image.psnr for image in one.report.images if image.name == name)


def _best(name: str, values: Sequence[Cell]) -> Cell:
    """The value to be marked; None where there is nothing to choose."""
    numbers = {value for value in values if isinstance(value, int | float)}
    if len(numbers) < 2 or (name not in HIGHER_IS_BETTER and name not in LOWER_IS_BETTER):
        return None
    return max(numbers) if name in HIGHER_IS_BETTER else min(numbers)


def _cell(value: Cell, is_best: bool) -> str:
    sortable = "" if value is None else f"{value:.9g}" if isinstance(value, float) else html.escape(str(value))
    return f"<td class='num{' best' if is_best and value is not None else ''}' data-v='{sortable}'>{show(value)}</td>"
