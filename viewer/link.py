"""Scripts of ours in the page, for what viser has no widget for, and what they say back.

viser sends scripts to a page for its plots only; the message that it does this with is used here. Answers come through
a text field that nobody sees, so they take the same way, with the same checks, as everything else a tab says.
"""

import json
from collections.abc import Callable
from pathlib import Path

import viser
from viser import _messages

from viewer.guard import guarded

Heard = Callable[[viser.ClientHandle, str], None]

_SCRIPT = Path(__file__).with_name("link.js")
_SOFTWARE = ("swiftshader", "llvmpipe", "softpipe", "software", "none")


class PageLink:
    """One for all tabs."""

    def __init__(self, server: viser.ViserServer) -> None:
        self._server = server
        self._heard: dict[str, Heard] = {}
        self._field = server.gui.add_text("Scripts", "")
        self._id = self._field._impl.uuid
        hidden = f'div:has(> div > div > p > label[for="{self._id}"])'
        server.gui.add_html(f"<style>{hidden} {{ display: none }}</style>")

        @self._field.on_update
        @guarded
        def _(event: viser.GuiEvent[viser.GuiInputHandle[str]]) -> None:
            topic, _, rest = event.target.value.partition(":")
            if event.client is not None and topic in self._heard:
                self._heard[topic](event.client, rest.partition(":")[2])

    def hear(self, topic: str, heard: Heard) -> None:
        """Call `heard(tab, text)` for what scripts say on a topic. The text may be anything."""
        self._heard[topic] = heard

    def meet(self, tab: viser.ClientHandle) -> None:
        """Let a new tab say what draws its pictures, on the topic `renderer`."""
        self.run(tab, f"{_SCRIPT.read_text(encoding='utf-8')}\nrecon.meet({json.dumps(self._id)});")

    def run(self, tab: viser.ClientHandle, script: str) -> None:
        """Run a script in one tab, if it is still there."""
        if tab.client_id in self._server.get_clients():
            tab.gui._websock_interface.queue_message(_messages.RunJavascriptMessage(source=script))


def draws_in_software(renderer: str) -> bool:
    """Whether a WebGL renderer of that name is the processor and not a graphics card."""
    return any(name in renderer.lower() for name in _SOFTWARE)
