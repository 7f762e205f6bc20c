import ctypes


def handle(event):
    ctypes.string_at(0)
