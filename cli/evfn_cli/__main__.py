"""`python -m evfn_cli` is `evfn`."""

from evfn_cli.main import main

main()
