"""What the dispatcher, the template and the workers say to each other: frozen messages in length-prefixed frames.

Shared by both sides of the process boundary, so it imports neither the broker nor user code.
A frame is a 4-byte big-endian length and one msgpack-encoded message.
"""

import hashlib
import struct
from collections.abc import Iterator, Sequence

import msgspec

from evfn.functions.invocation import FirstInvocation
from evfn.outcome import Failure, Naming

LENGTH = struct.Struct(">I")
MAX_FRAME_BYTES = 1 << 30


class Invocation(msgspec.Struct, frozen=True, array_like=True):
    """One event for a worker. `fields` are the entry's, alternating name and value, untouched since Redis.

    `traceparent` is the place of the span that the dispatcher will make of this attempt; None where it makes none.
    """

    slot: int
    topic: str
    stream_id: str
    attempt: int
    invocation_id: str
    fields: list[bytes]
    traceparent: str | None = None


class Work(msgspec.Struct, frozen=True, array_like=True, tag="work"):
    """Dispatcher → worker: run these, in this order, one event per call."""

    frame: int
    invocations: list[Invocation]


class WorkEntries(msgspec.Struct, frozen=True, array_like=True, tag="entries"):
    """Dispatcher → worker: run these entries of one topic, in this order, each in the slot after the one before.

    All are first deliveries, of which no spans are made. An entry is its id and its fields, untouched since Redis.
    """

    frame: int
    first: int
    trigger: str
    topic: str
    entries: Sequence[tuple[bytes, list[bytes]]]

    def invocation(self, entry: tuple[bytes, list[bytes]]) -> FirstInvocation:
        """What one of them is to the function."""
        return FirstInvocation(self.topic, entry[0].decode(), entry[1], self.trigger)


class Cancel(msgspec.Struct, frozen=True, array_like=True, tag="cancel"):
    """Dispatcher → worker: the async function in this slot is past its timeout; cancel its task."""

    slot: int


class Stop(msgspec.Struct, frozen=True, array_like=True, tag="stop"):
    """Dispatcher → worker: end when nothing is running."""


class Ready(msgspec.Struct, frozen=True, array_like=True, tag="ready"):
    """Worker → dispatcher: the function is loaded and bound.

    `modules` are the project's own among what it imported, with their files.
    `unknown_exceptions` are the names in `give_up_on` that name no exception there, each with the nearest that does.
    `residue` is the first thing its import left that keeps other workers from being forked from it, in words. It, too,
    is only looked for where that is asked.
    """

    revision: str
    is_async: bool
    modules: dict[str, str]
    unknown_exceptions: dict[str, str | None] = {}
    residue: str = ""

    @property
    def files(self) -> list[str]:
        """The files of these modules, each once."""
        return sorted(set(self.modules.values()))


class Imported(msgspec.Struct, frozen=True, array_like=True, tag="imported"):
    """Worker → dispatcher: the function imported more of the project while it ran; `modules` are all of them now."""

    modules: dict[str, str]


class LoadFailed(msgspec.Struct, frozen=True, array_like=True, tag="load_failed"):
    """Worker → dispatcher: the function does not load; `message` is for people, `traceback` of user frames only."""

    message: str
    traceback: str = ""


class LoadedToo(msgspec.Struct, frozen=True, array_like=True, tag="loaded_too"):
    """Worker → dispatcher: how it went with each of the functions that were to be loaded beside its own."""

    answers: dict[str, Ready | LoadFailed]


class EmitData(msgspec.Struct, frozen=True, array_like=True):
    topic: str
    fields: list[bytes]


class SucceededReply(msgspec.Struct, frozen=True, array_like=True, tag="succeeded"):
    """Worker → dispatcher, before the slot's byte says REPLIED: the function returned and has something to report."""

    slot: int
    emits: list[EmitData]
    unemitted: bool


class Form(msgspec.Struct, frozen=True, array_like=True, tag="form"):
    """Worker → dispatcher, before the first emit of a frame that has it: forms are numbered from 0 as they come."""

    topic: str
    fields: tuple[bytes | None, ...]
    naming: Naming | None = None


class FormedReply(msgspec.Struct, frozen=True, array_like=True, tag="formed"):
    """Worker → dispatcher, before the byte: the function succeeded with one emit, of this form; these values are its
    own."""

    slot: int
    form: int
    own: Sequence[bytes]


class FailedReply(msgspec.Struct, frozen=True, array_like=True, tag="failed"):
    """Worker → dispatcher, before the byte. `retry_after_ms` is set for `evfn.Retry` with a time."""

    slot: int
    failure: Failure
    retry_after_ms: int | None


class RejectedReply(msgspec.Struct, frozen=True, array_like=True, tag="rejected"):
    """Worker → dispatcher, before the byte. `reason`: rejected, invalid_data, loop or too_large."""

    slot: int
    reason: str
    failure: Failure


class Output(msgspec.Struct, frozen=True, array_like=True, tag="output"):
    """Worker → dispatcher: one captured line of a running invocation; `stream` is stdout, stderr or log."""

    slot: int
    stream: str
    text: str


class FrameDone(msgspec.Struct, frozen=True, array_like=True, tag="frame_done"):
    """Worker → dispatcher: every slot of this frame has its final byte. `busy_ns` is the time spent in calls."""

    frame: int
    busy_ns: int


class Fork(msgspec.Struct, frozen=True, array_like=True, tag="fork"):
    """Dispatcher → template, with four descriptors attached: control socket, output pipe, ledger, stack.

    They come with the first byte of the frame: one sendmsg for each Fork. `also` are functions of the same module: it
    says of each whether it loads, and runs none of them.
    """

    worker: int
    config: "WorkerConfig"
    also: list[str] = []


