"""A failure as a person reads it: causes first, the user's frames with their source lines."""

import linecache
from pathlib import Path

from evfn.outcome import Failure


def format_failure(failure: Failure) -> str:
    """The traceback as text, in Python's own form."""
    blocks = [_block(cause) for cause in reversed(failure.causes)]
    blocks.append(_block(failure))
    return "\n\nwhich led to:\n\n".join(blocks)


def place(failure: Failure) -> str:
    """`file:line` of the innermost frame, or nothing."""
    return f"{failure.frames[-1].file}:{failure.frames[-1].line}" if failure.frames else ""


def place_in(failure: Failure, folder: Path) -> str:
    """`file:line` of the innermost frame in the project's own code, relative to its folder; nothing without frames.

    Where no frame is in the folder, it is that of the innermost frame of all.
    """
    inside = f"{folder}/"
    for frame in reversed(failure.frames):
        if frame.file.startswith(inside) and "/site-packages/" not in frame.file:
            return f"{frame.file.removeprefix(inside)}:{frame.line}"
    return place(failure)


def _block(failure: Failure) -> str:
    lines = ["Traceback (most recent call last):"] if failure.frames else []
    for frame in failure.frames:
        lines.append(f'  File "{frame.file}", line {frame.line}, in {frame.function}')
        linecache.checkcache(frame.file)
        source = linecache.getline(frame.file, frame.line).strip()
        if source:
            lines.append(f"    {source}")
    lines.append(f"{failure.type}: {failure.message}" if failure.message else failure.type)
    return "\n".join(lines)
