"""Events: what a function gets and what it may return, as stream fields, as CloudEvents JSON and as Python values."""

from evfn.event.entry import Entry, decode, encode
from evfn.event.event import HOPS, TRACE, Event
from evfn.event.json_data import dump, parse
from evfn.event.json_format import from_json, to_json
from evfn.event.subject import Subject

__all__ = [
    "HOPS",
    "TRACE",
    "Entry",
    "Event",
    "Subject",
    "decode",
    "dump",
    "encode",
    "from_json",
    "parse",
    "to_json",
]
