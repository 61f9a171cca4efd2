"""Our trainer, driven by nerfstudio's loop: one step of it is one step of ours, with our losses and optimizers."""

import functools
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackAttributes, TrainingCallbackLocation
from nerfstudio.pipelines.base_pipeline import VanillaPipeline, VanillaPipelineConfig
from nerfstudio.utils.rich_utils import CONSOLE
from torch import Tensor

from recon.compress import write_ply
from recon.errors import InputError
from recon.geometry import Sim3
from recon.nerfstudio.dataparser import CONFIDENCE, POINTS
from recon.nerfstudio.model import ReconModel, pinholes
from recon.nerfstudio.scenes import to_opengl, training_scene
from recon.optimize import TrainConfig, Trainer
from recon.optimize.readings import Readings
from recon.stereo import StereoConfig, reconstruct
from recon.types import Cameras, PointCloud, PosedScene

SPLATS = "splats.ply"


@dataclass
class ReconPipelineConfig(VanillaPipelineConfig):
    """How splats are made. The number of steps is nerfstudio's `--max-num-iterations`."""

    _target: type = field(default_factory=lambda: ReconPipeline)
    train: TrainConfig = field(default_factory=TrainConfig)
    """The optimisation; `steps` follows nerfstudio's."""
    dense: StereoConfig = field(default_factory=StereoConfig)
    """Depth from neighbouring photos, made before training starts: the first splats and a constraint."""


