"""Things in the scene that a person grabs: a box or a ball to select with, and a handle on what is selected."""

from collections.abc import Callable

import numpy as np
import torch
import viser
import viser.transforms as vtf
from jaxtyping import Float

from recon.geometry import Sim3
from viewer.display import FOCUS_DEPTH, DisplayFrame, Vector
from viewer.edit import Box
from viewer.guard import guarded

IN_WINDOW = 0.25
"""Longest arms of the handle, in units of its distance: about half of the picture's height is the most that fits."""
_COLOR = (255, 214, 90)
ARMS = 0.75
"""Length of a gizmo's arms, in units of the size of what it holds: splats in front hide it, so its arms stick out."""
_NAME, _HANDLE = "/volume", "/handle"


class Volume:
    """A box or a ball with a gizmo. Sizes are in display units. Methods may be called from any thread."""

    def __init__(self, server: viser.ViserServer) -> None:
        self._scene = server.scene
        self._gizmo: viser.TransformControlsHandle | None = None

    @property
    def shown(self) -> bool:
        return self._gizmo is not None

    def show(self, kind: str, sides: Vector) -> None:
        """A "Box" with these sides, or a "Sphere" whose diameters they are; it stays where it was."""
        if self._gizmo is None:
            self._gizmo = self._scene.add_transform_controls(_NAME)
        self._gizmo.scale = ARMS * float(sides.max())
        lines = _edges() if kind == "Box" else _circles()
        points = (lines * 0.5 * sides).astype(np.float32)
        self._scene.add_line_segments(f"{_NAME}/lines", points, _COLOR, thickness=2.0, thickness_units="screen")

    def hide(self) -> None:
        if self._gizmo is not None:
            self._gizmo.remove()
            self._gizmo = None

    def center(self, frame: DisplayFrame) -> Float[torch.Tensor, "3"]:
        """Where it is, in the world."""
        assert self._gizmo is not None, "a volume is asked for only while it is shown"
        return torch.from_numpy(frame.world_points(np.asarray(self._gizmo.position, dtype=np.float64))).float()

    def box(self, frame: DisplayFrame, sides: Vector) -> Box:
        """It as a box in the world."""
        center = self.center(frame)
        assert self._gizmo is not None, "a volume is asked for only while it is shown"
        R = vtf.SO3(np.asarray(self._gizmo.wxyz, dtype=np.float64)).as_matrix()
        return Box(center, torch.from_numpy(R).float(), torch.from_numpy(sides / frame.scale).float())


class Handle:
    """A gizmo on the selection. `on_move(motion)` is called when it is let go, with a motion of the world."""

    def __init__(self, server: viser.ViserServer, on_move: Callable[[Sim3], None]) -> None:
        self._scene, self._on_move = server.scene, on_move
        self._gizmo: viser.TransformControlsHandle | None = None

    @property
    def shown(self) -> bool:
        return self._gizmo is not None

    def show(self, center: Vector, reach: float, eye: Vector, frame: DisplayFrame) -> None:
        """Put the handle, unturned, before something around `center` that reaches so far, as seen from `eye`.

        All in world units. Turns are about `center`.
        """
        self.hide()
        ahead = (eye - center) / max(float(np.linalg.norm(eye - center)), 1e-12)
        start = center + min(reach, 0.5 * float(np.linalg.norm(eye - center))) * ahead
        distance = float(np.linalg.norm(eye - start)) * frame.scale
        arms = float(min(max(2.0 * ARMS * reach * frame.scale, 0.05 * FOCUS_DEPTH), IN_WINDOW * distance))
        self._gizmo = self._scene.add_transform_controls(_HANDLE, scale=arms, position=frame.points(start))

        @self._gizmo.on_update
        @guarded
        def _(event: viser.TransformControlsEvent) -> None:
            if event.phase == "end":
                target = frame.world_points(np.asarray(event.target.position, dtype=np.float64))
                self._on_move(
                    about(center, center + target - start, vtf.SO3(np.asarray(event.target.wxyz)).as_matrix())
                )

    def hide(self) -> None:
        if self._gizmo is not None:
            self._gizmo.remove()
            self._gizmo = None


def about(center: Vector, target: Vector, R: Float[np.ndarray, "3 3"] | None = None, scale: float = 1.0) -> Sim3:
    """The motion that turns and scales about `center` and brings it to `target`, in the world."""
    turn = np.eye(3) if R is None else R
    t = target - scale * turn @ center
    return Sim3(torch.tensor(scale, dtype=torch.float64), torch.from_numpy(turn).double(), torch.from_numpy(t).double())


def _edges() -> Float[np.ndarray, "12 2 3"]:
    """The edges of the box from -1 to 1."""
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], dtype=np.float64)
    pairs = [(i, j) for i in range(8) for j in range(i) if np.abs(corners[i] - corners[j]).sum() == 2]
    return corners[np.array(pairs)]


def _circles(steps: int = 48) -> Float[np.ndarray, "S 2 3"]:
    """Three great circles of the unit ball."""
    angle = np.linspace(0.0, 2.0 * np.pi, steps + 1)
    flat = np.stack([np.cos(angle), np.sin(angle), np.zeros_like(angle)], axis=1)
    rings = [flat, flat[:, [0, 2, 1]], flat[:, [2, 0, 1]]]
    return np.concatenate([np.stack([ring[:-1], ring[1:]], axis=1) for ring in rings])
