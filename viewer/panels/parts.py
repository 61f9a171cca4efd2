"""Small things that panels share."""

import html
from collections.abc import Callable
from typing import Any

import viser

from recon.errors import ReconError
from viewer.guard import guarded

_NOTE = "padding:0.1em 0.75em 0.3em;font-size:0.75rem;line-height:1.4;color:var(--mantine-color-dimmed);"


def note(text: str) -> str:
    """A line of small print as HTML; `text` is escaped."""
    return f'<div style="{_NOTE}overflow-wrap:anywhere">{html.escape(text)}</div>'


def on_change(handle: Any, action: Callable[[], None]) -> None:
    """Call `action` when a person changes the control. Errors are logged."""

    @handle.on_update
    @guarded
    def _(_: viser.GuiEvent) -> None:
        action()


def on_press(handle: Any, action: Callable[[viser.ClientHandle], None]) -> None:
    """Call `action(tab)` when the button is pressed; what the person can help is said in that tab."""

    @handle.on_click
    @guarded
    def _(event: viser.GuiEvent) -> None:
        if event.client is None:
            return
        try:
            action(event.client)
        except ReconError as error:
            event.client.add_notification("That did not work", str(error), color="red", auto_close_seconds=12.0)


def tell(client: viser.ClientHandle, title: str, text: str) -> None:
    """A short message in one tab."""
    client.add_notification(title, text, auto_close_seconds=6.0)
