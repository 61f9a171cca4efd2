"""Changing a scene without touching its file: pure functions on `Splats`, and a history of what was done."""

from viewer.edit.filters import FloaterFilter, camera_count, floaters
from viewer.edit.history import Delete, Duplicate, Hide, History, Move, Operation, Show
from viewer.edit.selection import Box, Window, combine, in_box, in_outline, in_sphere, in_window, similar
from viewer.edit.transform import transform_splats
from viewer.edit.visibility import object_share, seen_fraction

__all__ = [
    "Box",
    "Delete",
    "Duplicate",
    "FloaterFilter",
    "Hide",
    "History",
    "Move",
    "Operation",
    "Show",
    "Window",
    "camera_count",
    "combine",
    "floaters",
    "in_box",
    "in_outline",
    "in_sphere",
    "in_window",
    "object_share",
    "seen_fraction",
    "similar",
    "transform_splats",
]
