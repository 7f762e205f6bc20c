"""Where a worker stood when it was ended: the fault handler's text without what evfn does below the function."""

import sysconfig
from pathlib import Path

_FRAME = '  File "'
_OWN = str(Path(__file__).parents[1]) + "/"
_STANDARD = (*{f"{sysconfig.get_path(name)}/" for name in ("stdlib", "platstdlib")}, "<frozen ")
_INSTALLED = ("/site-packages/", "/dist-packages/")


def of_the_function(text: str) -> str:
    """Each thread's frames from the innermost to the outermost one that is neither evfn's nor Python's own.

    Threads without such a frame are left out; where none has one, all is kept.
    """
    kept = [shown for block in _blocks(text.splitlines()) if (shown := _shown(block))]
    return "\n\n".join(kept) if any(_FRAME in block for block in kept) else text


def _blocks(lines: list[str]) -> list[list[str]]:
    """Parts with an empty line between them: a thread each, or what happened."""
    blocks: list[list[str]] = [[]]
    for line in lines:
        if line:
            blocks[-1].append(line)
        elif blocks[-1]:
            blocks.append([])
    return blocks


def _shown(block: list[str]) -> str:
    frames = [at for at, line in enumerate(block) if line.startswith(_FRAME)]
    if not frames:
        return "\n".join(block)
    users = [at for at in frames if not _is_ours(block[at].removeprefix(_FRAME))]
    return "\n".join(block[: users[-1] + 1]) if users else ""


def _is_ours(place: str) -> bool:
    if place.startswith(_OWN):
        return True
    return place.startswith(_STANDARD) and not any(folder in place for folder in _INSTALLED)
