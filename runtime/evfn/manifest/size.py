"""Sizes in bytes as the manifest writes them: `512MiB`, `2GB`. Pure."""

import re

UNITS = {"kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
"""Bytes in each unit."""

PATTERN = rf"([0-9]{{1,15}})({'|'.join(UNITS)})"
"""What a size looks like: a whole number and its unit, no space."""

_SIZE = re.compile(PATTERN)
_LOOSE = re.compile(r"([0-9]{1,15})(\.[0-9]+)?\s*([a-zA-Z]*)")
_MEANT = {unit.lower(): unit for unit in UNITS} | {
    "k": "KiB",
    "m": "MiB",
    "g": "GiB",
    "ki": "KiB",
    "mi": "MiB",
    "gi": "GiB",
    "": "MiB",
}


def parse(text: str) -> int:
    """Read a size in bytes. Raises ValueError that names the allowed units and the form that was probably meant."""
    match = _SIZE.fullmatch(text)
    if match is None:
        meant = _meant(text)
        hint = f" (did you mean {meant}?)" if meant is not None else ""
        raise ValueError(f"{text!r:.60} is no size{hint}; write a whole number with kB, MB, GB, KiB, MiB or GiB")
    return int(match[1]) * UNITS[match[2]]


def render(size: int) -> str:
    """The text for a size that is a whole number of some unit: the largest unit that divides it."""
    for unit, factor in sorted(UNITS.items(), key=lambda item: item[1], reverse=True):
        if size and size % factor == 0:
            return f"{size // factor}{unit}"
    return f"{size} bytes"


def _meant(text: str) -> str | None:
    match = _LOOSE.fullmatch(text.strip())
    if match is None or match[3].lower() not in _MEANT:
        return None
    unit = _MEANT[match[3].lower()]
    if match[2] is None:
        return f"{match[1]}{unit}"
    # 1.5GiB is 1536MiB: the next smaller unit of the same kind holds it.
    smaller = {"MB": "kB", "GB": "MB", "MiB": "KiB", "GiB": "MiB"}.get(unit)
    if smaller is None:
        return None
    exact = float(match[1] + match[2]) * (UNITS[unit] // UNITS[smaller])
    return f"{int(exact)}{smaller}" if exact.is_integer() else None
