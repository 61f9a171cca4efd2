"""The order of the cascade, what each step is given, and what is left when the network fails as well."""

from dataclasses import replace

import pytest
import torch
from pose_scenes import image_set
from test_masking import OBJECT, SIZE, STOOD, WALKED, regions, scene

from recon.errors import InputError, PoseError, ReconError
from recon.events import ignore
from recon.poses import PosesConfig
from recon.poses.auto import AutoBackend, _Cascade
from recon.poses.features import Features
from recon.poses.learned import AlikedMatcher
from recon.poses.masking import Region
from recon.poses.matches import Start, Tracks
from recon.types import Cameras, ImageSet, PointCloud, PoseResult, PoseStatus

CONFIG = PosesConfig()


@pytest.mark.parametrize("masked", [False, True], ids=["still", "masked"])
@pytest.mark.parametrize("found", [True, False], ids=["found", "nothing"])
def test_simulated_views_bring_no_matches_of_what_is_not_the_scene(
    found: bool, masked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A turntable: the room, which stands still before a fixed camera and masks tell otherwise, is never mapped."""
    whole = scene([0, 15, 30], WALKED) if masked else scene([0, 12, 25], STOOD)
    tracks = regions(whole)[Region.OBJECT]
    width, height = SIZE
    photos = image_set([torch.zeros(height, width, 3)] * 3)
    if masked:
        monkeypatch.setattr("recon.poses.auto.split_tracks", lambda tracks, masks: regions(tracks))
        photos = replace(photos, masks=(torch.ones(height, width),) * 3)
    attempts: dict[str, Tracks] = {}

    def attempt(cascade: _Cascade, stage: str, tracks: Tracks, starts: list[Start]) -> bool:
        attempts[stage] = tracks
        return False

    monkeypatch.setattr(_Cascade, "_attempt", attempt)
    monkeypatch.setattr(_Cascade, "_with_sift", lambda cascade, tracks: tracks)
    monkeypatch.setattr("recon.poses.auto.strengthen", lambda *args: tracks.matches)
    given: list[Tracks] = []

    def widen(aliked: object, photos: object, tracks: Tracks, *args: object) -> Tracks:
        given.append(tracks)
        return replace(tracks, matches=whole.matches) if found else tracks

    monkeypatch.setattr("recon.poses.auto.widen", widen)
    features = [Features(torch.from_numpy(uv).float(), torch.zeros(len(uv), 1), SIZE) for uv in tracks.keypoints]
    _Cascade(photos, CONFIG, ignore)._escalate(AlikedMatcher(400), features, tracks)
    assert list(attempts) == (["lightglue", "views", "sift"] if found else ["lightglue", "sift"])
    for stage, mapped in attempts.items():
        for matches in mapped.matches.values():
            assert (matches[:, 0] < OBJECT.stop).all(), f"{stage}: matches of the room are mapped"
            assert len(matches) > 90, f"{stage}: matches of the object went with the room"
    assert len(given) == 1


def placed(n: int) -> PoseResult:
    """All photos in one spot."""
    return PoseResult(
        Cameras.create(torch.eye(4).repeat(n, 1, 1), torch.eye(3).repeat(n, 1, 1), 4, 4),
        PointCloud(torch.zeros(0, 3), torch.zeros(0, 3), torch.zeros(0)),
        (PoseStatus.OK,) * n,
        ("",) * n,
        torch.zeros(n, dtype=torch.int64),
        torch.zeros(n),
        backend="net",
    )


class Network:
    name = "net"

    def __init__(self, error: ReconError | None) -> None:
        self.error = error

    def available(self) -> tuple[bool, str]:
        return True, ""

    def estimate(self, images: ImageSet, config: PosesConfig, emit: object, known: object = None) -> PoseResult:
        if self.error is not None:
            raise self.error
        return placed(len(images))


@pytest.mark.parametrize("error", [None, PoseError("no numbers"), InputError("no fit")], ids=["none", "pose", "input"])
def test_the_reasons_of_each_photo_outlive_the_networks_failure(
    error: ReconError | None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def run(cascade: _Cascade) -> PoseResult:
        raise PoseError("0.jpg: its reason")

    monkeypatch.setattr("recon.poses.auto._Cascade.run", run)
    monkeypatch.setattr("recon.poses.auto.first_available", lambda config: Network(error))
    photos = image_set([torch.zeros(4, 4, 3)] * 2)
    if error is None:
        assert AutoBackend().estimate(photos, CONFIG).backend == "net"
        return
    with pytest.raises(PoseError, match="its reason"):
        AutoBackend().estimate(photos, CONFIG)
    assert str(error) in caplog.text
