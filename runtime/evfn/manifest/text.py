"""The manifest's text and the places in it."""

import re
from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property

MAX_BYTES = 2**20
"""How large a manifest may be."""

_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ufffe\uffff]")
_LINE_END = re.compile(r"\r\n|\n|\r")


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A line and a column, both counted from 1; columns count characters."""

    line: int = 1
    column: int = 1

    def render(self, label: str) -> str:
        """The place as editors want it, `triggers.yaml:12:5`; `label` is how the file is called."""
        return f"{label}:{self.line}:{self.column}"


class TextError(ValueError):
    """The bytes are no text that a manifest can be. `place` says where it was noticed."""

    def __init__(self, place: Place, message: str) -> None:
        super().__init__(message)
        self.place = place
        self.message = message


@dataclass(frozen=True)
class Text:
    """What the file says, without a byte order mark."""

    content: str

    @classmethod
    def decode(cls, raw: bytes) -> "Text":
        """Read a file's bytes. Raises TextError with the offset of the byte at fault."""
        if len(raw) > MAX_BYTES:
            raise TextError(Place(), f"the file has more than {MAX_BYTES} bytes; a manifest has at most 1 MiB")
        for mark, name in ((b"\xff\xfe", "UTF-16"), (b"\xfe\xff", "UTF-16")):
            if raw.startswith(mark):
                raise TextError(Place(), f"the file is {name} (byte 0x{mark[0]:02X} at offset 0); save it as UTF-8")
        bom = 3 if raw.startswith(b"\xef\xbb\xbf") else 0
        try:
            content = raw[bom:].decode("utf-8")
        except UnicodeDecodeError as error:
            before = cls(raw[bom : bom + error.start].decode("utf-8"))
            at = bom + error.start
            raise TextError(
                before.place(len(before.content)),
                f"byte 0x{raw[at]:02X} at offset {at} is not UTF-8; save the file as UTF-8",
            ) from None
        text = cls(content)
        control = _CONTROL.search(content)
        if control is not None:
            at = bom + len(content[: control.start()].encode())
            what = "a NUL byte" if control[0] == "\0" else f"the control character U+{ord(control[0]):04X}"
            hint = "; is this UTF-16? Save the file as UTF-8" if control[0] == "\0" else "; take it out"
            raise TextError(text.place(control.start()), f"{what} at offset {at}{hint}")
        return text

    @cached_property
    def _starts(self) -> list[int]:
        return [0, *(match.end() for match in _LINE_END.finditer(self.content))]

    @property
    def lines(self) -> int:
        """How many lines there are; behind a last line end there is an empty one."""
        return len(self._starts)

    def place(self, index: int) -> Place:
        """The place of the character at `index`."""
        line = bisect_right(self._starts, index)
        return Place(line, index - self._starts[line - 1] + 1)

    def index(self, place: Place) -> int:
        """The inverse of `place`."""
        return self._starts[place.line - 1] + place.column - 1

    def line(self, number: int) -> str:
        """The text of a line, counted from 1, without its end."""
        end = self._starts[number] if number < len(self._starts) else len(self.content)
        return self.content[self._starts[number - 1] : end].rstrip("\r\n")

    def offset(self, index: int) -> int:
        """The offset in bytes, from the start of the text, of the character at `index`."""
        return len(self.content[:index].encode())
