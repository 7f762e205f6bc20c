"""What a pool holds of an event between its fetch and its settlement."""

import msgspec


class Delivery(msgspec.Struct, eq=False, kw_only=True):
    """One event for one trigger, on its way through a worker.

    `fields` alternate name and value, untouched since Redis. A `suspect` may have taken its process down before: it
    runs alone. `output` holds captured lines. `traceparent` is the place of the span that is made of the attempt, if
    one is, and `ran_ns` from when to when it ran then, on the monotonic clock. Whoever fetches adds in a subclass where
    it must be settled.
    """

    topic: str
    stream_id: str
    attempt: int
    invocation_id: str
    fields: list[bytes]
    suspect: bool = False
    output: list[str] | None = None
    traceparent: str | None = None
    ran_ns: tuple[int, int] | None = None
