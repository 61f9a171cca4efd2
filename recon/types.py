"""The vocabulary: what flows between the stages. Frozen containers of tensors; imports torch only.

Frames and units, everywhere:
- `cam_from_world` maps world points to camera points, `x_cam = R @ x_world + t`, OpenCV axes (x right, y down,
  z forward).
- Pixels: x to the right, y down; the centre of the first pixel is at (0.5, 0.5). `Ks` are in pixels.
- Quaternions are (w, x, y, z). Colours are sRGB values in [0, 1], not linearised, as in 3DGS.
- World scale is arbitrary unless something metric set it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

SH_C0 = 0.28209479177387814  # zeroth real spherical harmonic, 1 / (2 sqrt(pi))


class PoseStatus(StrEnum):
    """How far a photo's camera can be trusted."""

    OK = "ok"
    LOW = "low"
    UNREGISTERED = "unregistered"


@dataclass(frozen=True)
class ImageSet:
    """Photos as loaded, before anything is known about their cameras."""

    names: tuple[str, ...]
    """File names, unique, in natural order."""
    images: tuple[Float[Tensor, "_ _ 3"], ...]
    """sRGB in [0, 1], EXIF orientation applied, possibly downsized. Sizes may differ."""
    focal_px: Float[Tensor, " V"]
    """Focal length from EXIF, in pixels of `images`; NaN where unknown."""
    camera_ids: Int[Tensor, " V"]
    """Photos with the same id share one lens: same size and camera model."""
    masks: tuple[Float[Tensor, "_ _"], ...] | None = None
    """1 on the object, 0 elsewhere, from alpha channels or a mask folder."""
    warnings: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True)
class Cameras:
    """Pinhole cameras of V photos. A photo that could not be placed keeps an identity pose and `registered` False."""

    cam_from_world: Float[Tensor, "V 4 4"]
    Ks: Float[Tensor, "V 3 3"]
    width: Int[Tensor, " V"]
    height: Int[Tensor, " V"]
    registered: Bool[Tensor, " V"]
    confidence: Float[Tensor, " V"]
    """In [0, 1]; 1 for given poses."""

    def __len__(self) -> int:
        return int(self.cam_from_world.shape[0])

    def __getitem__(self, index: int | slice | Sequence[int] | Tensor) -> "Cameras":
        """A subset; an integer keeps the leading dimension."""
        if isinstance(index, int):
            index = [index]
        return Cameras(
            self.cam_from_world[index],
            self.Ks[index],
            self.width[index],
            self.height[index],
            self.registered[index],
            self.confidence[index],
        )

    @staticmethod
    def create(
        cam_from_world: Float[Tensor, "V 4 4"],
        Ks: Float[Tensor, "V 3 3"],
        width: int | Int[Tensor, " V"],
        height: int | Int[Tensor, " V"],
    ) -> "Cameras":
        """Registered cameras of full confidence; a single width and height serve all."""
        n = cam_from_world.shape[0]
        device = cam_from_world.device

        def per_view(value: int | Tensor) -> Tensor:
            return torch.as_tensor(value, dtype=torch.int64, device=device).expand(n).clone()

        return Cameras(
            cam_from_world,
            Ks,
            per_view(width),
            per_view(height),
            torch.ones(n, dtype=torch.bool, device=device),
            torch.ones(n, dtype=cam_from_world.dtype, device=device),
        )

    @property
    def world_from_cam(self) -> Float[Tensor, "V 4 4"]:
        """Inverse poses (rigid inverse, not a matrix solve)."""
        R = self.cam_from_world[:, :3, :3].transpose(1, 2)
        out = torch.eye(4, dtype=R.dtype, device=R.device).repeat(len(self), 1, 1)
        out[:, :3, :3] = R
        out[:, :3, 3] = -(R @ self.cam_from_world[:, :3, 3:])[..., 0]
        return out

    @property
    def centers(self) -> Float[Tensor, "V 3"]:
        """Camera centres in the world."""
        return self.world_from_cam[:, :3, 3]

    def resized(self, width: Int[Tensor, " V"], height: Int[Tensor, " V"]) -> "Cameras":
        """The same cameras for images resampled to other sizes."""
        sx = width.to(self.Ks.dtype) / self.width.to(self.Ks.dtype)
        sy = height.to(self.Ks.dtype) / self.height.to(self.Ks.dtype)
        Ks = self.Ks.clone()
        Ks[:, 0] *= sx[:, None]
        Ks[:, 1] *= sy[:, None]
        return replace(self, Ks=Ks, width=width, height=height)

    def to(self, device: torch.device | str) -> "Cameras":
        return Cameras(
            *(
                getattr(self, name).to(device)
                for name in ("cam_from_world", "Ks", "width", "height", "registered", "confidence")
            )
        )


