"""Where the command line talks: results to stdout, everything else to stderr, one JSON object when asked."""

import json
import logging
import os
import sys
import traceback
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, TextIO

from rich.console import Console as RichConsole
from rich.logging import RichHandler
from rich.markup import escape

from recon.cli.failures import Failure


@dataclass(frozen=True)
class Result:
    """What a command has to say when it is done."""

    data: dict[str, Any]
    """The JSON object of `--json`; plain values."""
    lines: list[Any] = field(default_factory=list)
    """What is printed otherwise: texts or rich renderables."""
    exit_code: int = 0
    printed: bool = False
    """True when the command has already printed its outcome."""


class Console:
    """Standard output and error of one command. Use as a context manager."""

    def __init__(self, json_mode: bool = False, debug: bool = False) -> None:
        self.json_mode = json_mode
        self.debug = debug
        self.err = RichConsole(stderr=True, highlight=False)
        self.out = RichConsole(highlight=False, soft_wrap=True)
        self._stdout_fd: int | None = None
        self._stdout: TextIO = sys.stdout

    @property
    def live(self) -> bool:
        """Whether moving progress bars make sense: a terminal that can draw them."""
        return self.err.is_terminal and not self.err.is_dumb_terminal

    def __enter__(self) -> "Console":
        self._log_to_stderr()
        if self.json_mode:
            self._reserve_stdout()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        logging.getLogger().removeHandler(self._handler)
        if self._stdout_fd is not None:
            sys.stdout = self._stdout
            os.dup2(self._stdout_fd, 1)
            os.close(self._stdout_fd)
            self._stdout_fd = None

    def _log_to_stderr(self) -> None:
        logging.raiseExceptions = False  # a full disk must not fill the terminal with logging's own tracebacks
        level = logging.DEBUG if self.debug else logging.WARNING
        if self.live:
            self._handler: logging.Handler = RichHandler(
                console=self.err, show_time=False, show_path=self.debug, markup=False, level=level
            )
        else:
            self._handler = logging.StreamHandler(sys.stderr)
            self._handler.setLevel(level)
            self._handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
        root = logging.getLogger()
        root.addHandler(self._handler)
        logging.getLogger("recon").setLevel(logging.DEBUG if self.debug else logging.INFO)
        logging.getLogger("viewer").setLevel(logging.DEBUG if self.debug else logging.INFO)

    def _reserve_stdout(self) -> None:
        """Point stdout at stderr, for Python and for C libraries: nothing can write beside the JSON object."""
        sys.stdout.flush()
        self._stdout = sys.stdout
        sys.stdout = sys.stderr
        self._stdout_fd = os.dup(1)
        os.dup2(2, 1)

    def note(self, text: str) -> None:
        """A line about what is happening, to stderr."""
        self.err.print(text, markup=False, soft_wrap=True)

    def finish(self, result: Result) -> None:
        """Print the outcome."""
        if result.printed:
            return
        if self.json_mode:
            self._write_json(result.data)
            return
        for line in result.lines:
            self.out.print(line, markup=False) if isinstance(line, str) else self.out.print(line)

    def fail(self, failure: Failure, error: BaseException) -> None:
        """Print why the command stopped: one message; a traceback for bugs of ours and under --debug."""
        if failure.message and (failure.kind == "Bug" or self.debug):
            traceback.print_exception(error, file=sys.stderr)
        if failure.kind == "Bug":
            self.note("This is a bug in recon, not something you did. Please report it with the text above.")
        elif failure.message:
            label = "Stopped" if failure.kind == "Interrupted" else "Error"
            text = failure.message if failure.kind == "Interrupted" else f"{label}: {failure.message}"
            self.err.print(f"[bold red]{escape(text)}[/]" if self.live else escape(text), soft_wrap=True)
        if self.json_mode and failure.message:
            error_object = {"type": failure.kind, "message": failure.message}
            self._write_json({"status": "error", "error": error_object, "exit_code": failure.exit_code})

    def _write_json(self, value: dict[str, Any]) -> None:
        text = json.dumps(value, indent=2, default=str, allow_nan=False) + "\n"
        if self._stdout_fd is None:
            sys.stdout.write(text)
            sys.stdout.flush()
        else:
            os.write(self._stdout_fd, text.encode())
