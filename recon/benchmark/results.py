"""What a benchmark returns, and how it is shown: as text, as Markdown, as JSON."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from recon.benchmark.machine import Machine
from recon.files import write_json

Cell = str | int | float | None


@dataclass(frozen=True)
class Table:
    """Rows under named columns, with a title and a sentence on how to read them."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"Table {self.title!r} has {len(self.columns)} columns, but a row of {len(row)}.")

    def records(self) -> list[dict[str, Cell]]:
        """Each row as a mapping from column to value."""
        return [dict(zip(self.columns, row)) for row in self.rows]

    def text(self) -> str:
        """Aligned columns for a terminal; numbers to the right."""
        cells = [list(self.columns), *([show(value) for value in row] for row in self.rows)]
        widths = [max(len(row[i]) for row in cells) for i in range(len(self.columns))]
        left = [all(isinstance(row[i], str) for row in self.rows) for i in range(len(self.columns))]

        def line(row: Sequence[str]) -> str:
            parts = (cell.ljust(w) if keep else cell.rjust(w) for cell, w, keep in zip(row, widths, left))
            return "  ".join(parts).rstrip()

        rule = "  ".join("-" * width for width in widths)
        body = "\n".join([line(cells[0]), rule, *map(line, cells[1:])])
        return f"{self.title}\n{body}" + (f"\n{self.note}" if self.note else "")

    def markdown(self) -> str:
        """A Markdown table under its title."""
        rows = [self.columns, tuple("---" for _ in self.columns), *(tuple(map(show, row)) for row in self.rows)]
        body = "\n".join("| " + " | ".join(row) + " |" for row in rows)
        return f"**{self.title}**\n\n{body}" + (f"\n\n{self.note}" if self.note else "")


@dataclass(frozen=True)
class BenchResult:
    """Tables with everything needed to judge and repeat them."""

    name: str
    description: str
    command: str
    tables: tuple[Table, ...]
    machine: Machine
    versions: dict[str, str]
    seeds: dict[str, int]
    options: dict[str, Any] = field(default_factory=dict)
    date: str = ""
    cpu_seconds: float = 0.0
    """What running the benchmark took."""

    def text(self) -> str:
        """For a terminal."""
        return "\n\n".join([self._head(), *(table.text() for table in self.tables)])

    def markdown(self) -> str:
        """For `docs/benchmarks.md`."""
        return "\n\n".join([self._head(), *(table.markdown() for table in self.tables)])

    def to_dict(self) -> dict[str, Any]:
        """Plain values; each table's rows as mappings from column to value."""
        plain = asdict(self)
        plain["tables"] = [{"title": t.title, "note": t.note, "rows": t.records()} for t in self.tables]
        return plain

    def write_json(self, path: Path | str) -> None:
        """Write `to_dict()` to `path`, atomically."""
        write_json(path, self.to_dict())

    def _head(self) -> str:
        packages = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        seeds = ", ".join(f"{name} {seed}" for name, seed in self.seeds.items())
        return (
            f"{self.description}\n{self.machine.sentence()}\n{packages}; seeds: {seeds}\n"
            f"`{self.command}`, {self.date}, {self.cpu_seconds:.0f} CPU-seconds"
        )


def show(value: Cell) -> str:
    """A cell as text: three significant digits, and `-` for what was not measured."""
    if value is None:
        return "-"
    if isinstance(value, bool) or not isinstance(value, float):
        return str(value)
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3
        return f"{value:.{digits}f}"
    return f"{value:.1e}"
