"""A finished run as a folder that nerfstudio's viewer, renderer and evaluation load, without training it there:

python -m recon.nerfstudio.export RUN --out FOLDER
"""

import argparse
import logging
import sys
from copy import deepcopy
from pathlib import Path

import torch
from nerfstudio.engine.trainer import TrainerConfig

from recon.compress import read_ply
from recon.errors import ReconError
from recon.files import atomic_path
from recon.nerfstudio.method import recon
from recon.runfolder import RunFolder, open_run

log = logging.getLogger(__name__)


def export(run: Path, out: Path) -> Path:
    """Write `out/NAME/recon/run/config.yml` and its checkpoint, the layout of nerfstudio's results; returns the former.

    The folder refers to the photos and cameras in the run folder, which must stay where it is.

    Raises:
        InputError: not a run folder, or one that has not been trained.
        ResourceError: the folder is not writable or the disk is full.
    """
    train = f"recon train {run}"
    folder = open_run(run, need={"splats": train, "cameras": train})
    config = _config(folder, out.absolute())
    state = {
        "_model.device_indicator_param": torch.empty(0),
        "_model._extra_state": read_ply(folder.splats).tensors(),
        "_extra_state": {"cameras": None, "trainer": None},  # cameras.json has the refined ones
    }
    step = config.max_num_iterations
    checkpoint = {"step": step, "pipeline": state, "optimizers": {}, "schedulers": {}, "scalers": {}}
    with atomic_path(config.get_checkpoint_dir() / f"step-{step:09d}.ckpt") as temporary:
        torch.save(checkpoint, temporary)
    config.save_config()
    return config.get_base_dir() / "config.yml"


def _config(folder: RunFolder, out: Path) -> TrainerConfig:
    config = deepcopy(recon.config)
    root = folder.root.absolute()
    config.data = config.pipeline.datamanager.data = root
    config.output_dir, config.timestamp = out, "run"
    config.experiment_name = root.parent.name if root.name == "recon" else root.name
    return config


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m recon.nerfstudio.export", description=__doc__)
    parser.add_argument("run", type=Path, help="folder with a finished run of recon")
    parser.add_argument("--out", type=Path, default=Path("outputs"), help="where nerfstudio's results go (outputs)")
    options = parser.parse_args()
    try:
        config = export(options.run, options.out)
    except ReconError as error:
        sys.exit(f"Error: {error}")
    sys.stdout.write(f"Open it with: ns-viewer --load-config {config}\n")


if __name__ == "__main__":
    main()
