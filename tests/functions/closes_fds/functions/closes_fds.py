import os


def handle(event):
    os.closerange(3, 65536)


def all_of_them(event):
    os.closerange(0, 65536)
