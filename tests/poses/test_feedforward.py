"""Feed-forward backends: conversions, consent, refinement. The packages are stand-ins, see `feedforward_stubs.py`; one
test runs a real package with random weights where it is installed.
"""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from feedforward_stubs import DEPTH, EVIDENCE, PACKAGES, Truth, checkpoint_folder, install
from pose_scenes import NAMES, door, door_truth, image_set, texture

from recon.assets import CONSENT, Checkpoint, cached_checkpoint, obtain_checkpoint
from recon.cli import doctor_command
from recon.errors import InputError, MissingDependencyError, PoseError, ResourceError
from recon.events import Event, Warned
from recon.geometry import exp_so3, look_at
from recon.metrics import pose_errors
from recon.poses import BACKENDS, PosesConfig, estimate
from recon.poses.correspond import match_pairs
from recon.poses.features import Features, all_pairs
from recon.poses.feedforward import FEED_FORWARD, first_available
from recon.poses.feedforward.mapanything import encoder_code
from recon.poses.learned import AlikedMatcher
from recon.poses.matches import Tracks, build_tracks, work_scale
from recon.poses.refine import refine
from recon.types import Cameras, ImageSet, PoseResult, PoseStatus

CONFIG = PosesConfig(max_side=400)
BY_NAME = {backend.name: backend for backend in FEED_FORWARD}


@pytest.fixture(autouse=True)
def no_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty cache, no consent, and no network whatever happens."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.delenv(CONSENT, raising=False)

    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError("no network in tests")

    monkeypatch.setattr("socket.socket.connect", refuse)


def flat_photos(sizes: list[tuple[int, int]]) -> tuple[ImageSet, Truth]:
    """Grey photos of the given (width, height), told apart by their shade, with cameras round a point."""
    shades = tuple(0.2 + 0.15 * v for v in range(len(sizes)))
    photos = [torch.full((h, w, 3), shade) for shade, (w, h) in zip(shades, sizes)]
    poses = torch.stack(
        [look_at(*map(torch.tensor, ((v - 1.0, 0.3 * v, -3.0), (0.0, 0, 0), (0.0, -1, 0)))) for v in range(len(sizes))]
    )
    Ks = torch.stack(
        [torch.tensor([[1.1 * max(s), 0, s[0] / 2], [0, 1.1 * max(s), s[1] / 2], [0, 0, 1]]) for s in sizes]
    )
    width, height = (torch.tensor([s[side] for s in sizes]) for side in (0, 1))
    return image_set(photos), Truth(Cameras.create(poses, Ks, width, height), shades)


LANDSCAPE, UPRIGHT, MIXED = [(641, 427)] * 3, [(300, 451)] * 3, [(640, 427), (300, 450), (500, 500)]


