"""How a run in progress is doing: stage, bar, readings. Hidden when nothing runs."""

import html
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from viewer.app import Viewer

_BOX = "padding: 0.1em 0.75em 0.5em; font-size: 0.8125rem; line-height: 1.45;"
_READINGS = {"loss": "loss {:.4f}", "psnr": "photo PSNR {:.2f} dB"}  # of the training photos, not a held-out measure


class ProgressPanel:
    """Stage, share done and live readings of a run."""

    def __init__(self, viewer: "Viewer") -> None:
        self._gui = viewer.server.gui
        self._text = self._gui.add_html("", visible=False)
        self._bar = self._gui.add_progress_bar(0.0, visible=False)

    def show(
        self, heading: str, share: float | None, message: str = "", values: dict[str, float] | None = None
    ) -> None:
        """Say what is going on. `share` in [0, 1]; None when it cannot be known."""
        readings = [_READINGS[key].format(value) for key, value in (values or {}).items() if key in _READINGS]
        lines = [line for line in (message, " · ".join(readings)) if line]
        small = "".join(f'<div style="color:var(--mantine-color-dimmed)">{html.escape(line)}</div>' for line in lines)
        self._text.content = f'<div style="{_BOX}"><div>{html.escape(heading)}</div>{small}</div>'
        self._text.visible = True
        self._bar.visible = share is not None
        if share is not None:
            self._bar.value = min(max(100.0 * share, 0.0), 100.0)  # type: ignore[misc]  # viser's setter is untyped

    def hide(self) -> None:
        self._text.visible = False
        self._bar.visible = False