@dataclass(frozen=True)
class PointCloud:
    """Points in the world with colour; normals (unit, towards the camera that saw the point) when known."""

    xyz: Float[Tensor, "P 3"]
    rgb: Float[Tensor, "P 3"]
    confidence: Float[Tensor, " P"]
    normals: Float[Tensor, "P 3"] | None = None
    spacing: Float[Tensor, " P"] | None = None
    """Distance in the world that one sample (pixel) covers at the point, when known."""

    def __len__(self) -> int:
        return int(self.xyz.shape[0])

    def __getitem__(self, index: slice | Tensor) -> "PointCloud":
        """A subset."""
        return PointCloud(
            self.xyz[index],
            self.rgb[index],
            self.confidence[index],
            None if self.normals is None else self.normals[index],
            None if self.spacing is None else self.spacing[index],
        )


@dataclass(frozen=True)
class PairDiagnostics:
    """How two photos relate: evidence for, or against, their being neighbours."""

    i: int
    j: int
    n_matches: int
    n_inliers: int
    median_parallax_deg: float | None = None
    kind: str = "general"
    """`general`, `plane`, `rotation` (no parallax) or `none` (no geometric model found)."""
    points_i: Float[Tensor, "M 2"] | None = None
    points_j: Float[Tensor, "M 2"] | None = None
    """Inlier positions in pixels of the images handed in, for drawing."""


@dataclass(frozen=True)
class PoseResult:
    """What a pose backend returns: cameras, sparse points, and how much of it to believe."""

    cameras: Cameras
    """In pixels of the images handed in."""
    points: PointCloud
    status: tuple[PoseStatus, ...]
    reasons: tuple[str, ...]
    """Per photo, a plain sentence; empty when `ok`."""
    n_observations: Int[Tensor, " V"]
    """Triangulated points each photo sees."""
    reprojection_error_px: Float[Tensor, " V"]
    """Mean over the photo's observations; NaN when unregistered."""
    pairs: tuple[PairDiagnostics, ...] = ()
    warnings: tuple[str, ...] = ()
    backend: str = ""
    extras: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class PosedScene:
    """The hand-over from poses to optimisation. Only photos that are used; `cameras` match `images` in size."""

    names: tuple[str, ...]
    images: tuple[Float[Tensor, "_ _ 3"], ...]
    cameras: Cameras
    points: PointCloud
    masks: tuple[Float[Tensor, "_ _"], ...] | None = None

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True)
class DepthMaps:
    """One depth map per photo of a `PosedScene`, at the size of its images."""

    depth: tuple[Float[Tensor, "_ _"], ...]
    """z-depth in world units; 0 where unknown."""
    confidence: tuple[Float[Tensor, "_ _"], ...]
    """In [0, 1]; 0 where unknown."""
    normals: tuple[Float[Tensor, "_ _ 3"], ...] | None = None
    """Unit, in the world, towards the camera."""


@dataclass(frozen=True)
class Splats:
    """Gaussians as stored: raw values, activated by the properties."""

    means: Float[Tensor, "N 3"]
    quats: Float[Tensor, "N 4"]
    """(w, x, y, z), not necessarily normalised."""
    log_scales: Float[Tensor, "N 3"]
    logit_opacities: Float[Tensor, " N"]
    sh0: Float[Tensor, "N 1 3"]
    shN: Float[Tensor, "N K 3"]
    """K = (degree + 1)^2 - 1; K may be 0."""

    def __len__(self) -> int:
        return int(self.means.shape[0])

    @property
    def scales(self) -> Float[Tensor, "N 3"]:
        return self.log_scales.exp()

    @property
    def opacities(self) -> Float[Tensor, " N"]:
        return self.logit_opacities.sigmoid()

    @property
    def colors(self) -> Float[Tensor, "N S 3"]:
        """All SH coefficients, [N, (degree + 1)^2, 3]."""
        return torch.cat([self.sh0, self.shN], dim=1)

    @property
    def rgb(self) -> Float[Tensor, "N 3"]:
        """View-independent colour, clamped to [0, 1]."""
        return (self.sh0[:, 0] * SH_C0 + 0.5).clamp(0.0, 1.0)

    @property
    def sh_degree(self) -> int:
        return {0: 0, 3: 1, 8: 2, 15: 3}[self.shN.shape[1]]

    @property
    def device(self) -> torch.device:
        return self.means.device

    def tensors(self) -> dict[str, Tensor]:
        """The stored tensors by name, in declaration order."""
        return {name: getattr(self, name) for name in ("means", "quats", "log_scales", "logit_opacities", "sh0", "shN")}

    def __getitem__(self, index: slice | Tensor) -> "Splats":
        return Splats(**{name: value[index] for name, value in self.tensors().items()})

    def to(self, device: torch.device | str) -> "Splats":
        return Splats(**{name: value.to(device) for name, value in self.tensors().items()})

    def detach(self) -> "Splats":
        return Splats(**{name: value.detach() for name, value in self.tensors().items()})

    @staticmethod
    def cat(parts: Sequence["Splats"]) -> "Splats":
        return Splats(**{name: torch.cat([p.tensors()[name] for p in parts]) for name in parts[0].tensors()})


@dataclass(frozen=True)
class Rendering:
    """Images of C cameras."""

    rgb: Float[Tensor, "*C H W 3"]
    alpha: Float[Tensor, "*C H W"]
    depth: Float[Tensor, "*C H W"]
    """Expected z-depth over alpha (gsplat's `ED`); 0 where nothing was hit."""
    meta: dict[str, Any] = field(default_factory=dict)
