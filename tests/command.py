"""One `evfn` command: the template carries it out in a process that it forks, with the arguments, standard streams,
folder and environment of this one, and this one ends as that does.

Started with -I and -S, which saves half its time, and with the descriptor of the way to the template.
"""

import os
import signal
import socket
import sys


def main() -> int:
    template = socket.socket(fileno=int(sys.argv[1]))
    ours, theirs = socket.socketpair()
    arguments = [os.fsencode(argument) for argument in sys.argv[2:]]
    environment = [part for pair in os.environb.items() for part in pair]
    folder = os.getcwdb()  # noqa: PTH109 - pathlib would take longer to import than all else here
    request = b"\0".join([folder, b"%d" % len(arguments), *arguments, *environment])
    socket.send_fds(template, [request], [0, 1, 2, theirs.fileno()])
    theirs.close()
    status = int(ours.recv(16))
    if status < 0:
        if -status != signal.SIGKILL:
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    return status


os._exit(main())
