"""A Gaussian's share is what it alone adds to a picture. Made-up splats: any will do."""

import pytest
import torch
from reference.raster_scenes import random_scene

from recon.render import select_rasterizer, shares
from recon.types import Cameras, Splats


@pytest.mark.parametrize("kinds", [1, 2, 3])
def test_shares_are_what_each_alone_shows(kinds: int) -> None:
    scene = random_scene(cameras=1, sh_degree=None).to(torch.float32)
    camera = Cameras.create(scene.viewmats, scene.Ks, scene.width, scene.height)
    splats = Splats(
        scene.means, scene.quats, scene.scales.log(), scene.opacities.clamp(0.01, 0.99).logit(),
        torch.zeros(len(scene.means), 1, 3), torch.zeros(len(scene.means), 0, 3),
    )  # fmt: skip
    weights = torch.rand(kinds, scene.height, scene.width, generator=torch.Generator().manual_seed(1))
    rasterizer = select_rasterizer("cpu")
    found, meta = shares(splats, camera, weights, rasterizer)
    assert found.shape == (len(splats), kinds)
    strongest = found[:, 0].topk(5).indices.tolist()
    for k in (*strongest, 0, 60):
        colors = torch.zeros(len(splats), 3)
        colors[k] = 1.0
        image, _, _ = rasterizer(
            splats.means, splats.quats, splats.scales, splats.opacities, colors,
            camera.cam_from_world, camera.Ks, scene.width, scene.height, render_mode="RGB",
        )  # fmt: skip
        alone = (image[0, ..., 0] * weights).sum((1, 2))
        assert torch.allclose(found[k], alone, rtol=1e-4, atol=1e-5)
    assert set(strongest) <= set(meta["gaussian_ids"].tolist())
