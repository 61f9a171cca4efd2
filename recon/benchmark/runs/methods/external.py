"""Other programs, in environments of their own: they get cameras and sparse points from us, and leave a PLY of splats
that our renderer shows. Nothing of them is installed, imported or changed."""

import json
import os
import random
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from numpy.lib.recfunctions import repack_fields

from recon import plyio
from recon.benchmark.runs import isolate
from recon.benchmark.runs.methods.base import Task, check_options, fitted
from recon.benchmark.runs.methods.splatting import find_cameras, save_views
from recon.compress import read_splats
from recon.data import colmap
from recon.errors import MissingDependencyError, ReconError
from recon.files import write_json

SCENE = "splats.ply"
STEPS = "steps"
FLAGS = "flags"


@dataclass(frozen=True)
class ExternalMethod:
    """Options: `program` (where it is), `steps`, and settings of `poses`; COLMAP finds the cameras by default.

    The program is run in the folder of the job, without our Python path.
    """

    name: str
    program: str
    """Name on the PATH, or what `program` must point at."""
    advice: str
    """How to get it."""
    steps: int
    gpus: float = 1.0
    aligns: bool = False

    def check(self, options: Mapping[str, str]) -> None:
        """Raises MissingDependencyError when the program is not there."""
        check_options(self.name, options, ("program", STEPS, "device"), settings=True)
        self.find(options)

    def find(self, options: Mapping[str, str]) -> str:
        """Path of the program."""
        wanted = options.get("program", self.program)
        if found := shutil.which(wanted) or (wanted if Path(wanted).is_file() else None):
            return str(Path(found).absolute())
        raise MissingDependencyError(f"The method {self.name} needs {wanted}, which is not here. {self.advice}")

    def fit(self, task: Task) -> None:
        """Cameras and points from us, splats from the program."""
        names, cameras = find_cameras(task, backend="colmap")
        steps = int(task.options.get(STEPS, self.steps))
        scene = self.train(task, self.find(task.options), steps)
        shutil.move(scene, task.model / SCENE)
        fitted(task, names, cameras, [task.model / SCENE])

    def train(self, task: Task, program: str, steps: int) -> Path:
        """Run the program on the project in `task.model`; returns the PLY file it left."""
        raise NotImplementedError(f"{self.name} does not say how it is run")

    def render(self, task: Task) -> None:
        """The program's splats, by our renderer."""
        save_views(task, read_splats(task.model / SCENE), isolate.RENDERS)

    def align(self, task: Task) -> None:
        """There is none."""
        raise AssertionError("refused before the job was made")


@dataclass(frozen=True)
class OpenSplatMethod(ExternalMethod):
    """https://github.com/pierotofy/OpenSplat; its CPU build needs no GPU (`device` has no meaning).

    With one option more: `flags`, for the program. It begins with quarters of the photos and doubles them every 3000
    steps, so runs shorter than that want `--num-downscales 0`.
    """

    name: str = "opensplat"
    program: str = "opensplat"
    advice: str = "Build it (docs/peers.md) and put it on the PATH, or pass --option program=FILE."
    steps: int = 3000
    gpus: float = 0.0

    def check(self, options: Mapping[str, str]) -> None:
        """As for the others, with one option more."""
        super().check({key: value for key, value in options.items() if key != FLAGS})

    def train(self, task: Task, program: str, steps: int) -> Path:
        """`--keep-crs`: the splats stay in the cameras' world."""
        project = task.folder / "opensplat"
        project.mkdir()
        write_plain_project(task.model, project, task.seed)
        out = project / "splats.ply"
        flags = shlex.split(task.options.get(FLAGS, ""))
        call([program, str(project), "-n", str(steps), "--keep-crs", "-o", str(out), *flags], task.folder)
        return out


