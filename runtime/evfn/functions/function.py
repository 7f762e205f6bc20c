"""A loaded function, ready to run: one attempt in, one outcome out, whatever the function does."""

import asyncio
import inspect
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from evfn.errors import InvalidData, LoadError
from evfn.event import Event
from evfn.functions import failure
from evfn.functions.binding import bind
from evfn.functions.context import Context
from evfn.functions.invocation import Invocation
from evfn.functions.loading import load
from evfn.functions.reference import parse
from evfn.functions.results import Emits, InvalidResult, Origin, single
from evfn.functions.signals import Reject, Retry
from evfn.outcome import Failed, Outcome, Rejected, Succeeded
from evfn.trigger import DataMode

_BARE = frozenset({dict, list, str, int, float, bool, tuple})
_VALUES = _BARE | {Event}
"""Types that are plainly neither generators nor awaitable; asking costs more than all the rest of an attempt."""
_AUTO = DataMode.AUTO
NOTHING = Succeeded()
"""Returned with nothing to report; compared by identity, so that most successes cost no object."""


class Function:
    """A user's callable under its trigger's rules.

    `attempts` and `timeout` are only told to the function; ending it in time is the caller's part. `modes` says how the
    data of a topic's entries are read, AUTO where it says nothing. Raises LoadError where the signature asks for what
    there is not.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        origin: Origin,
        *,
        attempts: int = 1,
        timeout: timedelta | None = None,
        modes: Mapping[str, DataMode] | None = None,
    ) -> None:
        binding = bind(function)
        self.is_async = binding.is_async
        self._call = binding.call
        self._wants_context = binding.wants_context
        self._origin = origin
        self._attempts = attempts
        self._timeout_ns = None if timeout is None else timeout // timedelta(microseconds=1) * 1000
        self._modes = dict(modes or {})
        self._runner: asyncio.Runner | None = None

    @classmethod
    def load(
        cls,
        reference: str,
        project_dir: Path,
        functions_dir: Path,
        origin: Origin,
        *,
        attempts: int = 1,
        timeout: timedelta | None = None,
        modes: Mapping[str, DataMode] | None = None,
    ) -> "Function":
        """Import the function named `module:name`. Raises LoadError that says what to write."""
        found = load(parse(reference), project_dir, functions_dir)
        try:
            return cls(found, origin, attempts=attempts, timeout=timeout, modes=modes)
        except LoadError as error:
            raise LoadError(f"{reference}: {error}") from None

    def run(self, invocation: Invocation, started_ns: int | None = None) -> Outcome:
        """One attempt, to its end. `started_ns` is on the monotonic clock, by default now.

        Whatever the function raises becomes an outcome, except SystemExit and KeyboardInterrupt: those are for the
        process. A coroutine is run on an event loop that lives as long as this object.
        """
        try:
            # As run_raising, for the function that asks for no context, and returns nothing or a bare value.
            if not self._wants_context:
                value = self._call(invocation, self._modes.get(invocation.topic, _AUTO), None)
                if value is None:
                    return NOTHING
                if type(value) in _BARE and (outcome := single(self._origin, invocation, value)) is not None:
                    return outcome
                return self._finish(value, Emits(self._origin, invocation))
            return self.run_raising(invocation, started_ns)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            return outcome_of(error)

    def run_raising(self, invocation: Invocation, started_ns: int | None = None) -> Succeeded:
        """As `run`, but whatever the function raises comes out, InvalidData and InvalidResult too."""
        emits = Emits(self._origin, invocation)
        context = self._context(invocation, emits, started_ns) if self._wants_context else None
        value = self._call(invocation, self._modes.get(invocation.topic, _AUTO), context)
        return _outcome(emits) if value is None else self._finish(value, emits)

    def _finish(self, value: Any, emits: Emits) -> Succeeded:
        """Take what the call gave."""
        if type(value) in _VALUES:
            emits.add(value)
        elif isinstance(value, Generator):
            _drain(value, emits)
        elif isinstance(value, AsyncGenerator) or inspect.isawaitable(value):
            self._run_on_loop(value, emits)
        else:
            emits.add(value)
        return _outcome(emits)

    async def run_async(self, invocation: Invocation, started_ns: int | None = None) -> Outcome:
        """As `run`, on the running loop; a cancelled attempt is Failed with the cancellation."""
        emits = Emits(self._origin, invocation)
        try:
            context = self._context(invocation, emits, started_ns) if self._wants_context else None
            value = self._call(invocation, self._modes.get(invocation.topic, _AUTO), context)
            if value is not None:
                await _finish(value, emits)
            return _outcome(emits)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            return outcome_of(error)

    def close(self) -> None:
        """End the event loop, where a coroutine made one. For callers that live longer than the function."""
        if self._runner is not None:
            self._runner.close()
            self._runner = None

    def _context(self, invocation: Invocation, emits: Emits, started_ns: int | None) -> Context:
        limit = self._timeout_ns
        if started_ns is None:
            started_ns = time.monotonic_ns()
        return Context(
            invocation.attempt,
            self._attempts,
            invocation.invocation_id,
            invocation.topic,
            self._origin.trigger,
            None if limit is None else started_ns + limit,
            emits,
        )

    def _run_on_loop(self, value: Any, emits: Emits) -> None:
        if self._runner is None:
            self._runner = asyncio.Runner()
        self._runner.run(_finish(value, emits))


def outcome_of(error: BaseException) -> Outcome:
    """How an attempt ended that raised this."""
    described = failure.describe(error)
    if isinstance(error, Retry):
        return Failed(described, error.after)
    if isinstance(error, Reject):
        return Rejected("rejected", described)
    if isinstance(error, InvalidResult):
        return Rejected(error.reason, described)
    # Raised while the arguments were made. Raised by the function itself it is an error like any other.
    if isinstance(error, InvalidData) and not described.frames:
        return Rejected("invalid_data", described)
    return Failed(described)


def _outcome(emits: Emits) -> Succeeded:
    return emits.succeeded() if emits else NOTHING


async def _finish(value: Any, emits: Emits) -> None:
    """Await, drain and take whatever the call gave, however it is wrapped."""
    while inspect.isawaitable(value):
        value = await _awaited(value)
    if isinstance(value, AsyncGenerator):
        number = 0
        try:
            async for item in value:
                number += 1
                emits.add(item, f"yielded value {number}")
        finally:
            await value.aclose()
    elif isinstance(value, Generator):
        _drain(value, emits)
    else:
        emits.add(value)


async def _awaited(value: Awaitable[Any]) -> Any:
    return await value


def _drain(generator: Generator[Any, Any, Any], emits: Emits) -> None:
    number = 0
    try:
        while True:
            try:
                item = next(generator)
            except StopIteration as end:
                emits.add(end.value)
                return
            number += 1
            emits.add(item, f"yielded value {number}")
    finally:
        generator.close()
