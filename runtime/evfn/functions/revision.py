"""Which code a worker has loaded: the project's own files among its imports, and a hash of their contents."""

import hashlib
import os
import sys
from collections.abc import Iterable, Mapping
from itertools import takewhile
from pathlib import Path
from types import ModuleType

import evfn

_INSTALLED = {"site-packages", "dist-packages"}
_BEGIN = f"{__name__}.begin"


def imports_begin() -> None:
    """What was imported before is nobody's project; not to look at it saves a fresh fork a millisecond."""
    sys.modules[_BEGIN] = ModuleType(_BEGIN)


def imported_modules(project_dir: Path) -> dict[str, Path]:
    """The project's own modules among the imported ones, with their files; an environment below the project is not its
    own."""
    project = f"{project_dir.resolve()}{os.sep}"
    # An environment only counts where it lies within the project: some systems have the interpreter's prefix above it.
    foreign = tuple(
        f"{path}{os.sep}" for path in (sys.prefix, sys.base_prefix, evfn.__path__[0]) if path.startswith(project)
    )
    found: dict[str, Path] = {}
    # The order is that of the imports. In one step, for another thread may import something.
    for name in list(takewhile(_BEGIN.__ne__, reversed(sys.modules))):
        file = getattr(sys.modules.get(name), "__file__", None)
        if isinstance(file, str) and file.startswith(project) and not file.startswith(foreign):
            path = Path(file)
            if _INSTALLED.isdisjoint(path.parts):
                found[name] = path
    return found


def read(files: Iterable[Path]) -> dict[Path, bytes]:
    """The files' contents, in the order of their names; a file that is gone counts as empty."""
    contents: dict[Path, bytes] = {}
    for path in sorted(set(files)):
        try:
            contents[path] = path.read_bytes()
        except OSError:
            contents[path] = b""
    return contents


def revision(project_dir: Path, contents: Mapping[Path, bytes]) -> str:
    """A short hash of files' names and contents, as `read` gives them."""
    digest = hashlib.blake2b(digest_size=6)
    project = project_dir.resolve()
    for path, content in contents.items():
        name = path.relative_to(project).as_posix().encode("utf-8", "surrogateescape")
        digest.update(b"%d %d " % (len(name), len(content)))
        digest.update(name)
        digest.update(content)
    return digest.hexdigest()
