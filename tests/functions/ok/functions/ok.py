def handle(event):
    return None


def echo(event):
    return event.data


def count(event, context):
    print(f"attempt {context.attempt} of {context.attempts}")
    context.log.info("logged %s", event.data)


def emit(event, context):
    context.emit("out.a", {"n": 1}, subject="s")
    context.emit("out.b", [1, 2])
    return {"last": True}


def where(event):
    import os
    import sys

    print(os.getcwd(), os.environ.get("GREETING"), sys.path[0], sorted(os.environ))


def stdin(event):
    try:
        input()
    except EOFError:
        print("no input")
    breakpoint()


def client(event):
    import evfn

    try:
        evfn.Client("redis://localhost:1")
    except evfn.UsageError as error:
        print(error)


def tells(event):
    """As the data say: waits, prints, fails, or returns them."""
    import time

    if event.data.get("waits"):
        time.sleep(3600)
    if event.data.get("prints"):
        print(event.data["prints"])
    if event.data.get("fails"):
        raise ValueError(event.data["fails"])
    return event.data
