"""The input photo nearest to the test camera, as it is: what every method must beat."""

from collections.abc import Mapping
from dataclasses import dataclass

from recon.benchmark.runs import isolate
from recon.benchmark.runs.methods.base import Task, check_options, fitted
from recon.benchmark.runs.methods.splatting import find_cameras
from recon.data import ImagesConfig, load_images
from recon.data.transforms_json import read_transforms
from recon.optimize.targets import resample
from recon.pipeline.pictures import save_rgb
from recon.types import Cameras


@dataclass(frozen=True)
class CopyMethod:
    """Options: settings of `poses`, for the estimated track."""

    name: str = "copy"
    gpus: float = 0.0
    aligns: bool = False

    def check(self, options: Mapping[str, str]) -> None:
        """Raises InputError for an option that does not exist."""
        check_options(self.name, options, (), settings=True)

    def fit(self, task: Task) -> None:
        """Only cameras; the photos are the scene."""
        photos = sorted(task.inputs.iterdir())
        if task.input_cameras is None:
            names, cameras = find_cameras(task, backend="auto")
        else:
            known = read_transforms(task.input_cameras)
            names, cameras = task.photo_names(known.names), known.cameras
        fitted(task, names, cameras, photos)

    def render(self, task: Task) -> None:
        """The nearest placed photo, stretched to the test view's size."""
        names, tests = task.tests()
        known = read_transforms(task.folder / isolate.CAMERAS)
        placed = known.cameras.registered.nonzero()[:, 0].tolist()
        photos = load_images(task.inputs, ImagesConfig(max_side=1 << 20, drop_duplicates=False))
        by_name = dict(zip(photos.names, photos.images))
        inputs = task.photo_names(known.names)
        for i, name in enumerate(names):
            nearest = placed[nearest_camera(tests[i], known.cameras[placed])]
            size = (int(tests.height[i]), int(tests.width[i]))
            picture = resample(by_name[inputs[nearest]].permute(2, 0, 1), size, "area").permute(1, 2, 0)
            save_rgb(task.folder / isolate.RENDERS / f"{name.rsplit('.', 1)[0]}.png", picture)

    def align(self, task: Task) -> None:
        """There is none."""
        raise AssertionError("refused before the job was made")


def nearest_camera(camera: Cameras, others: Cameras) -> int:
    """Index of the one of `others` that stands closest, in units of their spread, and looks the same way."""
    centers = others.centers
    spread = (centers - centers.mean(0)).norm(dim=1).mean().clamp_min(1e-12)
    distance = (centers - camera.centers).norm(dim=1) / spread
    turn = 1 - others.cam_from_world[:, 2, :3] @ camera.cam_from_world[0, 2, :3]
    return int((distance + turn).argmin())
