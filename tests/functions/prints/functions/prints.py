import os
import sys


def flood(event):
    line = "x" * 1023 + "\n"
    for _ in range(100 * 1024):
        sys.stdout.write(line)


def raw(event):
    os.write(1, b"raw bytes \xff\n")
    os.system("echo from a child process")


def odd(event):
    sys.stdout.buffer.write(b"caf\xc3\xa9 \xff\n")
    print("no end", end="")
    print("y" * 20000, file=sys.stderr)
    print("\ud800")


def frames(event):
    sys.stdout.buffer.write(b"\x00\x00\x00\x05hello\n")
