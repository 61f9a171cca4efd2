"""Build hook: compiles the C++ kernels into the wheel, so that a user needs no compiler.

The library is loaded with ctypes and depends on neither the Python nor the torch ABI: one wheel per platform, tagged
`py3-none-<platform>`. Without a compiler the wheel is pure Python and says so; the package then tries to compile on
first use and falls back to torch.
"""

import importlib.util
import sysconfig
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

DATA = {
    "configs": "recon/_configs",
    "assets/weights": "recon/_assets/weights",
    "datasets/splits": "recon/_splits",
    "datasets/manifests": "recon/_manifests",
}
"""Folders that a wheel carries inside the package; a checkout finds them where they are."""


class NativeBuildHook(BuildHookInterface):
    """Compiles `recon/native/src` for wheels and editable installs, and gives wheels their data."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling before it collects the files of a wheel; `version` is `standard` or `editable`."""
        if version == "standard":
            build_data["force_include"].update({str(Path(self.root) / src): dst for src, dst in DATA.items()})
        build = _load_build_module(Path(self.root))
        try:
            build.compile_all()
        except (build.BuildError, OSError) as error:
            self.app.display_warning(f"recon: building without native kernels (rendering will be slow): {error}")
            return
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"


def _load_build_module(root: Path) -> ModuleType:
    """`recon.native.build` by path: importing the package would need torch, which a build environment lacks."""
    spec = importlib.util.spec_from_file_location("recon_native_build", root / "recon" / "native" / "build.py")
    if spec is None or spec.loader is None:
        raise FileNotFoundError(f"recon/native/build.py not found under {root}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