@dataclass(frozen=True)
class SplatfactoMethod(ExternalMethod):
    """nerfstudio's splatfacto, of the environment whose `ns-train` is given."""

    name: str = "splatfacto"
    program: str = "ns-train"
    advice: str = "Install nerfstudio in an environment of its own and pass --option program=ENV/bin/ns-train."
    steps: int = 30_000

    def train(self, task: Task, program: str, steps: int) -> Path:
        """The world is left as it is: neither turned, centred nor scaled."""
        shutil.copyfile(task.model / "cameras.json", task.model / "transforms.json")
        call(
            [
                *(program, "splatfacto", "--max-num-iterations", str(steps), "--machine.seed", str(task.seed)),
                *("--vis", "tensorboard", "--output-dir", "ns", "--experiment-name", "job", "--timestamp", "one"),
                *("nerfstudio-data", "--data", "model", "--eval-mode", "all", "--downscale-factor", "1"),
                *("--orientation-method", "none", "--center-method", "none", "--auto-scale-poses", "False"),
            ],
            task.folder,
        )
        config = "ns/job/splatfacto/one/config.yml"
        export = str(Path(program).with_name("ns-export"))
        call([export, "gaussian-splat", "--load-config", config, "--output-dir", "exported"], task.folder)
        return task.folder / "exported" / "splat.ply"


@dataclass(frozen=True)
class GsplatMethod(ExternalMethod):
    """gsplat's `examples/simple_trainer.py`; `python` names the interpreter that has gsplat and its requirements."""

    name: str = "gsplat"
    program: str = "simple_trainer.py"
    advice: str = (
        "Clone gsplat, install it and its examples' requirements in an environment of its own, and pass "
        "--option program=CLONE/examples/simple_trainer.py python=ENV/bin/python."
    )
    steps: int = 30_000

    def check(self, options: Mapping[str, str]) -> None:
        """As for the others, with one option more."""
        super().check({key: value for key, value in options.items() if key != "python"})

    def train(self, task: Task, program: str, steps: int) -> Path:
        """Its first photo is always a test view: a copy of the first goes before it, so that all are trained on."""
        shield_first(task.model)
        python = task.options.get("python", sys.executable)
        last = str(steps)
        call(
            [
                *(python, program, "default", "--data-dir", "model", "--data-factor", "1", "--result-dir", "gs"),
                *("--test-every", "1000000", "--no-normalize-world-space", "--disable-viewer", "--disable-video"),
                *("--max-steps", last, "--eval-steps", "--save-steps", "--save-ply", "--ply-steps", last),
            ],
            task.folder,
        )
        return task.folder / "gs" / "ply" / f"point_cloud_{steps - 1}.ply"


def write_plain_project(source: Path, target: Path, seed: int) -> None:
    """`transforms.json`, photos and points with only position and colour, as OpenSplat reads them.

    It has no seed: its random numbers are always the same. So what meets them is put in an order that `seed` decides:
    the points, and the photos, which it takes by their names.
    """
    order = random.Random(seed)
    project = json.loads((source / "cameras.json").read_text(encoding="utf-8"))
    order.shuffle(project["frames"])
    for i, frame in enumerate(project["frames"]):
        photo = source / frame["file_path"]
        frame["file_path"] = f"{i:04d}{photo.suffix}"
        shutil.copyfile(photo, target / frame["file_path"])
    write_json(target / "transforms.json", project | {"ply_file_path": "points.ply"})
    rows = repack_fields(plyio.read_vertices(source / "points.ply")[["x", "y", "z", "red", "green", "blue"]])
    plyio.write_vertices(target / "points.ply", rows[order.sample(range(len(rows)), len(rows))])


def shield_first(project: Path) -> None:
    """Repeat the first placed photo of a COLMAP project under a name that sorts before all."""
    known = colmap.read_model(project)
    placed = [i for i in sorted(range(len(known.names)), key=known.names.__getitem__) if known.cameras.registered[i]]
    first = known.names[placed[0]]
    twin = f"!{first}"
    shutil.copyfile(project / "images" / first, project / "images" / twin)
    rows = [placed[0], *placed]
    assert known.points is not None, "a model of ours has points"
    names = [twin, *(known.names[i] for i in placed)]
    colmap.write_model(project / "sparse" / "0", names, known.cameras[rows], known.points)


def call(command: Sequence[str], folder: Path) -> None:
    """Run another program to its end; what it says goes to the job's log.

    Raises:
        ReconError: it failed.
    """
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run(command, cwd=folder, env=environment, check=False)
    if done.returncode != 0:
        raise ReconError(f"{Path(command[0]).name} ended with exit code {done.returncode}.")
