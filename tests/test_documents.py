"""What the documents say is there, is there."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCUMENTS = [
    *ROOT.glob("*.md"),
    *(path for folder in ("docs", "datasets") for path in (ROOT / folder).rglob("*.md")),
]
NAMED = re.compile(r"`((?:recon|tests|viewer|docs|datasets|configs|assets)/[\w./-]*)`")
LINKED = re.compile(r"\]\(([^)#:]+)\)")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_named_and_linked_files_exist(document: Path) -> None:
    text = document.read_text()
    missing = [name for name in NAMED.findall(text) if not (ROOT / name).exists()]
    missing += [name for name in LINKED.findall(text) if not (document.parent / name).exists()]
    assert not missing, f"{document.relative_to(ROOT)} names {missing}"


def test_every_convention_names_a_test_or_says_reading() -> None:
    rows = [line for line in (ROOT / "docs" / "conventions.md").read_text().splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 10
    for row in rows:
        held_by = row.split("|")[3].strip()
        assert held_by == "reading" or re.search(r"`tests/[\w/]+\.py`", held_by), row


def test_every_dependency_is_explained_and_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pinned = {
        line.split("==")[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    }
    explained = (ROOT / "docs" / "decisions" / "0002-dependencies.md").read_text()
    core, extras = project["dependencies"], project["optional-dependencies"]
    own = [requirement for requirement in extras["test"] if requirement.startswith("recon[")]
    test = [requirement for requirement in extras["test"] if requirement not in own]
    test += [requirement for name in own for requirement in extras[name.removeprefix("recon[").removesuffix("]")]]
    names = [re.split(r"[<>=]", requirement)[0] for requirement in core]
    assert not [name for name in names if f"`{name}`" not in explained]
    everything = [re.split(r"[<>=]", requirement)[0].lower() for requirement in (*core, *test)]
    assert not [name for name in everything if name not in pinned]


def test_commands_in_the_readme_are_real() -> None:
    from recon.cli.options import COMMANDS

    commands = {command.__name__.lower() for command in COMMANDS}
    named = set(re.findall(r"`recon ([a-z]+)", (ROOT / "README.md").read_text()))
    assert named
    assert named <= commands
