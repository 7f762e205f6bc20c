"""A real template process and real workers, driven by hand: the test says what the dispatcher would say."""

import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Self, TypeVar

import msgspec

from evfn.outcome import EmitForm
from evfn.workers.arena import Arena
from evfn.workers.ledger import Ledger, Status
from evfn.workers.protocol import (
    EmitData,
    Exited,
    Fork,
    Forked,
    ForkFailed,
    Form,
    FormedReply,
    FrameDone,
    FrameReader,
    Invocation,
    LoadFailed,
    Message,
    Output,
    Ready,
    SucceededReply,
    Work,
    WorkerConfig,
    encode,
    unpack_record,
)

FUNCTIONS = Path(__file__).parent / "functions"
PATIENCE = 20.0
"""Seconds after which a test that waits for a message fails."""
SLOTS = 512

M = TypeVar("M")


def plain(data: Any) -> list[bytes]:
    """The fields of a plain entry with this JSON as its body."""
    return [b"data", msgspec.json.encode(data)]


@dataclass
class Worker:
    """One worker process with all that it said; `said` holds every message in order."""

    number: int
    control: socket.socket
    output: int
    ledger: Ledger
    stack: int
    template: "Workshop"
    pid: int = 0
    pidfd: int = -1
    said: list[Message] = field(default_factory=list)
    reader: FrameReader = field(default_factory=FrameReader)
    raw: bytearray = field(default_factory=bytearray)
    ended: bool = False
    arena: Arena = field(init=False)
    frames: Iterator[int] = field(default_factory=lambda: count(1))
    forms: list[EmitForm] = field(default_factory=list)

    def send(self, message: Message) -> None:
        self.control.sendall(encode(message))

    def hand_over(self, *fields: list[bytes], topic: str = "in", first: int = 0, attempt: int = 1) -> int:
        """Send one frame; its number."""
        number: int = next(self.frames)
        for slot in range(first, first + len(fields)):
            self.ledger.mark(slot, Status.WAITING)
        self.arena = self.ledger.arena(first)
        self.arena.clear()
        self.forms.clear()
        invocations = [
            Invocation(slot, topic, f"{slot + 1}-0", attempt, f"inv-{slot}", entry)
            for slot, entry in enumerate(fields, first)
        ]
        self.send(Work(number, invocations))
        return number

    def run(self, *fields: list[bytes], **options: Any) -> list[Message]:
        """Hand over one frame and wait until it is done; what was said meanwhile, FrameDone included."""
        before = len(self.said)
        number = self.hand_over(*fields, **options)
        self.wait_for(FrameDone, lambda done: done.frame == number)
        return self.said[before:]

    def wait_for(self, kind: type[M], condition: Any = lambda message: True) -> M:
        """The first message of this kind, sooner or later."""
        deadline = time.monotonic() + PATIENCE
        seen = 0
        while True:
            for message in self.said[seen:]:
                if isinstance(message, kind) and condition(message):
                    return message
            seen = len(self.said)
            if self.ended:
                raise AssertionError(f"the worker's socket closed before {kind.__name__}: {self.said}, {self.raw!r}")
            self.pump(deadline, f"{kind.__name__} after {self.said[-3:]}, {self.raw[-2000:]!r}")

    def pump(self, deadline: float, what: str) -> None:
        """Read once whatever there is to read."""
        ready = _readable(deadline - time.monotonic(), self.control.fileno(), self.output)
        if not ready:
            raise AssertionError(f"waited in vain for {what}")
        if self.output in ready:
            self.raw += os.read(self.output, 1 << 16)
        if self.control.fileno() in ready:
            try:
                chunk = self.control.recv(1 << 18)
            except ConnectionResetError:
                chunk = b""
            for message in self.reader.feed(chunk):
                if isinstance(message, FrameDone):
                    self.said.extend(self.heard())
                self.said.append(message)
            self.ended = not chunk

    def heard(self) -> list[Message]:
        """What stands in the arena of the last frame, emits with all their fields."""
        replies: list[Message] = []
        for record in map(unpack_record, self.arena.read()):
            if isinstance(record, Form):
                self.forms.append(EmitForm(record.topic, record.fields, record.naming))
            elif isinstance(record, FormedReply):
                form = self.forms[record.form]
                emit = EmitData(form.topic, list(form.filled(record.own, f"{record.slot + 1}-0")))
                replies.append(SucceededReply(record.slot, [emit], False))
            else:
                replies.append(record)
        return replies

    def lines(self, slot: int = 0) -> list[tuple[str, str]]:
        """The captured output of one slot."""
        return [(said.stream, said.text) for said in self.said if isinstance(said, Output) and said.slot == slot]

    def wait_for_end(self) -> int:
        """The exit status that the template reports; everything said before is read first."""
        deadline = time.monotonic() + PATIENCE
        while not _readable(0, self.pidfd):
            _readable(deadline - time.monotonic(), self.pidfd, self.control.fileno(), self.output)
            while _readable(0, self.control.fileno(), self.output) and not self.ended:
                self.pump(deadline, "the worker's end")
            assert time.monotonic() < deadline, f"the worker did not end: {self.said}, {self.raw!r}"
        while not self.ended and _readable(0, self.control.fileno()):
            self.pump(deadline, "the rest")
        while _readable(0, self.output) and (chunk := os.read(self.output, 1 << 16)):
            self.raw += chunk
        return self.template.wait_for_exit(self.number)

    def wait_until_running(self, *slots: int) -> None:
        """Until the ledger says that all these run. The page makes no sound, so it is looked at again and again."""
        deadline = time.monotonic() + PATIENCE
        while any(self.ledger.status(slot) is not Status.RUNNING for slot in slots):
            assert time.monotonic() < deadline, f"slots {slots} did not start: {self.said}, {self.raw[-2000:]!r}"
            _readable(0.001, self.control.fileno())

    def signal(self, number: signal.Signals) -> None:
        signal.pidfd_send_signal(self.pidfd, number)

    def hold(self) -> None:
        """Stop the process, and wait until it stands."""
        self.signal(signal.SIGSTOP)
        deadline = time.monotonic() + PATIENCE
        while Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
            assert time.monotonic() < deadline, "the worker did not stop"
            _readable(0.001)

    def let_go(self) -> None:
        self.signal(signal.SIGCONT)

    def hang_up(self) -> None:
        """Close the dispatcher's end of the control socket."""
        self.control.shutdown(socket.SHUT_RDWR)

    def wait_for_raw(self, expected: bytes) -> None:
        """Until the pipe below Python's own streams gave this."""
        deadline = time.monotonic() + PATIENCE
        while expected not in self.raw:
            self.pump(deadline, f"{expected!r} in {self.raw!r}")

    def dump_now(self, until: str) -> None:
        """Ask for the stack until it shows this: the ledger says RUNNING a moment before the function is called."""
        deadline = time.monotonic() + PATIENCE
        while until not in self.dump():
            assert time.monotonic() < deadline, f"no {until!r} in {self.dump()!r}"
            self.signal(signal.SIGUSR1)
            _readable(0.01)

    def dump(self) -> str:
        return os.pread(self.stack, os.fstat(self.stack).st_size, 0).decode(errors="replace")

    def close(self) -> None:
        self.control.close()
        self.ledger.close()
        for descriptor in (self.output, self.stack, self.pidfd):
            os.close(descriptor)


