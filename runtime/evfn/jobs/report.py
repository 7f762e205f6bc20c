"""What a job writes into its mailbox: how the attempt ended, and what the function wrote."""

from datetime import timedelta

import msgspec

from evfn.outcome import Crashed, Failed, Interrupted, Outcome, Rejected, Succeeded, TimedOut

OUTPUT_LINES = 1000
"""How many lines of the function's output are carried."""
_KINDS: dict[str, type[Outcome]] = {
    kind.__name__: kind for kind in (Succeeded, Failed, Rejected, TimedOut, Crashed, Interrupted)
}


class Line(msgspec.Struct, frozen=True, array_like=True):
    """One captured line; `stream` is stdout, stderr or log."""

    stream: str
    text: str


class Report(msgspec.Struct, frozen=True, array_like=True):
    """`kind` names the outcome's class, `packed` holds it; `elapsed_us` is how long the function ran."""

    kind: str
    packed: bytes
    elapsed_us: int
    output: list[Line]

    @property
    def outcome(self) -> Outcome:
        """Raises ValueError where it is none that this version knows."""
        kind = _KINDS.get(self.kind)
        if kind is None:
            raise ValueError(f"{self.kind!r:.40} is no outcome")
        return msgspec.msgpack.decode(self.packed, type=kind)

    @property
    def elapsed(self) -> timedelta:
        return timedelta(microseconds=self.elapsed_us)


def pack(outcome: Outcome, elapsed: timedelta, output: list[Line]) -> bytes:
    """A report as it is stored."""
    microseconds = int(elapsed / timedelta(microseconds=1))
    return msgspec.msgpack.encode(
        Report(type(outcome).__name__, msgspec.msgpack.encode(outcome), microseconds, output[:OUTPUT_LINES])
    )


def unpack(packed: bytes) -> Report:
    """Raises ValueError where the bytes are no report."""
    return msgspec.msgpack.decode(packed, type=Report)
