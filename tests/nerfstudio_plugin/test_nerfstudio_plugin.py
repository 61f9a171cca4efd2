"""recon inside nerfstudio: what needs no nerfstudio, always; the plugin itself, in an environment that has it.

Set up as `docs/decisions/0010-nerfstudio.md` says and with pytest and beartype added, that one runs these in full.
"""

import importlib.util
import tomllib
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from recon.compress import write_ply, write_points
from recon.data import holdout_split
from recon.data.transforms_json import write_transforms
from recon.errors import InputError
from recon.geometry import look_at
from recon.nerfstudio.scenes import from_opengl, lens_of, open_data, to_opengl, training_scene, upright_world
from recon.optimize import InitConfig, TrainConfig, Trainer, splats_from_points
from recon.render import render, select_rasterizer
from recon.runfolder import RunFolder
from recon.stereo import StereoConfig, reconstruct
from recon.types import Cameras, PointCloud, Splats

ROOT = Path(__file__).parent.parent.parent
SIZE = (64, 48)
needs_nerfstudio = pytest.mark.skipif(
    importlib.util.find_spec("nerfstudio") is None,
    reason="nerfstudio is not installed: it has an environment of its own, see docs/decisions/0010-nerfstudio.md",
)


def cameras(n: int = 4) -> Cameras:
    """On an arc, in a world of odd scale and heading, y down; the last of low confidence."""
    target = torch.tensor((5.0, -2.0, 30.0))
    places = [torch.tensor((5.0 + 4.0 * (v - 1.5), -2.0 - v, 10.0)) for v in range(n)]
    poses = torch.stack([look_at(place, target, torch.tensor((0.0, -1.0, 0.0))) for place in places])
    K = torch.tensor([[70.0, 0, 32], [0, 70.0, 24], [0, 0, 1]])
    arc = Cameras.create(poses, K.repeat(n, 1, 1), *SIZE)
    return replace(arc, confidence=torch.tensor([1.0] * (n - 1) + [0.5]))


def cloud(n: int = 400) -> PointCloud:
    """A coloured wall through the point that the cameras look at."""
    generator = torch.Generator().manual_seed(0)
    xyz = torch.rand(n, 3, generator=generator) * torch.tensor((16.0, 12.0, 1.0)) + torch.tensor((-3.0, -8.0, 30.0))
    return PointCloud(xyz, torch.rand(n, 3, generator=generator), torch.full((n,), 0.5), None, torch.full((n,), 0.5))


def wall() -> Splats:
    return splats_from_points(cloud(), InitConfig(opacity=0.99, min_opacity=0.99), sh_degree=1)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """What a run leaves that others read, with one photo that could not be placed."""
    folder = RunFolder(tmp_path_factory.mktemp("scene") / "recon")
    folder.stages.mkdir(parents=True)
    folder.images.mkdir()
    folder.config.write_text(f"images_dir: {folder.root.parent}\nout_dir: {folder.root}\n")
    known = cameras()
    with torch.no_grad():
        pictures = render(wall(), known, select_rasterizer("cpu")).rgb
    names = [f"{v}.png" for v in range(len(known))]
    for name, picture in zip(names, pictures):
        Image.fromarray((picture.clamp(0, 1) * 255).round().byte().numpy()).save(folder.images / name)
    registered = torch.tensor([True, True, True, True, False])
    everyone = Cameras(*(torch.cat([getattr(known, f), getattr(known, f)[:1]]) for f in known.__dataclass_fields__))
    write_transforms(
        folder.cameras, [*names, "lost.png"], replace(everyone, registered=registered),
        images="images", points="points.ply",
    )  # fmt: skip
    write_points(folder.points, cloud())
    write_ply(folder.splats, wall())
    return folder


def test_cameras_survive_the_way_to_nerfstudios_world_and_back() -> None:
    known = cameras()
    world = upright_world(known, cloud())
    back = from_opengl(to_opengl(known, world), world)
    assert torch.allclose(back, known.cam_from_world, atol=1e-4)


