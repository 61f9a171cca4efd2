"""`recon dataset render`: its options. Dataclasses only; the work is imported when the command runs."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import tyro
from tyro.conf import OmitArgPrefixes, arg

from recon.cli.options import Command, Common, unset


@dataclass(frozen=True, kw_only=True)
class DatasetRender(Command):
    """Make scenes like SpaRe's by path tracing: exact cameras, masks, depth; test views in a folder of their own."""

    module: ClassVar[str] = "dataset_render"
    scenes: Annotated[tuple[str, ...], arg(metavar="all|list|NAME ...")] = ("all",)
    """Which ones: all that can be made here, or names, or scene files (.yaml); `list` says what there is."""
    out: Annotated[Path | None, unset("DIR", "needed to render")] = None
    """Folder for the set: inputs/ may be handed out, truth/ holds the test views. What is there is not made again."""
    models: Annotated[Path | None, unset("DIR", "only scenes made by code")] = None
    """Folder with the glTF files that some scenes name."""
    views: Literal[49, 64] = 49
    """Cameras of the rig; the last 15 of 64 stand farther away."""
    every_view: bool = False
    """Render all of them, not only the 9 inputs and the test views."""
    test_views: Annotated[int, arg(metavar="N")] = 10
    """Test views of a scene."""
    size: Annotated[tuple[int, int], arg(metavar="WIDTH HEIGHT")] = (1600, 1200)
    """Pixels."""
    lights: Annotated[tuple[int, ...], arg(metavar="0..6 ...")] = (3,)
    """Lightings: 3 is all lamps on (the one that is evaluated), 0 1 2 4 5 6 one lamp each."""
    samples: Annotated[int, arg(metavar="N")] = 64
    """Light paths a pixel, before denoising."""
    seed: int = 0
    """Seed of everything random: shapes, textures, noise, choice of views."""
    blender_python: Annotated[Path | None, unset("FILE", "$RECON_BLENDER_PYTHON, else recon's own")] = None
    """The Python that has Blender's module; recon only runs it."""
    common: OmitArgPrefixes[Common] = field(default_factory=Common)


def parse_render(argv: Sequence[str]) -> Command:
    """The options of `recon dataset render`."""
    return tyro.cli(DatasetRender, prog="recon dataset render", args=list(argv), config=(tyro.conf.FlagCreatePairsOff,))
