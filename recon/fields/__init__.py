"""Radiance fields: a hash grid and two small networks give density and colour of any place; pictures by sampling rays.

A field is fitted to photos with known cameras (`train_field`), and can be hollowed out while it is: HollowNeRF's mask,
and a table pruned to a budget (`HollowTrainer`).
"""

from recon.fields.field import FieldConfig, RadianceField
from recon.fields.files import load_field, save_field
from recon.fields.hollow import HollowConfig, HollowTrainer
from recon.fields.march import render_field
from recon.fields.occupancy import Occupancy
from recon.fields.rays import Box
from recon.fields.surface import FieldSplats, surface_points
from recon.fields.train import Checkpoint, FieldTrainConfig, FieldTrainer, run_trainer, train_field

__all__ = [
    "Box",
    "Checkpoint",
    "FieldConfig",
    "FieldSplats",
    "FieldTrainConfig",
    "FieldTrainer",
    "HollowConfig",
    "HollowTrainer",
    "Occupancy",
    "RadianceField",
    "load_field",
    "render_field",
    "run_trainer",
    "save_field",
    "surface_points",
    "train_field",
]
