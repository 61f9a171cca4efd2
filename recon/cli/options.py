"""Every command and option, with its help text. Dataclasses only: the work is imported when a command runs.

The docstring under a field is its help; tyro adds the default.
"""

import importlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import tyro
from tyro.conf import OmitArgPrefixes, Positional, UseAppendAction, arg

from recon import __version__

if TYPE_CHECKING:
    from recon.cli.console import Console, Result

Quality = Literal["draft", "standard", "high"]
Device = Literal["auto", "cpu", "cuda"]
Folder = Annotated[Path, arg(metavar="DIR")]
RunFolderArgument = Positional[Annotated[Path, arg(metavar="RUN")]]


def unset(metavar: str, meaning: str) -> Any:
    """Help for an option that may stay away: `metavar` in the usage, `meaning` as what happens then."""
    return arg(metavar=metavar, help_behavior_hint=f"(default: {meaning})")


DESCRIPTION = """3D from a handful of photos: cameras, Gaussian splats and a browser viewer, on an ordinary computer.

Start with `recon run --images FOLDER`, then look at the result with `recon view FOLDER/recon`. `recon doctor`
checks this machine.

`recon COMMAND --help` explains a command, `recon --version` prints the version. Exit codes: 0 done, even where single
photos were left out (it names them); 2 input that cannot be used; 3 too few photos could be placed; 4 disk, memory or
device; 5 something is not installed; 130 stopped with Ctrl-C; 1 a bug of ours, or a benchmark of which something failed
or got worse."""


@dataclass(frozen=True, kw_only=True)
class Common:
    """Understood by every command."""

    json: bool = False
    """Print exactly one JSON object on stdout when done; everything else goes to stderr."""
    debug: bool = False
    """Log in detail, and show the traceback of errors."""


class Command:
    """A command: its options, and where its work is done."""

    module: ClassVar[str] = ""
    common: Common

    def execute(self, console: "Console") -> "Result":
        """Import the module that does the work, and do it."""
        return importlib.import_module(f"recon.cli.{self.module}").execute(self, console)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How the result is computed."""

    config: Annotated[str | None, unset("NAME|FILE", "the preset that --quality names")] = None
    """A preset's name or a YAML file that says what differs from it (see configs/); goes over --quality."""
    set: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="KEY=VALUE")] = ()
    """One setting, applied last, such as --set train.steps=2000; the config.yaml of any run lists them all."""
    device: Annotated[Device | None, unset("{auto,cpu,cuda}", "auto; of a run that is there, as it was started")] = None
    """Where to compute; auto takes a CUDA GPU if there is one."""
    seed: Annotated[int | None, unset("N", "0; of a run that is there, as it was started")] = None
    """Seed of everything random."""


@dataclass(frozen=True, kw_only=True)
class Photos:
    """What is read and where results go."""

    images: Folder
    """Folder with 2 or more photos of one scene (JPEG, PNG, WebP, HEIC, TIFF ...)."""
    out: Annotated[Path | None, unset("DIR", "a folder `recon` inside the photo folder")] = None
    """Folder for the results. If it holds an unfinished run of these photos, that run is continued."""
    poses: Annotated[str, arg(metavar="BACKEND|FILE")] = "auto"
    """How cameras are found: auto (learned features), colmap (SIFT only), a network with its own package and weights
    (da3, mapanything, vggt; see recon doctor), or where known ones are (transforms.json, cameras.json, a COLMAP model,
    poses_bounds.npy, a folder of pos_XXX.txt)."""
    allow_download: bool = False
    """Agree to the licences of the weights that are asked for (by --poses; in recon run also by --prior and
    --depth-prior), and to their download if they are not here (RECON_ALLOW_DOWNLOAD=1 says the same)."""
    masks: Annotated[Path | None, unset("DIR|auto|none", "alpha channels, if any")] = None
    """Folder with a mask for each photo, under the photo's name, white on the object; auto: find the object of photos
    without alpha channel (a network that ships); none: ignore alpha channels."""
    holdout: Annotated[int, arg(metavar="N")] = 0
    """So many photos are kept out of everything, and used only to measure the result."""


