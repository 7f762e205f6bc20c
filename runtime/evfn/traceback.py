"""A failure as a person reads it: causes first, the user's frames with their source lines."""

import linecache

from evfn.outcome import Failure


def format_failure(failure: Failure) -> str:
    """The traceback as text, in Python's own form."""
    blocks = [_block(cause) for cause in reversed(failure.causes)]
    blocks.append(_block(failure))
    return "\n\nwhich led to:\n\n".join(blocks)


def place(failure: Failure) -> str:
    """`file:line` of the innermost frame, or nothing."""
    return f"{failure.frames[-1].file}:{failure.frames[-1].line}" if failure.frames else ""


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
