"""`recon convert`: a splat file in another format."""

from recon.cli.console import Console, Result
from recon.cli.options import Convert
from recon.compress import read_splats, splat_suffix, write_splats
from recon.errors import InputError
from recon.pipeline.summary import thousands


def execute(options: Convert, console: Console) -> Result:
    """Read one, write the other; both suffixes are looked at before the work."""
    source, out = options.source.expanduser(), options.out.expanduser()
    splat_suffix(out, writing=True)
    if out.is_dir():
        raise InputError(f"{out} is a folder. Say which file to write, such as {out / source.stem}.sog.")
    splats = read_splats(source)
    write_splats(out, splats)
    before, after = source.stat().st_size, out.stat().st_size
    value = {"status": "done", "out": str(out), "gaussians": len(splats), "bytes_before": before, "bytes": after}
    text = f"Wrote {out}: {thousands(len(splats))} Gaussians, {before / 1e6:.2f} -> {after / 1e6:.2f} MB."
    return Result(value, [text])
