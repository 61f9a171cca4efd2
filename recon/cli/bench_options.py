"""`recon bench run`, `score`, `gate` and `views`: methods on scenes, predicted to disk, then scored from disk."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import tyro
from tyro.conf import OmitArgPrefixes, Positional, UseAppendAction, arg

from recon.cli.options import Command, Common, Quality, unset
from recon.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Where:
    """Where the jobs run, and what each may use."""

    on: Annotated[str, arg(metavar="local|ray|ray://HOST:PORT")] = "local"
    """Processes of this machine, a Ray of this machine, or a Ray cluster."""
    jobs: int = 1
    """So many at a time, with --on local."""
    cpus: int = 1
    """Cores for each job."""
    time_limit: float = 24.0
    """Hours that one step of a job may take."""
    retries: int = 2
    """More attempts after a job was killed or its machine was lost."""


@dataclass(frozen=True, kw_only=True)
class BenchRun(Command):
    """Let a method show the test views of scenes that it is given a few photos of. Continues where it stopped."""

    module: ClassVar[str] = "bench_run_command"
    set: Annotated[str, arg(metavar="demo|DIR")]
    """The scenes: the demo photos, or a folder with a folder for each scene, in any format that is read."""
    track: Annotated[str, arg(metavar="1|2|N")]
    """1: three input photos, 2: nine (SpaRe's tracks), or their number from 3."""
    method: Annotated[tuple[str, ...], arg(metavar="METHOD")]
    """recon, plain, copy, opensplat, gsplat, splatfacto."""
    out: Annotated[Path, arg(metavar="DIR")]
    """Folder for what is written; several tracks and methods may share it."""
    poses: tuple[Literal["given", "estimated"], ...] = ("given",)
    """Whether methods are given the input photos' cameras."""
    seeds: tuple[int, ...] = (0,)
    """Each job is done once with each."""
    scenes: Annotated[tuple[str, ...], unset("NAME", "all of the split")] = ()
    """Only these."""
    split: Annotated[str | None, unset("NAME|FILE", "the one of the set and track")] = None
    """A committed split, or a JSON file: {scene: {input_views, test_views, dataset}}."""
    max_side: Annotated[int | None, unset("PIXELS", "the protocol's size")] = None
    """Longest side of the photos that are given out and of the pictures that are asked for."""
    quality: Annotated[Quality | None, unset("{draft,standard,high}", "standard")] = None
    """Preset of the methods recon and plain."""
    option: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="KEY=VALUE")] = ()
    """For the method: a setting such as train.steps=2000, or steps=N, program=FILE of other programs."""
    label: Annotated[str | None, unset("NAME", "the method's name, and the preset if one is given")] = None
    """What the tables call it."""
    align: bool = False
    """With estimated poses: at the very end, also refine the test cameras alone against the test photos, as a second
    result (InstantSplat evaluates so)."""
    where: OmitArgPrefixes[Where] = field(default_factory=Where)
    common: OmitArgPrefixes[Common] = field(default_factory=Common)


@dataclass(frozen=True, kw_only=True)
class BenchScore(Command):
    """Score what `recon bench run` wrote, or a submission's ZIP, against the test photos."""

    module: ClassVar[str] = "bench_run_command"
    source: Positional[Annotated[Path, arg(metavar="DIR|ZIP")]]
    """Folder of a run, or a ZIP with a folder for each scene."""
    truth: Annotated[str, arg(metavar="demo|DIR")]
    """Folder with a folder for each scene, test photos and masks included."""
    page: Annotated[Path | None, unset("FILE", "none")] = None
    """Write a leaderboard: one HTML file that needs nothing else."""
    submission: Annotated[Path | None, unset("FILE", "none")] = None
    """Write the ZIP that SpaRe's site takes, of the one result that the next four choose."""
    entry: Annotated[str | None, unset("NAME", "the only one")] = None
    """Method as the tables call it."""
    track: Annotated[str | None, unset("1|2|N", "the only one; needed for a ZIP")] = None
    """Track of the submission, or of the ZIP."""
    poses: Annotated[Literal["given", "estimated"] | None, unset("{given,estimated}", "the only one")] = None
    """Kind of poses."""
    seed: Annotated[int | None, unset("INT", "the only one")] = None
    """Seed."""
    split: Annotated[str | None, unset("NAME|FILE", "the one of the set and track")] = None
    """Split of a ZIP."""
    max_side: Annotated[int | None, unset("PIXELS", "the protocol's size")] = None
    """Size of a ZIP's pictures, if they were made with --max-side."""
    markdown: bool = False
    """Print the tables as Markdown."""
    common: OmitArgPrefixes[Common] = field(default_factory=Common)


