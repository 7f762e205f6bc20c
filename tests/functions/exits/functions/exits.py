import os
import sys


def zero(event):
    sys.exit(0)


def text(event):
    sys.exit("over")


def hard(event):
    os._exit(0)


def interrupt(event):
    raise KeyboardInterrupt


async def in_task(event):
    sys.exit(3)


def second(event):
    if event.data == {"n": 2}:
        os._exit(5)
