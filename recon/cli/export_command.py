"""`recon export`: results in other programs' formats."""

from pathlib import Path

from recon.cli.console import Console, Result
from recon.cli.export_page import write_page
from recon.cli.options import Export
from recon.cli.progress import progress_sink
from recon.compress import read_ply, read_points, write_points, write_splats
from recon.data import colmap, transforms_json
from recon.errors import InputError
from recon.events import StageStarted
from recon.mesh import SUFFIXES, require_packages
from recon.pipeline import open_finished
from recon.pipeline.export import export_mesh
from recon.pipeline.summary import thousands
from recon.runfolder import RunFolder, open_run

SPLAT_FORMATS = ("ply", "splat", "spz", "sog")


def execute(options: Export, console: Console) -> Result:
    """Write the asked-for format."""
    kind, out = _wanted(options)
    details = {}
    if kind == "html":
        _write_page(options.run, out)
    else:
        make = f"recon train {options.run}"
        need = {"splats": make} if kind in (*SPLAT_FORMATS, "mesh") else {"points": make, "cameras": make}
        folder = open_run(options.run, need=need)
        if kind == "colmap":
            _write_colmap(folder, out)
        elif kind == "mesh":
            details = {"triangles": _write_mesh(folder, out, console)}
        else:
            _write_file(folder, kind, out)
    size = sum(f.stat().st_size for f in out.rglob("*") if f.is_file()) if out.is_dir() else out.stat().st_size
    value = {"status": "done", "format": kind, "out": str(out), "bytes": size} | details
    triangles = f", {thousands(details['triangles'])} triangles" if details else ""
    return Result(value, [f"Wrote {out} ({size / 1e6:.1f} MB{triangles})."])


def _wanted(options: Export) -> tuple[str, Path]:
    """The format, and where to."""
    if options.html is not None and options.format is None and options.out is None:
        return "html", options.html.expanduser()
    if options.html is not None or options.format is None or options.out is None:
        raise InputError("Say what to write with --format FORMAT --out FILE, or with --html FILE alone.")
    return options.format, options.out.expanduser()


def _write_page(source: Path, out: Path) -> None:
    if out.is_dir() or out.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"{out} must be a file ending in .html for the format html.")
    write_page(source, out)


def _write_file(folder: RunFolder, kind: str, out: Path) -> None:
    suffix = {"points": ".ply", "transforms": ".json"}.get(kind, f".{kind}")
    if out.is_dir() or out.suffix.lower() != suffix:
        raise InputError(f"--out {out} must be a file ending in {suffix} for the format {kind}.")
    if kind in SPLAT_FORMATS:
        write_splats(out, read_ply(folder.splats))
    elif kind == "points":
        write_points(out, read_points(folder.points))
    else:
        known = transforms_json.read_transforms(folder.cameras)
        transforms_json.write_transforms(
            out, [Path(name).name for name in known.names], known.cameras,
            images=folder.images.absolute(), points=folder.points.absolute(),
        )  # fmt: skip


def _write_colmap(folder: RunFolder, out: Path) -> None:
    """Cameras at the size of the run's `images/`, with the sparse points."""
    if out.is_file():
        raise InputError(f"--out {out} is a file; a COLMAP model is a folder.")
    known = transforms_json.read_transforms(folder.cameras)
    sparse = open_finished(folder).value("poses").points
    colmap.write_model(out, [Path(name).name for name in known.names], known.cameras, sparse)


def _write_mesh(folder: RunFolder, out: Path, console: Console) -> int:
    """A textured mesh of the splats; returns the number of triangles."""
    if out.is_dir() or out.suffix.lower() not in SUFFIXES:
        raise InputError(f"--out {out} must be a file ending in {', '.join(SUFFIXES)} for the format mesh.")
    require_packages()
    with progress_sink(console) as sink:
        sink(StageStarted("export", "making the mesh"))
        return export_mesh(open_finished(folder, sink), out)
