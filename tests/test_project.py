"""Promises about the project as a whole: who leans on whom, sizes, portability, imports, provenance."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from jaxtyping import TypeCheckError

ROOT = Path(__file__).parent.parent
FOLDERS = ("recon", "viewer", "tests", "configs", "datasets", "docs", "assets", ".ci")
TEXT = {".py", ".md", ".toml", ".yaml", ".yml", ".sh", ".cpp", ".h", ".json", ".txt", ".html", ".js", ".css", ""}
OURS = ("recon", "viewer")


def project_files(*suffixes: str) -> list[Path]:
    """Files of the project, without what git ignores."""
    found = [path for path in ROOT.iterdir() if path.is_file() and path.name != ".git"]
    for folder in FOLDERS:
        found += [path for path in (ROOT / folder).rglob("*") if path.is_file()]
    generated = re.compile(r"__pycache__|recon/native/lib/|assets/demo/recon/|\.\w+_cache/")
    found = [path for path in found if not generated.search(path.relative_to(ROOT).as_posix())]
    return [path for path in found if path.suffix in suffixes]


def python_files() -> list[Path]:
    return project_files(".py")


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    """In a fresh interpreter, without the test session's import hook."""
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)


def test_import_rules():
    result = run_python("import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))")
    assert result.returncode == 0, result.stdout + result.stderr


def test_import_rules_cover_every_package():
    """A package that no contract names could import anything."""
    rules = (ROOT / "pyproject.toml").read_text().partition("[tool.importlinter]")[2]
    packages = {path.parent.name for path in (ROOT / "recon").glob("*/__init__.py")}
    unruled = {name for name in packages if f'"recon.{name}"' not in rules}
    assert not unruled, f"name these in a contract of [tool.importlinter]: {sorted(unruled)}"


def test_importing_recon_starts_nothing():
    """No CUDA context, no gsplat (it would compile kernels), no viewer: those wait until asked for."""
    result = run_python(
        "import sys, pkgutil, importlib, recon\n"
        "names = [m.name for m in pkgutil.walk_packages(recon.__path__, 'recon.') if 'nerfstudio' not in m.name]\n"
        "[importlib.import_module(n) for n in names if not n.endswith('__main__')]\n"
        "import torch\n"
        "bad = {'gsplat', 'viser', 'viewer', 'playwright', 'pytest', 'matplotlib'} & set(sys.modules)\n"
        "assert not bad, f'imported eagerly: {bad}'\n"
        "assert not torch.cuda.is_initialized()\n"
    )
    assert result.returncode == 0, result.stderr


def test_wrong_shapes_are_rejected_under_test():
    from recon.geometry import exp_so3, project
    from recon.types import Cameras

    with pytest.raises(TypeCheckError):
        exp_so3(torch.zeros(4))
    with pytest.raises(TypeCheckError):
        exp_so3(torch.zeros(3, dtype=torch.int64))
    with pytest.raises(TypeCheckError):
        project(torch.zeros(5, 2), torch.eye(4), torch.eye(3))
    with pytest.raises(TypeCheckError):
        Cameras(
            torch.eye(4).repeat(2, 1, 1),
            torch.eye(3).repeat(3, 1, 1),  # two poses, three lenses
            torch.ones(2, dtype=torch.int64),
            torch.ones(2, dtype=torch.int64),
            torch.ones(2, dtype=torch.bool),
            torch.ones(2),
        )


def test_files_stay_short():
    long = {p.relative_to(ROOT).as_posix(): n for p in python_files() if (n := len(p.read_text().splitlines())) >= 600}
    assert not long, f"split these: {long}"


def test_functions_stay_short():
    long = []
    for path in python_files():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > 90:
                    long.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name} ({lines} lines)")
    assert not long, "split these: " + ", ".join(long)


def test_nothing_points_at_one_machine():
    """No absolute path of somebody's disk and no package index: both break on the next machine."""
    folders = "|".join(("home", "root", "Users", "work", "farm", "mnt", "opt", "scratch"))
    hosts = "|".join((r"pypi\.org/simple", r"pythonhosted\.org", r"pytorch\.org/whl", r"index-url[= ]+(?:http|file)"))
    pattern = re.compile(rf"(?<![\w.<>$\}}/-])/(?:{folders})/\w|{hosts}")
    found = []
    for path in project_files(*TEXT):
        if path == Path(__file__) or path.stat().st_size > 1_000_000:
            continue
        for number, line in enumerate(path.read_text(errors="ignore").splitlines(), 1):
            if match := pattern.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {match.group()}")
    assert not found, "\n".join(found)


def test_assets_say_where_they_come_from():
    """Each folder of assets with more than text has a README that names a licence."""
    folders = {p.parent for p in (ROOT / "assets").rglob("*") if p.suffix in {".jpg", ".png", ".safetensors", ".onnx"}}
    folders = {folder for folder in folders if "recon" not in folder.relative_to(ROOT).parts}
    assert folders, "the demo photos are gone"
    for folder in folders:
        readme = folder / "README.md"
        assert readme.is_file(), f"{readme} is missing"
        assert re.search(r"licen[cs]e|CC0|public domain", readme.read_text(), re.I), f"{readme} names no licence"


def test_architecture_mentions_every_package():
    text = (ROOT / "docs" / "architecture.md").read_text()
    packages = [path.parent.name for path in (ROOT / "recon").glob("*/__init__.py")] + ["viewer"]
    missing = [name for name in packages if name not in text]
    assert not missing, f"docs/architecture.md does not mention {missing}"


def test_skips_for_missing_hardware_are_counted(tmp_path):
    (tmp_path / "test_marked.py").write_text(
        "import pytest\n\n\n@pytest.mark.requires_cuda\n@pytest.mark.parametrize('i', range(3))\ndef test_gpu(i):\n"
        "    raise AssertionError\n\n\n@pytest.mark.browser\ndef test_page():\n    raise AssertionError\n"
    )
    bare = {"PATH": "", "CHROMIUM": "", "PLAYWRIGHT_BROWSERS_PATH": str(tmp_path), "CUDA_VISIBLE_DEVICES": ""}
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "conftest", "-c", ROOT / "pyproject.toml", tmp_path],
        env=os.environ | bare | {"PYTHONPATH": str(ROOT / "tests")},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "skipped for lack of a CUDA device: 3; for lack of a browser: 1" in result.stdout, result.stdout
    assert result.returncode == 0
