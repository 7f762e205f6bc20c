"""`python -m evfn_cli` is `evfn`."""

from evfn_cli.entry import entry

entry()
