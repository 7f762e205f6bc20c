# Everything here makes its own .venv from constraints.txt first; nothing needs root or a Redis server.

PYTHON ?= python3
BIN := .venv/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# The stamp carries the interpreter's version, so that another PYTHON gets another .venv.
VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
STAMP := .venv/.ready-$(VERSION)

.DEFAULT_GOAL := help
.PHONY: help demo test test-acl coverage chaos bench bench-quick check format

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo "  make PYTHON=python3.12 …  chooses the interpreter, 3.11 or newer (now: $(PYTHON) $(VERSION))"

demo: $(STAMP) ## 8,759 real readings through the example project, then a table of what happened
	@$(BIN)/python demo.py

# Most of a test's time is waiting for processes that wait as well, so three at once leave two cores room.
PYTEST := pytest -n 3 --dist loadgroup
test: $(STAMP) ## every test, on real servers and real processes
	@$(BIN)/python -m $(PYTEST)

# What a test kills could not write its data file to the end. Such a file is counted as errored, and is no news.
coverage: $(STAMP) ## every test again, a quarter slower, and what they cover in all processes
	@$(BIN)/coverage erase
	@status=0; $(BIN)/coverage run -m $(PYTEST) || status=$$?; \
	$(BIN)/python -W "ignore:Couldn't use data file" -m coverage combine && rm -f .coverage.* && \
	$(BIN)/coverage report --skip-covered --skip-empty; exit $$status

test-acl: $(STAMP) ## what asks something of a server once more, as the users that evfn generate acl makes
	EVFN_TEST_ACL=instance $(BIN)/python -m pytest -q -n 2 tests/integration
	EVFN_TEST_ACL=producer $(BIN)/python -m pytest -q -n 2 tests/integration/test_client.py tests/integration/test_broker_publish.py

SECONDS ?= 60
SEED ?=
chaos: $(STAMP) ## a storm of SECONDS=60 over three instances (JOBS=1: over jobs): kills, stalls, partitions, outages; then the verdict
	@cd tests && ../$(BIN)/python -m chaos.storm --seconds $(SECONDS) $(if $(SEED),--seed $(SEED)) $(if $(JOBS),--jobs)

# ONLY='throughput producers' measures these sections alone, and the others keep their figures.
bench: $(STAMP) ## every benchmark, 20 minutes on an idle machine (ONLY='NAME …': these sections); writes docs/performance.md
	@$(BIN)/python -m benchmarks $(if $(ONLY),--only $(ONLY))

bench-quick: $(STAMP) ## a part of the benchmarks in two minutes, compared with the recorded ratios; fails where one fell by 25 %
	@$(BIN)/python -m benchmarks --quick

check: $(STAMP) ## format, lint, types, import contracts; changes nothing
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: $(STAMP) ## format and mend what can be mended
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

$(STAMP): constraints.txt pyproject.toml
	@case '$(VERSION)' in \
	  '') echo "make: there is no Python interpreter '$(PYTHON)'; choose one with make PYTHON=python3.12" >&2; exit 1;; \
	  2.*|3.[0-9]|3.10) echo "make: evfn needs Python 3.11 or newer, and $(PYTHON) is $(VERSION);" \
	    "choose one with make PYTHON=python3.12" >&2; exit 1;; \
	esac
	@rm -f .venv/.ready-*
	@$(BIN)/python -c 'import sys; sys.exit("%d.%d" % sys.version_info[:2] != "$(VERSION)")' 2>/dev/null \
	  || $(PYTHON) -m venv --clear .venv
	@# The build backend comes from the constraints as well, so the build is told not to fetch one of its own.
	$(BIN)/python -m pip install -q -c constraints.txt hatchling editables
	$(BIN)/python -m pip install -q -c constraints.txt --no-build-isolation -e '.[dev]'
	@touch $@
