"""`recon view`: the viewer for run folders, splat files and meshes."""

from pathlib import Path

from recon import config as configuration
from recon.cli.console import Console, Result
from recon.cli.options import View
from recon.errors import InputError
from recon.runfolder import open_run


def execute(options: View, console: Console) -> Result:
    """Serve the page until Ctrl-C."""
    from viewer import open_run as open_viewer

    if not options.sources:
        raise InputError("Nothing to show. Give a run folder (made by `recon run`) or a splat file.")
    path, photos = _find(options.sources[0])
    others = [_find(source)[0] for source in options.sources[1:]]
    page = open_viewer(path, *others, host=options.host, port=options.port, block=False, photos=photos)
    console.finish(Result({"status": "serving", "url": page.url}, [f"Viewer: {page.url}  (Ctrl-C ends it)"]))
    page.wait()
    return Result({}, printed=True)


def _find(source: Path) -> tuple[Path, Path | None]:
    """What to show, and the folder of its photos if it is known and there."""
    if source.is_file():
        return source, None
    try:
        folder = open_run(source)
        photos = configuration.load(folder.config).images_dir
    except InputError:  # not a run, or one whose settings cannot be read: the viewer says what it needs
        return source, None
    return folder.root, photos if photos.is_dir() else None