class Workshop:
    """A template process, as a context manager; leaving it ends everything."""

    def __init__(self) -> None:
        self.control, theirs = socket.socketpair()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "evfn.workers.template", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        theirs.close()
        self.reader = FrameReader()
        self.pidfds: list[int] = []
        self.said: list[Message] = []
        self.workers: list[Worker] = []
        self.orders: list[Fork] = []
        self.numbers = count(1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.control.close()
        try:
            self.process.wait(PATIENCE)
        finally:
            self.process.kill()
            self.process.wait()
            for worker in self.workers:
                worker.close()

    def fork(self, case: str, function: str, *, ready: bool = True, **config: Any) -> Worker:
        """A worker for a function of `tests/functions/<case>`, by default once it is Ready."""
        worker = self.attach(self.order(case, function, **config))
        if ready:
            self.loaded(worker)
        return worker

    def loaded(self, worker: Worker) -> Ready:
        """The worker's Ready; its refusal fails the test."""
        answer = worker.wait_for(object, lambda message: isinstance(message, Ready | LoadFailed))
        assert isinstance(answer, Ready), answer
        return answer

    def order(self, case: str, function: str, **config: Any) -> Worker:
        """Send the Fork alone."""
        number = next(self.numbers)
        project = config.pop("project_dir", FUNCTIONS / case)
        settings: dict[str, Any] = {
            "project": "tests",
            "project_dir": str(project),
            "functions_dir": str(Path(project) / "functions"),
            "trigger": "under-test",
            "function": function,
            "emits": ["out.a", "out.b"],
            "data_modes": {},
            "concurrency": 1,
            "timeout_ms": 30_000,
            "slots": SLOTS,
            "env": {"PATH": os.environ["PATH"], "GREETING": "hello"},
            "attempts": 5,
        }
        order = Fork(number, WorkerConfig(**{**settings, **config}))
        self.orders.append(order)
        control, theirs = socket.socketpair()
        output, their_output = os.pipe2(os.O_CLOEXEC)
        ledger = Ledger.create(SLOTS)
        stack = os.memfd_create("stack", os.MFD_CLOEXEC)
        socket.send_fds(self.control, [encode(order)], [theirs.fileno(), their_output, ledger, stack])
        theirs.close()
        os.close(their_output)
        worker = Worker(number, control, output, Ledger(ledger, SLOTS), stack, self)
        os.close(ledger)
        self.workers.append(worker)
        return worker

    def attach(self, worker: Worker) -> Worker:
        """Wait for the Forked."""
        forked = self.wait_for(Forked, lambda message: message.worker == worker.number)
        worker.pid, worker.pidfd = forked.pid, self.pidfds.pop(0)
        return worker

    def wait_for_exit(self, number: int) -> int:
        return self.wait_for(Exited, lambda message: message.worker == number).status

    def wait_for(self, kind: type[M], condition: Any = lambda message: True) -> M:
        deadline = time.monotonic() + PATIENCE
        while True:
            for message in self.said:
                assert not isinstance(message, ForkFailed), message
                if isinstance(message, kind) and condition(message):
                    return message
            ready = _readable(deadline - time.monotonic(), self.control.fileno())
            assert ready, f"waited in vain for {kind.__name__}"
            chunk, descriptors, _, _ = socket.recv_fds(self.control, 1 << 16, 64, socket.MSG_CMSG_CLOEXEC)
            assert chunk, "the template ended"
            self.pidfds.extend(descriptors)
            self.said.extend(self.reader.feed(chunk))


def _readable(seconds: float, *descriptors: int) -> list[int]:
    """Those of the descriptors that can be read, within this time."""
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    return [descriptor for descriptor, _ in poll.poll(max(0.0, seconds) * 1000)]