@dataclass(frozen=True, kw_only=True)
class Prior:
    """What is known of pictures in general."""

    prior: Annotated[str | None, unset("NAME", "as the settings say, none unless changed")] = None
    """Adds views that no photo shows, as a prior for pictures would have them: blend (the photos alone), embedded (a
    small network), or a large one with weights of its own: difix, sd-turbo, sdxl-turbo, controlnet-tile, zero123 (see
    recon doctor). It is tested on left-out photos first, and counts as far as it helps there; none: no such views."""
    prior_seconds: Annotated[float | None, unset("S", "60")] = None
    """The test and the views may take so long."""
    depth_prior: Annotated[str | None, unset("NAME", "as the settings say, none unless changed")] = None
    """Depth that a network sees in each photo, for losses that forgive its scale: depth-anything-v2 or
    depth-anything-3 (weights of your own, see recon doctor); none: stereo alone."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How large the result may be. Gaussians that matter least are left out while training."""

    max_gaussians: Annotated[int | None, unset("N", "no limit")] = None
    """At most so many Gaussians."""
    target_mb: Annotated[float | None, unset("MB", "no limit")] = None
    """splats_web.sog, which is then written as recon compress --preset web does, is at most so large."""


@dataclass(frozen=True, kw_only=True)
class Live:
    """Watching while it works."""

    view: bool = False
    """Serve the viewer from the start; it follows the work live and stays until Ctrl-C."""
    port: int = 8080
    """Port of the viewer."""


@dataclass(frozen=True, kw_only=True)
class Run(Command):
    """Photos in, splats out: the whole job. Continues where an earlier run in the same folder stopped."""

    module: ClassVar[str] = "run_command"
    photos: OmitArgPrefixes[Photos]
    quality: Quality = "standard"
    """draft: about a minute for 6 photos on two cores; standard: a few minutes; high: the best, slow."""
    representation: Literal["splats", "hashgrid"] = "splats"
    """What is trained: splats, or a hash-grid radiance field (field.npz), with splats on its surface for the viewer."""
    mesh: bool = False
    """Write a textured mesh as well: mesh.glb in the results folder (10 to 20 seconds more on two cores)."""
    limits: OmitArgPrefixes[Limits] = field(default_factory=Limits)
    prior: OmitArgPrefixes[Prior] = field(default_factory=Prior)
    settings: OmitArgPrefixes[Settings] = field(default_factory=Settings)
    live: OmitArgPrefixes[Live] = field(default_factory=Live)
    common: OmitArgPrefixes[Common] = field(default_factory=Common)


@dataclass(frozen=True, kw_only=True)
class Poses(Command):
    """Only find the cameras: writes cameras.json, sparse/0 (COLMAP) and points.ply."""

    module: ClassVar[str] = "run_command"
    photos: OmitArgPrefixes[Photos]
    quality: Quality = "standard"
    """The preset to take settings from."""
    settings: OmitArgPrefixes[Settings] = field(default_factory=Settings)
    common: OmitArgPrefixes[Common] = field(default_factory=Common)


@dataclass(frozen=True, kw_only=True)
class Train(Command):
    """Train splats in a folder whose cameras are known: after `recon poses`, or again with other settings."""

    module: ClassVar[str] = "run_command"
    run: RunFolderArgument
    """Folder with the results so far."""
    quality: Annotated[Quality | None, unset("{draft,standard,high}", "as the run was started")] = None
    """Preset for the dense and the training stage; photos and cameras stay as they are, but for doubtful photos, which
    are looked at again when stereo is."""
    limits: OmitArgPrefixes[Limits] = field(default_factory=Limits)
    prior: OmitArgPrefixes[Prior] = field(default_factory=Prior)
    allow_download: bool = False
    """Agree to the licences of the weights that --prior and --depth-prior ask for, and to their download if they are
    not here (RECON_ALLOW_DOWNLOAD=1 says the same)."""
    settings: OmitArgPrefixes[Settings] = field(default_factory=Settings)
    live: OmitArgPrefixes[Live] = field(default_factory=Live)
    common: OmitArgPrefixes[Common] = field(default_factory=Common)


