# Every target sets up what it needs, on a fresh machine too: Python 3.11 or newer is all it takes.
#
#   PYTHON=python3.13 make test    another Python for the virtual environment
#   ARGS='-k retry' make test      arguments for pytest
#   WORKERS=0 make test            one test after the other, in one process
#   STEM_TEST_INSTALL=0 make test  never install a RabbitMQ, where no other can be found

PYTHON ?= python3
ARGS ?=
# Tests mostly wait, so two processes take little more than half the time, also on two cores. Those of
# one file stay together, for they share brokers that they stop, fill and kill.
WORKERS ?= 2
VENV := .venv
BIN := $(VENV)/bin
TEST := $(VENV)/.installed-test
DEV := $(VENV)/.installed-dev
DOCS := $(VENV)/.installed-docs
BENCH := .build/bench

export STEM_TEST_INSTALL ?= 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help test demo examples docs docs-serve package bench faults soak lint format types schema \
	check-schema graph clean python-venv

help: ## Show this help
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

test: $(TEST) ## Run the test suite; finds or starts a RabbitMQ by itself
	$(BIN)/pytest -n $(WORKERS) --dist loadfile $(ARGS)

demo: $(TEST) ## Show the framework at work on a RabbitMQ
	$(BIN)/stem-amqp demo

examples: $(TEST) ## Run every example and compare its output
	$(BIN)/pytest tests/integration/test_examples.py $(ARGS)

package: $(TEST) ## Build the package, and use it from a clean environment of every Python found
	$(BIN)/python tests/package/check.py $(ARGS)

docs: $(DOCS) ## Build the documentation into .build/site; a warning is an error
	$(BIN)/sphinx-build --fail-on-warning --keep-going --fresh-env --quiet \
		--conf-dir docs/site --doctree-dir .build/doctrees . .build/site

docs-serve: docs ## Build the documentation and serve it on http://localhost:8000
	$(BIN)/python -m http.server --bind localhost --directory .build/site 8000

bench: $(BENCH)/.installed ## Measure stem-amqp and its peers; see docs/benchmarks.md
	PYTHONPATH=tests/benchmarks $(BENCH)/bin/python -m bench $(ARGS)

faults: $(TEST) ## Break brokers, networks and workers, and print what became of every task
	$(BIN)/pytest tests/faults -m account $(ARGS)

soak: $(TEST) ## Break a private RabbitMQ and its clients at random: MINUTES=30 SEED=
	PYTHONPATH=tests $(BIN)/python -m faults.harness.soak $(or $(MINUTES),5) $(SEED)

lint: $(DEV) ## Check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(DEV) ## Put style and formatting right
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(DEV) ## Check the types with mypy and pyright
	$(BIN)/mypy
	PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright --pythonpath $(BIN)/python

schema: $(TEST) ## Write the JSON Schema of the topology file
	$(BIN)/stem-amqp topology schema > $(VENV)/schema.json
	mv $(VENV)/schema.json topology/schema.json

check-schema: $(TEST) ## Fail if topology/schema.json is not up to date
	@$(BIN)/stem-amqp topology schema > $(VENV)/schema.json
	@diff -u topology/schema.json $(VENV)/schema.json \
		|| { echo "topology/schema.json is out of date: run 'make schema' and commit it" >&2; exit 1; }

graph: $(TEST) ## Draw the default topology into docs/topology.svg
	env -u STEM_NAMESPACE $(BIN)/stem-amqp topology graph topology/default.yaml \
		--format svg --output docs/topology.svg

clean: ## Remove everything that make and the tools have made
	rm -rf $(VENV) .build dist .mypy_cache .ruff_cache .pytest_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps make the second run fast; a change of the dependencies makes them old.
$(TEST) $(DEV) $(DOCS): $(VENV)/.installed-%: pyproject.toml | $(BIN)/pip
	$(BIN)/python -m pip install --quiet 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --editable . --group $*
	@touch $@

# The peers live apart from what the tests see.
$(BENCH)/.installed: pyproject.toml | $(BIN)/pip
	$(PYTHON) -m venv $(BENCH)
	$(BENCH)/bin/python -m pip install --quiet 'pip>=25.1'
	$(BENCH)/bin/python -m pip install --quiet --editable '.[uvloop,redis,postgres]' --group bench
	@touch $@

$(BIN)/pip:
	@command -v $(PYTHON) >/dev/null \
		|| { echo "'$(PYTHON)' is not installed: stem-amqp needs Python 3.11 or newer" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "$$($(PYTHON) --version) is too old: stem-amqp needs Python 3.11 or newer;" \
			"name one with 'make PYTHON=/path/to/python3 ...'" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || $(MAKE) --no-print-directory python-venv
	$(PYTHON) -m venv $(VENV)

# Debian keeps the venv module in a package of its own.
python-venv:
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && [ "$(STEM_TEST_INSTALL)" = 1 ]; then \
		echo "installing Debian's python3-venv package"; \
		apt-get -qq update && DEBIAN_FRONTEND=noninteractive \
			apt-get -qq -y --no-install-recommends install python3-venv >/dev/null; \
	else \
		echo "$(PYTHON) cannot make virtual environments;" \
			"on Debian and Ubuntu: sudo apt-get install python3-venv" >&2; \
		exit 1; \
	fi
