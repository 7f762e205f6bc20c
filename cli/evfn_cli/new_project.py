"""A new project: the files of `project_template`, with its name and this evfn's version written into them."""

import re
from collections.abc import Mapping
from importlib import metadata, resources
from importlib.resources.abc import Traversable
from pathlib import Path

from evfn.errors import EvfnError
from evfn_cli import editor_schema
from evfn_cli.render import escape

FILES: Mapping[str, str] = {
    "triggers.yaml": "which events run which function",
    "functions/__init__.py": "the functions are an ordinary package",
    "functions/greet.py": "a function",
    "tests/test_greet.py": "its test",
    "pytest.ini": "lets tests import the functions",
    "requirements.txt": "evfn, and what your functions import",
    ".gitignore": "keeps events and secrets out of git",
}
"""Every file of a new project, in the order to read them, with what it is for."""


def make(folder: Path, name: str) -> None:
    """Write the files, and the schema for editors.

    Raises EvfnError, having written nothing, where any of them is there already; OSError where one cannot be written.
    """
    taken = [file for file in FILES if _taken(folder, Path(file))]
    if taken:
        raise EvfnError(
            f"{escape(str(folder))} has {', '.join(taken)} already, and nothing is overwritten: "
            "move what is there, or name another folder: evfn init DIR"
        )
    for file in FILES:
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        # Exclusively, for it may have appeared since we looked.
        with path.open("x", encoding="utf-8") as new:
            new.write(_text(file, name))
    editor_schema.refresh(folder / ".evfn")


def _taken(folder: Path, file: Path) -> bool:
    """Whether something is where this file, or a folder on the way to it, has to be."""
    path = folder / file
    folders = [folder / parent for parent in file.parents]
    return path.exists() or path.is_symlink() or any(each.exists() and not each.is_dir() for each in folders)


def _text(file: str, name: str) -> str:
    # A .gitignore among evfn's own files would hide things from evfn's own repository.
    text = _template().joinpath(file.removeprefix(".")).read_text(encoding="utf-8")
    return text.replace("PROJECT_NAME", name).replace("EVFN_VERSION", _release())


def _template() -> Traversable:
    return resources.files("evfn_cli") / "project_template"


def _release() -> str:
    """The installed version's numbers, without what marks it as a preview of them."""
    found = re.match(r"\d+(\.\d+)*", metadata.version("evfn"))
    return found[0] if found is not None else "0"