class Pinned(msgspec.Struct, frozen=True, array_like=True):
    """The revision a worker has to load, whatever the disk holds by now: each module's file, each file's content."""

    revision: str
    modules: dict[str, str]
    contents: dict[str, bytes]


class WorkerConfig(msgspec.Struct, frozen=True, array_like=True):
    """All a worker must know to load its function and run it. `attempts` is the trigger's limit, for the function.

    Without `pinned` the function is loaded from the disk as it is. `traced` says that spans are made of its attempts.
    `give_up_on` are names to look for among the exceptions there, and with `inspected` it is looked for what keeps
    others from being forked from it; only `evfn check` takes the time for both. `kept`
    says that more workers are likely to follow: what the import made is worth keeping for them.
    """

    project: str
    project_dir: str
    functions_dir: str
    trigger: str
    function: str
    emits: list[str]
    data_modes: dict[str, str]
    concurrency: int
    timeout_ms: int
    slots: int
    env: dict[str, str]
    attempts: int = 1
    give_up_on: list[str] = []
    pinned: Pinned | None = None
    traced: bool = False
    kept: bool = False
    inspected: bool = False


class ForkAgain(msgspec.Struct, frozen=True, array_like=True, tag="fork_again"):
    """Dispatcher → template, with a Fork's descriptors attached: as the Fork before with a config of this `identity`
    and revision, whose worker a loaded template forked. Neither the config nor the code is sent once more."""

    worker: int
    identity: bytes
    revision: str


class Lacking(msgspec.Struct, frozen=True, array_like=True, tag="lacking"):
    """Template → dispatcher: no loaded template is left for that ForkAgain; a Fork, with everything, is needed."""

    worker: int


class Forget(msgspec.Struct, frozen=True, array_like=True, tag="forget"):
    """Dispatcher → template: this revision will not be asked for any more by a config of this `identity`."""

    identity: bytes
    revision: str


class ForkLoaded(msgspec.Struct, frozen=True, array_like=True, tag="fork_loaded"):
    """Template → loaded template, with a Fork's descriptors attached: fork your function once more."""

    worker: int


class Loaded(msgspec.Struct, frozen=True, array_like=True, tag="loaded"):
    """To the template: the process `pid` has become a loaded template of this revision, and yours to look after."""

    pid: int
    revision: str


class Forked(msgspec.Struct, frozen=True, array_like=True, tag="forked"):
    """Template → dispatcher (and loaded template → template), with the child's pidfd attached.

    `loaded` says to the dispatcher that a loaded template forked it, and may once more.
    """

    worker: int
    pid: int
    loaded: bool = False


class ForkFailed(msgspec.Struct, frozen=True, array_like=True, tag="fork_failed"):
    """Template → dispatcher: the system refused another process."""

    worker: int
    message: str


class Exited(msgspec.Struct, frozen=True, array_like=True, tag="exited"):
    """Template → dispatcher: the child was reaped; `status` is its exit code, or minus the signal that ended it."""

    worker: int
    status: int


ToWorker = Work | WorkEntries | Cancel | Stop
Reply = SucceededReply | FailedReply | RejectedReply
Record = Form | FormedReply | Reply
"""What stands in a frame's arena."""
FromWorker = Ready | LoadFailed | LoadedToo | Imported | Reply | Output | FrameDone
ToTemplate = Fork | ForkAgain | Forget
FromTemplate = Forked | ForkFailed | Lacking | Exited
WithinTemplates = ForkLoaded | Loaded
Message = ToWorker | FromWorker | ToTemplate | FromTemplate | WithinTemplates

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)
_record_decoder: msgspec.msgpack.Decoder[Record] = msgspec.msgpack.Decoder(Record)
pack = _encoder.encode
"""A message, or a record, as bytes."""
unpack_record = _record_decoder.decode
"""A record of which `pack` made these bytes. Raises ValueError for other bytes."""


def identity(config: WorkerConfig) -> bytes:
    """The same for all workers that differ in nothing but the revision they load."""
    return hashlib.blake2b(_encoder.encode(msgspec.structs.replace(config, pinned=None)), digest_size=16).digest()


def encode(message: Message) -> bytes:
    """One frame, ready to be written."""
    payload = _encoder.encode(message)
    return LENGTH.pack(len(payload)) + payload


class FrameReader:
    """Cuts a byte stream into messages. Feed it what arrives; a partial frame waits for its rest."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, chunk: bytes | memoryview) -> Iterator[Message]:
        """Every message completed by this chunk, in order. The chunk must stay as it is until the last is taken.

        Raises ValueError where the bytes cannot be a frame: the other side is broken and must be ended.
        """
        rest = self._rest
        if continued := bool(rest):
            rest += chunk
        # What begins and ends within a chunk, as most messages do, is decoded where it stands.
        view = memoryview(rest if continued else chunk)
        start = 0
        end = len(view)
        try:
            while end - start >= LENGTH.size:
                (length,) = LENGTH.unpack_from(view, start)
                if length > MAX_FRAME_BYTES:
                    raise ValueError(f"a frame of {length} bytes is longer than any message")
                begin = start + LENGTH.size
                if begin + length > end:
                    break
                start = begin + length
                # Kept nowhere here: whoever takes it decides how long a frame of events stays in memory.
                yield _decoder.decode(view[begin:start])
        finally:
            if continued:
                view.release()
                del rest[:start]
            else:
                rest += view[start:]
