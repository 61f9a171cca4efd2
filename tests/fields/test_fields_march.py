"""Compositing against a loop, gradients against finite differences, and that skipping emptiness changes nothing."""

import itertools

import torch
from reference import field_loops
from reference.field_scenes import BOX, SMALL, STEP, Ball, camera

from recon.fields.compositing import sample_weights, sum_by_ray
from recon.fields.field import RadianceField
from recon.fields.march import place_samples, render_field, trace
from recon.fields.occupancy import Occupancy
from recon.fields.rays import Rays, camera_rays


def test_weights_are_what_the_loop_finds() -> None:
    generator = torch.Generator().manual_seed(0)
    counts = torch.tensor([0, 3, 1, 0, 7, 2])
    starts = torch.nn.functional.pad(counts.cumsum(0), (1, 0))
    thickness = torch.rand(int(counts.sum()), generator=generator) * 2
    expected = [w for a, b in itertools.pairwise(starts) for w in field_loops.weights(thickness[a:b].tolist())]
    weights = sample_weights(thickness, starts)
    assert torch.allclose(weights, torch.tensor(expected))
    sums = sum_by_ray(weights[:, None], starts)[:, 0]
    assert torch.allclose(sums, torch.tensor([sum(expected[a:b]) for a, b in itertools.pairwise(starts)]))


def test_a_ray_behind_opaque_ones_keeps_its_digits() -> None:
    thickness = torch.full((100_000,), 50.0)
    thickness[-1] = 1e-3
    starts = torch.tensor([0, 99_999, 100_000])
    assert torch.isclose(sample_weights(thickness, starts)[-1], -torch.expm1(torch.tensor(-1e-3)), rtol=1e-4)


def test_gradients_of_compositing_are_those_of_differences() -> None:
    starts = torch.tensor([0, 2, 2, 5])
    values = torch.rand(5, 2, dtype=torch.float64)

    def composite(thickness: torch.Tensor) -> torch.Tensor:
        before = [thickness[a:b].cumsum(0) - thickness[a:b] for a, b in itertools.pairwise(starts)]
        return (torch.cat(before).neg().exp() * -torch.expm1(-thickness))[:, None] * values

    thickness = torch.rand(5, requires_grad=True)
    (ours,) = torch.autograd.grad(
        sum_by_ray(sample_weights(thickness, starts)[:, None] * values, starts).sum(), thickness
    )
    double = thickness.detach().double().requires_grad_()
    assert torch.autograd.gradcheck(composite, (double,))
    (expected,) = torch.autograd.grad(composite(double).sum(), double)
    assert torch.allclose(ours.double(), expected, atol=1e-5)


def test_gradients_reach_every_part_of_a_field() -> None:
    field = RadianceField(SMALL, BOX)
    rays = camera_rays(camera(side=8))
    samples = place_samples(field, Occupancy(4, STEP), rays)
    seen = trace(field, samples, rays, STEP)
    (seen.rgb.square().sum() + seen.distance.sum()).backward()
    missed = [name for name, p in field.named_parameters() if p.grad is None or not bool(p.grad.any())]
    assert missed == []


def test_rays_meet_the_box_where_geometry_says() -> None:
    origins = torch.tensor([[-3.0, 0.0, 0.0], [0.0, 0.0, 0.0], [-3.0, 2.0, 0.0], [3.0, 0.0, 0.0]])
    near, far = BOX.span(Rays(origins, torch.tensor([[1.0, 0.0, 0.0]]).expand(4, 3)))
    assert torch.allclose(near[:2], torch.tensor([2.0, 0.0]))
    assert torch.allclose(far[:2], torch.tensor([4.0, 1.0]))
    assert torch.equal(near[2:], far[2:]), "one misses, one looks away"


def test_skipping_empty_cells_gives_the_same_picture() -> None:
    field, generator = Ball(SMALL, BOX), torch.Generator().manual_seed(0)
    everywhere, skipping = Occupancy(16, STEP), Occupancy(16, STEP)
    for _ in range(20):
        skipping.update(field.density, generator)
    whole, skipped = (render_field(field, o, camera(), torch.ones(3)) for o in (everywhere, skipping))
    assert float(skipping.cells.float().mean()) < 0.2
    rays = camera_rays(camera())
    samples = [len(place_samples(field, o, rays).ray) for o in (everywhere, skipping)]
    assert samples[1] < 0.3 * samples[0]
    assert torch.allclose(whole.rgb, skipped.rgb, atol=0.02)
    assert torch.allclose(whole.alpha, skipped.alpha, atol=0.02)


def test_rays_that_end_early_see_the_same() -> None:
    field, occupancy, rays = Ball(SMALL, BOX), Occupancy(16, STEP), camera_rays(camera())
    whole = trace(field, place_samples(field, occupancy, rays), rays, STEP)
    ended = render_field(field, occupancy, camera())
    assert torch.allclose(ended.rgb.view(-1, 3), whole.rgb, atol=2e-3)
    assert torch.allclose(ended.alpha.flatten(), whole.alpha, atol=2e-3)


def test_depth_is_along_the_optical_axis() -> None:
    rendering = render_field(Ball(SMALL, BOX), Occupancy(16, STEP), camera())
    center = camera().centers[0].norm()
    assert torch.isclose(rendering.depth[8, 8], center - 0.5 + BOX.side / 30, atol=0.08), "just inside the ball's front"
    assert float(rendering.depth[0, 0]) == 0.0, "nothing in the corner"


def test_cells_survive_packing() -> None:
    occupancy = Occupancy(5, STEP)
    occupancy.cells = torch.rand(125, generator=torch.Generator().manual_seed(1)) < 0.3
    assert torch.equal(Occupancy.unpacked(occupancy.packed(), 5, STEP).cells, occupancy.cells)
