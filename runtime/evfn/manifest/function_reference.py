"""References to functions, `module:name` below the functions folder. Looks at files, never imports them."""

import re
from keyword import iskeyword
from pathlib import Path

from evfn.nearest import did_you_mean

DEFAULT_NAME = "handle"
"""What a function is called where a reference names a module alone."""

PATTERN = r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*(:[A-Za-z_][A-Za-z0-9_]*)?"
"""What a reference looks like."""


def parse(text: str) -> tuple[str, str]:
    """Split a reference into module and name. Raises ValueError, saying what to write instead.

    Only names: no paths, no attributes of attributes, nothing that begins with two underscores.
    """
    mended = _mended(text)
    if mended is not None:
        raise ValueError(f"{text!r:.80} is no function (did you mean {mended}?); write module:name")
    if "/" in text or "\\" in text or ".." in text:
        raise ValueError(
            f"{text!r:.80} is a path; functions are named module:name, of modules below the functions folder"
        )
    module, colon, name = text.partition(":")
    if not colon:
        name = DEFAULT_NAME
    for part in (*module.split("."), name):
        if not (part.isascii() and part.isidentifier()) or iskeyword(part):
            shown = f"{part!r:.40} is not a name" if part else "a name is missing"
            raise ValueError(f"{text!r:.80} is no function: {shown}; write module:name, of functions/module.py")
        if part.startswith("__"):
            raise ValueError(f"{text!r:.80} is no function: names that begin with __ are not allowed")
    return module, name


def find_module(module: str, functions_dir: Path) -> Path:
    """The file of a module below the functions folder. Raises ValueError that names the modules there are.

    A symbolic link is followed, but what it leads to must lie below the folder as well.
    """
    folder = functions_dir.name or str(functions_dir)
    if not functions_dir.is_dir():
        raise ValueError(f"the functions folder {folder}/ is not there")
    base = functions_dir.joinpath(*module.split("."))
    # As Python's import does: a package goes before a module of the same name.
    for file in (base / "__init__.py", base.parent / f"{base.name}.py"):
        if file.is_file():
            if not file.resolve().is_relative_to(functions_dir.resolve()):
                raise ValueError(f"{folder}/{file.relative_to(functions_dir)} leads out of the functions folder")
            return file
    there = modules(functions_dir)
    attempt = f"{folder}/{module.replace('.', '/')}.py not found"
    parent, _, last = module.rpartition(".")
    if parent in there:
        raise ValueError(f"{attempt} (did you mean {parent}:{last}?)")
    if near := did_you_mean(module, there):
        raise ValueError(f"{attempt}{near}")
    has = ", ".join(there[:12]) + (f" and {len(there) - 12} more" if len(there) > 12 else "")
    raise ValueError(f"{attempt} (has: {has})" if has else f"{attempt}; the folder has no modules")


def modules(functions_dir: Path) -> list[str]:
    """The modules below the functions folder, dotted and sorted; at most some thousands of files are looked at."""
    found = set()
    for count, file in enumerate(functions_dir.rglob("*.py")):
        if count == 5000:
            break
        parts = list(file.relative_to(functions_dir).with_suffix("").parts)
        if parts[-1] == "__init__":
            parts.pop()
        if parts and all(part.isidentifier() and not part.startswith("__") for part in parts):
            found.add(".".join(parts))
    return sorted(found)


def _mended(text: str) -> str | None:
    # Slips with a plain meaning; whatever leads elsewhere (`..`, an absolute path) is not mended.
    mended = text.strip().removesuffix("()")
    mended = re.sub(r"^(\./)?functions[./]", "", mended)
    mended = re.sub(r"\.py(?=$|:)", "", mended)
    if "/" in mended and not mended.startswith("/"):
        mended = mended.replace("/", ".")
    mended = mended.replace("::", ":")
    return mended if mended != text and re.fullmatch(PATTERN, mended) is not None else None
