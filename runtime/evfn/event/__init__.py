"""Events: what a function gets and what it may return, as stream fields, as CloudEvents JSON and as Python values."""

from evfn.event.entry import Entry, decode, encode, json_body
from evfn.event.event import HOPS, Event
from evfn.event.json_data import dump, parse
from evfn.event.json_format import from_json, to_json
from evfn.event.subject import Subject
from evfn.event.trace import TRACED, Cause, cause_of, followed, new_trace, trace_of

__all__ = [
    "HOPS",
    "TRACED",
    "Cause",
    "Entry",
    "Event",
    "Subject",
    "cause_of",
    "decode",
    "dump",
    "encode",
    "followed",
    "from_json",
    "json_body",
    "new_trace",
    "parse",
    "to_json",
    "trace_of",
]
