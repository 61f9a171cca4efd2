"""What the training starts from: points, how freely colours may change, and the unit of depth of its rates."""

from dataclasses import replace

from recon.errors import InputError
from recon.optimize.backdrop import set_back
from recon.optimize.config import TrainConfig
from recon.optimize.exposure import Exposures
from recon.optimize.flats import onto_flats
from recon.optimize.gaps import fill_gaps
from recon.optimize.hull import carve
from recon.optimize.shine import settle_harmonics
from recon.types import DepthMaps, PointCloud, PosedScene


def first_points(scene: PosedScene, depths: DepthMaps | None, exposures: Exposures, config: TrainConfig) -> PointCloud:
    """What the first Gaussians are made of: the scene's points, and guesses where stereo saw nothing."""
    scene = exposures.evened(scene)
    begin, guessed = (scene, depths)
    if depths is not None:
        unsure_below = config.init.fill_below
        guessed = onto_flats(scene, depths, config.flats, unsure_below, config.seed)
        begin, guessed = set_back(scene, guessed, config.backdrop, unsure_below)
    return carve(scene, depths, fill_gaps(begin, guessed, config.init), config.hull, config.seed)


def with_shine(config: TrainConfig, exposures: Exposures) -> TrainConfig:
    """`config` with the harmonics that photos as unlike as `exposures` says ask for. A second time changes nothing."""
    degree, rate = settle_harmonics(exposures, config.sh_degree, config.rates.shN, config.shine)
    return replace(config, sh_degree=degree, rates=replace(config.rates, shN=rate))


def median_depth(scene: PosedScene) -> float:
    """Median distance along the optical axes from the cameras to the points in front of them, in world units."""
    if len(scene.points) == 0:
        raise InputError("Cannot train splats without points to start from: the photos share too little.")
    xyz = scene.points.xyz
    sample = xyz[:: max(1, len(xyz) // 20_000)]
    poses = scene.cameras.cam_from_world
    z = sample @ poses[:, 2, :3].T + poses[:, 2, 3]
    z = z[z > 0]
    return float(z.median()) if z.numel() else 1.0
