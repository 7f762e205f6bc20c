"""Which argument each parameter gets."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Optional, TypedDict

import msgspec
import pytest
from pydantic import BaseModel

from evfn import Context, Event
from evfn.errors import InvalidData, LoadError
from evfn.functions.binding import bind
from evfn.trigger import DataMode
from evfn.workers.protocol import Invocation

if TYPE_CHECKING:
    from evfn import Event as OnlyForTypeCheckers  # noqa: F401 - named in a string below

CONTEXT = Context(attempt=2)
BODY = b'{"celsius": "31.5"}'


@dataclass
class Reading:
    celsius: float


class Spot(TypedDict):
    celsius: float


class Model(BaseModel):
    celsius: float


class Struct(msgspec.Struct):
    celsius: float


def call(function: Callable[..., Any], body: bytes = BODY, mode: DataMode = DataMode.AUTO) -> Any:
    """What the function returns when it is called as bound; most return their arguments."""
    invocation = Invocation(0, "readings", "1-0", 2, "inv", [b"data", body])
    return bind(function).call(invocation, mode, CONTEXT)


def kinds(function: Callable[..., Any]) -> str:
    """The kinds of the arguments: e for the event, c for the context, d for its data."""
    names = {Event: "e", Context: "c", dict: "d"}
    return "".join(names[type(argument)] for argument in call(function))


def test_the_documented_shapes() -> None:
    """Each signature of the documentation gets what it says."""
    assert kinds(lambda event: [event]) == "e"
    assert kinds(lambda event, context: [event, context]) == "ec"
    assert kinds(lambda context, event: [context, event]) == "ce"
    assert kinds(lambda ctx: [ctx]) == "c"
    assert kinds(lambda anything: [anything]) == "e"
    assert kinds(lambda anything, other: [anything, other]) == "ec"
    assert kinds(lambda *, event, context: [event, context]) == "ec"
    assert kinds(lambda *args: args) == "e"
    assert call(lambda: "nothing") == "nothing"


def test_annotations_decide_over_names() -> None:
    """An annotated Event or Context is that, whatever its name; any other annotation asks for data."""

    def swapped(event: Context, context: Event) -> list[object]:
        return [event, context]

    def data(event: dict[str, Any], context) -> list[object]:  # type: ignore[no-untyped-def]  # as users write
        return [event, context]

    assert kinds(swapped) == "ce"
    assert kinds(data) == "dc"


def test_wrapped_annotations_are_seen_through() -> None:
    """Optional, Annotated and a union with None still name Event and Context."""

    def optional(a: Optional[Event], b: Annotated[Context, "x"], c: "Event | None") -> list[object]:  # noqa: UP045
        return [a, b, c]

    assert kinds(optional) == "ece"


def test_strings_that_cannot_be_evaluated_count_where_they_name_event_or_context() -> None:
    """An import under TYPE_CHECKING is not there at run time; the name alone has to do."""

    def hidden(a: "nowhere.Event", b: "Context | None", c: "Optional[missing.Context]") -> list[object]:  # type: ignore[name-defined]  # noqa: F821, UP045
        return [a, b, c]

    assert kinds(hidden) == "ecc"

    def unknown(reading: "Missing") -> None:  # type: ignore[name-defined]  # noqa: F821
        """Asks for what is nowhere defined."""

    with pytest.raises(LoadError, match=r"annotation of 'reading' cannot be evaluated: Missing \(NameError"):
        bind(unknown)


def test_an_own_class_called_event_is_data() -> None:
    """A name that can be evaluated is what it is."""
    namespace: dict[str, Any] = {}
    source = "class Event(dict): pass\ndef own(thing: 'Event'): return type(thing)"
    exec(source, namespace)  # noqa: S102 - a module of its own
    with pytest.raises(LoadError, match="'thing' is annotated Event"):
        bind(namespace["own"])


def test_what_has_a_default_is_left_alone() -> None:
    """A default means that evfn need not pass anything."""

    def defaults(event: Event, limit: int = 3, *, unit="C") -> list[object]:  # type: ignore[no-untyped-def]  # as users write
        return [event, limit, unit]

    assert call(defaults)[1:] == [3, "C"]


def test_context_after_a_default_is_passed_by_name() -> None:
    """The context is found by its name wherever it stands."""

    def late(event, limit=3, context=None):  # type: ignore[no-untyped-def]  # as users write
        return [event, limit, context]

    assert call(late)[1:] == [3, CONTEXT]


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (lambda event, context, more: None, "more"),
        (lambda event, context, *, more: None, "more"),
        (lambda a, b, c: None, "c"),
    ],
)
def test_a_parameter_for_which_there_is_nothing_is_an_error(function: Callable[..., Any], name: str) -> None:
    """The message names the parameter and lists what may be asked for."""
    with pytest.raises(LoadError, match=rf"nothing is passed for the parameter '{name}'.*event.*data.*context"):
        bind(function)


def test_data_can_be_asked_for_once() -> None:
    """Two annotated parameters would both be the data."""

    def two(a: int, b: int) -> None:
        """Asks for data twice."""

    with pytest.raises(LoadError, match="parameter 'b'"):
        bind(two)


def test_event_and_data_come_together_in_any_order() -> None:
    """Who wants the data validated and an attribute of the event writes both down, and the context too."""

    def event_first(event: Event, reading: dict[str, Any]) -> list[object]:
        return [event, reading]

    def data_first(reading: dict[str, Any], event) -> list[object]:  # type: ignore[no-untyped-def]  # as users write
        return [reading, event]

    def by_keyword(event, *, reading: dict[str, Any], context) -> list[object]:  # type: ignore[no-untyped-def]  # as users write
        return [event, reading, context]

    def all_three(event, reading: dict[str, Any], anything) -> list[object]:  # type: ignore[no-untyped-def]  # as users write
        return [event, reading, anything]

    assert kinds(event_first) == "ed"
    assert kinds(data_first) == "de"
    assert kinds(by_keyword) == "edc"
    assert kinds(all_three) == "edc"


@pytest.mark.parametrize(
    ("annotation", "body", "expected"),
    [
        (Reading, BODY, Reading(31.5)),
        (Spot, BODY, {"celsius": 31.5}),
        (Model, BODY, Model(celsius=31.5)),
        (Struct, BODY, Struct(31.5)),
        (list[Spot], b'[{"celsius": 1}]', [{"celsius": 1.0}]),
        (list[int], b'[1, "2"]', [1, 2]),
        (dict, BODY, {"celsius": "31.5"}),
        (dict[str, float], BODY, {"celsius": 31.5}),
        (list, b"[1]", [1]),
        (float, b"31.5", 31.5),
        (int, b"007", 7),
        (bool, b"true", True),
        (str, b"007", "007"),
        (str, BODY, BODY.decode()),
        (bytes, BODY, BODY),
        (bytes, b"\xff", b"\xff"),
        (Any, b"007", "007"),
        (object, BODY, {"celsius": "31.5"}),
        (int | None, b"[", None),
    ],
)
def test_data_come_as_annotated(annotation: Any, body: bytes, expected: object) -> None:
    """Every type of the documentation, laxly: text that reads as a number fits a number."""
    function = annotated(annotation)
    if expected is None:
        with pytest.raises(InvalidData):
            call(function, body)
    else:
        found = call(function, body)
        assert (type(found), found) == (type(expected), expected)


def annotated(annotation: Any) -> Callable[..., Any]:
    """A function of one parameter with this annotation, returning it."""

    def function(value):  # type: ignore[no-untyped-def]  # annotated below
        return value

    function.__annotations__["value"] = annotation
    return function


def test_the_annotation_decides_over_the_topics_rule() -> None:
    """A typed parameter is read from JSON though the topic says text."""
    assert call(annotated(Reading), mode=DataMode.TEXT) == Reading(31.5)
    assert call(annotated(bytes), b"x", mode=DataMode.JSON) == b"x"
    assert call(annotated(str), b'"x"', mode=DataMode.JSON) == "x"


@pytest.mark.parametrize(
    ("annotation", "body", "reason"),
    [
        (Reading, b'{"celsius": "warm"}', r"\$\.celsius: .*number.*\(got 'warm'\)"),
        (Reading, b"{}", r"\$\.celsius: Field required"),
        (list[int], b'[1, {"a": 1}, "x"]', r"\$\[1\]: .*\(got an object\); \$\[2\]: "),
        (list[int], b"[" + b'"x",' * 20 + b"1]", "and 15 more"),
        (Spot, b'{"celsius": "warm"}', r"\$\.celsius: expected `float`"),
        (dict, b"[1]", r"\$ should be an object, not a list"),
        (dict, b"hello", r"\$ should be an object, not text"),
        (list, b"{}", r"\$ should be a list, not an object"),
        (str, b"\xff", "not text: no UTF-8 at byte 0"),
        (int, b"\xff", r"\$: "),
    ],
)
def test_data_that_do_not_fit_name_the_place(annotation: Any, body: bytes, reason: str) -> None:
    """InvalidData says where and what was found."""
    with pytest.raises(InvalidData, match=reason):
        call(annotated(annotation), body)


def test_a_type_that_data_cannot_have_is_an_error_at_loading() -> None:
    """What can never be validated is said before any event comes."""
    with pytest.raises(LoadError, match=r"'value' is annotated .*Thread, which is no type that data can have"):
        bind(annotated(__import__("threading").Thread))


def test_callables_of_every_kind() -> None:
    """Partials, methods, instances with __call__ and wrapped functions are bound by what they really take."""

    class Handler:
        def __call__(self, event: Event, context: Context) -> list[object]:
            return [event, context]

        def method(self, context: Context) -> list[object]:
            return [context]

    def configured(limit: int, event: Event) -> list[object]:
        return [event]

    def plain(event: Event) -> list[object]:
        return [event]

    @functools.wraps(plain)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return plain(*args, **kwargs)

    assert kinds(Handler()) == "ec"
    assert kinds(Handler().method) == "c"
    assert kinds(functools.partial(configured, 3)) == "e"
    assert kinds(wrapper) == "e"
    with pytest.raises(LoadError, match="signature of this callable cannot be read"):
        bind(min)


def test_async_is_seen_through_partials_and_instances() -> None:
    """Only what the function itself tells; a plain function that returns a coroutine is not known to be async."""

    async def coroutine(event: Event) -> None:
        """A coroutine function."""

    async def generator(event: Event) -> Any:
        yield 1

    class Instance:
        async def __call__(self, event: Event) -> None:
            """An asynchronous instance."""

    def hidden(event: Event) -> object:
        return coroutine(event)

    for function in (coroutine, generator, functools.partial(coroutine), Instance()):
        assert bind(function).is_async
    assert not bind(hidden).is_async
    assert not bind(lambda event: event).is_async


def test_context_is_only_wanted_where_it_is_asked_for() -> None:
    """Making one costs time that most functions need not pay."""
    assert bind(lambda event, context: None).wants_context
    assert not bind(lambda event: None).wants_context
