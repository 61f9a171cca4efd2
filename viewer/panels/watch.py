"""One photo of a run in progress beside what the splats show in its place, with the loss so far."""

import html
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import viser

from viewer.guard import guarded
from viewer.looks import Picture
from viewer.panels.parts import note

if TYPE_CHECKING:
    from viewer.app import Viewer

_NOTHING = "none yet"
_JPEG = 88


class WatchPanel:
    """Hidden unless a run trains."""

    def __init__(self, viewer: "Viewer") -> None:
        gui = viewer.server.gui
        self._losses: list[float] = []
        self._by_hand = False
        """Whether a person chose the photo."""
        self.chosen: Callable[[], None] = lambda: None
        """Called when a person chooses another photo."""
        self.photo = gui.add_dropdown(
            "Watch", (_NOTHING,), visible=False, hint="The photo that the splats come to meet"
        )
        self._picture = gui.add_image(np.zeros((2, 4, 3), dtype=np.uint8), jpeg_quality=_JPEG, visible=False)
        self._text = gui.add_html("", visible=False)

        @self.photo.on_update
        @guarded
        def _(event: viser.GuiEvent[Any]) -> None:
            self._by_hand |= event.client is not None
            self.chosen()

    @property
    def text(self) -> str:
        """What stands below the pictures, HTML."""
        return self._text.content

    @property
    def index(self) -> int:
        """Which of the photos on offer is watched."""
        return self.photo.options.index(self.photo.value)

    def offer(self, names: Sequence[str], first: int) -> None:
        """Let a person choose among photos; `first` is watched until someone does."""
        options = tuple(f"{i} {name}" for i, name in enumerate(names, start=1))
        if options == self.photo.options:
            return
        chosen = self.photo.value
        self.photo.options = options
        kept = self._by_hand and chosen in options
        self.photo.value = chosen if kept else options[first]  # type: ignore[misc]  # viser's setter is untyped

    def add_loss(self, loss: float) -> None:
        """Take the loss of the step reached."""
        if math.isfinite(loss):
            self._losses.append(loss)

    def show(self, pair: Picture, psnr: float, step: int) -> None:
        """Photo and splats side by side, and how near the one is to the other (dB)."""
        loss = f" · loss {self._losses[-1]:.4f}" if self._losses else ""
        self._picture.image = pair
        self._text.content = f"{_HEADS}{note(f'PSNR {psnr:.2f} dB{loss} · step {step}')}{curve(self._losses)}"
        self.photo.visible = self._picture.visible = self._text.visible = True

    def hide(self) -> None:
        self.photo.visible = self._picture.visible = self._text.visible = False


_HEADS = (
    '<div style="display:flex;padding:0 0.75em;font-size:0.75rem">'
    '<span style="flex:1">photo</span><span style="flex:1">splats</span></div>'
)
_STROKE = 'stroke-width="1.5" vector-effect="non-scaling-stroke"'


def curve(values: Sequence[float]) -> str:
    """The loss over the steps so far as a line, HTML; nothing for fewer than two."""
    if len(values) < 2:
        return ""
    low, high = min(values), max(values)
    height = 30.0 / max(high - low, 1e-12)
    points = " ".join(
        f"{100.0 * i / (len(values) - 1):.2f},{1.0 + (high - value) * height:.2f}" for i, value in enumerate(values)
    )
    label = html.escape(f"Loss from {values[0]:.4f} to {values[-1]:.4f}")
    line = f'<polyline points="{points}" fill="none" stroke="var(--mantine-primary-color-filled)" {_STROKE}/>'
    box = 'viewBox="0 0 100 32" preserveAspectRatio="none" style="width:100%;height:2.5em;display:block"'
    return f'<div style="padding:0 0.75em 0.5em"><svg role="img" aria-label="{label}" {box}>{line}</svg></div>'
