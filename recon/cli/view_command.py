"""`recon view`: the viewer for run folders, splat files and meshes."""

from pathlib import Path

from recon.cli.console import Console, Result
from recon.cli.options import View
from recon.errors import InputError, ReconError


def execute(options: View, console: Console) -> Result:
    """Serve the page until Ctrl-C. It is up before there is anything on it: browser and scene load side by side."""
    from viewer.server import page_url, start_server, stop_server

    if not options.sources:
        raise InputError("Nothing to show. Give a run folder (made by `recon run`) or a splat file.")
    for source in options.sources:
        if not source.exists():
            raise InputError(
                f"{source} does not exist. Give a run folder (made by `recon run`), a splat file (.ply, .splat, .spz, "
                ".sog, .csog) or a mesh (.glb, .obj, .ply)."
            )
    server = start_server(options.host, options.port)
    url = page_url(server)
    console.finish(Result({"status": "serving", "url": url}, [f"Viewer: {url}  (Ctrl-C ends it)"]))
    try:
        from viewer import open_run as open_viewer

        path, photos = _find(options.sources[0])
        others = [_find(source)[0] for source in options.sources[1:]]
        open_viewer(path, *others, photos=photos, server=server)
    except ReconError:
        stop_server(server)
        raise
    return Result({}, printed=True)


def _find(source: Path) -> tuple[Path, Path | None]:
    """What to show, and the folder of its photos if it is known and there."""
    if source.is_file():
        return source, None
    from recon import config as configuration  # all stages' settings: a file is shown sooner without
    from recon.runfolder import open_run

    try:
        folder = open_run(source)
        photos = configuration.load(folder.config).images_dir
    except InputError:  # not a run, or one whose settings cannot be read: the viewer says what it needs
        return source, None
    return folder.root, photos if photos.is_dir() else None