@dataclass(frozen=True, kw_only=True)
class Render(Command):
    """Render a camera path, or given cameras, to pictures and a video."""

    module: ClassVar[str] = "render_command"
    run: RunFolderArgument
    """Folder with a finished run."""
    path: Annotated[str, arg(metavar="interpolate|orbit|spiral|FILE")] = "interpolate"
    """From photo to photo, around the scene, a small spiral, or the cameras of a JSON file (transforms.json layout)."""
    out: Annotated[Path | None, unset("DIR", "RUN/renders/PATH")] = None
    """Folder for the pictures and the video."""
    frames: int = 120
    """Number of frames along the path; given cameras are rendered once each."""
    fps: int = 24
    """Frames per second of the video."""
    max_side: Annotated[int | None, unset("PIXELS", "as trained, or as the given cameras say")] = None
    """Longest side of the pictures."""
    no_video: bool = False
    """Write only pictures."""
    depth: bool = False
    """Write depth as well: 16-bit PNG, with its scale in renders.json."""
    background: Literal["black", "white", "transparent"] = "black"
    """What lies behind the splats, such as behind an object that was masked; a video of transparent pictures is
    black there."""
    repair: Annotated[str, arg(metavar="auto|none|blend|embedded|NAME")] = "auto"
    """Repair each picture by a prior for pictures, as far as that mends views of left-out photos: blend (the photos
    alone), embedded (a small network that ships with recon), or a large one (see docs/priors.md). auto: blend along a
    path, where pictures are to be looked at; none for given cameras, where they may be measured."""
    device: Device = "auto"
    """Where to render; auto takes a CUDA GPU if there is one."""
    common: OmitArgPrefixes[Common] = field(default_factory=Common)


@dataclass(frozen=True, kw_only=True)
class Export(Command):
    """Write results in another program's format."""

    module: ClassVar[str] = "export_command"
    run: Positional[Annotated[Path, arg(metavar="RUN|FILE")]]
    """Folder with a finished run; for html also a splat file."""
    format: Annotated[
        Literal["ply", "splat", "spz", "sog", "html", "points", "transforms", "colmap", "mesh"] | None,
        unset("{ply,splat,spz,sog,html,points,transforms,colmap,mesh}", "none; needed unless --html is given"),
    ] = None
    """ply, splat, spz, sog: Gaussians for SuperSplat and other viewers; html: the scene as one page with a viewer
    inside, which opens from disk in any browser; points: a coloured point cloud (.ply); transforms: cameras for
    nerfstudio (.json); colmap: cameras and points as a COLMAP model (a folder); mesh: triangles textured with the
    photos (.glb, or .obj with .mtl and .png beside it), or with colours at the vertices (.ply)."""
    out: Annotated[Path | None, unset("FILE|DIR", "none; needed unless --html is given")] = None
    """What to write: a file, or a folder for colmap."""
    html: Annotated[Path | None, unset("FILE", "none")] = None
    """Short for --format html --out FILE."""
    common: OmitArgPrefixes[Common] = field(default_factory=Common)


@dataclass(frozen=True, kw_only=True)
class Convert(Command):
    """Write a splat file in another format; the suffixes choose: .ply, .compressed.ply, .splat, .spz, .sog; .csog is
    only read."""

    module: ClassVar[str] = "convert_command"
    source: Positional[Annotated[Path, arg(metavar="FILE")]]
    """What to read."""
    out: Positional[Annotated[Path, arg(metavar="OUT")]]
    """What to write."""
    common: OmitArgPrefixes[Common] = field(default_factory=Common)


@dataclass(frozen=True, kw_only=True)
class Compress(Command):
    """Make splats small, as a .sog file that SuperSplat, PlayCanvas and other viewers open.

    Of a run, Gaussians that hardly show in the photos' views and around them are left out, and the others are fitted to
    show what all did. A file alone has no views: nothing that can be seen is left out unless a limit asks for it."""

    module: ClassVar[str] = "compress_command"
    source: Positional[Annotated[Path, arg(metavar="RUN|FILE")]]
    """Folder with a finished run, or a splat file."""
    preset: Literal["lossless", "web", "tiny"] = "web"
    """lossless: about a tenth of the PLY file and no loss that can be seen (the numbers are rounded all the same);
    web: about a 25th; tiny: about a 50th, soft in fine detail."""
    colors: Literal["stored", "harmonics", "hybrid", "field", "latents"] = "stored"
    """stored: in the file. The others write .csog files, which only recon reads. There a hash grid and a small network
    know how colours change with the direction (harmonics), opacity too (hybrid), or all of it (field) by where a
    Gaussian is; latents: all of it by a few numbers that each Gaussian has."""
    out: Annotated[Path | None, unset("FILE", "splats_PRESET.sog in the run folder, or beside the file")] = None
    """What to write, ending in .sog; .csog with --colors."""
    target_mb: Annotated[float | None, unset("MB", "no limit")] = None
    """The file is at most so large."""
    max_gaussians: Annotated[int | None, unset("N", "no limit")] = None
    """At most so many Gaussians stay."""
    device: Device = "auto"
    """Where to render; auto takes a CUDA GPU if there is one."""
    common: OmitArgPrefixes[Common] = field(default_factory=Common)


