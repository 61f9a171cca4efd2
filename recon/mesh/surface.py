"""What the steps hand on: a surface with colours at its vertices, and the same with a texture."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, UInt8


@dataclass(frozen=True)
class Surface:
    """Triangles, counter-clockwise seen from outside."""

    vertices: Float[np.ndarray, "V 3"]
    faces: Int[np.ndarray, "F 3"]
    colors: Float[np.ndarray, "V 3"]
    """sRGB in [0, 1], as the splats show the place."""

    def corners(self) -> Float[np.ndarray, "F 3 3"]:
        """Positions of each triangle's corners."""
        return self.vertices[self.faces]

    def face_normals(self) -> Float[np.ndarray, "F 3"]:
        """Normals with the triangle's area as length."""
        a, b, c = self.corners().transpose(1, 0, 2)
        return 0.5 * np.cross(b - a, c - a)

    def normals(self) -> Float[np.ndarray, "V 3"]:
        """Unit normals at the vertices, weighted by area; zero where there is no triangle."""
        total = np.zeros_like(self.vertices)
        np.add.at(total, self.faces.ravel(), np.repeat(self.face_normals(), 3, axis=0).astype(total.dtype))
        return total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-20)

    def part(self, keep: np.ndarray) -> "Surface":
        """The triangles `keep` (indices or mask), with only the vertices that they use."""
        used, faces = np.unique(self.faces[keep], return_inverse=True)
        return Surface(self.vertices[used], faces.reshape(-1, 3), self.colors[used])


@dataclass(frozen=True)
class TexturedMesh:
    """A surface cut open along seams and laid flat on a texture."""

    surface: Surface
    """Vertices on a seam appear once for each side."""
    uv: Float[np.ndarray, "V 2"]
    """In [0, 1], v upwards from the texture's last row."""
    texture: UInt8[np.ndarray, "T T 3"]
    """sRGB, first row on top."""
