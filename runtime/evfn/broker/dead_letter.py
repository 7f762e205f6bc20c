"""One dead letter: what a person needs to understand it, and the record that takes it back to its trigger.

Stored as a stream entry whose fields a person can read with any Redis tool; only `record` is packed.
"""

import json
from dataclasses import dataclass
from typing import Any

from evfn.broker.record import Attempt, Record, pack, unpack
from evfn.settlement import Reason

FOREIGN = "foreign"
"""The reason shown for an entry of the dead stream that evfn did not write."""


@dataclass(frozen=True, slots=True)
class StoredError:
    """The last attempt's error as text."""

    type: str
    message: str
    traceback: str = ""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """`id` is its place in the dead stream, empty before it is stored; instants are milliseconds since the epoch.

    `record` is None, and `reason` may be any text, only for entries that something else wrote.
    """

    trigger: str
    topic: str
    invocation_id: str
    reason: Reason | str
    error: StoredError
    attempts: int
    history: list[Attempt]
    first_delivered_ms: int
    dead_ms: int
    instance: str
    revision: str
    log: str
    record: Record | None
    id: str = ""


def fields(letter: DeadLetter) -> list[bytes]:
    """The stream entry's fields and values, alternating."""
    reason = letter.reason.value if isinstance(letter.reason, Reason) else letter.reason
    error = {"type": letter.error.type, "message": letter.error.message, "traceback": letter.error.traceback}
    history = [
        {"attempt": each.number, "outcome": each.outcome, "ended_ms": each.ended_ms, "message": each.message}
        for each in letter.history
    ]
    texts = {
        "trigger": letter.trigger,
        "topic": letter.topic,
        "invocation_id": letter.invocation_id,
        "reason": reason,
        "error": json.dumps(error),
        "attempts": str(letter.attempts),
        "history": json.dumps(history),
        "first_delivered_at": str(letter.first_delivered_ms),
        "dead_at": str(letter.dead_ms),
        "instance": letter.instance,
        "revision": letter.revision,
        "log": letter.log,
    }
    result: list[bytes] = []
    for name, text in texts.items():
        # What a function printed may hold lone surrogates; a dead letter must never fail to be stored.
        result += (name.encode(), text.encode("utf-8", "backslashreplace"))
    if letter.record is not None:
        result += (b"record", pack(letter.record))
    return result


def parse(entry_id: bytes, values: list[bytes]) -> DeadLetter:
    """Read an entry back. Never fails: what is missing or makes no sense is empty, its record None."""
    stored = dict(zip(values[::2], values[1::2], strict=False))

    def text(name: str) -> str:
        return stored.get(name.encode(), b"").decode("utf-8", "replace")

    error = _object(text("error"))
    return DeadLetter(
        trigger=text("trigger"),
        topic=text("topic"),
        invocation_id=text("invocation_id"),
        reason=_reason(text("reason")),
        error=StoredError(*(str(error.get(name, "")) for name in ("type", "message", "traceback"))),
        attempts=_number(text("attempts")),
        history=_history(text("history")),
        first_delivered_ms=_number(text("first_delivered_at")),
        dead_ms=_number(text("dead_at")),
        instance=text("instance"),
        revision=text("revision"),
        log=text("log"),
        record=_record(stored.get(b"record")),
        id=entry_id.decode("ascii", "replace"),
    )


def invocation(values: list[bytes]) -> str:
    """The invocation of an entry as it is stored, empty where it has none."""
    for name, value in zip(values[::2], values[1::2], strict=False):
        if name == b"invocation_id":
            return value.decode("utf-8", "replace")
    return ""


def _reason(text: str) -> Reason | str:
    try:
        return Reason(text)
    except ValueError:
        return text or FOREIGN


def _record(packed: bytes | None) -> Record | None:
    try:
        return None if packed is None else unpack(packed)
    except ValueError:
        return None


def _number(text: Any) -> int:
    try:
        return int(text)
    except (TypeError, ValueError):
        return 0


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _history(text: str) -> list[Attempt]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return []
    return [
        Attempt(
            _number(each.get("attempt")),
            str(each.get("outcome", "")),
            _number(each.get("ended_ms")),
            str(each.get("message", "")),
        )
        for each in (value if isinstance(value, list) else [])
        if isinstance(each, dict)
    ]
