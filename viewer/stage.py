"""The 3D part of the page: splats, points, cameras and background as nodes of viser's scene."""

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import viser
import viser.transforms as vtf
from jaxtyping import UInt8

from recon.types import Cameras, PointCloud
from viewer.display import FOCUS_DEPTH, DisplayFrame, View, camera_view, placed_indices
from viewer.gaussians import BrowserSplats, to_bytes
from viewer.guard import guarded
from viewer.mesh import to_glb

MAX_POINTS = 300_000
_FRUSTUM_COLOR = (247, 163, 64)

Thumbnail = UInt8[np.ndarray, "_ _ 3"]


class Stage:
    """Scene nodes shared by all tabs. Methods may be called from any thread, one at a time."""

    def __init__(self, server: viser.ViserServer) -> None:
        self._scene = server.scene
        self._lock = threading.RLock()
        self._make: Callable[[], BrowserSplats] | None = None
        self._made: BrowserSplats | None = None
        self._current: set[int] = set()
        """Tabs that have the Gaussians as they are now."""
        self._splats: dict[int, viser.GaussianSplatHandle] = {}
        self._points: viser.PointCloudHandle | None = None
        self._frusta: dict[int, viser.CameraFrustumHandle] = {}
        self._mesh: viser.GlbHandle | None = None
        self._show_splats, self._show_points = True, False
        self._point_size = 1.0
        self.frustum_size = 1.0
        self._frustum_unit = 0.5
        self._folder = server.scene.add_frame("/cameras", show_axes=False)

    def set_background(self, rgb: tuple[int, int, int]) -> None:
        self._scene.set_background_image(np.full((2, 2, 3), rgb, dtype=np.uint8), format="png")

    def clear_frame(self, client: viser.ClientHandle, rgb: tuple[int, int, int]) -> None:
        """Put the plain background in the place of a frame that one tab was sent."""
        client.scene.set_background_image(np.full((2, 2, 3), rgb, dtype=np.uint8), format="png")

    def set_splats(self, make: Callable[[], BrowserSplats] | None) -> None:
        """Replace the Gaussians. Tabs get them with `draw_splats_in`; `make` is asked when the first does."""
        with self._lock:
            self._make, self._made = make, None
            self._current.clear()

    def draw_splats_in(self, tab: viser.ClientHandle, on: bool) -> None:
        """Let one tab have the Gaussians as they are now, to draw them itself, or have none."""
        with self._lock:
            if on and tab.client_id not in self._current:
                self._current.add(tab.client_id)
                self._put_splats(tab)
            elif not on:
                self._current.discard(tab.client_id)
                self._take_splats(tab)

    def forget(self, client_id: int) -> None:
        """A tab was closed."""
        with self._lock:
            self._current.discard(client_id)
            self._splats.pop(client_id, None)

    def _put_splats(self, tab: viser.ClientHandle) -> None:
        if self._made is None and self._make is not None:
            self._made = self._make()
        if self._made is None or not len(self._made):
            self._take_splats(tab)
            return
        made = self._made
        arrays = (made.centers, made.covariances, made.rgbs, made.opacities)
        if tab.client_id in self._splats:  # the browser updates in place
            self._splats[tab.client_id].set_gaussians(*arrays)
        else:
            node = tab.scene.add_gaussian_splats("/splats", *arrays, visible=self._show_splats)
            self._splats[tab.client_id] = node

    def _take_splats(self, tab: viser.ClientHandle) -> None:
        node = self._splats.pop(tab.client_id, None)
        if node is not None:
            node.remove()

    def set_points(self, points: PointCloud | None, frame: DisplayFrame) -> None:
        """Replace the point cloud (at most `MAX_POINTS`, evenly picked)."""
        with self._lock:
            if self._points is not None:
                self._points.remove()
                self._points = None
            if points is None or not len(points):
                return
            step = -(-len(points) // MAX_POINTS)
            self._points = self._scene.add_point_cloud(
                "/points",
                frame.points(points.xyz[::step].detach().cpu().double().numpy()).astype(np.float32),
                to_bytes(points.rgb[::step]),
                point_size=self._world_point_size(),
                point_shape="circle",
                point_shading="flat",
                precision="float32",
                visible=self._show_points,
            )

    def set_mesh(self, mesh: Any, frame: DisplayFrame) -> None:
        """Replace the mesh (a `trimesh.Trimesh` in world units, or None)."""
        with self._lock:
            if self._mesh is not None:
                self._mesh.remove()
            self._mesh = None
            if mesh is not None:
                shown = mesh.copy()
                shown.vertices = frame.points(np.asarray(mesh.vertices, dtype=np.float64))
                self._mesh = self._scene.add_glb("/mesh", to_glb(shown))

    def show_mesh(self, visible: bool) -> None:
        if self._mesh is not None:
            self._mesh.visible = visible

    def set_cameras(
        self,
        cameras: Cameras | None,
        thumbnails: tuple[Thumbnail | None, ...],
        frame: DisplayFrame,
        on_click: Callable[[viser.ClientHandle, int], None],
    ) -> None:
        """Replace the frusta of the input photos. `on_click(tab, index)` is called when one is clicked."""
        with self._lock:
            for handle in self._frusta.values():
                handle.remove()
            placed = placed_indices(cameras)
            views = {i: camera_view(cameras, i, frame) for i in placed} if cameras is not None else {}
            self._frustum_unit = _frustum_unit([view.position for view in views.values()])
            self._frusta = {
                i: self._add_frustum(i, view, thumbnails[i] if i < len(thumbnails) else None, on_click)
                for i, view in views.items()
            }

    def _add_frustum(
        self,
        index: int,
        view: View,
        thumbnail: Thumbnail | None,
        on_click: Callable[[viser.ClientHandle, int], None],
    ) -> viser.CameraFrustumHandle:
        handle = self._scene.add_camera_frustum(
            f"/cameras/{index}",
            fov=view.fov_y_rad,
            aspect=view.aspect,
            scale=self._frustum_unit * self.frustum_size,
            thickness=1.5,
            thickness_units="screen",
            color=_FRUSTUM_COLOR,
            image=thumbnail,
            jpeg_quality=85,
            wxyz=vtf.SO3.from_matrix(view.rotation).wxyz,
            position=view.position,
            cast_shadow=False,
            receive_shadow=False,
        )

        @handle.on_click
        @guarded
        def _(event: viser.SceneNodePointerEvent) -> None:
            on_click(event.client, index)

        return handle

    def camera_names(self) -> dict[str, np.ndarray]:
        """Apex position (display units) of each frustum by node name."""
        with self._lock:
            return {handle.name: handle.position for handle in self._frusta.values()}

    @property
    def frustum_depth(self) -> float:
        """Display units from a frustum's apex to its picture, about."""
        return 1.6 * self._frustum_unit * self.frustum_size

    def show_splats(self, visible: bool) -> None:
        with self._lock:
            self._show_splats = visible
            for node in self._splats.values():
                node.visible = visible

    def show_points(self, visible: bool) -> None:
        self._show_points = visible
        if self._points is not None:
            self._points.visible = visible

    def show_cameras(self, visible: bool) -> None:
        self._folder.visible = visible

    def set_frustum_size(self, factor: float) -> None:
        """Size of the frusta relative to the automatic one."""
        with self._lock:
            self.frustum_size = factor
            for handle in self._frusta.values():
                handle.scale = self._frustum_unit * factor

    def set_point_size(self, factor: float) -> None:
        """Size of the points relative to the automatic one."""
        self._point_size = factor
        if self._points is not None:
            self._points.point_size = self._world_point_size()

    def _world_point_size(self) -> float:
        return self._point_size * FOCUS_DEPTH * 0.0025


def _frustum_unit(positions: list[np.ndarray]) -> float:
    """Frustum scale (display units) at which neighbouring cameras do not cover each other."""
    if len(positions) < 2:
        return 0.06 * FOCUS_DEPTH
    centers = np.stack(positions)
    distances = np.linalg.norm(centers[:, None] - centers[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    return float(np.clip(0.3 * np.median(distances.min(axis=1)), 0.012 * FOCUS_DEPTH, 0.08 * FOCUS_DEPTH))
