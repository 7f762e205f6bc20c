"""What a manifest is checked against besides its own text."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The functions folder, the environment for `${VAR}`, and whether filters are compiled."""

    functions_dir: Path
    environ: Mapping[str, str]
    check_filters: bool = True
