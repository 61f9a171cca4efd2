"""Our splats behind nerfstudio's interface of a model: rendered by our rasterizer, measured by our metrics."""

import logging
from dataclasses import dataclass, field
from typing import Any

import torch
from nerfstudio.cameras.cameras import Cameras as NerfstudioCameras
from nerfstudio.cameras.cameras import CameraType
from nerfstudio.data.scene_box import OrientedBox
from nerfstudio.models.base_model import Model, ModelConfig
from torch import Tensor

from recon.errors import InputError, MissingDependencyError
from recon.geometry import Sim3, directions_in_camera, pixel_grid
from recon.metrics import lpips, psnr, ssim
from recon.nerfstudio.scenes import from_opengl
from recon.render import Rasterizer, render, select_rasterizer
from recon.types import Cameras, Splats

log = logging.getLogger(__name__)


@dataclass
class ReconModelConfig(ModelConfig):
    """Nothing to set: how splats are made is the pipeline's."""

    _target: type = field(default_factory=lambda: ReconModel)
    enable_collider: bool = False


class ReconModel(Model):
    """Splats in our world, seen by cameras of nerfstudio's. They come from the pipeline, or from a checkpoint."""

    config: ReconModelConfig

    def populate_modules(self) -> None:
        super().populate_modules()
        self.splats: Splats | None = None
        self.ns_from_world = Sim3.identity()
        self._rasterizer: Rasterizer | None = None

    @property
    def rasterizer(self) -> Rasterizer:
        """The renderer of this model's device."""
        if self._rasterizer is None or self._rasterizer.device.type != self.device.type:
            self._rasterizer = select_rasterizer(self.device.type)
        return self._rasterizer

    def get_param_groups(self) -> dict[str, list[torch.nn.Parameter]]:
        """None: the splats have an optimizer of their own, which grows and prunes with them."""
        return {}

    def get_extra_state(self) -> dict[str, Tensor]:
        return {} if self.splats is None else self.splats.detach().to("cpu").tensors()

    def set_extra_state(self, state: dict[str, Tensor]) -> None:
        self.splats = Splats(**state).to(self.device) if state else None

    def get_outputs_for_camera(
        self, camera: NerfstudioCameras, obb_box: OrientedBox | None = None
    ) -> dict[str, Tensor]:
        """As `get_outputs`, with what lies outside of `obb_box` left away."""
        return self.get_outputs(camera, obb_box)

    @torch.no_grad()
    def get_outputs(self, ray_bundle: NerfstudioCameras, obb_box: OrientedBox | None = None) -> dict[str, Tensor]:
        """`rgb` [H, W, 3] on black, `accumulation` and `depth` [H, W, 1]: distance along the ray in nerfstudio's world.

        Raises:
            InputError: not a perspective camera.
        """
        camera = pinholes(ray_bundle.flatten(), self.ns_from_world).to(self.device)
        assert len(camera) == 1, "nerfstudio renders one camera at a time"
        size = int(camera.height[0]), int(camera.width[0])
        splats = self._within(obb_box)
        if splats is None or len(splats) == 0:  # the viewer may ask before training has begun
            return {name: torch.zeros(*size, n, device=self.device) for name, n in OUTPUTS.items()}
        image = render(splats, camera, self.rasterizer)
        rays = directions_in_camera(pixel_grid(*size).reshape(-1, 2), camera.Ks[0].cpu()).norm(dim=-1).reshape(size)
        distance = image.depth[0] * rays.to(self.device) * float(self.ns_from_world.scale)
        return {
            "rgb": image.rgb[0].clamp(0, 1),
            "accumulation": image.alpha[0, ..., None],
            "depth": distance[..., None],
        }

    def _within(self, box: OrientedBox | None) -> Splats | None:
        if self.splats is None or box is None:
            return self.splats
        means = self.ns_from_world.apply_points(self.splats.means.double().cpu()).float()
        return self.splats[box.within(means).squeeze(-1).to(self.device)]

    def get_metrics_dict(self, outputs: dict[str, Tensor], batch: dict[str, Any]) -> dict[str, Tensor]:
        return {"psnr": psnr(*self._compared(outputs, batch))}

    def get_loss_dict(
        self, outputs: dict[str, Tensor], batch: dict[str, Any], metrics_dict: dict[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """For the plots of photos that are measured; training has its own, see `recon.optimize`."""
        rgb, truth = self._compared(outputs, batch)
        return {"l1": (rgb - truth).abs().mean()}

    def get_image_metrics_and_images(
        self, outputs: dict[str, Tensor], batch: dict[str, Any]
    ) -> tuple[dict[str, float], dict[str, Tensor]]:
        """PSNR, SSIM, and LPIPS where its weights are; the photo beside the rendering. Masked parts are black."""
        rgb, truth = self._compared(outputs, batch)
        metrics = {"psnr": float(psnr(rgb, truth)), "ssim": float(ssim(rgb, truth))}
        try:
            metrics["lpips"] = float(lpips(rgb, truth))
        except MissingDependencyError as error:
            log.warning("%s", error)
        return metrics, {"img": torch.cat([truth, rgb], dim=1)}

    def _compared(self, outputs: dict[str, Tensor], batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Rendering and photo, [H, W, 3] both, black outside of the photo's mask."""
        rgb, truth = outputs["rgb"], batch["image"].to(self.device)
        mask = batch["mask"].to(rgb) if "mask" in batch else truth[..., 3:]
        truth = truth[..., :3]
        return (rgb, truth) if mask.shape[-1] == 0 else (rgb * mask, truth * mask)


OUTPUTS = {"rgb": 3, "accumulation": 1, "depth": 1}


def pinholes(cameras: NerfstudioCameras, ns_from_world: Sim3) -> Cameras:
    """Perspective cameras of nerfstudio's, in one dimension, as ours on the CPU.

    Raises:
        InputError: another projection.
    """
    if bool((cameras.camera_type != CameraType.PERSPECTIVE.value).any()):
        raise InputError("recon knows perspective cameras only. Choose the camera type Perspective.")
    poses = from_opengl(cameras.camera_to_worlds, ns_from_world)
    Ks = cameras.get_intrinsics_matrices().float().cpu()  # cx and cy count from the first pixel's corner, as ours do
    return Cameras.create(poses, Ks, cameras.width[:, 0].cpu(), cameras.height[:, 0].cpu())
