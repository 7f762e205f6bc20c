"""What a pool holds of an event between its fetch and its settlement."""

import msgspec


class Delivery(msgspec.Struct, eq=False):
    """One event for one trigger, on its way through a worker.

    `origin` belongs to whoever fetched it and is not looked at here. `fields` alternate name and value, untouched since
    Redis. A `suspect` may have taken its process down before: it runs alone. `output` holds captured lines.
    """

    origin: object
    topic: str
    stream_id: str
    attempt: int
    invocation_id: str
    fields: list[bytes]
    suspect: bool = False
    output: list[str] | None = None
