"""Splats to a textured mesh: depth seen from many places is fused, cleaned, laid flat and painted with the photos.

    from recon.mesh import Shots, make_mesh, write_mesh
    mesh = make_mesh(splats, Shots(photos, cameras, masks), between, rasterizer)
    write_mesh(Path("scene.glb"), mesh, y_up_rotation(cameras))

The packages that only this needs (the extra `mesh`) are imported where they are used; `require_packages` asks for them
before any work is done.
"""

from recon.mesh.config import MeshConfig
from recon.mesh.make import make_mesh, require_packages
from recon.mesh.surface import Surface, TexturedMesh
from recon.mesh.views import Shots
from recon.mesh.write import SUFFIXES, write_mesh, y_up_rotation

__all__ = [
    "SUFFIXES",
    "MeshConfig",
    "Shots",
    "Surface",
    "TexturedMesh",
    "make_mesh",
    "require_packages",
    "write_mesh",
    "y_up_rotation",
]
