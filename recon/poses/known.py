"""Given cameras: nothing is estimated, the matches that agree with them become points."""

from dataclasses import replace

import numpy as np
import torch

from recon.errors import InputError, PoseError
from recon.events import EventSink, Progress, ignore
from recon.poses import learned
from recon.poses.base import KnownCameras, PosesConfig
from recon.poses.correspond import match_nearest, match_thoroughly, strengthen
from recon.poses.features import Features
from recon.poses.learned import AlikedMatcher
from recon.poses.matches import Model, Tracks, Verified, build_tracks, read_model, read_verified, work_scale
from recon.poses.process import JobError, run_job
from recon.poses.result import assemble_known, work_sizes
from recon.sfm.packing import PairMatches
from recon.types import Cameras, ImageSet, PoseResult

ENOUGH_POINTS = 100
"""Triangulated points that a photo should see: dense stereo takes its range of depths from them."""


class KnownBackend:
    name = "known"

    def available(self) -> tuple[bool, str]:
        return True, ""

    def estimate(
        self, images: ImageSet, config: PosesConfig, emit: EventSink = ignore, known: KnownCameras | None = None
    ) -> PoseResult:
        """The given cameras at the photos' sizes, in their own world; photos without one stay unregistered."""
        if known is None:
            raise InputError("The backend 'known' needs cameras. Give a file of them, such as --poses transforms.json.")
        cameras = _in_order(images, known)
        if int(cameras.registered.sum()) < 2:
            raise PoseError(
                f"Cameras are given for {int(cameras.registered.sum())} of the {len(images)} photos, at least 2 are "
                "needed. The names in the camera file must be those of the photos."
            )
        emit(Progress("poses", 0, 2, "matching"))
        try:
            tracks, verified, model = _match_and_triangulate(images, cameras, config, emit)
        except JobError as error:
            raise PoseError(f"Triangulation failed: {error}. Try fewer, smaller photos.") from error
        emit(Progress("poses", 2, 2, "done"))
        return assemble_known(images, cameras, model, tracks, verified)


def _match_and_triangulate(
    images: ImageSet, cameras: Cameras, config: PosesConfig, emit: EventSink
) -> tuple[Tracks, Verified, Model]:
    """Quick matches first: only photos that these leave with few points are worth LightGlue's time."""

    def tell(message: str) -> None:
        emit(Progress("poses", 0, 2, message))

    if not learned.available()[0]:
        return triangulate(images, cameras, *match_thoroughly(images.images, config, tell), config)
    aliked = AlikedMatcher(config.max_side)
    features, matches = match_nearest(aliked, images.images)
    emit(Progress("poses", 1, 2, "triangulating"))
    found = triangulate(images, cameras, features, matches, config)
    points_seen = np.bincount(found[2].observations[:, 1].astype(int), minlength=len(images))
    poor = [v for v in range(len(images)) if cameras.registered[v] and points_seen[v] < ENOUGH_POINTS]
    if not poor:
        return found
    return triangulate(images, cameras, features, strengthen(aliked, features, matches, tell, poor), config)


def triangulate(
    images: ImageSet, cameras: Cameras, features: list[Features], matches: PairMatches, config: PosesConfig
) -> tuple[Tracks, Verified, Model]:
    """Points for cameras in pixels of `images`; the model is in their world, in working pixels.

    Raises:
        JobError: the child process failed.
    """
    tracks = build_tracks(features, matches, work_scale(images, config))
    poses = cameras.cam_from_world.double().numpy().copy()
    poses[~cameras.registered.numpy()] = np.nan
    Ks = cameras.Ks.double().numpy().copy()
    Ks[:, :2] *= tracks.scale[:, None, None]
    per_photo = {
        "camera_of": np.arange(len(images)),
        "sizes": work_sizes(images, tracks.scale),
        "focal_px": Ks[:, 0, 0],
        "Ks": Ks,
        "cam_from_world": poses,
        "time_limit_s": np.array(config.time_limit_s),
    }
    arrays = tracks.job(images) | per_photo
    found = run_job("triangulate", arrays, seed=config.seed, time_limit_s=config.time_limit_s)
    model = read_model(found, 0, per_photo["camera_of"], per_photo["sizes"])
    assert model is not None, "triangulation always returns the model it was given"
    return tracks, read_verified(found), replace(model, Ks=np.where(model.registered[:, None, None], Ks, np.nan))


def _in_order(images: ImageSet, known: KnownCameras) -> Cameras:
    """One camera per photo at the photo's size. An identity pose where none is given: of a photo that the source could
    not place, it may know the lens all the same."""
    n = len(images)
    width = torch.tensor([photo.shape[1] for photo in images.images])
    height = torch.tensor([photo.shape[0] for photo in images.images])
    found = torch.tensor([name in known and bool(known[name].registered[0]) for name in images.names])
    poses, Ks = torch.eye(4).repeat(n, 1, 1), torch.eye(3).repeat(n, 1, 1)
    for v, name in enumerate(images.names):
        if name in known:
            camera = known[name].resized(width[v : v + 1], height[v : v + 1])
            Ks[v] = camera.Ks[0].float()
            if found[v]:
                poses[v] = camera.cam_from_world[0].float()
    return Cameras(poses, Ks, width, height, found, found.float())
