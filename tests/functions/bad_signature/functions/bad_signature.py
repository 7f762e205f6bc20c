import functools


def two_data(a: int, b: int):
    pass


def three(event, context, more):
    pass


def unknown(event: "Missing"):
    pass


LIMIT = 3


class Handler:
    pass
