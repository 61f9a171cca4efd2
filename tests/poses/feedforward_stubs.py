"""Stand-ins for the three feed-forward packages: modules, signatures and array layouts as recorded from their source
(depth-anything-3 0.1.1; vggt 0.0.1; mapanything 1.1), answering with the known cameras of a scene.

Each does with the photos what the real package does before its network sees them (resize, crop, pad), and gives the
cameras on that canvas, in its own conventions. A photo says which camera it is by its mean brightness.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from recon.geometry import rotmat_to_quat
from recon.types import Cameras

PACKAGES = ("da3", "vggt", "mapanything")
DEPTH, EVIDENCE = 2.0, 4.0
"""What every stub says about every pixel."""


@dataclass(frozen=True)
class Truth:
    """What the stubs know: one camera per photo, in pixels of the photos; `shades` tells the photos apart."""

    cameras: Cameras
    shades: tuple[float, ...]

    def find(self, shade: float) -> int:
        return int(np.abs(np.array(self.shades) - shade).argmin())


def install(monkeypatch: pytest.MonkeyPatch, truth: Truth) -> None:
    """Put all three packages into `sys.modules`, where `find_spec` and imports find them."""
    modules = {
        "depth_anything_3": {},
        "depth_anything_3.api": {"DepthAnything3": _da3(truth)},
        "vggt": {},
        "vggt.models": {},
        "vggt.models.vggt": {"VGGT": _vggt(truth)},
        "vggt.utils": {},
        "vggt.utils.pose_enc": {"pose_encoding_to_extri_intri": _decode},
        "mapanything": {},
        "mapanything.models": {"MapAnything": _mapanything(truth)},
        "mapanything.utils": {},
        "mapanything.utils.image": {"preprocess_inputs": _preprocess_inputs},
    }
    for name, contents in modules.items():
        module = ModuleType(name)
        module.__spec__ = SimpleNamespace(name=name)  # type: ignore[assignment]
        module.__dict__.update(contents)
        monkeypatch.setitem(sys.modules, name, module)


def checkpoint_folder(path: Path) -> Path:
    """A folder laid out like the repositories on the hub."""
    path.mkdir(parents=True, exist_ok=True)
    (path / "config.json").write_text(json.dumps({"encoder_config": {"encoder_str": "pixio"}}))
    (path / "model.safetensors").write_bytes(b"weights")
    return path


class _Model:
    """What the packages' classes have of torch's and the hub's."""

    loaded_from = ""

    @classmethod
    def from_pretrained(cls, path: str, **kwargs: object) -> "_Model":
        assert Path(path).is_dir(), "a hub id here would mean that the package goes to the network by itself"
        model = cls()
        model.loaded_from = path
        return model

    def to(self, device: torch.device) -> "_Model":
        return self

    def eval(self) -> "_Model":
        return self


def _da3(truth: Truth) -> type:
    """`inference(images)`: numpy, uint8 photos in; K in pixels of the processed photos, first centre at .5."""

    class DepthAnything3(_Model):
        model = SimpleNamespace(forward=None)

        def inference(self, image: list[np.ndarray], process_res: int = 504) -> SimpleNamespace:
            processed = [_da3_process(picture, process_res) for picture in image]
            h, w = (min(p[0].shape[side] for p in processed) for side in (0, 1))
            poses, Ks = [], []
            for source, (picture, grow) in zip(image, processed):
                v = truth.find(source.mean() / 255)
                crop = [(picture.shape[1] - w) / 2, (picture.shape[0] - h) / 2]  # torchvision's CenterCrop
                scale = np.array([source.shape[1], source.shape[0]]) / np.array(_size(truth, v)) * grow
                poses.append(truth.cameras.cam_from_world[v, :3].numpy())
                Ks.append(_on_canvas(truth, v, scale, crop))
            n = len(image)
            return SimpleNamespace(
                depth=np.full((n, h, w), DEPTH, np.float32),
                conf=np.full((n, h, w), EVIDENCE, np.float32),
                extrinsics=np.stack(poses).astype(np.float32),
                intrinsics=np.stack(Ks).astype(np.float32),
            )

    return DepthAnything3


