"""Splats as files: the containers other programs read, and how to make them small."""

from recon.compress.compressed_ply import write_compressed_ply
from recon.compress.formats import SPLAT_SUFFIXES, read_splats, splat_suffix, write_splats
from recon.compress.ply import ply_bytes, read_ply, read_points, write_ply, write_points
from recon.compress.presets import PRESETS, CompressConfig
from recon.compress.sog import read_sog, write_sog
from recon.compress.splat_format import read_splat, write_splat
from recon.compress.spz import read_spz, write_spz
from recon.compress.squeeze import Squeezed, file_bytes, squeeze

__all__ = [
    "PRESETS",
    "SPLAT_SUFFIXES",
    "CompressConfig",
    "Squeezed",
    "file_bytes",
    "ply_bytes",
    "read_ply",
    "read_points",
    "read_sog",
    "read_splat",
    "read_splats",
    "read_spz",
    "splat_suffix",
    "squeeze",
    "write_compressed_ply",
    "write_ply",
    "write_points",
    "write_sog",
    "write_splat",
    "write_splats",
    "write_spz",
]
