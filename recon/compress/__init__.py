"""Splats as files: the containers other programs read."""

from recon.compress.formats import SPLAT_SUFFIXES, read_splats, write_splats
from recon.compress.ply import read_ply, read_points, write_ply, write_points
from recon.compress.splat_format import read_splat, write_splat

__all__ = [
    "SPLAT_SUFFIXES",
    "read_ply",
    "read_points",
    "read_splat",
    "read_splats",
    "write_ply",
    "write_points",
    "write_splat",
    "write_splats",
]
