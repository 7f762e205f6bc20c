"""How much one call to the server may carry, so that no script holds it up for long."""

from collections.abc import Sequence

from evfn.outcome import Emit

IDS = 1_000
EMITS = 500
BYTES = 4 << 20
"""The most in one settle call, unless a single entry needs more; then it has the call for itself, up to:"""
EMITS_ALONE = 10_000
BYTES_ALONE = 32 << 20
VALUES = 6_000
"""Fields and values of one emit: what Lua can pass to a command (7,000 work, 8,000 do not)."""


def too_large(emits: Sequence[Emit]) -> str | None:
    """Why an attempt with these emits cannot be settled, ready to show; None where it can."""
    if len(emits) > EMITS_ALONE:
        return f"{len(emits)} emits in one attempt; at most {EMITS_ALONE:,} are possible"
    longest = max((len(emit.fields) for emit in emits), default=0)
    if longest > VALUES:
        return f"an emit has {longest // 2} attributes; at most {VALUES // 2:,} are possible"
    size = size_of(emits)
    if size > BYTES_ALONE:
        return f"the emits of one attempt hold {size / (1 << 20):.1f} MiB; at most {BYTES_ALONE >> 20} MiB are possible"
    return None


def size_of(emits: Sequence[Emit]) -> int:
    """Bytes of all fields and values."""
    return sum(len(value) for emit in emits for value in emit.fields)
