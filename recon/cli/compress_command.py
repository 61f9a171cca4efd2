"""`recon compress`: splats as a file that a phone can load."""

from dataclasses import asdict, replace
from pathlib import Path

from recon.cli.allocator import keep_memory
from recon.cli.compiling import announce_compiling
from recon.cli.console import Console, Result
from recon.cli.options import Compress
from recon.cli.progress import progress_sink
from recon.compress import PRESETS, CompressConfig
from recon.errors import InputError
from recon.pipeline.compress import CompressReport, compress_file, compress_run
from recon.pipeline.summary import thousands
from recon.runfolder import open_run


def execute(options: Compress, console: Console) -> Result:
    """Compress a run, or a file alone."""
    config, source = _config(options), options.source.expanduser()
    name = options.preset if config.colors is None else f"{options.preset}_{config.colors}"
    if source.is_file():
        out = _out(options, config, source.with_name(f"{source.name.split('.')[0]}_{name}{_suffix(config)}"))
        report = compress_file(source, out, config)
    elif not source.exists():
        raise InputError(f"{source} does not exist. Give a run folder (made by `recon run`) or a splat file.")
    else:
        folder = open_run(source, need={"splats": f"recon train {source}"})
        out = _out(options, config, folder.root / f"splats_{name}{_suffix(config)}")
        keep_memory()
        announce_compiling(console)
        with progress_sink(console) as sink:
            report = compress_run(folder, out, config, options.device, sink)
    value = {"status": "done", "preset": options.preset, **asdict(report), "out": str(out), "ratio": report.ratio}
    return Result(value, _lines(report))


def _config(options: Compress) -> CompressConfig:
    config = PRESETS[options.preset]
    for name, value in (("--max-gaussians", options.max_gaussians), ("--target-mb", options.target_mb)):
        if value is not None and value <= 0:
            raise InputError(f"{name} must be more than 0, got {value}.")
    target = None if options.target_mb is None else round(options.target_mb * 1e6)
    colors = None if options.colors == "stored" else options.colors
    return replace(config, max_gaussians=options.max_gaussians, target_bytes=target, colors=colors)


def _suffix(config: CompressConfig) -> str:
    return ".sog" if config.colors is None else ".csog"


def _out(options: Compress, config: CompressConfig, default: Path) -> Path:
    out = default if options.out is None else options.out.expanduser()
    suffix = _suffix(config)
    if out.is_dir() or out.suffix.lower() != suffix:
        raise InputError(f"--out {out} must be a file ending in {suffix}; recon convert writes other formats.")
    return out


def _lines(report: CompressReport) -> list[str]:
    kept = f"{thousands(report.gaussians)} of {thousands(report.gaussians_before)} Gaussians"
    like = "" if report.likeness_db is None else f", {report.likeness_db:.1f} dB like before in the photos' views"
    size = f"{report.bytes / 1e6:.2f} MB, {report.ratio:.1f} times smaller than as PLY"
    return [f"Wrote {report.out}: {size} ({kept}{like}; {report.seconds:.0f} s)."]