def test_nerfstudios_world_is_upright_and_of_unit_size() -> None:
    known = cameras()
    poses = to_opengl(known, upright_world(known, None))
    assert torch.isclose(poses[:, :, 3].norm(dim=1).mean(), torch.tensor(1.0), atol=1e-3)
    assert (poses[:, 2, 1] > 0.8).all(), "the cameras' up is +z"
    towards = -torch.nn.functional.normalize(poses[:, :, 3], dim=1)
    assert ((-poses[:, :, 2] * towards).sum(1) > 0.99).all(), "they look along -z of OpenGL, at the origin"
    assert (poses[:, :2, 3].mean(0) > 0).all(), "on the side where the viewer starts"


def test_a_run_folder_is_read_without_the_photos_that_were_not_placed(run: RunFolder) -> None:
    scene = open_data(run.root)
    assert scene.names == tuple(f"images/{v}.png" for v in range(4))
    assert torch.allclose(scene.cameras.confidence.float(), cameras().confidence)
    assert torch.allclose(scene.cameras.cam_from_world.float(), cameras().cam_from_world, atol=1e-5)
    assert scene.points is not None
    assert scene.points.spacing is not None, "what the trainer wants to know of a point is kept"
    assert open_data(run.root.parent).image_paths == scene.image_paths, "the photo folder will do"
    assert open_data(run.cameras).image_paths == scene.image_paths, "and so will the file"


def test_any_transforms_json_is_read_and_nothing_else_passes(run: RunFolder, tmp_path: Path) -> None:
    (tmp_path / "transforms.json").write_text(run.cameras.read_text())
    (tmp_path / "images").symlink_to(run.images, target_is_directory=True)
    (tmp_path / "points.ply").symlink_to(run.points)
    assert len(open_data(tmp_path)) == 4
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match="no scene in a format"):
        open_data(empty)


def test_lenses_are_handed_over_in_nerfstudios_order() -> None:
    opencv = torch.tensor([[0.1, 0.2, 0.01, 0.02, 0.3, 0.0, 0.0, 0.0]])
    lens = lens_of(opencv)
    assert lens is not None
    assert torch.allclose(lens, torch.tensor([[0.1, 0.2, 0.3, 0.0, 0.01, 0.02]]))
    with pytest.raises(InputError, match="Undistort the photos first"):
        lens_of(opencv + 0.1)


def test_photos_are_shrunk_and_alpha_becomes_a_mask() -> None:
    known = cameras(2)
    half = torch.cat([torch.rand(48, 64, 3), torch.zeros(48, 64, 1)], dim=2)
    half[:, :32, 3] = 1
    scene = training_scene(["a", "b"], [half, torch.rand(48, 64, 3)], [None, None], known, None, 32)
    assert [tuple(image.shape) for image in scene.images] == [(24, 32, 3)] * 2
    assert torch.allclose(scene.cameras.Ks[:, 0, 0], torch.tensor(35.0))
    assert scene.masks is not None
    assert [float(mask.mean()) for mask in scene.masks] == [0.5, 1.0]
    assert len(scene.points) == 0


def test_entry_points_name_what_is_there() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    for group in ("nerfstudio.method_configs", "nerfstudio.dataparser_configs"):
        for target in project[group].values():
            module, _, name = target.partition(":")
            source = (ROOT / Path(*module.split("."))).with_suffix(".py").read_text()
            assert f"\n{name} = " in source, f"{target} is not defined"


def pipeline_of(data: Path, holdout: int = 0):
    """As `ns-train recon` and `eval_setup` make it, tiny."""
    from copy import deepcopy

    from recon.nerfstudio.method import recon

    config = deepcopy(recon.config)
    config.data = config.pipeline.datamanager.data = data
    config.pipeline.datamanager.dataparser.holdout = holdout
    config.pipeline.train = TrainConfig(max_side=64)
    config.pipeline.dense = StereoConfig(scale=1.0)
    return config.pipeline.setup(device="cpu", test_mode="val")


