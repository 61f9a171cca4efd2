"""The page: markup, style, shaders and scripts, readable files beside this one, joined around the encoded splats."""

import base64
import hashlib
import html
import json
import re
from dataclasses import asdict, dataclass
from importlib import resources
from typing import Any

from recon.report.scene_page.encoding import pack
from recon.types import Splats

SCRIPTS = ("unpack.js", "renderer.js", "camera.js", "controls.js", "main.js")
"""In the order in which they are joined into one module."""

BACKGROUND = (24, 26, 31)
"""Dark, as the viewer's."""

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class PageView:
    """A place to look from, in the page's units; OpenCV axes."""

    name: str
    position: Triple
    target: Triple
    """The point one orbits about; on the optical axis."""
    up: Triple
    """Axis to orbit about; with `position` and `target` it fixes the roll."""
    fov_y_rad: float
    aspect: float
    """Width over height of the picture that should be visible as a whole."""


@dataclass(frozen=True)
class ScenePage:
    """What the page shows."""

    title: str
    splats: Splats
    """In the page's units: what the cameras look at is about 10 away from them."""
    start: PageView
    """What the page opens with."""
    photos: tuple[PageView, ...] = ()
    """The photos' cameras, in their order."""
    background: tuple[int, int, int] = BACKGROUND


def build_scene_page(page: ScenePage) -> str:
    """The whole page as text.

    Raises:
        InputError: there is nothing to see in the splats.
    """
    packed = pack(page.splats)
    payload = base64.b64encode(packed.payload).decode()
    parts = _parts(page, packed.header, payload)
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], _read("page.html"))


def _parts(page: ScenePage, header: dict[str, Any], payload: str) -> dict[str, str]:
    """What goes into the places that page.html leaves open. Everything from outside is escaped."""
    style, script = _read("page.css"), "".join(_read(name) for name in SCRIPTS)
    facts = f"{header['count']:,} Gaussians".replace(",", "\u202f")
    scene = {
        "splats": header,
        "start": asdict(page.start),
        "photos": [asdict(view) for view in page.photos],
        "background": list(page.background),
    }
    parts = {
        "title": html.escape(page.title),
        "facts": facts,
        "style": style,
        "script": script,
        "style_hash": _hash(style),
        "script_hash": _hash(script),
        "vertex_shader": _read("splat.vert"),
        "fragment_shader": _read("splat.frag"),
        "sorter": _read("sorter.js"),
        # `<` could end the element; JSON has another way to write it.
        "scene": json.dumps(scene, allow_nan=False).replace("<", "\\u003c"),
        "payload": payload,
    }
    size_bytes = sum(len(part) for part in parts.values())
    return parts | {"facts": f"{facts} \u00b7 {size_bytes / 1e6:.1f} MB"}


def _read(name: str) -> str:
    return (resources.files("recon.report.scene_page") / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """The source expression by which the page's security policy admits `text`, and nothing else, to run."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
