"""What the functions of a project were loaded from: kept once, for however many triggers it is."""

from dataclasses import dataclass
from pathlib import Path
from weakref import WeakValueDictionary

from evfn.functions import revision
from evfn.workers.protocol import Pinned, Ready


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Code:
    """One revision's files. `pinned` is what a later worker has to load, None where the disk held something else by the
    time it was read: then the edit is seen, and loaded, in a moment."""

    files: frozenset[Path]
    pinned: Pinned | None


class Kept:
    """Triggers of one module share its files and their contents. What no revision uses any more is let go."""

    def __init__(self) -> None:
        self._known: WeakValueDictionary[tuple[Path, str, frozenset[str]], Code] = WeakValueDictionary()

    def code(self, project_dir: Path, ready: Ready) -> Code:
        """That of a function which was just loaded."""
        key = (project_dir, ready.revision, frozenset(ready.modules))
        known = self._known.get(key)
        if known is None:
            known = _read(project_dir, ready)
            if known.pinned is not None:
                self._known[key] = known
        return known


def _read(project_dir: Path, ready: Ready) -> Code:
    files = frozenset(map(Path, ready.modules.values()))
    contents = revision.read(files)
    if revision.revision(project_dir, contents) != ready.revision:
        return Code(files, None)
    kept = {str(path): content for path, content in contents.items() if path.suffix == ".py"}
    return Code(files, Pinned(ready.revision, dict(ready.modules), kept))
