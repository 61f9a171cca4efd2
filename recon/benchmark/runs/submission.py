"""The ZIP that SpaRe's site takes: a folder for each scene at its root, the test views' pictures in it."""

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recon.benchmark.runs import isolate
from recon.benchmark.runs.job import read_record
from recon.benchmark.runs.predict import find_jobs
from recon.errors import InputError
from recon.files import atomic_path

EPOCH = (1980, 1, 1, 0, 0, 0)
"""The oldest time a ZIP can state: equal pictures make equal files."""


@dataclass(frozen=True)
class Choice:
    """Which of a run's results to hand in; None where there is only one."""

    entry: str | None = None
    track: str | None = None
    poses: str | None = None
    seed: int | None = None

    def fits(self, record: Mapping[str, Any]) -> bool:
        """Whether a job belongs to it."""
        wanted = vars(self).items()
        return all(value is None or record[name] == value for name, value in wanted)


def write_submission(out: Path, file: Path, choice: Choice) -> int:
    """Write the pictures of one entry, track and seed; returns how many.

    Raises:
        InputError: the choice fits none or several, or a scene has no result.
    """
    records = {folder: record for folder in find_jobs(out) if (record := read_record(folder)) is not None}
    chosen = {folder: record for folder, record in records.items() if choice.fits(record)}
    kinds = {tuple(record[name] for name in ("entry", "track", "poses", "seed")) for record in chosen.values()}
    if len(kinds) != 1:
        every = {tuple(record[name] for name in ("entry", "track", "poses", "seed")) for record in records.values()}
        there = "; ".join(f"{e}, track {t}, {p} poses, seed {s}" for e, t, p, s in sorted(every))
        raise InputError(
            f"A submission is one method on one track with one seed, chosen with --entry, --track, --poses and --seed; "
            f"{len(kinds)} fit. There are: {there}."
        )
    if failed := [record["scene"] for record in chosen.values() if record["status"] != "ok"]:
        raise InputError(f"There is no result for {', '.join(failed)}. A submission needs every scene.")
    pictures = [
        (f"{record['scene']}/{name}", folder / isolate.RENDERS / name)
        for folder, record in chosen.items()
        for name in record["tests"]
    ]
    with atomic_path(file) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        for inside, path in sorted(pictures):
            archive.writestr(zipfile.ZipInfo(inside, EPOCH), path.read_bytes())
    return len(pictures)
