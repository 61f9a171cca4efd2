"""A method for testing the harness: `python fake_method.py WITNESS METHOD STEP` in a job's folder.

It renders flat grey, writes what it can see to the file WITNESS.<step>, and misbehaves as its option `do` says. No
recon, no torch: it starts at once.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

from PIL import Image


def main() -> None:
    witness, _, step = sys.argv[1:]
    task = json.loads(Path("task.json").read_text())
    seen = {
        "argv": sys.argv[2:],
        "cwd": str(Path.cwd()),
        "environment": dict(os.environ),
        "files": sorted(str(path) for path in Path().rglob("*") if path.is_file()),
        "links": [str(path) for path in Path().rglob("*") if path.is_symlink()],
    }
    Path(f"{witness}.{step}").write_text(json.dumps(seen))
    with Path(f"{witness}.calls").open("a") as calls:
        calls.write(f"{step}\n")
    do = task["options"].get("do")
    first = Path(f"{witness}.calls").read_text().split().count(step) == 1
    if do == f"die in {step}" or (do == f"die once in {step}" and first):
        os.kill(os.getpid(), signal.SIGKILL)
    if do == f"fail in {step}":
        sys.exit("the photos are of different scenes")
    if do == f"hang in {step}":
        time.sleep(60)
    {"fit": fit, "render": render, "align": align}[step](task)


def fit(task: dict) -> None:
    if Path("inputs.json").exists():
        cameras = json.loads(Path("inputs.json").read_text())
    else:
        cameras = json.loads(task["options"]["cameras"])
    Path("cameras.json").write_text(json.dumps(cameras))
    Path("model").mkdir()
    Path("model/scene.bin").write_bytes(b"x" * 1000)
    Path("fitted.json").write_text(
        json.dumps({"model": ["model/scene.bin"], "size_bytes": 1000, "versions": {"f": "1"}})
    )


def render(task: dict) -> None:
    if task["options"].get("do") == "change the scene":
        Path("model/scene.bin").write_bytes(b"y" * 1000)
    paint("renders", 128, task["options"].get("do"))


def align(task: dict) -> None:
    paint("aligned", 140, None)
    Path("aligned.json").write_text(Path("tests.json").read_text())


def paint(folder: str, grey: int, do: str | None) -> None:
    Path(folder).mkdir()
    for frame in json.loads(Path("tests.json").read_text())["frames"]:
        size = (frame["w"], frame["h"]) if do != "wrong size" else (8, 8)
        Image.new("RGB", size, (grey, grey, grey)).save(f"{folder}/{Path(frame['file_path']).stem}.png")


main()
