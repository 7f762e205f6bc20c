"""What a client may ask of the server."""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class Limits:
    """Bytes, and how long things may take. `connections` are those open at once, in all."""

    header_bytes: int = 16 * 1024
    body_bytes: int = 64 * 1024
    connections: int = 100
    arrival: timedelta = timedelta(seconds=5)
    """From a request's first byte to its last."""
    idle: timedelta = timedelta(seconds=75)
    """Before the first byte of a request."""
    answer: timedelta = timedelta(seconds=10)
    """Of the handler."""
    departure: timedelta = timedelta(seconds=5)
    """From an answer's first byte to its last."""
