"""`python -m recon.sfm IN.npz OUT.npz`: run the job named in IN and write its arrays to OUT."""

import sys
from pathlib import Path

import numpy as np
import pycolmap

from recon.sfm import absolute, extraction, mapping, refine, triangulation
from recon.sfm.packing import save_arrays

JOBS = {
    "extract": extraction.extract,
    "map": mapping.map_photos,
    "triangulate": triangulation.triangulate,
    "refine": refine.refine,
    "locate": absolute.locate,
}


def main(source: str, target: str) -> None:
    with np.load(source) as file:
        arrays = dict(file)
    pycolmap.logging.minloglevel = pycolmap.logging.Level.ERROR.value
    pycolmap.set_random_seed(int(arrays["seed"]))
    result = JOBS[str(arrays["job"])](arrays)
    save_arrays(Path(target), result)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
