"""A set in SpaRe's layout, made of numbers: views on an arc, smooth random pictures, discs as masks."""

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from recon.geometry import look_at

WIDTH, HEIGHT, VIEWS = 56, 42, 6


def make_set(root: Path, scenes: tuple[str, ...] = ("Alpha", "Beta"), withheld: tuple[int, ...] = ()) -> Path:
    """Scenes of 6 views; track 1 gives views 0, 2, 5 and asks for 1, 4. Photos of `withheld` views are not there."""
    for number, scene in enumerate(scenes):
        folder = root / scene
        folder.mkdir(parents=True)
        rng = np.random.default_rng(number)
        for view in range(VIEWS):
            angle = 0.3 * (view - 2.5)
            eye = torch.tensor([[3 * np.sin(angle), 0.1 * view, -3 * np.cos(angle)]], dtype=torch.float64)
            pose = look_at(eye, torch.zeros(1, 3, dtype=torch.float64), torch.tensor([[0.0, -1.0, 0.0]]).double())[0]
            K = np.array([[60.0, 0, WIDTH / 2], [0, 60, HEIGHT / 2], [0, 0, 1]])
            np.savetxt(folder / f"pos_{view + 1:03d}.txt", K @ pose.numpy()[:3])
            Image.fromarray(disc(view)).save(folder / f"mask_{view + 1:03d}.png")
            picture = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize((WIDTH, HEIGHT), 3)
            if view not in withheld:
                picture.save(folder / f"cam_{view + 1:03d}_3_0000.png")
    split = {"input_views": [0, 2, 5], "test_views": [1, 4], "dataset": "Synthetic"}
    (root / "Track1_split.json").write_text(json.dumps(dict.fromkeys(scenes, split)))
    return root


def disc(view: int) -> np.ndarray:
    """White where the object is; a rim that no box has."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return ((np.hypot(x - 27 - view, y - 20) < 18) * 255).astype(np.uint8)
