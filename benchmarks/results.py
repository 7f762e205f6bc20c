"""What the last runs came to, section by section, kept in `results.json` beside this file."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from benchmarks.figure import Figure

FILE = Path(__file__).parent / "results.json"


@dataclass(frozen=True)
class Section:
    """One module's figures, when, where and with what they were measured, and how: in the module's own words.

    Where the module failed, `problem` says why.
    """

    title: str
    how: str
    measured_at: str
    took_seconds: float
    machine: dict[str, str]
    versions: dict[str, str]
    figures: tuple[Figure, ...]
    problem: str | None = None


Results = Mapping[str, Section]
"""Sections by the names of their modules."""


def load(file: Path = FILE) -> dict[str, Section]:
    """What is kept; nothing where nothing is. Raises msgspec.DecodeError where it is something else."""
    return msgspec.json.decode(file.read_bytes(), type=dict[str, Section]) if file.exists() else {}


def save(results: Results, file: Path = FILE) -> None:
    """Keep these instead."""
    file.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n")
