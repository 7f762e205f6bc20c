"""Where the command begins: until it can say goodbye itself, Ctrl-C ends it without a word, as it ends any process."""

import signal
from typing import NoReturn


def entry() -> NoReturn:
    """The console script."""
    # Python's own handler would show where the imports stood.
    ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if ours:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from evfn_cli.main import main

    if ours:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    main()
