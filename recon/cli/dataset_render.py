"""`recon dataset render`: scenes like SpaRe's by a path tracer, with exact cameras and hidden truth."""

from typing import TYPE_CHECKING

from recon.benchmark.generate import GenerateConfig, choose_scenes, generate, load_scene, scene_names
from recon.benchmark.generate.scenes import missing_models
from recon.cli.console import Console, Result
from recon.cli.progress import progress_sink
from recon.errors import InputError
from recon.events import StageStarted, Warned

if TYPE_CHECKING:
    from recon.cli.dataset_options import DatasetRender


def execute(options: "DatasetRender", console: Console) -> Result:
    """Render what the options ask for; `--scenes list` only says what there is."""
    models = None if options.models is None else options.models.expanduser()
    if options.scenes == ("list",):
        return list_scenes()
    if options.out is None:
        raise InputError("Where to? Add --out DIR.")
    config = GenerateConfig(
        out=options.out.expanduser(),
        scenes=options.scenes,
        models=models,
        views=options.views,
        every_view=options.every_view,
        test_views=options.test_views,
        size=options.size,
        lights=options.lights,
        samples=options.samples,
        seed=options.seed,
        blender_python=options.blender_python,
    )
    return render_scenes(config, console)


def list_scenes() -> Result:
    """A line for each scene."""
    specs = [load_scene(name) for name in scene_names()]
    facts = [
        {"name": s.name, "kind": s.kind, "platform": s.platform, "about": s.about, "licence": s.licence} for s in specs
    ]
    lines = [f"{s.name:<10} {s.kind:<12} {s.platform:<6} {s.about} ({s.source}; {s.licence})" for s in specs]
    return Result({"scenes": facts}, list(lines))


def render_scenes(config: GenerateConfig, console: Console) -> Result:
    """Render, with a bar; says what was left out of `all`."""
    chosen = {spec.name for spec in choose_scenes(config.scenes, config.models)}
    with progress_sink(console) as sink:
        if config.scenes == ("all",) and (left_out := [name for name in scene_names() if name not in chosen]):
            files = sorted({f for name in left_out for f in missing_models(load_scene(name), config.models)})
            sink(
                Warned(f"Left out for want of their models: {', '.join(left_out)} (--models with {', '.join(files)}).")
            )
        sink(StageStarted("generate"))
        done = generate(config, sink)
    value = {"status": "done", "out": str(config.out), "scenes": list(done.scenes)}
    counts = {"rendered": done.rendered, "kept": done.kept}
    kept = f", {done.kept} were there" if done.kept else ""
    lines = [
        f"Rendered {done.rendered} pictures of {len(done.scenes)} scenes{kept} -> {config.out}",
        f"To hand out: {config.out / 'inputs'}. Test views, masks and depth: {config.out / 'truth'}",
    ]
    return Result(value | counts, list(lines))
