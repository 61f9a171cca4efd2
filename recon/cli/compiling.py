"""A word before the one time that the native library is compiled."""

from recon.cli.console import Console


def announce_compiling(console: Console) -> None:
    """Say so if the work to come starts with a compiler: it runs for a while and shows no progress."""
    from recon import native

    if native.must_compile():
        console.note(f"Compiling the native library into {native.cache_folder()}, this once (about half a minute) ...")