@dataclass(frozen=True, kw_only=True)
class BenchGate(Command):
    """Run a small set and compare with the committed figures: tight on quality and bytes, loose on time."""

    module: ClassVar[str] = "bench_run_command"
    update: bool = False
    """Write the figures found as the new ones to compare with."""
    out: Annotated[Path | None, unset("DIR", "a folder that is thrown away")] = None
    """Keep the results here."""
    common: OmitArgPrefixes[Common] = field(default_factory=Common)


@dataclass(frozen=True, kw_only=True)
class BenchViews(Command):
    """Held-out views from 3, 6 and 9 photos: ours against plain splatting, or each part by itself (needs data)."""

    module: ClassVar[str] = "bench_views_command"
    full: bool = False
    """All scenes, 3, 6 and 9 photos, given and estimated poses, three seeds: days on two cores. What follows narrows it
    down, or widens the short version: one scene, 3 photos, given poses, one seed."""
    scenes: Annotated[tuple[str, ...], unset("NAME", "fern, or demo without RECON_DATA; all with --full")] = ()
    """Such as bench/kitchen or dev/lund_door below RECON_DATA; real, rendered: all of that kind; demo: the demo
    photos."""
    photos: Annotated[tuple[int, ...], unset("N", "3; 3 6 9 with --full")] = ()
    """How many input photos."""
    poses: Annotated[tuple[Literal["given", "estimated"], ...], unset("KIND", "given; both with --full")] = ()
    """Whether the cameras of the input photos are given. Where they are not, the test cameras are brought to the
    estimated world, and then moved by themselves to fit their photos."""
    arms: Annotated[tuple[str, ...], unset("NAME", "methods")] = ()
    """methods: recon, plain, plain-dense. off: recon without one of its parts. on: recon with one more. priors: with
    one for pictures; ungated: with one that is not tested first; repair: its pictures, not its splats, repaired.
    object: with masks. Or names of arms; an unknown one lists them all."""
    seeds: Annotated[tuple[int, ...], unset("INT", "0; 0 1 2 with --full")] = ()
    """Each job is done once with each."""
    max_side: Annotated[int | None, unset("PIXELS", "320; 504 with --full")] = None
    """Longest side of photos and pictures."""
    quality: Annotated[Quality | None, unset("{draft,standard,high}", "draft; standard with --full")] = None
    """Preset of all arms."""
    option: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="KEY=VALUE")] = ()
    """For all arms: a setting such as train.steps=1000. Without --quality the short version takes 300 steps."""
    out: Annotated[Path | None, unset("DIR", "a folder that is thrown away")] = None
    """Keep results and contact sheets (sheets/) here; what is done is not done again."""
    markdown: bool = False
    """Print the tables as Markdown."""
    where: OmitArgPrefixes[Where] = field(default_factory=Where)
    common: OmitArgPrefixes[Common] = field(default_factory=Common)


BENCH_COMMANDS: dict[str, Callable[..., Command]] = {
    "run": BenchRun,
    "score": BenchScore,
    "gate": BenchGate,
    "views": BenchViews,
}


def parse_bench(argv: Sequence[str]) -> Command:
    """The options of `recon bench run`, `score`, `gate` or `views`."""
    return tyro.extras.subcommand_cli_from_dict(
        BENCH_COMMANDS, prog="recon bench", args=list(argv), config=(tyro.conf.FlagCreatePairsOff,)
    )


def parse_pairs(texts: Sequence[str]) -> dict[str, str]:
    """KEY=VALUE as a mapping.

    Raises:
        InputError: a text without an equals sign.
    """
    pairs = [text.partition("=") for text in texts]
    if bad := [text for text, (_, equals, _) in zip(texts, pairs) if not equals]:
        raise InputError(f"--option expects KEY=VALUE, got {bad[0]!r}.")
    return {key: value for key, _, value in pairs}
