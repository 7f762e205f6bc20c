"""Waiting for something to become true, without guessing how long it takes."""

import asyncio
from collections.abc import Callable


async def wait_until(predicate: Callable[[], bool], description: str, seconds: float = 20.0) -> None:
    """Let the loop run until the predicate holds. Raises AssertionError when the time is up."""
    try:
        async with asyncio.timeout(seconds):
            while not predicate():  # noqa: ASYNC110 - what is waited for sets no event
                await asyncio.sleep(0.002)
    except TimeoutError:
        raise AssertionError(f"waited {seconds} s in vain: {description}") from None
