"""The quick way to typed data: it gives what pydantic gives, or leaves it to pydantic."""

import json
from dataclasses import InitVar, dataclass, field
from typing import Annotated, Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from evfn.functions.exact_data import exact_reader


@dataclass
class Place:
    name: str
    height: float | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    station: Place
    celsius: float
    count: int = 1
    good: bool = True
    tags: list[str] = field(default_factory=list)
    more: dict[str, int] = field(default_factory=dict)


@dataclass(kw_only=True)
class Tree:
    value: int
    below: "list[Tree]" = field(default_factory=list)


EXACT = [int, float, str, bool, list[int], dict[str, float], int | None, Place, Reading, Tree, list[Reading]]
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.sampled_from(["1", "2.5", "true"])
)
NAMES = st.sampled_from(
    ["station", "celsius", "count", "good", "tags", "more", "name", "height", "value", "below", "x"]
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=6),
    max_leaves=12,
)
STATIONS = st.fixed_dictionaries({"name": SCALARS}, optional={"height": SCALARS, "x": SCALARS})
READINGS = st.fixed_dictionaries(
    {"station": STATIONS, "celsius": SCALARS},
    optional={"count": SCALARS, "good": SCALARS, "tags": VALUES, "more": VALUES, "x": VALUES},
)


@pytest.mark.parametrize("annotation", EXACT, ids=str)
@settings(max_examples=60, deadline=None)
@given(value=VALUES | READINGS | STATIONS)
def test_what_fits_exactly_is_what_pydantic_makes_of_it(annotation: Any, value: object) -> None:
    """A type that is read the quick way gives the same value, of the same types, whenever it gives one."""
    body = json.dumps(value).encode()
    read = exact_reader(annotation)
    assert read is not None
    try:
        found = read(body)
    except ValueError:
        return
    wanted = TypeAdapter(annotation).validate_python(json.loads(body))
    assert (type(found), repr(found)) == (type(wanted), repr(wanted))


class Model(BaseModel):
    celsius: float


@dataclass
class Checked:
    celsius: float

    def __post_init__(self) -> None:
        if self.celsius < -273.15:
            raise ValueError("too cold")


@dataclass
class Bounded:
    celsius: Annotated[float, Field(gt=0)]


@dataclass
class BoundedByDefault:
    celsius: float = Field(default=1, gt=0)


@dataclass
class Configured:
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")
    celsius: float


@dataclass
class Initial:
    celsius: float
    fahrenheit: InitVar[bool] = False


@dataclass
class Computed:
    celsius: float
    kelvin: float = field(init=False, default=0)


@dataclass
class Watched:
    celsius: float

    def __setattr__(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)


@dataclass
class Below(Checked):
    pass


@dataclass
class Around:
    inner: Checked


@pytest.mark.parametrize(
    "annotation",
    [
        Model, Checked, Bounded, BoundedByDefault, Configured, Initial, Computed, Watched, Below, Around,
        list[Checked], Checked | None, int | str, tuple[int, ...], bytes, Any, "Nothing", Annotated[int, Field(gt=0)],
    ],
    ids=str,
)  # fmt: skip
def test_what_may_mean_more_is_left_to_pydantic(annotation: Any) -> None:
    """Validators, constraints, configuration and whatever happens when an object is made are never passed by."""
    assert exact_reader(annotation) is None
