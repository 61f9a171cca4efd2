"""What a click or a drag in the picture does, besides moving the camera: one thing at a time, for all tabs."""

import threading
from collections.abc import Callable

import viser

from viewer.guard import guarded
from viewer.lasso import Lasso, OnOutline
from viewer.link import PageLink

OnClick = Callable[[viser.ClientHandle, tuple[float, float]], None]
OnArea = Callable[[viser.ClientHandle, tuple[float, float], tuple[float, float]], None]


class PointerTool:
    """At most one user of the pointer. Taking it up puts the one before down."""

    def __init__(self, server: viser.ViserServer, link: PageLink) -> None:
        self._scene = server.scene
        self._lasso = Lasso(server, link)
        self._lock = threading.RLock()
        self._taken = False

    def clicks(self, on_click: OnClick) -> None:
        """Call `on_click(tab, (x, y))`, in shares of the picture, for each click."""
        with self._lock:
            self.stop()
            self._taken = True

            @self._scene.on_click()
            @guarded
            def _(event: viser.SceneClickEvent) -> None:
                on_click(event.client, event.screen_pos)

    def areas(self, on_area: OnArea) -> None:
        """Call `on_area(tab, upper left, lower right)`, in shares of the picture, for each rectangle that is drawn."""
        with self._lock:
            self.stop()
            self._taken = True

            @self._scene.on_rect_select()
            @guarded
            def _(event: viser.SceneRectSelectEvent) -> None:
                on_area(event.client, event.screen_min, event.screen_max)

    def outline(self, tab: viser.ClientHandle, on_outline: OnOutline) -> None:
        """Call `on_outline(tab, outline)`, in shares of the picture, for the next line that is drawn in `tab`."""
        with self._lock:
            self.stop()
            self._lasso.ask(tab, on_outline)

    def stop(self) -> None:
        """Clicks and drags only move the camera again."""
        with self._lock:
            self._lasso.stop()
            if self._taken:
                self._taken = False
                self._scene.remove_click_callback()
                self._scene.remove_rect_select_callback()
