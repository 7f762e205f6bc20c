"""A traceback's text as the author of a function reads it: the own frames whole, those of libraries counted."""

import re
from collections.abc import Iterator
from pathlib import Path

_FRAME = re.compile(r'  File "(.+)", line \d+, in ')
_LIBRARY = re.compile(
    r'(?:/(?:site|dist)-packages/|/lib(?:64)?/python3\.\d+/(?!(?:site|dist)-packages/))([^/".]+)|<frozen '
)
"""Wherever the function ran: the folders are perhaps those of another machine."""


def of_the_user(traceback: str, folder: Path) -> list[str]:
    """Its lines; files are named relative to the project's folder, library frames in a row become one line."""
    lines: list[str] = []
    for library, frames in _runs(traceback.splitlines()):
        if library and len(frames) > 1:
            names = ", ".join(dict.fromkeys(_package(frame[0]) for frame in frames))
            lines.append(f"  … {len(frames)} frames in {names}")
        else:
            lines += [line.replace(f"{folder}/", "") for frame in frames for line in frame]
    return lines


def _runs(lines: list[str]) -> Iterator[tuple[bool, list[list[str]]]]:
    """Frames of libraries in a row, and all else: each with the lines it has."""
    run: list[list[str]] = []
    for line in lines:
        if _FRAME.match(line) and _LIBRARY.search(line):
            run.append([line])
        elif run and line.startswith("    "):
            run[-1].append(line)
        else:
            if run:
                yield True, run
                run = []
            yield False, [[line]]
    if run:
        yield True, run


def _package(frame: str) -> str:
    found = _LIBRARY.search(frame)
    return found[1] if found is not None and found[1] else "Python"
