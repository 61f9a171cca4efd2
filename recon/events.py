"""What the pipeline says while it works. The progress bar, the viewer and the JSON log listen; nothing here prints."""

from collections.abc import Callable
from dataclasses import dataclass, field

from recon.types import PosedScene, Splats


@dataclass(frozen=True)
class StageStarted:
    stage: str
    """One of images, poses, dense, train, evaluate, export."""
    description: str = ""


@dataclass(frozen=True)
class Progress:
    stage: str
    done: float
    total: float
    message: str = ""
    values: dict[str, float] = field(default_factory=dict)
    """Live readings, such as loss, psnr or number of Gaussians."""


@dataclass(frozen=True)
class StageFinished:
    stage: str
    seconds: float
    cpu_seconds: float
    peak_memory_bytes: int
    resumed: bool = False
    """True when the result was found in the run folder and nothing was redone."""


@dataclass(frozen=True)
class Warned:
    message: str


@dataclass(frozen=True)
class SceneReady:
    """Cameras and points are known (after poses, and again after the dense stage)."""

    scene: PosedScene


@dataclass(frozen=True)
class HeldOutReady:
    """Photos are kept out of training, which begins."""

    place: Callable[[], PosedScene]
    """Finds where they were taken. That takes seconds, which only a listener that shows them spends; it may be called
    from any thread, and raises `PoseError` when matching fails."""


@dataclass(frozen=True)
class SplatsUpdated:
    step: int
    splats: Splats


Event = StageStarted | Progress | StageFinished | Warned | SceneReady | HeldOutReady | SplatsUpdated
EventSink = Callable[[Event], None]


def ignore(event: Event) -> None:
    """A sink that listens to nothing."""


def fan_out(*sinks: EventSink) -> EventSink:
    """One sink that hands each event to every one of `sinks`."""

    def send(event: Event) -> None:
        for sink in sinks:
            sink(event)

    return send
