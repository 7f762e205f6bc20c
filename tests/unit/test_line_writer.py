"""Lines on their way to whoever reads them, or does not."""

import errno
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from evfn_cli import line_writer
from evfn_cli.line_writer import ROOM, LineWriter


def wait_for(condition: Callable[[], bool], description: str) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, description
        time.sleep(0.005)


def writer_to(descriptor: int, closed: Callable[[], None] = lambda: None) -> LineWriter:
    return LineWriter(descriptor, on_lost=lambda count: f"lost {count}", on_closed=closed)


def test_what_is_written_comes_in_order_and_before_the_end() -> None:
    reading, writing = os.pipe()
    writer = writer_to(writing)
    for n in range(1_000):
        writer.write(f"{n} é")
    writer.close()
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8") as lines:
        assert lines.read().splitlines() == [f"{n} é" for n in range(1_000)]


def test_a_full_pipe_delays_nobody_and_what_is_lost_is_counted() -> None:
    """Memory is bounded; as soon as somebody reads again it says how many lines are missing."""
    reading, writing = os.pipe()
    writer = writer_to(writing)
    line = "x" * 65_536
    began = time.monotonic()
    for _ in range(2 * ROOM // len(line)):
        writer.write(line)
    assert time.monotonic() - began < 5
    found: list[str] = []

    def read() -> None:
        with os.fdopen(reading) as lines:
            found.extend(lines)

    reader = threading.Thread(target=read)
    reader.start()
    wait_for(lambda: any(each.startswith("lost ") for each in found), "the loss is told")
    writer.write("the end")
    writer.close(20)
    os.close(writing)
    reader.join()
    lost = sum(int(each.split()[1]) for each in found if each.startswith("lost "))
    assert found.count(f"{line}\n") + lost == 2 * ROOM // len(line)
    assert found[-1] == "the end\n"


def test_a_pipe_that_nobody_reads_is_told_once() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    told: list[None] = []
    writer = writer_to(writing, lambda: told.append(None))
    writer.write("a")
    wait_for(lambda: bool(told), "it is told")
    writer.write("b")
    writer.close()
    os.close(writing)
    assert told == [None]


def test_a_full_disk_costs_lines_and_leaves_no_torn_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When there is room again the next line begins on a line of its own."""
    path = tmp_path / "log"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    full = True
    refused: list[int] = []
    real = os.write

    def write(to: int, data: bytes) -> int:
        # /dev/full has no room for a part of a line, which is what this is about.
        if not full:
            return real(to, data)
        if path.stat().st_size < 3:
            return real(to, data[:3])
        refused.append(to)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(line_writer, "_AGAIN_SECONDS", 0.01)
    monkeypatch.setattr(os, "write", write)
    writer = writer_to(descriptor)
    writer.write("first")
    writer.write("second")
    wait_for(lambda: len(refused) >= 2, "both are refused, one of them after a part of it")
    full = False
    writer.write("third")
    writer.close()
    os.close(descriptor)
    lines = path.read_text().splitlines()
    assert lines[0] == "fir"
    assert lines[-1] == "third"
    assert any(each.startswith("lost ") for each in lines[1:-1])