def begin(pipeline, folder: Path, steps: int):
    """What nerfstudio's loop does before the first step; returns its stand-in and the callbacks."""
    from nerfstudio.engine.callbacks import TrainingCallbackAttributes

    loop = SimpleNamespace(
        config=SimpleNamespace(max_num_iterations=steps), base_dir=folder, stop_training=False, pipeline=pipeline
    )
    attributes = TrainingCallbackAttributes(optimizers=None, grad_scaler=None, pipeline=pipeline, trainer=loop)
    return loop, pipeline.get_training_callbacks(attributes)


def advance(pipeline, steps: int) -> None:
    """nerfstudio's `train_iteration`."""
    for step in range(steps):
        _, losses, _ = pipeline.get_train_loss_dict(step)
        sum(losses.values()).backward()


@needs_nerfstudio
def test_nerfstudio_trains_exactly_as_recon_does(run: RunFolder, tmp_path: Path) -> None:
    pipeline = pipeline_of(run.root)
    begin(pipeline, tmp_path, steps=30)
    advance(pipeline, 30)
    scene = pipeline.posed_scene()
    depths, points = reconstruct(scene, StereoConfig(scale=1.0))
    config = TrainConfig(steps=30, max_side=64)
    trainer = Trainer(replace(scene, points=points), depths, config, select_rasterizer("cpu"))
    for _ in range(30):
        trainer.step()
    ours, theirs = trainer.parameters.splats().tensors(), pipeline.model.splats.tensors()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert torch.allclose(scene.cameras.cam_from_world, cameras().cam_from_world, atol=1e-4)


@needs_nerfstudio
def test_a_checkpoint_goes_on_as_if_it_had_not_stopped(run: RunFolder, tmp_path: Path) -> None:
    first = pipeline_of(run.root)
    begin(first, tmp_path, steps=24)
    advance(first, 10)
    torch.save(first.state_dict(), tmp_path / "half.ckpt")
    advance(first, 14)
    second = pipeline_of(run.root)
    second.load_pipeline(torch.load(tmp_path / "half.ckpt", weights_only=True), 9)
    loop, callbacks = begin(second, tmp_path, steps=99)
    advance(second, 14)
    for callback in callbacks:
        callback.func(step=24)
    assert loop.stop_training, "the schedule of the checkpoint has ended"
    assert all(
        torch.equal(a, b)
        for a, b in zip(first.model.get_extra_state().values(), second.model.get_extra_state().values())
    )
    assert (tmp_path / "splats.ply").is_file()


@needs_nerfstudio
def test_an_exported_run_loads_and_shows_the_photos(run: RunFolder, tmp_path: Path) -> None:
    from nerfstudio.utils.eval_utils import eval_setup

    from recon.nerfstudio.export import export

    _, pipeline, _, _ = eval_setup(export(run.root, tmp_path))
    metrics = pipeline.get_average_eval_image_metrics(output_path=tmp_path / "pictures")
    assert metrics["psnr"] > 45, "the photos are renderings of these splats"
    camera, _ = pipeline.datamanager.fixed_indices_eval_dataloader[0]
    outputs = pipeline.model.get_outputs_for_camera(camera)
    assert tuple(outputs["rgb"].shape) == (48, 64, 3)
    assert 0.7 < float(outputs["depth"][24, 32]) < 1.3, "distance in nerfstudio's world"
    shown = np.asarray(Image.open(tmp_path / "pictures" / "eval_img_0000.png"))
    assert shown.shape == (48, 128, 3)


@needs_nerfstudio
def test_photos_are_held_out_as_by_recon_run(run: RunFolder) -> None:
    pipeline = pipeline_of(run.root, holdout=1)
    train, test = holdout_split(4, 1)
    assert [path.stem for path in pipeline.datamanager.train_dataset.image_filenames] == [str(i) for i in train]
    assert [path.stem for path in pipeline.datamanager.eval_dataset.image_filenames] == [str(i) for i in test]