class ReconPipeline(VanillaPipeline):
    """nerfstudio's data manager, our trainer and our splats."""

    config: ReconPipelineConfig
    model: ReconModel

    def __init__(self, config: ReconPipelineConfig, *args: Any, **options: Any) -> None:
        super().__init__(config, *args, **options)
        parsed = self.datamanager.train_dataparser_outputs
        T, scale = parsed.dataparser_transform.double(), torch.tensor(parsed.dataparser_scale, dtype=torch.float64)
        self.model.ns_from_world = Sim3(scale, T[:, :3], scale * T[:, 3])
        self.trainer: Trainer | None = None
        self._refined: dict[str, Tensor] | None = None
        self._saved: dict[str, Any] | None = None

    def get_training_callbacks(
        self, training_callback_attributes: TrainingCallbackAttributes
    ) -> list[TrainingCallback]:
        """nerfstudio asks for them once, after a checkpoint was loaded and before the first step: the time to begin."""
        loop = training_callback_attributes.trainer
        assert loop is not None, "nerfstudio's trainer asks"
        self._begin(loop.config.max_num_iterations)

        def stop_when_done(step: int) -> None:
            # A continued training has fewer steps left than nerfstudio would add.
            loop.stop_training = self._trainer().step_index >= self._trainer().config.steps

        def save_splats(step: int) -> None:
            assert self.model.splats is not None, "at least one step was taken"
            write_ply(loop.base_dir / SPLATS, self.model.splats.to("cpu"))
            CONSOLE.log(f"Splats in the world of the cameras that were given: {loop.base_dir / SPLATS}")

        where = TrainingCallbackLocation
        return [
            *super().get_training_callbacks(training_callback_attributes),
            TrainingCallback([where.AFTER_TRAIN_ITERATION], stop_when_done),
            TrainingCallback([where.AFTER_TRAIN], save_splats),
        ]

    def _begin(self, steps: int) -> None:
        """Depth from stereo, the first splats, and where a checkpoint left off."""
        scene = self.posed_scene()
        if len(scene) < 2:
            raise InputError(f"Need at least 2 photos with known cameras to train splats, got {len(scene)}.")
        CONSOLE.log(f"recon: depth of {len(scene)} photos from their neighbours ...")
        depths, cloud = reconstruct(scene, self.config.dense)
        points = cloud if len(cloud) > 0 else scene.points
        steps = steps if self._saved is None else self._saved["fingerprint"]["config"]["steps"]
        config = replace(self.config.train, steps=steps)
        self.trainer = Trainer(replace(scene, points=points), depths, config, self.model.rasterizer)
        if self._saved is not None:
            self._resume(self.trainer, self._saved)
        self._show()

    def _resume(self, trainer: Trainer, saved: dict[str, Any]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "train.pt"
            torch.save(saved, file)
            trainer.resume(file)
        if trainer.step_index != saved["step"]:
            raise InputError(
                "The checkpoint was trained on other photos or with other settings. Give the --data and the "
                "--pipeline options that it was started with, or start over without it."
            )

    def _trainer(self) -> Trainer:
        assert self.trainer is not None, "nerfstudio asked for the callbacks first"
        return self.trainer

    @functools.cached_property
    def given_cameras(self) -> Cameras:
        """Of the photos that are trained on, in our world: as they were before `place_photos`."""
        for _ in (self.datamanager.cached_train, self.datamanager.cached_eval):
            pass  # loading the photos straightens them, and changes the datasets' cameras accordingly
        return pinholes(self.datamanager.train_dataset.cameras, self.model.ns_from_world)

    def posed_scene(self) -> PosedScene:
        """The photos that are trained on, in our world, at training size."""
        dataset, data, cameras = self.datamanager.train_dataset, self.datamanager.cached_train, self.given_cameras
        confidence = dataset.metadata.get(CONFIDENCE, cameras.confidence)
        return training_scene(
            [str(path) for path in dataset.image_filenames],
            [_picture(row["image"]) for row in data],
            [row["mask"][..., 0].float().cpu() if "mask" in row else None for row in data],
            replace(cameras, confidence=confidence),
            _points(dataset.metadata, self.model.ns_from_world),
            self.config.train.max_side,
        )

    def get_train_loss_dict(self, step: int) -> tuple[dict, dict[str, Tensor], dict[str, Tensor]]:
        """One step of our trainer. What is returned is for the log: its gradients lead to nothing."""
        trainer = self._trainer()
        trainer.readings = Readings()
        if trainer.step_index < trainer.config.steps:
            trainer.step()
        self._show()
        nothing = self.model.device_indicator_param.sum()  # an empty parameter: nerfstudio must have a graph to walk
        values = {"psnr": trainer.readings.psnr, "gaussians": float(len(trainer.parameters))}
        metrics = {name: torch.tensor(value) for name, value in values.items()}
        return {}, {"loss": nothing + trainer.readings.loss}, metrics

    def _show(self) -> None:
        self.model.splats = self._trainer().shown()

    def get_extra_state(self) -> dict[str, Any]:
        """The refined cameras, and all that it takes to go on."""
        if self.trainer is None:
            return {"cameras": self._refined, "trainer": self._saved}
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "train.pt"
            self.trainer.save(file)
            saved = torch.load(file, map_location="cpu", weights_only=True)
        return {"cameras": self._present_cameras(), "trainer": saved}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self._refined, self._saved = state["cameras"], state["trainer"]

    def _present_cameras(self) -> dict[str, Tensor] | None:
        """Poses of the photos that are trained on, and what their focal lengths are multiplied by; None: as given."""
        if self.trainer is None:
            return self._refined
        given, present = self.trainer.cameras.base, self.trainer.cameras.cameras()
        factors = present.Ks[:, 0, 0] / given.Ks[:, 0, 0]
        return {"cam_from_world": present.cam_from_world.cpu(), "focal_factors": factors.cpu()}

    def load_pipeline(self, loaded_state: dict[str, Any], step: int) -> None:
        super().load_pipeline(loaded_state, step)
        self.place_photos()

    def get_eval_image_metrics_and_images(self, step: int) -> tuple[dict, dict]:
        self.place_photos()
        return super().get_eval_image_metrics_and_images(step)

    def get_average_image_metrics(self, *args: Any, **options: Any) -> dict[str, float]:
        self.place_photos()
        return super().get_average_image_metrics(*args, **options)

    def place_photos(self) -> None:
        """Put the photos that are trained on where training moved their cameras, wherever nerfstudio keeps these."""
        state = self._present_cameras()
        if state is None:
            return
        given, trained = self.given_cameras, self.datamanager.train_dataset
        if len(state["cam_from_world"]) != len(given):
            raise InputError(f"The checkpoint has {len(state['cam_from_world'])} photos, the scene {len(given)}.")
        poses = to_opengl(replace(given, cam_from_world=state["cam_from_world"]), self.model.ns_from_world)
        focals = given.Ks[:, 0, 0] * state["focal_factors"], given.Ks[:, 1, 1] * state["focal_factors"]
        rows = {path: row for row, path in enumerate(trained.image_filenames)}
        for dataset in (trained, self.datamanager.eval_dataset):
            for i, path in enumerate(dataset.image_filenames):
                if (row := rows.get(path)) is not None:
                    dataset.cameras.camera_to_worlds[i] = poses[row]
                    dataset.cameras.fx[i], dataset.cameras.fy[i] = focals[0][row], focals[1][row]


def _picture(image: Tensor) -> Tensor:
    """[H, W, 3 or 4] in [0, 1] on the CPU, whichever type the data manager caches."""
    return image.cpu().float() / 255 if image.dtype == torch.uint8 else image.cpu()


def _points(metadata: dict[str, Any], ns_from_world: Sim3) -> PointCloud | None:
    """The points of a scene in our world, from our data parser or any that has them."""
    if POINTS in metadata or "points3D_xyz" not in metadata:
        return metadata.get(POINTS)
    xyz, rgb = metadata["points3D_xyz"].double().cpu(), metadata["points3D_rgb"].float().cpu() / 255
    return PointCloud(ns_from_world.inverse().apply_points(xyz).float(), rgb, torch.ones(len(xyz)))
