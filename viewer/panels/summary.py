"""What the scene is and how good: name, photos placed, Gaussians, file size, held-out quality."""

import html
import math
from typing import TYPE_CHECKING, Any

from viewer.contents import Contents

if TYPE_CHECKING:
    from viewer.app import Viewer

_STYLE = "padding: 0.35em 0.75em 0.5em; font-size: 0.8125rem; line-height: 1.5;"
_DIM = "color: var(--mantine-color-dimmed);"


class SummaryPanel:
    """The readout at the top of the panel."""

    def __init__(self, viewer: "Viewer") -> None:
        self._html = viewer.server.gui.add_html(page(viewer.contents))

    @property
    def text(self) -> str:
        """The readout as it is on the page, HTML."""
        return self._html.content

    def refresh(self, contents: Contents, shown: int | None = None) -> None:
        """`shown` is how many Gaussians are drawn when not all are."""
        self._html.content = page(contents, shown)


def page(contents: Contents, shown: int | None = None) -> str:
    """The readout as HTML. Names come from files and are escaped."""
    title = html.escape(contents.title)
    rows = "".join(
        f'<div style="display:flex;justify-content:space-between;gap:1em;white-space:nowrap">'
        f'<span style="{_DIM}">{html.escape(name)}</span>'
        f'<span style="font-variant-numeric:tabular-nums">{html.escape(value)}</span></div>'
        for name, value in facts(contents, shown)
    )
    heading = f'<div style="font-weight:600;font-size:1rem;overflow-wrap:anywhere">{title}</div>'
    return f'<div style="{_STYLE}">{heading}{rows}</div>'


def facts(contents: Contents, shown: int | None = None) -> list[tuple[str, str]]:
    """Name and value of everything known about the scene, ready to print."""
    rows = []
    if contents.cameras is not None:
        rows.append(("Photos placed", f"{contents.n_placed} of {len(contents.cameras)}"))
    if contents.splats is not None:
        total = thousands(len(contents.splats))
        thinned = shown is not None and shown < len(contents.splats)
        rows.append(("Gaussians", f"{thousands(shown or 0)} of {total} shown" if thinned else total))
    elif contents.points is not None:
        rows.append(("Points", thousands(len(contents.points))))
    if contents.mesh is not None:
        rows.append(("Triangles", thousands(len(contents.mesh.faces))))
    if contents.file_bytes is not None:
        rows.append(("File size", human_bytes(contents.file_bytes)))
    measured = held_out_psnr(contents.metrics)
    if measured is not None:
        photos = f" ({measured[1]} photo{'s' if measured[1] > 1 else ''})" if measured[1] else ""
        rows.append(("Held-out PSNR", f"{measured[0]:.2f} dB{photos}"))
    return rows


def held_out_psnr(metrics: dict[str, Any]) -> tuple[float, int] | None:
    """PSNR (dB) on photos kept out of training and their number, if the run measured it (`metrics.json`)."""
    values = metrics.get("held_out")
    if not isinstance(values, dict):
        return None
    psnr = values.get("psnr")
    if not isinstance(psnr, int | float) or not math.isfinite(psnr):
        return None
    return float(psnr), int(values.get("measured") or 0)


def thousands(number: int) -> str:
    """84312 as `84 312`, as the command line writes it."""
    return f"{number:,}".replace(",", " ")


def human_bytes(size: int) -> str:
    """A size as people read it."""
    value = float(size)
    for unit in ("B", "kB", "MB"):
        if value < 999.5:
            return f"{value:.0f} {unit}" if unit != "MB" else f"{value:.1f} {unit}"
        value /= 1000.0
    return f"{value:.2f} GB"
