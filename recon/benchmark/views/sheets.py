"""Contact sheets: for each scene, held-out views as photo and as every arm shows them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, ImageDraw
from torch import Tensor

from recon.benchmark.runs.score import Scored, read_file, read_picture
from recon.benchmark.runs.sets import BenchSet, open_truth, view_file
from recon.data.decode import shrunk_size
from recon.files import atomic_path

FOLDER = "sheets"
CELL_SIDE, GAP, TITLE_HEIGHT = 360, 6, 22

Column = tuple[str, Sequence[Float[Tensor, "_ _ 3"] | None], Sequence[str]]
"""Title, pictures from top to bottom (None: not shown), and what is written after the title above each."""


def write_sheets(out: Path, truth: Path, views: BenchSet, scored: Sequence[Scored]) -> list[Path]:
    """`out/sheets/<photos>-<poses>/<scene>.png`: a row for each test view, the photo first, then each arm with its
    PSNR. Of the first seed.

    Raises:
        ResourceError: a file cannot be written.
    """
    paths = []
    for scene, split in views.scenes:
        mine = [s for s in scored if s.scene == scene.name]
        mine = [s for s in mine if s.seed == min(one.seed for one in mine)]
        if not mine:
            continue
        photos = open_truth(truth, scene.name, max(int(scene.cameras.width[0]), int(scene.cameras.height[0])))
        tests = photos.at(split.test_views)
        names = [view_file(tests, index) for index in split.test_views]
        columns: list[Column] = [("photo", [tests.image(i) for i in range(len(tests))], [""] * len(tests))]
        for one in mine:
            shown = [read_picture(read_file(out / one.folder, name), name) for name in names]
            columns.append((one.entry, shown, [f"{image.psnr:.1f} dB" for image in one.report.images]))
        paths.append(out / FOLDER / f"{mine[0].track}-{mine[0].poses}" / f"{scene.name.replace('/', '_')}.png")
        with atomic_path(paths[-1]) as temporary:
            draw_sheet(columns).save(temporary, compress_level=6)
    return paths


def draw_sheet(columns: Sequence[Column]) -> Image.Image:
    """Rows of pictures of one size, titles above them; the first column has every picture."""
    photos = [picture for picture in columns[0][1] if picture is not None]
    assert len(photos) == len(columns[0][1]), "the first column sets the sizes"
    sizes = [shrunk_size(photo.shape[1], photo.shape[0], CELL_SIDE) for photo in photos]
    width = max(size[0] for size in sizes) + GAP
    tops = np.cumsum([0, *(size[1] + TITLE_HEIGHT for size in sizes)]).tolist()
    sheet = Image.new("RGB", (width * len(columns) + GAP, tops[-1] + GAP), "white")
    draw = ImageDraw.Draw(sheet)
    for c, (title, pictures, notes) in enumerate(columns):
        for r, (picture, size, note) in enumerate(zip(pictures, sizes, notes)):
            corner = (GAP + c * width, tops[r])
            draw.text((corner[0], corner[1] + GAP), f"{title}  {note}".strip(), fill="black")
            cell = torch.zeros(size[1], size[0], 3) if picture is None else picture
            drawn = Image.fromarray((cell.clamp(0, 1) * 255).round().byte().numpy()).resize(size, Image.Resampling.BOX)
            sheet.paste(drawn, (corner[0], corner[1] + TITLE_HEIGHT))
    return sheet
