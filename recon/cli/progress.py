"""Progress of a run on stderr: moving bars with time left on a terminal, plain lines elsewhere."""

import contextlib
import time
from collections.abc import Iterator

from rich.console import Console as RichConsole
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from recon import events
from recon.cli.console import Console

TITLES = {
    "images": "Reading photos",
    "poses": "Finding cameras",
    "dense": "Dense points",
    "placing": "Doubtful photos",
    "train": "Training",
    "evaluate": "Measuring",
    "export": "Writing results",
    "generate": "Rendering scenes",
}
PLAIN_INTERVAL_SECONDS = 10.0


@contextlib.contextmanager
def progress_sink(console: Console) -> Iterator[events.EventSink]:
    """The sink that suits where stderr goes."""
    with _bars_or_lines(console) as sink:
        yield sink


def _bars_or_lines(console: Console) -> "Bars | Lines":
    return Bars(console.err) if console.live else Lines(console)


def readings(values: dict[str, float]) -> str:
    """The live values worth a place in a line."""
    parts = []
    if "psnr" in values:
        parts.append(f"{values['psnr']:.1f} dB on the training photos")
    if "gaussians" in values:
        parts.append(f"{int(values['gaussians']):,} Gaussians".replace(",", " "))
    return ", ".join(parts)


def cost_line(event: events.StageFinished) -> str:
    """What a finished stage cost."""
    title = TITLES.get(event.stage, event.stage)
    if event.resumed:
        return f"{title}: already done"
    memory = event.peak_memory_bytes / 1e9
    return f"{title}: {event.seconds:.1f} s ({event.cpu_seconds:.1f} CPU-s, peak {memory:.1f} GB)"


class Bars:
    """One bar per stage."""

    def __init__(self, console: RichConsole) -> None:
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description:<16}"),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            TextColumn("/"),
            TimeRemainingColumn(),
            TextColumn("left"),
            TextColumn("{task.fields[detail]}"),
            console=console,
            transient=True,
        )
        self._console = console
        self._task: TaskID | None = None

    def __enter__(self) -> "Bars":
        self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._progress.stop()

    def __call__(self, event: events.Event) -> None:
        if isinstance(event, events.StageStarted):
            title = TITLES.get(event.stage, event.stage)
            self._task = self._progress.add_task(title, total=None, detail=event.description)
        elif isinstance(event, events.Progress) and self._task is not None:
            detail = readings(event.values) or event.message
            self._progress.update(self._task, completed=event.done, total=event.total, detail=detail)
        elif isinstance(event, events.StageFinished):
            if self._task is not None:
                self._progress.remove_task(self._task)
                self._task = None
            self._console.print(f"[green]\u2713[/] {cost_line(event)}")
        elif isinstance(event, events.Warned):
            self._console.print(f"[yellow]![/] {escape(event.message)}")


class Lines:
    """A line when a stage starts and ends, and one now and then in between."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last = 0.0
        self._started = 0.0

    def __enter__(self) -> "Lines":
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def __call__(self, event: events.Event) -> None:
        if isinstance(event, events.StageStarted):
            self._last = self._started = time.monotonic()
            self._console.note(f"{TITLES.get(event.stage, event.stage)} ...")
        elif isinstance(event, events.Progress):
            self._progress(event)
        elif isinstance(event, events.StageFinished):
            self._console.note(cost_line(event))
        elif isinstance(event, events.Warned):
            self._console.note(f"Warning: {event.message}")

    def _progress(self, event: events.Progress) -> None:
        now = time.monotonic()
        if now - self._last < PLAIN_INTERVAL_SECONDS or event.total <= 0:
            return
        self._last = now
        share = event.done / event.total
        left = f", {(now - self._started) * (1 - share) / share:.0f} s left" if share > 0 else ""
        detail = readings(event.values) or event.message
        self._console.note(
            f"  {TITLES.get(event.stage, event.stage)}: {share:.0%}{left}{', ' + detail if detail else ''}"
        )
