"""NumPy's files, which may be damaged in ways that NumPy answers with any exception."""

from pathlib import Path

import numpy as np

from recon.errors import InputError


def read_array(path: Path, key: str | None = None) -> np.ndarray:
    """The array in a `.npy` file, or the one called `key` in an `.npz`.

    Raises:
        InputError: missing, damaged, or something else than numbers.
    """
    try:
        values = np.load(path, allow_pickle=False)
        if not isinstance(values, np.ndarray):
            with values as archive:
                values = archive[key or archive.files[0]]
    except (
        Exception
    ) as error:  # a damaged header alone gives ValueError, SyntaxError, TokenError, EOFError, MemoryError
        reason = str(error).split("\n")[0] or type(error).__name__
        raise InputError(f"Could not read {path} as a NumPy array ({reason}). Make or download it again.") from error
    if values.dtype.kind not in "fiu":
        raise InputError(f"{path} holds {values.dtype}, not numbers. Make or download it again.")
    return values
