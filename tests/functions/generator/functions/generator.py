import evfn


def three(event):
    yield {"n": 1}
    yield None
    yield evfn.Event({"n": 2}, type="second", topic="out.b")
    yield {"n": 3}


def fails_late(event):
    yield {"n": 1}
    raise ValueError("after the first")


def endless(event):
    while True:
        yield 1