@pytest.mark.parametrize("sizes", [LANDSCAPE, UPRIGHT, MIXED], ids=["landscape", "upright", "mixed"])
@pytest.mark.parametrize("name", PACKAGES)
def test_cameras_come_back_exactly_in_pixels_of_the_photos(
    name: str, sizes: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    images, truth = flat_photos(sizes)
    install(monkeypatch, truth)
    config = replace(CONFIG, checkpoint=str(checkpoint_folder(tmp_path / "weights")))
    prediction = BY_NAME[name].predict(images, config)
    cameras = prediction.cameras
    assert torch.allclose(cameras.cam_from_world, truth.cameras.cam_from_world, atol=1e-4)
    assert torch.allclose(cameras.Ks / cameras.Ks[:, :1, :1], truth.cameras.Ks / truth.cameras.Ks[:, :1, :1], atol=1e-4)
    assert torch.allclose(cameras.Ks[:, 0, 0], truth.cameras.Ks[:, 0, 0], rtol=1e-4)
    assert cameras.width.tolist() == [w for w, _ in sizes]
    assert torch.allclose(cameras.confidence, torch.tensor(1 - 1 / EVIDENCE))
    for v, photo in enumerate(images.images):
        middle = torch.tensor([[photo.shape[1] / 2, photo.shape[0] / 2]])
        outside = torch.tensor([[-9.0, -9.0]])
        assert prediction.depth_at(v, middle) == DEPTH
        assert prediction.depth_at(v, outside) == 0


def test_a_broken_model_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    images, truth = flat_photos(LANDSCAPE)
    lost = truth.cameras.cam_from_world * float("nan")
    install(monkeypatch, replace(truth, cameras=replace(truth.cameras, cam_from_world=lost)))
    config = replace(CONFIG, checkpoint=str(checkpoint_folder(tmp_path / "weights")))
    with pytest.raises(PoseError, match="make no sense"):
        BY_NAME["da3"].predict(images, config)
    with pytest.raises(InputError, match="do not fit VGGT"):
        BY_NAME["vggt"].predict(images, replace(CONFIG, checkpoint=str(tmp_path)))


@pytest.mark.parametrize("name", PACKAGES)
def test_what_is_missing_is_said_with_the_command_and_the_licence(name: str) -> None:
    backend = BY_NAME[name]
    if backend.available()[0]:
        pytest.skip(f"{backend.title} is installed here")
    with pytest.raises(MissingDependencyError, match="pip install") as refusal:
        estimate(door(NAMES[:2], 100), PosesConfig(backend=name))
    assert backend.checkpoints[0].id in str(refusal.value)
    assert backend.checkpoints[0].licence in str(refusal.value)
    assert backend.module not in sys.modules  # looking imports nothing


def test_a_package_that_does_not_import_is_a_plain_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recon.poses.feedforward.backend.import_module", lambda name: 1 / 0)
    with pytest.raises(MissingDependencyError, match="cannot be imported"):
        BY_NAME["da3"].package("depth_anything_3.api")


def test_nothing_is_downloaded_without_consent(monkeypatch: pytest.MonkeyPatch) -> None:
    images, truth = flat_photos(LANDSCAPE)
    install(monkeypatch, truth)
    with pytest.raises(MissingDependencyError, match=r"DA3-BASE \(licence Apache-2.0.*--allow-download"):
        BY_NAME["da3"].predict(images, CONFIG)
    monkeypatch.setenv(CONSENT, "1")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(MissingDependencyError, match="HF_HUB_OFFLINE forbids"):
        BY_NAME["da3"].predict(images, CONFIG)


def test_with_consent_the_licence_is_told_before_the_download(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from types import SimpleNamespace

    happened: list[str] = []

    def snapshot_download(repository: str, allow_patterns: list[str]) -> str:
        happened.append(f"download {repository}")
        if repository == "some/thing":
            raise OSError("404")
        return str(tmp_path)

    monkeypatch.setitem(sys.modules, "huggingface_hub", SimpleNamespace(snapshot_download=snapshot_download))
    monkeypatch.setenv(CONSENT, "1")
    assert obtain_checkpoint(Checkpoint("a/b", "Apache-2.0", 2_000_000_000), happened.append) == tmp_path
    assert "a/b (licence Apache-2.0, about 2.0 GB)" in happened[0]
    assert happened[1] == "download a/b"
    with pytest.raises(ResourceError, match="could not be downloaded"):
        obtain_checkpoint(Checkpoint("some/thing", "?"), happened.append)


def test_the_cache_of_the_hub_is_read_without_its_library(tmp_path: Path) -> None:
    wanted = Checkpoint("a/b", "Apache-2.0")
    assert cached_checkpoint(wanted) is None
    snapshot = tmp_path / "hub" / "models--a--b" / "snapshots" / "0123"
    checkpoint_folder(snapshot)
    assert cached_checkpoint(wanted) == snapshot
    (snapshot / "model.safetensors").unlink()  # a download that was cut off
    assert cached_checkpoint(wanted) is None


def test_weights_that_are_not_for_everybody_must_be_named() -> None:
    with pytest.raises(InputError, match=r"CC BY-NC 4.0"):
        BY_NAME["vggt"].checkpoint()
    assert "no commercial use" in BY_NAME["vggt"].checkpoint("facebook/VGGT-1B").licence
    for name in ("da3", "mapanything"):
        assert BY_NAME[name].checkpoint().licence == "Apache-2.0"
    assert "unknown" in BY_NAME["da3"].checkpoint("someone/weights").licence


def test_the_fallback_needs_package_and_weights_on_the_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(CONSENT, "1")  # consent to downloads is no reason to start one
    assert first_available() is None or first_available().available()[0]
    install(monkeypatch, flat_photos(LANDSCAPE)[1])
    assert first_available() is None
    checkpoint_folder(tmp_path / "hub" / "models--facebook--VGGT-1B" / "snapshots" / "1")
    assert first_available() is None  # not for everybody, and not asked for
    assert first_available(replace(CONFIG, checkpoint="facebook/VGGT-1B")) is BY_NAME["vggt"]
    checkpoint_folder(tmp_path / "hub" / "models--facebook--map-anything-apache" / "snapshots" / "1")
    assert first_available() is BY_NAME["mapanything"]


def test_named_weights_are_left_to_the_model_that_lists_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    install(monkeypatch, flat_photos(LANDSCAPE)[1])
    named = replace(CONFIG, checkpoint="facebook/VGGT-1B")
    checkpoint_folder(tmp_path / "hub" / "models--depth-anything--DA3-BASE" / "snapshots" / "1")
    assert first_available(CONFIG) is BY_NAME["da3"]
    assert first_available(named) is None, "Depth Anything cannot load VGGT's weights"
    checkpoint_folder(tmp_path / "hub" / "models--facebook--VGGT-1B" / "snapshots" / "1")
    assert first_available(named) is BY_NAME["vggt"], "what is asked for goes first"
    assert not caplog.records
    folder = checkpoint_folder(tmp_path / "weights")
    assert first_available(replace(CONFIG, checkpoint=str(folder))) is None, "it may be anybody's"
    assert str(folder) in caplog.text


def test_doctor_tells_weights_and_licences(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = {check.name: check for check in doctor_command._feed_forward()}
    assert set(before) == {"poses: da3", "poses: vggt", "poses: mapanything"}
    install(monkeypatch, flat_photos(LANDSCAPE)[1])
    checkpoint_folder(tmp_path / "hub" / "models--depth-anything--DA3-BASE" / "snapshots" / "1")
    after = {check.name: check for check in doctor_command._feed_forward()}
    assert after["poses: da3"].state == "ok"
    assert "DA3-BASE (licence Apache-2.0" in after["poses: da3"].found
    assert "--allow-download fetches facebook/map-anything-apache" in after["poses: mapanything"].advice
    assert "poses.checkpoint=facebook/VGGT-1B-Commercial" in after["poses: vggt"].advice


@pytest.fixture(scope="module")
def matched() -> tuple[ImageSet, Tracks]:
    """Three demo photos and one that shows something else."""
    names = NAMES[:3]
    photos = image_set([*door(names, 400).images, texture(3)], [*names, "foreign.jpg"])
    aliked = AlikedMatcher(CONFIG.max_side)
    features = aliked.extract(photos.images)
    matches = match_pairs(aliked.nearest, features, all_pairs(len(photos)))
    return photos, build_tracks(features, matches, work_scale(photos, CONFIG))


def perturbed(cameras: Cameras, degrees: float, shift: float, focal: float) -> Cameras:
    """Each camera turned by `degrees`, moved by `shift` of their spread, in random directions; focal length scaled."""
    generator = torch.Generator().manual_seed(0)
    turn, move = (torch.nn.functional.normalize(torch.randn(len(cameras), 3, generator=generator)) for _ in range(2))
    R = exp_so3(turn * torch.deg2rad(torch.tensor(degrees))) @ cameras.cam_from_world[:, :3, :3]
    spread = (cameras.centers - cameras.centers.mean(0)).norm(dim=1).mean()
    poses, Ks = cameras.cam_from_world.clone(), cameras.Ks.clone()
    poses[:, :3, :3] = R
    poses[:, :3, 3] = -(R @ (cameras.centers + shift * spread * move)[:, :, None])[..., 0]
    Ks[:, [0, 1], [0, 1]] *= focal
    return replace(cameras, cam_from_world=poses, Ks=Ks)


def four(cameras: Cameras) -> Cameras:
    """With a made-up camera for the foreign photo."""
    rows = [0, 1, 2, 2]
    return cameras[rows]


def test_refinement_mends_what_models_usually_get_wrong(matched: tuple[ImageSet, Tracks]) -> None:
    photos, tracks = matched
    truth = door_truth(NAMES[:3], 400)
    start = perturbed(truth, 4.0, 0.2, 1.06)
    before = pose_errors(start, truth)
    refined = refine(photos, four(start), tracks, CONFIG)
    model = refined.solved.model
    found = replace(
        truth,
        cam_from_world=torch.from_numpy(model.cam_from_world[:3]).float(),
        Ks=torch.from_numpy(model.Ks[:3]).float(),
    )
    after = pose_errors(found, truth)
    assert before.rotation_deg.max() > 5
    assert after.rotation_deg.max() < 1
    assert after.translation_deg.max() < 1
    assert after.focal.max() < 0.03
    assert refined.adjusted
    assert refined.tied.tolist() == [True] * 3 + [False]
    # the world stays that of the guess, so what it says about the foreign photo still fits
    guessed = start.centers.double().numpy()
    moved = np.linalg.inv(model.cam_from_world[:3])[:, :3, 3]
    assert np.linalg.norm(moved - guessed, axis=1).max() < 0.5 * np.linalg.norm(guessed - guessed.mean(0), axis=1).max()
    assert np.allclose(model.cam_from_world[3], four(start).cam_from_world[3].double().numpy())


def test_refinement_does_not_follow_a_hopeless_guess(matched: tuple[ImageSet, Tracks]) -> None:
    photos, tracks = matched
    backwards = perturbed(door_truth(NAMES[:3], 400), 90.0, 2.0, 1.0)
    refined = refine(photos, four(backwards), tracks, CONFIG)
    assert refined.solved.support.share < 0.5  # which every label is drawn from


def test_a_whole_estimate_from_a_models_guess(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, matched: tuple[ImageSet, Tracks]
) -> None:
    photos, tracks = matched
    truth = door_truth(NAMES[:3], 400)
    sizes = [torch.tensor([photo.shape[side] for photo in photos.images]) for side in (1, 0)]
    guess = four(perturbed(truth, 3.0, 0.15, 0.95)).resized(*sizes)
    shades = tuple(float((photo * 255).round().mean() / 255) for photo in photos.images)
    install(monkeypatch, Truth(guess, shades))
    monkeypatch.setattr("recon.poses.feedforward.backend.match_thoroughly", lambda *args: (None, None))
    monkeypatch.setattr("recon.poses.feedforward.backend.build_tracks", lambda *args: tracks)
    heard: list[Event] = []
    config = replace(CONFIG, backend="da3", checkpoint=str(checkpoint_folder(tmp_path / "weights")))
    result = estimate(photos, config, heard.append)
    assert not [event for event in heard if isinstance(event, Warned)]  # nothing was fetched
    assert result.backend == "da3"
    assert result.status == (PoseStatus.OK,) * 3 + (PoseStatus.LOW,)
    assert "no matches tie it" in result.reasons[3]
    assert any(warning.startswith("foreign.jpg") for warning in result.warnings)
    assert result.cameras.registered.all()
    assert result.cameras.confidence[3] < 0.25 < result.cameras.confidence[:3].min()
    errors = pose_errors(result.cameras[[0, 1, 2]], truth)
    assert errors.rotation_deg.max() < 1
    dense = result.extras["dense"]
    assert len(dense) > 50_000
    depth = dense.xyz @ result.cameras.cam_from_world[2, 2, :3] + result.cameras.cam_from_world[2, 2, 3]
    assert 0.5 < depth.median() < 2  # the model said 2 everywhere; the world's unit is the median depth
    assert len(result.points) > 1000


def test_photos_without_matches_stay_where_the_model_puts_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    images, truth = flat_photos([(320, 224)] * 3)
    install(monkeypatch, truth)
    config = replace(CONFIG, backend="vggt", checkpoint=str(checkpoint_folder(tmp_path / "weights")))
    nothing = (
        [Features(torch.zeros(0, 2), torch.zeros(0, 128), (320, 224))] * 3,
        {p: np.zeros((0, 2), int) for p in all_pairs(3)},
    )
    monkeypatch.setattr("recon.poses.feedforward.backend.match_thoroughly", lambda *args: nothing)
    result = estimate(images, config)
    assert result.status == (PoseStatus.LOW,) * 3
    assert all("no matches tie it" in reason for reason in result.reasons)
    assert pose_errors(result.cameras, truth.cameras).rotation_deg.max() < 0.1
    assert result.cameras.confidence.max() < 0.25
    assert len(result.points) > 1000  # the model's own, so that what follows knows how far the scene is


def test_the_encoders_code_is_taken_from_the_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
    with pytest.raises(MissingDependencyError, match="facebookresearch/dinov2 on GitHub"), encoder_code():
        pass
    repository = tmp_path / "facebookresearch_dinov2_main"
    repository.mkdir()
    (repository / "hubconf.py").write_text("def tiny(pretrained=True):\n    return 'built', pretrained\n")
    original = torch.hub.load
    with encoder_code():
        assert torch.hub.load("facebookresearch/dinov2", "tiny", force_reload=True, pretrained=False) == (
            "built",
            False,
        )
    assert torch.hub.load is original


@pytest.mark.parametrize("sizes", [LANDSCAPE, MIXED], ids=["landscape", "mixed"])
def test_the_real_depth_anything_with_random_weights(sizes: list[tuple[int, int]], tmp_path: Path) -> None:
    api = pytest.importorskip("depth_anything_3.api", reason="depth-anything-3 is not installed", exc_type=Exception)
    api.DepthAnything3("da3-small").save_pretrained(tmp_path)
    images, _ = flat_photos([(w // 4, h // 4) for w, h in sizes])
    prediction = BY_NAME["da3"].predict(images, replace(CONFIG, checkpoint=str(tmp_path)))
    cameras = prediction.cameras
    assert torch.allclose(cameras.Ks[:, 0, 2] * 2, cameras.width.float(), atol=1e-3)  # the middle, crop undone
    assert torch.allclose(cameras.Ks[:, 1, 2] * 2, cameras.height.float(), atol=1e-3)
    assert prediction.depth.shape == prediction.confidence.shape


def test_every_backend_can_be_chosen() -> None:
    assert set(PACKAGES) < set(BACKENDS)
    for name in PACKAGES:
        assert BACKENDS[name].name == name


def test_auto_asks_a_network_that_is_here_only_when_photos_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    photos = door(NAMES[:3], 400)
    found = estimate(photos, CONFIG)
    assert found.cameras.registered.all()
    calls = []

    class Network:
        name = "net"

        def available(self) -> tuple[bool, str]:
            return True, ""

        def estimate(self, images: ImageSet, config: PosesConfig, emit: object, known: object = None) -> PoseResult:
            calls.append(len(images))
            return replace(found, backend="net")

    monkeypatch.setattr("recon.poses.auto.first_available", lambda config: Network())
    assert estimate(photos, CONFIG).backend == "auto"
    assert not calls
    two = replace(found.cameras, registered=torch.tensor([True, True, False]))
    missing = replace(found, cameras=two, status=(PoseStatus.LOW, PoseStatus.LOW, PoseStatus.UNREGISTERED))
    monkeypatch.setattr("recon.poses.auto._Cascade.run", lambda cascade: missing)
    assert estimate(photos, CONFIG).backend == "net"
    monkeypatch.setattr("recon.poses.auto._Cascade.run", lambda cascade: replace(missing, status=found.status))
    assert estimate(photos, CONFIG).backend == "auto", "not more photos are sure"
    assert calls == [3, 3]
