"""Colours that a small network knows: a hash grid or a few numbers for each Gaussian in the place of stored ones."""

from recon.compress.compact.files import Compact, read_csog, unpack
from recon.compress.compact.fit import dress, penalty, start
from recon.compress.compact.model import COMPACT, CompactConfig, Kind, Painter

__all__ = [
    "COMPACT",
    "Compact",
    "CompactConfig",
    "Kind",
    "Painter",
    "dress",
    "penalty",
    "read_csog",
    "start",
    "unpack",
]
