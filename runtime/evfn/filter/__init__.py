"""A trigger's condition on events, written in CEL, the Common Expression Language."""

from evfn.filter.condition import Filter
from evfn.filter.errors import FilterError, FilterSyntaxError
from evfn.filter.explanation import one_line
from evfn.filter.lookup import Subject

__all__ = ["Filter", "FilterError", "FilterSyntaxError", "Subject", "one_line"]
