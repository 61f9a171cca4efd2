"""`metrics.json` and the one-line verdict, from the completion records."""

import importlib.metadata
import platform
from pathlib import Path
from typing import Any

import psutil

import recon
from recon.pipeline.core import Run

PACKAGES = ("torch", "numpy", "pycolmap", "gsplat", "opencv-python-headless", "viser")
PUBLIC_FILES = ("splats.ply", "points.ply", "cameras.json", "video.mp4", "report.html", "field.npz")


def metrics(run: Run) -> dict[str, Any]:
    """Everything that was measured: plain JSON values. Stages that were not reached are absent."""
    details = {name: record.details for name, record in run.records.items()}
    train = details.get("train", {})
    result: dict[str, Any] = {
        "recon": recon.__version__,
        "quality": run.config.quality,
        "seed": run.config.seed,
        "device": train.get("device"),
        "rasterizer": train.get("rasterizer"),
        "photos": _photos(run),
        "sparse_points": details.get("poses", {}).get("sparse_points"),
        "points": details.get("placing", {}).get("points", details.get("dense", {}).get("points")),
        "placing": details.get("placing", {}).get("photos", []),
        "gaussians": train.get("gaussians"),
        "representation": train.get("representation", "splats"),
        "field_parameters": train.get("field_parameters"),
        "training": {key: train[key] for key in ("steps", "account", "history") if key in train},
        "small": train.get("small"),
        "prior": train.get("prior"),
        "stopping": train.get("stopping"),
        "stages": {name: _cost(record) for name, record in run.records.items()},
        "total": _total(run),
        "files": _file_sizes(run.folder.root),
        "warnings": list(dict.fromkeys(run.warnings)),
        "versions": _versions(),
        "machine": _machine(),
    }
    for key in ("training_views", "held_out"):
        if key in details.get("evaluate", {}):
            result[key] = details["evaluate"][key]
    return result


def photo_rows(run: Run) -> dict[str, dict[str, Any]]:
    """What is known about each photo's camera, by name, after the last stage that changed it."""
    if "poses" not in run.records:
        return {}
    rows = {row["name"]: row for row in run.records["poses"].details["photos"]}
    later = run.records["placing"].details["cameras"] if "placing" in run.records else []
    return rows | {row["name"]: row for row in later}


def _photos(run: Run) -> dict[str, Any]:
    images = run.records["images"].details if "images" in run.records else {}
    rows = photo_rows(run)
    listed = []
    for photo in images.get("photos", []):
        held = photo["name"] in images["held_out"]
        listed.append(photo | ({"status": "held out"} if held else rows.get(photo["name"], {})))
    n_held = len(images.get("held_out", []))
    placed = sum(row["status"] != "unregistered" for row in rows.values()) if rows else None
    return {"found": len(listed), "used": len(listed) - n_held, "held_out": n_held, "placed": placed, "list": listed}


def _cost(record: Any) -> dict[str, Any]:
    return {
        "seconds": record.seconds,
        "cpu_seconds": record.cpu_seconds,
        "peak_memory_bytes": record.peak_memory_bytes,
        "finished": record.finished,
    }


def _total(run: Run) -> dict[str, Any]:
    """Sums over the stages (of several passes, if the run was continued) and the largest memory."""
    records = run.records.values()
    return {
        "seconds": round(sum(r.seconds for r in records), 2),
        "cpu_seconds": round(sum(r.cpu_seconds for r in records), 2),
        "peak_memory_bytes": max((r.peak_memory_bytes for r in records), default=0),
    }


def _file_sizes(root: Path) -> dict[str, int]:
    return {name: (root / name).stat().st_size for name in PUBLIC_FILES if (root / name).is_file()}


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "missing"
    return found


def _machine() -> dict[str, Any]:
    return {
        "system": platform.platform(),
        "processor": processor_name(),
        "cores": psutil.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
    }


def processor_name() -> str:
    """The processor's marketing name where the system tells, else its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def thousands(number: int) -> str:
    """84312 as `84 312`."""
    return f"{number:,}".replace(",", " ")


def verdict(metrics: dict[str, Any]) -> str:
    """What came out, in one sentence: photos placed, Gaussians, size, held-out quality."""
    photos = metrics["photos"]
    parts = []
    if photos["placed"] is not None:
        parts.append(f"{photos['placed']} of {photos['used']} photos placed")
    if metrics.get("representation") == "hashgrid":
        parts.append(f"a radiance field of {thousands(metrics['field_parameters'])} numbers")
    elif metrics["gaussians"]:
        parts.append(f"{thousands(metrics['gaussians'])} Gaussians")
    elif metrics["sparse_points"]:
        parts.append(f"{thousands(metrics['points'] or metrics['sparse_points'])} points")
    result = "field.npz" if metrics.get("representation") == "hashgrid" else "splats.ply"
    if metrics["gaussians"] and result in metrics["files"]:
        parts.append(f"{metrics['files'][result] / 1e6:.1f} MB")
    if small := metrics.get("small"):
        parts.append(f"{small['bytes'] / 1e6:.2f} MB as {small['file']} (asked for: {small['target_mb']:g})")
    held_out = metrics.get("held_out")
    if held_out and held_out["measured"]:
        count = held_out["measured"]
        parts.append(f"{held_out['psnr']:.1f} dB on {count} held-out photo{'s' if count > 1 else ''}")
    return ", ".join(parts)
