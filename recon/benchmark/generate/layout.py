"""Where the files of a generated set lie, and the small ones: cameras, splits, provenance.

    OUT/inputs/                                 what may be handed out
        Track1_split.json, Track2_split.json    {scene: {input_views, test_views, dataset}}
        scenes.json                             what each scene is, its licence, how it was rendered
        SCENE/cam_001_3_0000.png ...            the input views, and their cameras as transforms.json
        synth_calibration/pos_001.txt ...       all cameras of the rig, which serves every scene; blender.json: the same
    OUT/truth/                                  what is kept back
        SCENE/cam_002_3_0000.png ...            every other view that was rendered, and transforms.json
        SCENE/mask_001.png ...                  of all views: 255 on the object
        SCENE/depth_001.npz ...                 of all views: `depth`, z in metres, 0 where nothing is
        synth_calibration/pos_001.txt ...

Views count from 0 in the split files, and from 1 in file names, as in SpaRe. `recon.data.formats` reads both parts.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor

from recon.benchmark.generate.split import ViewSplit
from recon.data.transforms_json import OPENCV_FROM_OPENGL, write_transforms
from recon.files import write_json, write_text
from recon.types import Cameras

SENSOR_MM = 36.0
LIGHTINGS = range(7)
PARTS = ("inputs", "truth")
CALIBRATION = "synth_calibration"
"""SpaRe's name for the folder of matrices."""


def image_name(view: int, lighting: int) -> str:
    """SpaRe's name of a picture; `view` counts from 0, the name from 1."""
    return f"cam_{view + 1:03d}_{lighting}_0000.png"


@dataclass(frozen=True)
class SceneFiles:
    """The paths of one scene."""

    out: Path
    scene: str

    @property
    def inputs(self) -> Path:
        return self.out / "inputs" / self.scene

    @property
    def truth(self) -> Path:
        return self.out / "truth" / self.scene

    def image(self, view: int, lighting: int, split: ViewSplit) -> Path:
        folder = self.inputs if view in split.inputs else self.truth
        return folder / image_name(view, lighting)

    def mask(self, view: int) -> Path:
        return self.truth / f"mask_{view + 1:03d}.png"

    def depth(self, view: int) -> Path:
        return self.truth / f"depth_{view + 1:03d}.npz"


def projection(K: Float[Tensor, "3 3"], cam_from_world: Float[Tensor, "4 4"]) -> Float[Tensor, "3 4"]:
    """P = K [R | t]: pixels (corner of the first at 0, 0) from metres, as RegNeRF's loader of DTU decomposes it."""
    return K @ cam_from_world[:3]


def write_positions(folder: Path, cameras: Cameras) -> None:
    """`pos_XXX.txt` of every camera, 17 digits: exact in double precision."""
    for view, (K, pose) in enumerate(zip(cameras.Ks, cameras.cam_from_world)):
        P = projection(K, pose)
        text = "\n".join(" ".join(f"{value:.17g}" for value in row) for row in P.tolist())
        write_text(folder / f"pos_{view + 1:03d}.txt", text + "\n")


def world_from_opengl(cameras: Cameras) -> Float[Tensor, "V 4 4"]:
    """Blender's `matrix_world` of the cameras: x right, y up, looking along -z."""
    return cameras.world_from_cam @ OPENCV_FROM_OPENGL


def blender_cameras(cameras: Cameras) -> dict[str, Any]:
    """The rig as Blender has it: lens and sensor in millimetres, one `matrix_world` a view."""
    width, height = int(cameras.width[0]), int(cameras.height[0])
    return {
        "resolution": [width, height],
        "sensor_width_mm": SENSOR_MM,
        "sensor_fit": "HORIZONTAL",
        "lens_mm": SENSOR_MM * float(cameras.Ks[0, 0, 0]) / width,
        "matrix_world": {f"{view + 1:03d}": matrix.tolist() for view, matrix in enumerate(world_from_opengl(cameras))},
    }


def write_calibration(out: Path, cameras: Cameras) -> None:
    """The rig's cameras beside the scenes, in both parts of the set."""
    for part in PARTS:
        write_positions(out / part / CALIBRATION, cameras)
        write_json(out / part / CALIBRATION / "blender.json", blender_cameras(cameras))


def write_scene_cameras(files: SceneFiles, cameras: Cameras) -> None:
    """`transforms.json` of the pictures that are there, in each part of the scene."""
    for folder in (files.inputs, files.truth):
        every = ((view, image_name(view, light)) for view in range(len(cameras)) for light in LIGHTINGS)
        there = [(view, name) for view, name in every if (folder / name).is_file()]
        if there:
            views, names = zip(*there)
            write_transforms(folder / "transforms.json", names, cameras[list(views)])
