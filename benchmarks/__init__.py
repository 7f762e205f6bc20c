"""How fast evfn is, beside a hand-written loop and beside others: `make bench` runs all of it and writes the report."""
