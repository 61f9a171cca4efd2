"""nerfstudio's door to our scenes: `--data SCENE` with the data parser `recon-data`."""

from dataclasses import dataclass, field
from pathlib import Path

import torch
from nerfstudio.cameras.cameras import Cameras as NerfstudioCameras
from nerfstudio.cameras.cameras import CameraType
from nerfstudio.data.dataparsers.base_dataparser import DataParser, DataParserConfig, DataparserOutputs
from nerfstudio.plugins.registry_dataparser import DataParserSpecification

from recon.data import Scene, holdout_split
from recon.errors import InputError
from recon.geometry import Sim3
from recon.nerfstudio.scenes import lens_of, open_data, to_opengl, upright_world
from recon.types import PointCloud

POINTS, CONFIDENCE = "recon_points", "recon_confidence"
"""Keys of the metadata: the points as our trainer takes them, in our world, and how far each camera can be trusted."""


@dataclass
class ReconDataParserConfig(DataParserConfig):
    """A run folder of recon, a file in the layout of transforms.json, or a scene in any format that recon reads."""

    _target: type = field(default_factory=lambda: ReconDataParser)
    data: Path = Path()
    """The folder or file."""
    holdout: int = 0
    """So many photos are used only to measure the result; with 0, the photos that were trained on are measured."""


class ReconDataParser(DataParser):
    """Places and photos as recon's own readers find them, in an upright world of about unit size."""

    config: ReconDataParserConfig

    def _generate_dataparser_outputs(self, split: str = "train", **kwargs: object) -> DataparserOutputs:
        scene = open_data(Path(self.config.data))
        ns_from_world = upright_world(scene.cameras, scene.points)
        views = list(range(len(scene)))
        if self.config.holdout > 0:
            views = holdout_split(len(scene), self.config.holdout)[0 if split == "train" else 1]
        shown = scene.at([scene.indices[i] for i in views])
        return DataparserOutputs(
            image_filenames=_files(shown.image_paths, shown.names),
            cameras=_cameras(shown, ns_from_world),
            mask_filenames=None if shown.mask_paths is None else _files(shown.mask_paths, shown.names),
            metadata=_metadata(shown, ns_from_world),
            dataparser_transform=torch.cat(
                [ns_from_world.R, (ns_from_world.t / ns_from_world.scale)[:, None]], dim=1
            ).float(),
            dataparser_scale=float(ns_from_world.scale),
        )


def _files(paths: tuple[Path | None, ...], names: tuple[str, ...]) -> list[Path]:
    missing = [name for path, name in zip(paths, names) if path is None]
    if missing:
        raise InputError(f"nerfstudio needs a file for every photo; there is none for {', '.join(missing[:3])}.")
    return [path for path in paths if path is not None]


def _cameras(scene: Scene, ns_from_world: Sim3) -> NerfstudioCameras:
    Ks = scene.cameras.Ks.float()
    return NerfstudioCameras(
        camera_to_worlds=to_opengl(scene.cameras, ns_from_world),
        fx=Ks[:, 0, 0],
        fy=Ks[:, 1, 1],
        cx=Ks[:, 0, 2],
        cy=Ks[:, 1, 2],
        width=scene.cameras.width,
        height=scene.cameras.height,
        distortion_params=lens_of(scene.distortion),
        camera_type=CameraType.PERSPECTIVE,
    )


def _metadata(scene: Scene, ns_from_world: Sim3) -> dict[str, object]:
    """For our trainer, and the points for nerfstudio's own methods: in its world, coloured 0 to 255."""
    metadata: dict[str, object] = {CONFIDENCE: scene.cameras.confidence.float()}
    points: PointCloud | None = scene.points
    if points is not None:
        metadata[POINTS] = points
        metadata["points3D_xyz"] = ns_from_world.apply_points(points.xyz.double()).float()
        metadata["points3D_rgb"] = (points.rgb * 255).round().to(torch.uint8)
    return metadata


recon_data = DataParserSpecification(
    ReconDataParserConfig(), "recon: its run folders, transforms.json, COLMAP, LLFF, Blender, DTU and others"
)
