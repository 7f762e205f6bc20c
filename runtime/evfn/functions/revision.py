"""Which code a worker has loaded: the project's own files among its imports, and a hash of their contents."""

import hashlib
import sys
import sysconfig
from pathlib import Path

import evfn


def imported_files(project_dir: Path) -> list[Path]:
    """Every imported file of the project itself, sorted; an environment below the project is not its own."""
    project = project_dir.resolve()
    foreign = {Path(path).resolve() for path in (*sysconfig.get_paths().values(), evfn.__path__[0])}
    # Only what lies within the project: on some systems the interpreter's prefix is above it.
    foreign = {path for path in foreign if project in path.parents}
    found: set[Path] = set()
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if not isinstance(file, str):
            continue
        path = Path(file).resolve()
        parents = path.parents
        if project in parents and not foreign.intersection(parents) and "site-packages" not in path.parts:
            found.add(path)
    return sorted(found)


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
