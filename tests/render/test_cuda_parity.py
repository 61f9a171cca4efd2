"""The renderers on CPU and GPU show the same picture and the same gradients. Counted as skipped without a GPU."""

import pytest
import torch
from reference.raster_bruteforce import rasterize
from reference.raster_scenes import LEAVES, Scene, random_projection, random_scene, relative_error

from recon.errors import InputError
from recon.render import select_rasterizer

pytestmark = pytest.mark.requires_cuda

# gsplat is compiled with -use_fast_math: exp and division carry a few more units in the last place than the CPU's.
IMAGE, GRADIENT = 1e-4, 1e-3


def gsplats_alpha_cap() -> float:
    from recon.render.cuda import kernel_alpha_cap

    return kernel_alpha_cap()


def run(device: str, scene: Scene, options: dict) -> tuple[torch.Tensor, torch.Tensor, list[torch.Tensor]]:
    rasterizer = select_rasterizer(device, alpha_cap=gsplats_alpha_cap())
    here = scene.to(torch.float32).to(rasterizer.device).requiring_grad()
    moved = {k: v.to(here.means) if isinstance(v, torch.Tensor) else v for k, v in options.items()}
    colors, alphas, _ = rasterizer(*here.args(), **moved)
    loss = random_projection(colors, alphas)
    grads = torch.autograd.grad(loss, here.leaves(), allow_unused=True)
    return colors, alphas, [torch.zeros(1) if g is None else g for g in grads]


@pytest.mark.parametrize("render_mode", ["RGB", "D", "ED", "RGB+D", "RGB+ED"])
@pytest.mark.parametrize("rasterize_mode", ["classic", "antialiased"])
def test_values_and_gradients_agree(render_mode: str, rasterize_mode: str) -> None:
    scene = random_scene(500, 96, 64)
    options = {
        "sh_degree": 3,
        "render_mode": render_mode,
        "rasterize_mode": rasterize_mode,
        "backgrounds": torch.tensor([[0.1, 0.4, 0.7], [1.0, 0.0, 0.5]]),
    }
    cpu, gpu = run("cpu", scene, options), run("cuda", scene, options)
    scale = max(1.0, float(cpu[0].detach().abs().max()))
    # A Gaussian at the 1/255 rim may count on one side only: compare all but one pixel in a thousand.
    difference = (cpu[0].detach() - gpu[0].detach().cpu()).abs().amax(dim=-1).flatten()
    assert float(difference.quantile(0.999)) <= IMAGE * scale
    assert float(difference.max()) <= 0.01 * scale
    for name, mine, theirs in zip(LEAVES, cpu[2], gpu[2]):
        if name == "viewmats":
            mine, theirs = mine[:, :3], theirs[:, :3]  # gsplat also differentiates by the constant bottom row
        assert relative_error(theirs, mine) <= GRADIENT or float(mine.norm()) == 0, f"gradient of {name}"


@pytest.mark.parametrize("sh_degree", [0, 1, 2])
def test_lower_degrees_agree(sh_degree: int) -> None:
    options = {"sh_degree": sh_degree, "render_mode": "RGB"}
    cpu, gpu = run("cpu", random_scene(), options), run("cuda", random_scene(), options)
    assert relative_error(gpu[0], cpu[0]) <= IMAGE
    assert relative_error(gpu[2][LEAVES.index("colors")], cpu[2][LEAVES.index("colors")]) <= GRADIENT


def test_gpu_agrees_with_brute_force() -> None:
    scene = random_scene(sh_degree=None)
    colors, alphas, _ = run("cuda", scene, {"render_mode": "RGB+ED"})
    true_colors, true_alphas = rasterize(*scene.args(), render_mode="RGB+ED", alpha_cap=gsplats_alpha_cap())
    assert relative_error(colors, true_colors) <= IMAGE
    assert relative_error(alphas, true_alphas) <= IMAGE


@pytest.mark.parametrize("packed", [True, False])
def test_absolute_gradients_agree(packed: bool) -> None:
    totals = []
    for device in ("cpu", "cuda"):
        rasterizer = select_rasterizer(device, alpha_cap=gsplats_alpha_cap())
        here = random_scene(sh_degree=None).to(torch.float32).to(rasterizer.device).requiring_grad()
        colors, alphas, meta = rasterizer(*here.args(), packed=packed, absgrad=True)
        meta["means2d"].retain_grad()
        random_projection(colors, alphas).backward()
        totals.append(meta["means2d"].absgrad.cpu().reshape(-1, 2).sum(0))
    assert relative_error(totals[1], totals[0]) <= GRADIENT


def test_other_alpha_cap_is_refused() -> None:
    with pytest.raises(InputError, match=r"compiled into its kernels"):
        select_rasterizer("cuda", alpha_cap=0.5)
