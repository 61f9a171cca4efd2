"""Fields written and read, and files that are no fields."""

from pathlib import Path

import numpy as np
import pytest
import torch

from recon.errors import InputError
from recon.fields import Box, FieldConfig, Occupancy, RadianceField, load_field, save_field
from recon.sparse import HashGrid, HashGridConfig, HollowGrid, SaliencyMask

SMALL = FieldConfig(HashGridConfig(levels=3, features=2, log2_entries=9, coarsest=4, finest=16), hidden=8, handed_on=3)


def small_field(hollow: bool) -> tuple[RadianceField, Occupancy]:
    field = RadianceField(SMALL, Box((-1.0, 0.5, 2.0), 3.0), seed=5)
    assert isinstance(field.encoding, HashGrid)
    if hollow:
        generator = torch.Generator().manual_seed(2)
        kept = torch.rand(len(field.encoding.table), generator=generator) < 0.4
        field.encoding = HollowGrid(field.encoding.pruned(kept), SaliencyMask(6).pruned(0.5))
    occupancy = Occupancy(7, 0.01)
    occupancy.cells = torch.arange(7**3) % 3 == 0
    return field, occupancy


@pytest.mark.parametrize("hollow", [False, True])
def test_a_field_comes_back_as_it_was(tmp_path: Path, hollow: bool) -> None:
    field, occupancy = small_field(hollow)
    save_field(tmp_path / "field.npz", field, occupancy)
    back, cells = load_field(tmp_path / "field.npz")
    positions, looks = torch.rand(50, 3), field.look(torch.nn.functional.normalize(torch.randn(50, 3), dim=1))
    for ours, theirs in zip(field(positions, looks), back(positions, looks)):
        assert torch.equal(ours, theirs)
    assert (back.box, back.config) == (field.box, field.config)
    assert torch.equal(cells.cells, occupancy.cells)
    assert back.n_parameters == field.n_parameters


def test_no_part_of_a_file_can_be_damaged_unnoticed(tmp_path: Path) -> None:
    whole, damaged = tmp_path / "field.npz", tmp_path / "damaged.npz"
    save_field(whole, *small_field(True))
    content = whole.read_bytes()
    for length in range(0, len(content), 97):
        damaged.write_bytes(content[:length])
        with pytest.raises(InputError, match="damaged"):
            load_field(damaged)


def test_files_that_say_something_else_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "field.npz"
    save_field(path, *small_field(True))
    with np.load(path) as file:
        arrays = dict(file)
    wrong = {
        "table": arrays["table"][:-1],
        "mask": arrays["mask"].astype(np.float64),
        "table.kept": arrays["table.kept"] * 0,
        "occupancy": arrays["occupancy"][:3],
        "shape_net.0.weight": arrays["shape_net.0.weight"].T,
        "about": np.frombuffer(
            arrays["about"].tobytes().replace(b'"log2_entries": 9', b'"log2_entries": 60'), np.uint8
        ),
        "color_net.0.bias": None,
    }
    for name, value in wrong.items():
        changed = {key: v for key, v in {**arrays, name: value}.items() if v is not None}
        np.savez(path, **changed)
        with pytest.raises(InputError, match="not a field"):
            load_field(path)
    with pytest.raises(InputError, match="not a field"):
        load_field(tmp_path / "missing.npz")
