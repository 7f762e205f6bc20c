"""1 million dead letters: listed by one command, redriven by another."""

import os
import time
from dataclasses import dataclass

from benchmarks.figure import Effort, Figure
from benchmarks.ground import Ground
from benchmarks.subject import Subject, Trigger
from evfn.broker.dead_letter import DeadLetter, StoredError, fields
from evfn.broker.keys import Keys
from evfn.broker.record import Attempt, Origin, Record
from evfn.settlement import Reason

LETTERS = 1_000_000
AT_ONCE = 10_000
TOPIC, GROUP = "orders", "bench/charge"
NUMBER = "@@@@@@@"
"""Stands in what is made once, for a number of as many digits."""
MAKE = f"""\
for number = tonumber(ARGV[1]), tonumber(ARGV[2]) do
  local digits, values = string.format('%0{len(NUMBER)}d', number), {{}}
  for index = 3, #ARGV do values[index - 2] = string.gsub(ARGV[index], '{NUMBER}', digits) end
  redis.call('XADD', KEYS[1], '*', unpack(values))
end
"""


@dataclass(frozen=True)
class Spent:
    """What a command took: seconds, and the most memory it had, in MB."""

    seconds: float
    memory: float


async def measure(ground: Ground, effort: Effort) -> list[Figure]:
    letters = effort.events(LETTERS)
    subject = Subject(
        ground.folder / "dead",
        ground.url,
        {"shop": "def charge(event):\n    pass\n"},
        [Trigger("charge", TOPIC, "shop:charge", {})],
    )
    _make(ground, letters)
    newest = _spent(subject, "dlq", "ls")
    every = _spent(subject, "dlq", "ls", "--limit", str(letters), "--json")
    redriven = _spent(subject, "dlq", "redrive", "charge", "--all")
    if int(ground.client.xlen(Keys().inbox(TOPIC, GROUP))) != letters:
        raise RuntimeError("not every dead letter was redriven")
    name = f"{letters:,} dead letters"
    return [
        _figure(f"{name}: evfn dlq ls, the newest 100", newest),
        _figure(f"{name}: evfn dlq ls --json, all of them", every),
        _figure(f"{name}: evfn dlq redrive --all", redriven),
    ]


def _figure(name: str, spent: Spent) -> Figure:
    return Figure(name, "s", (spent.seconds,), more_is_better=False, about={"MB": spent.memory})


def _make(ground: Ground, letters: int) -> None:
    """By a script, for a million calls take longer than what is measured."""
    body = b'{"order": ' + NUMBER.encode() + b', "amount": 1990, "padding": "' + b"x" * 100 + b'"}'
    invocation = f"charge:{TOPIC}:1764000000000-{NUMBER}"
    attempts = [Attempt(number, "failed", 1_764_000_000_000, "KeyError: 'card'") for number in range(1, 6)]
    record = Record(
        TOPIC, f"1764000000000-{NUMBER}", invocation, 1, Origin.REDRIVE, 1_764_000_000_000, [], [b"data", body]
    )
    trace = "Traceback (most recent call last):\n  File \"functions/shop.py\", line 2, in charge\nKeyError: 'card'\n"
    letter = DeadLetter(
        trigger="charge",
        topic=TOPIC,
        invocation_id=invocation,
        reason=Reason.FAILED,
        error=StoredError("KeyError", "'card'", trace),
        attempts=len(attempts),
        history=attempts,
        first_delivered_ms=1_764_000_000_000,
        dead_ms=1_764_000_060_000,
        instance="a1",
        revision="b2",
        log="",
        record=record,
    )
    key, values = Keys().dead(TOPIC, GROUP), fields(letter)
    for first in range(0, letters, AT_ONCE):
        ground.client.eval(MAKE, 1, key, first, min(first + AT_ONCE, letters) - 1, *values)


def _spent(subject: Subject, *arguments: str) -> Spent:
    began = time.perf_counter()
    process = subject.start(*arguments)
    _, status, usage = os.wait4(process.pid, 0)
    took = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"evfn {' '.join(arguments)} ended with {process.returncode}")
    return Spent(took, usage.ru_maxrss / 1024)
