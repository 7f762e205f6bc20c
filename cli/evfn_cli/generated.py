"""Files that evfn makes and a person may edit: written all or none, and nobody's edits are lost."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from evfn.errors import EvfnError
from evfn_cli.deployment import release
from evfn_cli.render import escape

_SEAL = re.compile(r"^# Made by evfn \S+; as made while the lines above have SHA-256 ([0-9a-f]{64})\n\Z", re.MULTILINE)


@dataclass(slots=True)
class Written:
    """What became of the files, each by its path below the folder."""

    made: list[str] = field(default_factory=list)
    renewed: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)


def write(folder: Path, files: Mapping[str, str], *, force: bool) -> Written:
    """Bring the folder's files to these contents.

    Raises EvfnError, having changed nothing, where one was edited since it was made, unless `force`; OSError where one
    cannot be written.
    """
    result, edited = Written(), []
    for name, text in files.items():
        there = _read(folder / name)
        if there is None:
            result.made.append(name)
        elif there == _sealed(text):
            result.unchanged.append(name)
        elif force or _as_made(there):
            result.renewed.append(name)
        else:
            edited.append(name)
    if edited:
        raise EvfnError(
            f"{escape(', '.join(str(folder / name) for name in edited))}: edited since evfn made "
            f"{'it' if len(edited) == 1 else 'them'}, so nothing was written; name another folder with --out to "
            "compare, or overwrite the edits with --force"
        )
    _put(folder, {name: _sealed(files[name]) for name in (*result.made, *result.renewed)})
    return result


def _read(path: Path) -> str | None:
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError:
        return ""


def _sealed(text: str) -> str:
    text = f"{text.rstrip()}\n\n"
    mark = sha256(text.encode()).hexdigest()
    return f"{text}# Made by evfn {release()}; as made while the lines above have SHA-256 {mark}\n"


def _as_made(text: str) -> bool:
    seal = _SEAL.search(text)
    return seal is not None and sha256(text[: seal.start()].encode()).hexdigest() == seal[1]


def _put(folder: Path, files: Mapping[str, str]) -> None:
    """Everything that may go wrong goes wrong before the first file is in its place."""
    beside = {}
    try:
        for name, text in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            new = path.with_name(f".{path.name}.new")
            beside[new] = path
            new.write_text(text, "utf-8")
        for new, path in beside.items():
            new.replace(path)
    finally:
        for new in beside:
            new.unlink(missing_ok=True)
