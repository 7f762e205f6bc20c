"""What the files of a project hold, and which of them changed since the last look."""

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Changes:
    """Paths whose content is another than at the last look; `new` are those that were not there."""

    changed: frozenset[Path]
    new: frozenset[Path]

    def __bool__(self) -> bool:
        return bool(self.changed)


class ProjectFiles:
    """`fixed` are looked at whether they exist or not; of `functions_dir` every Python file is."""

    def __init__(self, functions_dir: Path, fixed: Iterable[Path]) -> None:
        self._functions_dir = functions_dir
        self._fixed = frozenset(fixed)
        self._stamps: dict[Path, tuple[int, int, int]] = {}
        self._digests: dict[Path, bytes | None] = {}

    def look(self, imported: Iterable[Path]) -> Changes:
        """Look at all files, and at those that functions have imported from elsewhere in the project.

        A file that was only touched has not changed. One seen for the first time is new, unless it was imported: then
        whoever imported it has read it.
        """
        changed: set[Path] = set()
        new: set[Path] = set()
        imported = set(imported)
        for path in {*self._fixed, *self._python_files(), *imported, *self._digests}:
            known = path in self._digests
            stamp = _stamp(path)
            if known and stamp == self._stamps.get(path) and stamp is not None:
                continue
            digest = _digest(path)
            if not known:
                if path not in imported:
                    changed.add(path)
                    new.add(path)
            elif digest != self._digests[path]:
                changed.add(path)
                if self._digests[path] is None:
                    new.add(path)
            if digest is None and path not in self._fixed and path not in imported:
                self._digests.pop(path, None)
                self._stamps.pop(path, None)
                continue
            self._digests[path] = digest
            if stamp is not None:
                self._stamps[path] = stamp
            else:
                self._stamps.pop(path, None)
        return Changes(frozenset(changed), frozenset(new))

    def _python_files(self) -> list[Path]:
        found: list[Path] = []
        for folder, folders, files in os.walk(self._functions_dir):
            folders[:] = [each for each in folders if not each.startswith((".", "__")) and each != "site-packages"]
            found += [Path(folder, file) for file in files if file.endswith(".py")]
        return found


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _digest(path: Path) -> bytes | None:
    """None for a file that is not there, or cannot be read."""
    try:
        return hashlib.blake2b(path.read_bytes(), digest_size=16).digest()
    except OSError:
        return None
