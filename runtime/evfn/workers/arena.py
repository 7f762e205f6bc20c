"""What a worker has to say of the events of one frame, in shared memory: no system call an event, and it survives."""

import mmap
import struct

_LENGTH = struct.Struct("<I")
_SIZE = _LENGTH.size
_NONE = bytes(_SIZE)
BYTES = 256 * 1024
"""Of one frame. What does not fit goes over the control socket."""


class Arena:
    """Records one after the other, each behind its length; a length of 0 ends them.

    The worker writes a record's length last, and the event's byte after it: a byte that says REPLIED has its record
    before it, whenever the worker dies.
    """

    def __init__(self, memory: mmap.mmap, begin: int) -> None:
        self._memory = memory
        self._begin = begin
        self._end = begin + BYTES
        self._at = begin

    def clear(self) -> None:
        """Nothing is said yet. Done by the dispatcher before the frame is handed over."""
        self._at = self._begin
        _LENGTH.pack_into(self._memory, self._begin, 0)

    def add(self, record: bytes) -> bool:
        """Say this; False where there is no room for it."""
        at = self._at
        begin = at + _SIZE
        following = begin + len(record)
        if following + _SIZE > self._end:
            return False
        self._memory[begin : following + _SIZE] = record + _NONE
        _LENGTH.pack_into(self._memory, at, len(record))
        self._at = following
        return True

    def read(self) -> list[bytes]:
        """What was said since the last reading. Raises ValueError where something else has written over it."""
        memory, end, at, length_at = self._memory, self._end, self._at, _LENGTH.unpack_from
        records: list[bytes] = []
        while length := length_at(memory, at)[0]:
            begin = at + _SIZE
            at = begin + length
            if at + _SIZE > end:
                raise ValueError(f"a record of {length} bytes where {end - begin} are left")
            records.append(memory[begin:at])
        self._at = at
        return records
