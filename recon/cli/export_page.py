"""`recon export --format html`: the splats on one page that anyone can open from disk."""

from pathlib import Path

from recon.errors import InputError
from recon.files import write_text


def write_page(source: Path, out: Path) -> None:
    """Write the page of a run folder or a splat file: centred, upright and with the photos' views as in the viewer.

    Raises:
        InputError: no splats there, or none that can be seen.
        ResourceError: `out` cannot be written.
    """
    from viewer.contents import load  # the viewer is loaded when a page is made, and not with the commands
    from viewer.display import fit_display
    from viewer.page import page_of

    contents = load(source)
    if contents.splats is None:
        raise InputError(f"{source} has no splats yet. Make them with: recon train {source}")
    frame = fit_display(contents.cameras, contents.centers())
    write_text(out, page_of(contents, contents.splats, frame))