def _da3_process(picture: np.ndarray, resolution: int) -> tuple[np.ndarray, np.ndarray]:
    """Its "upper_bound_resize": longest side to `resolution`, then each side to the nearest multiple of 14."""
    assert picture.dtype == np.uint8
    h, w = picture.shape[:2]
    scale = resolution / max(h, w)
    bound = [max(1, round(w * scale)), max(1, round(h * scale))]
    size = [x // 14 * 14 + (14 if 14 - x % 14 <= x % 14 else 0) for x in bound]
    resized = np.asarray(Image.fromarray(picture).resize((size[0], size[1])))
    return resized, np.array(size) / np.array([w, h])


def _vggt(truth: Truth) -> type:
    """`model(images)`: [S, 3, H, W] in [0, 1], sides multiples of 14, at most 518; a pose encoding comes back."""

    class VGGT(_Model):
        def __call__(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
            n, _, h, w = images.shape
            assert w == 518
            assert h % 14 == 0
            assert images.min() >= 0
            assert images.max() <= 1
            encoded = []
            for image in images:
                photo = image[:, (image < 0.999).all(0).any(1)][:, :, (image < 0.999).all(0).any(0)]  # less white pads
                v = truth.find(float(photo.mean()))
                grow = np.array([photo.shape[2], photo.shape[1]]) / np.array(_size(truth, v))
                K = _on_canvas(truth, v, grow, [-(w - photo.shape[2]) // 2, -(h - photo.shape[1]) // 2])
                assert abs(K[0, 2] - w / 2) < 1, "it can only say that the principal point is in the middle"
                fov = 2 * np.arctan(np.array([h / 2 / K[1, 1], w / 2 / K[0, 0]]))
                R, t = truth.cameras.cam_from_world[v, :3, :3], truth.cameras.cam_from_world[v, :3, 3]
                wxyz = rotmat_to_quat(R)
                encoded.append(torch.cat([t, wxyz[1:], wxyz[:1], torch.from_numpy(fov).float()]))
            return {
                "pose_enc": torch.stack(encoded)[None],
                "depth": torch.full((1, n, h, w, 1), DEPTH),
                "depth_conf": torch.full((1, n, h, w), EVIDENCE),
            }

    return VGGT


def _decode(pose_enc: torch.Tensor, image_size_hw: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Its `pose_encoding_to_extri_intri`: translation, quaternion (x, y, z, w), fields of view (vertical first)."""
    x, y, z, w = pose_enc[..., 3:7].unbind(-1)
    rows = [
        *(1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)),
        *(2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)),
        *(2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)),
    ]
    R = torch.stack(rows, dim=-1).unflatten(-1, (3, 3))
    K = torch.zeros(*pose_enc.shape[:2], 3, 3)
    height, width = image_size_hw
    K[..., 0, 0], K[..., 0, 2] = width / 2 / torch.tan(pose_enc[..., 8] / 2), width / 2
    K[..., 1, 1], K[..., 1, 2] = height / 2 / torch.tan(pose_enc[..., 7] / 2), height / 2
    K[..., 2, 2] = 1
    return torch.cat([R, pose_enc[..., :3, None]], dim=-1), K


RESOLUTIONS = {1.0: (518, 518), 1.321: (518, 392), 1.542: (518, 336), 0.757: (392, 518), 0.649: (336, 518)}


def _preprocess_inputs(input_views: list[dict]) -> list[dict]:
    """Its resizing: the listed resolution closest to the mean aspect ratio, covered by each photo, then cropped."""
    pictures = [view["img"] for view in input_views]
    aspect = sum(p.shape[1] / p.shape[0] for p in pictures) / len(pictures)
    target = RESOLUTIONS[min(RESOLUTIONS, key=lambda listed: abs(listed - aspect))]
    views = []
    for picture in pictures:
        image = Image.fromarray(picture)
        scale = max(np.array(target) / image.size) + 1e-8
        image = image.resize(tuple(np.floor(np.array(image.size) * scale).astype(int)))
        left, top = ((image.size[side] - target[side]) // 2 for side in (0, 1))
        image = image.crop((left, top, left + target[0], top + target[1]))
        tensor = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None] / 255
        views.append({"img": tensor, "data_norm_type": ["dinov2"], "source": picture.shape})
    return views


def _mapanything(truth: Truth) -> type:
    """`infer(views)`: a dict per view; poses camera-to-world, pixel centres at whole numbers."""

    class MapAnything(_Model):
        def infer(self, views: list[dict]) -> list[dict]:
            out = []
            for view in views:
                h, w = view["img"].shape[-2:]
                v = truth.find(float(view["img"].mean()))
                source = np.array([view["source"][1], view["source"][0]])
                resized = np.floor(source * (max(np.array([w, h]) / source) + 1e-8))
                crop = (resized - np.array([w, h])) // 2
                K = _on_canvas(truth, v, resized / np.array(_size(truth, v)), crop)
                K[:2, 2] -= 0.5
                out.append(
                    {
                        "intrinsics": torch.from_numpy(K).float()[None],
                        "camera_poses": truth.cameras.world_from_cam[v][None],
                        "depth_z": torch.full((1, h, w, 1), DEPTH),
                        "conf": torch.full((1, h, w), EVIDENCE),
                    }
                )
            return out

    return MapAnything


def _size(truth: Truth, v: int) -> tuple[int, int]:
    return int(truth.cameras.width[v]), int(truth.cameras.height[v])


def _on_canvas(truth: Truth, v: int, scale: np.ndarray, crop: "np.ndarray | list[float]") -> np.ndarray:
    """K of photo v after resizing by `scale` and cutting `crop` off its left and top (negative: padding)."""
    K = truth.cameras.Ks[v].double().numpy().copy()
    K[0] *= scale[0]
    K[1] *= scale[1]
    K[:2, 2] -= np.asarray(crop)
    return K
