"""Scenes with known cameras that pairs are made from, small enough to optimise by the hundred."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import torch
from jaxtyping import Float
from torch import Tensor

from recon.data.formats import Scene, open_scene
from recon.errors import InputError
from recon.types import Cameras

TRUTH = "truth"
"""Generated sets keep the views that are asked for apart from those that are given, in folders of these names."""


@dataclass(frozen=True)
class Photographed:
    """V photos of one scene, of one size, and their cameras."""

    name: str
    photos: Float[Tensor, "V H W 3"]
    cameras: Cameras

    def __len__(self) -> int:
        return len(self.cameras)

    def shrunk(self, max_side: int) -> "Photographed":
        """The same at most `max_side` pixels long, by area average."""
        height, width = self.photos.shape[1:3]
        share = min(1.0, max_side / max(width, height))
        size = round(width * share), round(height * share)
        photos = [cv2.resize(photo.numpy(), size, interpolation=cv2.INTER_AREA) for photo in self.photos]
        sizes = (torch.full((len(self),), side) for side in size)
        return replace(
            self, photos=torch.stack([torch.from_numpy(p) for p in photos]), cameras=self.cameras.resized(*sizes)
        )


def find_scenes(folders: Sequence[Path]) -> list[Path]:
    """Folders of scenes in or at `folders`, by name; of a generated set, those in its `inputs`.

    Raises:
        InputError: one of them holds no scene.
    """
    found: list[Path] = []
    for folder in folders:
        inside = folder / "inputs" if (folder / TRUTH).is_dir() else folder
        scenes = (
            [path for path in sorted(inside.iterdir()) if (path / "transforms.json").is_file()]
            if inside.is_dir()
            else []
        )
        if (inside / "transforms.json").is_file():
            scenes = [inside]
        if not scenes:
            raise InputError(f"{folder} holds no scene with a transforms.json. Give the folder of a set or of a scene.")
        found += scenes
    return found


def read_scene(folder: Path, max_side: int) -> Photographed:
    """All views of a scene, at most `max_side` pixels long; those in a `truth` folder beside `inputs` are added.

    Raises:
        InputError: a photo or the list of cameras cannot be read, or the photos differ in size.
    """
    parts = [_read(open_scene(folder), max_side)]
    if (hidden := folder.parents[1] / TRUTH / folder.name).is_dir():
        parts.append(_read(open_scene(hidden), max_side))
    if len({part.photos.shape[1:3] for part in parts}) > 1:
        raise InputError(f"The photos of {folder} and {hidden} differ in size. Render them at one.")
    cameras = [part.cameras for part in parts]
    joined = Cameras(*(torch.cat([getattr(c, n) for c in cameras]) for n in Cameras.__dataclass_fields__))
    return Photographed(folder.name, torch.cat([part.photos for part in parts]), joined)


def _read(scene: Scene, max_side: int) -> Photographed:
    scene = scene.at([index for index, path in zip(scene.indices, scene.image_paths) if path is not None])
    sizes = set(zip(scene.cameras.width.tolist(), scene.cameras.height.tolist()))
    if len(sizes) > 1:
        raise InputError(f"The photos of {scene.name} differ in size ({sorted(sizes)}). Pairs need them alike.")
    cameras = replace(
        scene.cameras, cam_from_world=scene.cameras.cam_from_world.float(), Ks=scene.cameras.Ks.float(),
        confidence=torch.ones(len(scene)),
    )  # fmt: skip
    views = [Photographed(scene.name, scene.image(i)[None], cameras[i]).shrunk(max_side) for i in range(len(scene))]
    sized = cameras.resized(*(torch.cat([getattr(v.cameras, side) for v in views]) for side in ("width", "height")))
    return Photographed(scene.name, torch.cat([view.photos for view in views]), sized)
