import evfn


def handle(event):
    try:
        lookup({})
    except KeyError as error:
        raise ValueError("no phone") from error


def lookup(entries):
    return entries["phone"]


def retry(event):
    raise evfn.Retry("busy", after=30)


def reject(event):
    raise evfn.Reject("not ours")


class Broken(Exception):
    def __str__(self):
        raise RuntimeError("no text")


def broken_str(event):
    raise Broken


def group(event):
    raise ExceptionGroup("two", [ValueError("a"), KeyError("b")])


def not_json(event):
    return {"a": [1, 2, 3, {4}]}


def wrong_topic(event, context):
    context.emit("elsewhere", {})


class Base(BaseException):
    pass


def base(event):
    raise Base("below Exception")


def surrogate(event):
    raise ValueError("\ud800")


def chain(event):
    error = None
    for number in range(1000):
        new = ValueError(str(number))
        new.__cause__ = error
        error = new
    error.__cause__.__cause__.__cause__ = error
    raise error
