"""`recon dataset`: what is known about the data sets of the benchmarks, and whether a download is complete."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from recon.cli.console import Console, Result
from recon.data.manifests import (
    Manifest,
    SceneCheck,
    check_archives,
    check_dataset,
    find_manifest,
    manifest_names,
    read_manifest,
    split_names,
)
from recon.errors import InputError

if TYPE_CHECKING:
    from recon.cli.options import Dataset

COLORS = {"ok": "green", "missing": "yellow", "wrong": "red"}


def execute(options: "Dataset", console: Console) -> Result:
    """List the data sets, explain one, or check a folder."""
    if options.action == "list":
        return list_datasets() if options.set is None else explain(read_manifest(options.set))
    if options.folder is None:
        raise InputError("Which folder? Run: recon dataset check DIR")
    folder = options.folder.expanduser()
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder}. Give the folder that the data set was unpacked to.")
    return check(folder, find_manifest(folder) if options.set is None else read_manifest(options.set))


def list_datasets() -> Result:
    """A line for each data set."""
    manifests = [read_manifest(name) for name in manifest_names()]
    table = Table("name", "scenes", "licence")
    table.add_column("splits", overflow="fold")
    table.add_column("source", overflow="fold")
    for manifest in manifests:
        splits = ", ".join(split_names(manifest))
        table.add_row(manifest.name, str(len(manifest.scenes)), manifest.licence.name, splits, manifest.source)
    about = "How to get one: recon dataset list --set NAME. Whether it is whole: recon dataset check DIR."
    return Result({"datasets": [_facts(manifest) for manifest in manifests]}, [table, about])


def explain(manifest: Manifest) -> Result:
    """All that is known about one data set, with how to get it."""
    lines = [
        f"{manifest.name}: {len(manifest.scenes)} scenes from {manifest.source}",
        f"Cite: {manifest.citation}",
        f"Licence: {'. '.join(filter(None, (manifest.licence.name, manifest.licence.url, manifest.licence.note)))}",
        "Downloads:",
        *(
            f"  {a.name} ({a.size or 'size unknown'}) {a.url}\n    SHA-256 {a.sha256 or f'not known: {a.unknown}'}"
            for a in manifest.archives
        ),
        f"How to get it:\n{manifest.fetch}",
        f"What must then be there:\n{manifest.layout}",
        f"Splits: {', '.join(split_names(manifest))}\n{manifest.splits.incomplete}".rstrip(),
    ]
    return Result(_facts(manifest), [Text(line) for line in lines])


def check(folder: Path, manifest: Manifest) -> Result:
    """What is there, what is missing, what is wrong; exit code 2 if anything is wrong or no scene is right."""
    scenes = check_dataset(manifest, folder)
    found = scenes + check_archives(manifest, folder)
    table = Table("scene", "status", "what")
    for item in found:
        table.add_row(item.scene, Text(item.status, COLORS[item.status]), Text(item.message))
    counts = {status: sum(scene.status == status for scene in scenes) for status in COLORS}
    summary = f"{manifest.name} in {folder}: " + ", ".join(f"{n} {status}" for status, n in counts.items())
    advice = [] if counts["ok"] == len(scenes) else [f"How to get it: recon dataset list --set {manifest.name}"]
    failed = counts["ok"] == 0 or any(item.status == "wrong" for item in found)
    value = {"dataset": manifest.name, "folder": str(folder), "scenes": [_check_facts(item) for item in found]}
    return Result(value | counts, [table, summary, *advice], exit_code=InputError.exit_code if failed else 0)


def _facts(manifest: Manifest) -> dict[str, Any]:
    archives = [{"name": a.name, "url": a.url, "size": a.size, "sha256": a.sha256} for a in manifest.archives]
    return {
        "name": manifest.name,
        "source": manifest.source,
        "licence": manifest.licence.name,
        "citation": manifest.citation,
        "archives": archives,
        "scenes": dict(manifest.scenes),
        "splits": list(split_names(manifest)),
    }


def _check_facts(item: SceneCheck) -> dict[str, str]:
    return {"scene": item.scene, "status": item.status, "message": item.message}
