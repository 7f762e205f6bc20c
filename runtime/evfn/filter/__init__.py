"""A trigger's condition on events, written in CEL, the Common Expression Language."""

from evfn.filter.condition import Filter, Subject
from evfn.filter.errors import FilterError, FilterSyntaxError

__all__ = ["Filter", "FilterError", "FilterSyntaxError", "Subject"]
