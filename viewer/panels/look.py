"""What is drawn and how: splats, points, cameras, sizes, background."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import viser

from viewer.contents import Contents
from viewer.guard import guarded

if TYPE_CHECKING:
    from viewer.app import Viewer


class LookPanel:
    """Toggles and sizes; shared by all tabs."""

    def __init__(self, viewer: "Viewer") -> None:
        self._viewer = viewer
        self._had_splats = False
        gui, stage = viewer.server.gui, viewer.stage
        with gui.add_folder("Show"):
            self.splats = gui.add_checkbox("Splats", True, hint="The scene as Gaussian splats")
            self.points = gui.add_checkbox("Points", False, hint="The point cloud that the splats grew from")
            self.point_size = gui.add_slider("Point size", 0.2, 4.0, 0.1, 1.0, visible=False)
            self.cameras = gui.add_checkbox("Cameras", True, hint="Where the photos were taken; click one to fly there")
            self.camera_size = gui.add_slider("Camera size", 0.2, 4.0, 0.1, 1.0)
            self.background = gui.add_rgb("Background", viewer.background)
        self._connect(self.splats, lambda: stage.show_splats(self.splats.value))
        self._connect(self.points, self._toggle_points)
        self._connect(self.point_size, lambda: stage.set_point_size(self.point_size.value))
        self._connect(self.cameras, self._toggle_cameras)
        self._connect(self.camera_size, lambda: stage.set_frustum_size(self.camera_size.value))
        self._connect(self.background, lambda: viewer.set_background(self.background.value))

    def _connect(self, handle: Any, action: Callable[[], None]) -> None:
        @handle.on_update
        @guarded
        def _(_: viser.GuiEvent) -> None:
            action()

    def _toggle_points(self) -> None:
        self._viewer.stage.show_points(self.points.value)
        self.point_size.visible = self.points.value

    def _set_points(self, visible: bool) -> None:
        self.points.value = visible  # type: ignore[misc]  # viser's setter is untyped

    def _toggle_cameras(self) -> None:
        self._viewer.stage.show_cameras(self.cameras.value)
        self.camera_size.visible = self.cameras.value

    def refresh(self, contents: Contents) -> None:
        """Offer what the scene has. Until there are splats, the points stand in for them."""
        self.splats.visible = contents.splats is not None
        self.points.visible = contents.points is not None
        self.cameras.visible = contents.n_placed > 0
        if contents.splats is None:
            self._set_points(contents.points is not None)
        elif not self._had_splats:
            self._set_points(False)
        self._had_splats = contents.splats is not None
        self._toggle_points()
        self._toggle_cameras()
        self.point_size.visible = self.points.value and self.points.visible
        self.camera_size.visible = self.cameras.value and self.cameras.visible
