"""What a function may ask besides its event: which attempt this is, how much time is left, and how to emit."""

import logging
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from evfn.functions.invocation import invocation_id

if TYPE_CHECKING:
    from evfn.functions.results import Emits


class Context(msgspec.Struct, eq=False):
    """One attempt of a function, as the function sees it.

    `attempt` is 1 on the first run, `attempts` the trigger's limit. `invocation_id` stays the same over all attempts:
    use it as the key that makes an outside effect idempotent. `topic` is the event's, `trigger` the trigger's name.
    """

    attempt: int = 1
    attempts: int = 1
    invocation_id: str = ""
    topic: str = ""
    trigger: str = ""
    _deadline_ns: int | None = None
    _emits: "Emits | None" = None

    @property
    def replay(self) -> str | None:
        """The id of the replay that brings this event again; None for one that comes for the first time."""
        # The invocation's id is trigger:topic:stream-id, and of a replay, over all attempts, its id behind that.
        own = self.invocation_id.removeprefix(invocation_id(self.trigger, self.topic, ""))
        return own.partition(":")[2] or None

    @property
    def log(self) -> logging.Logger:
        """A logger under the trigger's name; what it writes, from INFO up, is shown and kept with the attempt."""
        return logging.getLogger(self.trigger or "evfn")

    def remaining(self) -> timedelta:
        """The time left until this attempt is ended; never negative."""
        if self._deadline_ns is None:
            return timedelta.max
        return timedelta(microseconds=max(0, self._deadline_ns - time.monotonic_ns()) / 1000)

    def emit(self, topic: str, data: Any = None, **attributes: Any) -> None:
        """Emit an event, if and when this attempt succeeds, together with its success.

        `attributes` are those of Event: type, subject, time, datacontenttype, dataschema, extensions. Raises
        InvalidResult, which no retry helps, where the topic is not among the trigger's `emits` or the data are no JSON.
        """
        if self._emits is not None:
            self._emits.emit(topic, data, attributes)
