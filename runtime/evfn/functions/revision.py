"""Which code a worker has loaded: the project's own files among its imports, and a hash of their contents."""

import hashlib
import os
import sys
from pathlib import Path

import evfn

_INSTALLED = {"site-packages", "dist-packages"}


def imported_files(project_dir: Path) -> list[Path]:
    """Every imported file of the project itself, sorted; an environment below the project is not its own."""
    project = f"{project_dir.resolve()}{os.sep}"
    # An environment only counts where it lies within the project: some systems have the interpreter's prefix above it.
    foreign = tuple(
        f"{path}{os.sep}" for path in (sys.prefix, sys.base_prefix, evfn.__path__[0]) if path.startswith(project)
    )
    found: set[str] = set()
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if isinstance(file, str) and file.startswith(project) and not file.startswith(foreign):
            found.add(file)
    return [Path(file) for file in sorted(found) if _INSTALLED.isdisjoint(Path(file).parts)]


def revision(project_dir: Path, files: list[Path]) -> str:
    """A short hash of the files' names and contents; a file that is gone counts as empty."""
    digest = hashlib.blake2b(digest_size=6)
    project = project_dir.resolve()
    for path in files:
        try:
            content = path.read_bytes()
        except OSError:
            content = b""
        name = path.relative_to(project).as_posix().encode("utf-8", "surrogateescape")
        digest.update(b"%d %d " % (len(name), len(content)))
        digest.update(name)
        digest.update(content)
    return digest.hexdigest()
