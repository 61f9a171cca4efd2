"""Point clouds as PLY."""

from pathlib import Path

import numpy as np
import pytest
import torch
from plyfile import PlyData, PlyElement

from recon.compress import read_points, write_points
from recon.errors import InputError
from recon.types import PointCloud


def test_round_trip(tmp_path: Path):
    rgb = torch.randint(0, 256, (50, 3)) / 255
    cloud = PointCloud(torch.randn(50, 3), rgb, torch.rand(50), torch.randn(50, 3), torch.rand(50))
    write_points(tmp_path / "a.ply", cloud)
    found = read_points(tmp_path / "a.ply")
    assert found.normals is not None
    assert found.spacing is not None
    for name in ("xyz", "rgb", "confidence", "normals", "spacing"):
        assert torch.equal(getattr(found, name), getattr(cloud, name)), name


def test_layout_for_other_programs(tmp_path: Path):
    write_points(tmp_path / "a.ply", PointCloud(torch.zeros(1, 3), torch.tensor([[1.0, 0.5, -2.0]]), torch.ones(1)))
    vertex = PlyData.read(tmp_path / "a.ply")["vertex"]
    assert vertex.data.dtype.names == ("x", "y", "z", "red", "green", "blue", "confidence")
    assert [int(vertex[c][0]) for c in ("red", "green", "blue")] == [255, 128, 0]
    assert vertex["red"].dtype == np.uint8


def test_empty_cloud(tmp_path: Path):
    write_points(tmp_path / "a.ply", PointCloud(torch.zeros(0, 3), torch.zeros(0, 3), torch.zeros(0)))
    assert len(read_points(tmp_path / "a.ply")) == 0


def test_points_of_other_programs(tmp_path: Path):
    """No colour, float colour, mesh faces, points at infinity."""
    rows = np.zeros(3, [("x", "f8"), ("y", "f8"), ("z", "f8")])
    rows["x"] = [1, np.nan, 1e300]
    faces = np.empty(1, [("vertex_indices", "i4", (3,))])
    faces["vertex_indices"] = [[0, 1, 2]]
    elements = [PlyElement.describe(rows, "vertex"), PlyElement.describe(faces, "face")]
    PlyData(elements, text=True).write(str(tmp_path / "a.ply"))
    found = read_points(tmp_path / "a.ply")
    assert found.xyz.tolist() == [[1, 0, 0]]
    assert found.rgb.tolist() == [[0.5, 0.5, 0.5]]
    colored = np.zeros(1, [(name, "f4") for name in ("x", "y", "z", "red", "green", "blue")])
    colored["red"] = 0.25
    PlyData([PlyElement.describe(colored, "vertex")]).write(str(tmp_path / "b.ply"))
    assert read_points(tmp_path / "b.ply").rgb.tolist() == [[0.25, 0, 0]]


def test_not_a_cloud(tmp_path: Path):
    PlyData([PlyElement.describe(np.zeros(1, [("a", "f4")]), "vertex")]).write(str(tmp_path / "a.ply"))
    with pytest.raises(InputError, match="no x, y, z"):
        read_points(tmp_path / "a.ply")
