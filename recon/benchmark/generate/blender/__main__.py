"""A program for Blender's Python: builds one scene and path-traces its shots.

    BLENDER_PYTHON recon/benchmark/generate/blender JOB.json

It runs in an environment of its own, as its own process, and speaks to recon only through files and the lines it
prints: `recon` never imports it, nor it `recon`. The job is written by `recon.benchmark.generate.render`. Each finished
shot is reported as a line `SHOT n`, n being its place in the job.
"""

import json
import sys
from pathlib import Path
from typing import Any

import studio
from objects import build_object
from shots import Camera, render_shot, set_up_renderer


def main(job: dict[str, Any]) -> None:
    """Render every shot of the job that is not there yet."""
    scene = studio.empty_scene()
    lamps = studio.build_studio(scene, job["platform"], job["seed"])
    for number, entry in enumerate(job["objects"]):
        build_object(scene, entry, models=Path(job["models"]), seed=job["seed"] + number)
    set_up_renderer(scene, job)
    camera = Camera(scene, job)
    for number, shot in enumerate(job["shots"]):
        if not all(Path(shot[kind]).is_file() for kind in ("image", "mask", "depth") if shot.get(kind)):
            studio.light(lamps, shot["light"])
            camera.move(shot["view"])
            render_shot(scene, shot, job)
        sys.stdout.write(f"SHOT {number}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