@dataclass(frozen=True, kw_only=True)
class View(Command):
    """Open the viewer for run folders or splat files, until Ctrl-C; several are compared with the first."""

    module: ClassVar[str] = "view_command"
    sources: Positional[Annotated[tuple[Path, ...], arg(metavar="RUN|FILE ...", help_behavior_hint="(one or more)")]]
    """Run folders, splat files or meshes (.glb, .obj, .ply)."""
    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 lets other machines in, if they have the token that is printed."""
    port: int = 8080
    """Port to listen on."""
    common: OmitArgPrefixes[Common] = field(default_factory=Common)


@dataclass(frozen=True, kw_only=True)
class Eval(Command):
    """Measure a result against photos that were not used to make it."""

    module: ClassVar[str] = "eval_command"
    run: RunFolderArgument
    """Folder with a run made with --holdout, or any run together with --images."""
    images: Annotated[Path | None, unset("DIR", "the photos that the run held out")] = None
    """Folder with more photos of the same scene; those that the run used are left aside."""
    device: Device = "auto"
    """Where to render; auto takes a CUDA GPU if there is one."""
    common: OmitArgPrefixes[Common] = field(default_factory=Common)


@dataclass(frozen=True, kw_only=True)
class Doctor(Command):
    """Check this machine: hardware, rasterizer, weights, what is missing and how to get it."""

    module: ClassVar[str] = "doctor_command"

    common: OmitArgPrefixes[Common] = field(default_factory=Common)


@dataclass(frozen=True, kw_only=True)
class Bench(Command):
    """Run a benchmark and print its table; `run`, `score`, `gate` and `views` (each with --help) compare methods."""

    module: ClassVar[str] = "bench_command"
    name: Positional[Annotated[str, arg(metavar="NAME")]] = "list"
    """Which one; `list` names them all."""
    full: bool = False
    """The whole table, minutes to hours, instead of the short version."""
    repeats: int = 5
    """Timings whose median is shown, where the work is short enough to repeat."""
    seed: int = 0
    """Seed of everything random."""
    markdown: bool = False
    """Print the tables as Markdown."""
    common: OmitArgPrefixes[Common] = field(default_factory=Common)


@dataclass(frozen=True, kw_only=True)
class Dataset(Command):
    """The benchmarks' data sets: where to get them, whether a folder is complete; `dataset render` makes scenes."""

    module: ClassVar[str] = "dataset"
    action: Positional[Literal["list", "check"]] = "list"
    """list: where each comes from, its licence and splits; check: compare a folder with what a protocol needs."""
    folder: Positional[Annotated[Path | None, unset("DIR", "needed by check")]] = None
    """Folder that holds the scenes' folders."""
    set: Annotated[str | None, unset("NAME", "all, or the one that the folder looks like")] = None
    """Which data set; with list, how to get it."""
    common: OmitArgPrefixes[Common] = field(default_factory=Common)


COMMANDS = (Run, Poses, Train, Render, Export, Convert, Compress, View, Eval, Doctor, Bench, Dataset)


def parse(argv: Sequence[str]) -> Command:
    """The options of the command in `argv`. Prints help, version or a usage error and exits where that is asked for."""
    if list(argv) in (["--version"], ["-V"]):
        sys.stdout.write(f"recon {__version__}\n")
        sys.exit(0)
    if list(argv[:1]) == ["bench"] and list(argv[1:2]) in (["run"], ["score"], ["gate"], ["views"]):
        from recon.cli.bench_options import parse_bench  # which leans on this module

        return parse_bench(argv[1:])
    if list(argv[:2]) == ["dataset", "render"]:
        from recon.cli.dataset_options import parse_render

        return parse_render(argv[2:])
    return tyro.extras.subcommand_cli_from_dict(
        {command.__name__.lower(): command for command in COMMANDS},
        prog="recon",
        description=DESCRIPTION,
        args=list(argv) or ["--help"],
        config=(tyro.conf.FlagCreatePairsOff,),
    )
