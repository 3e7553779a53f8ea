# Every target sets up what it needs, on a fresh machine too. Only Python 3.11 or newer is required.
#
#   PYTHON=python3.13 make test    use another Python for the virtual environment
#   ARGS='-k retry' make test      arguments for pytest
#   WORKERS=0 make test            run one test after the other, in one process
#   STEM_TEST_INSTALL=0 make test  never install a RabbitMQ, even if none is found

PYTHON ?= python3
ARGS ?=
# Tests mostly wait, so three processes are faster than two, even on two cores. Tests of one file run in one
# process, since they share brokers that they stop, fill and kill. Tests that
# need much of the shared broker wait for each other; see tests/broker_slots.py.
# The files run in their order, with the short ones of the documentation last: pytest-xdist would begin with the
# files of many tests, and the slow tests that break servers are in files of few.
WORKERS ?= 3
VENV := .venv
BIN := $(VENV)/bin
TEST := $(VENV)/.installed-test
DEV := $(VENV)/.installed-dev
DOCS := $(VENV)/.installed-docs
BENCH := .build/bench
TOOLS := .build/tools
SHIPPED := .build/shipped
FLOORS := .build/floors
IN_MEMORY := -m in_memory tests/unit tests/contract tests/integration tests/fuzz

export STEM_TEST_INSTALL ?= 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# The tests start hundreds of Python processes: each would compile the whole package again.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help test memory floors pythons demo examples docs docs-serve package dist sbom audit bench \
	faults soak lint format types schema check-schema clean python-venv

help: ## Show this help
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

test: $(TEST) ## Run the test suite; starts or finds a RabbitMQ
	$(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

memory: $(TEST) ## Run the tests that need no RabbitMQ, Redis or PostgreSQL
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(IN_MEMORY) $(ARGS)

pythons: $(TOOLS)/.installed ## Run those tests with every installed Python from 3.11 on, and name the missing ones
	WORKERS=$(WORKERS) $(PYTHON) tests/package/pythons.py $(ARGS)

floors: $(FLOORS)/.installed ## Run those tests with the oldest allowed dependencies
	$(FLOORS)/bin/python -m pytest -n $(WORKERS) --dist loadfile $(IN_MEMORY) $(ARGS)

demo: $(TEST) ## Run the demo on a RabbitMQ
	$(BIN)/stem-amqp demo

examples: $(TEST) ## Run every example and compare its output
	$(BIN)/pytest tests/integration/test_examples.py $(ARGS)

package: $(TEST) ## Build the package, and use it in a clean environment of every installed Python
	$(BIN)/python tests/package/check.py $(ARGS)

docs: $(DOCS) ## Build the documentation into .build/site; a warning is an error
	$(BIN)/sphinx-build --fail-on-warning --keep-going --fresh-env --quiet \
		--conf-dir docs/site --doctree-dir .build/doctrees . .build/site

docs-serve: docs ## Build the documentation and serve it on http://localhost:8000
	$(BIN)/python -m http.server --bind localhost --directory .build/site 8000

dist: $(TOOLS)/.installed ## Build the sdist and the wheel into dist/
	rm -rf dist
	$(TOOLS)/bin/uv build --quiet --out-dir dist

sbom: $(SHIPPED)/.installed $(TOOLS)/.installed ## Write the bill of materials with all extras, in CycloneDX format
	$(TOOLS)/bin/cyclonedx-py environment $(SHIPPED)/bin/python --pyproject pyproject.toml \
		--output-reproducible --output-format JSON --output-file .build/sbom.cdx.json

audit: $(SHIPPED)/.installed $(TOOLS)/.installed ## Check all dependencies, with all extras, for known vulnerabilities
	$(TOOLS)/bin/pip-audit --path $(SHIPPED)/lib/python3.*/site-packages --progress-spinner off $(ARGS)

bench: $(BENCH)/.installed ## Measure stem-amqp and its peers; see docs/benchmarks.md
	PYTHONPATH=tests/benchmarks $(BENCH)/bin/python -m bench $(ARGS)

faults: $(TEST) ## Break brokers, networks and workers, and print the outcome of every task
	$(BIN)/pytest tests/faults -m account $(ARGS)

soak: $(TEST) ## Break a private RabbitMQ and its clients at random: MINUTES=30 SEED=
	PYTHONPATH=tests $(BIN)/python -m faults.harness.soak $(or $(MINUTES),5) $(SEED)

lint: $(DEV) ## Check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(DEV) ## Fix style and formatting
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

clean: ## Remove everything that make and the tools have created
	rm -rf $(VENV) .build dist .mypy_cache .ruff_cache .pytest_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp file skips the installation until pyproject.toml changes.
$(TEST) $(DEV) $(DOCS): $(VENV)/.installed-%: pyproject.toml | $(BIN)/pip
	$(BIN)/python -m pip install --quiet 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --editable . --group $*
	@touch $@

# The peers have their own environment, separate from that of the tests.
$(BENCH)/.installed: pyproject.toml | $(BIN)/pip
	$(PYTHON) -m venv $(BENCH)
	$(BENCH)/bin/python -m pip install --quiet 'pip>=25.1'
	$(BENCH)/bin/python -m pip install --quiet --editable '.[uvloop,redis,postgres]' --group bench
	@touch $@

# The lowest release of each direct dependency and of all extras, with their newest dependencies. Of wrapt,
# opentelemetry-instrumentation of that time supports only the older releases.
$(FLOORS)/.installed: pyproject.toml $(TOOLS)/.installed
	$(PYTHON) -m venv --clear $(FLOORS)
	printf 'wrapt<2\n' > $(FLOORS)/constraints.txt
	$(TOOLS)/bin/uv pip compile --quiet --resolution lowest-direct --all-extras \
		--constraints $(FLOORS)/constraints.txt \
		--python $(FLOORS)/bin/python pyproject.toml > $(FLOORS)/requirements.txt
	$(TOOLS)/bin/uv pip install --quiet --python $(FLOORS)/bin/python --editable . --group test \
		--requirements $(FLOORS)/requirements.txt
	@touch $@

# The dependencies that users install, without those for tests.
$(SHIPPED)/.installed: pyproject.toml $(TOOLS)/.installed
	$(PYTHON) -m venv --clear --without-pip $(SHIPPED)
	$(TOOLS)/bin/uv pip install --quiet --python $(SHIPPED)/bin/python --all-extras \
		--requirements pyproject.toml
	$(TOOLS)/bin/uv pip install --quiet --python $(SHIPPED)/bin/python --no-deps .
	@touch $@

$(TOOLS)/.installed: pyproject.toml | $(BIN)/pip
	$(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/python -m pip install --quiet 'pip>=25.1'
	$(TOOLS)/bin/python -m pip install --quiet --group tools
	@touch $@

$(BIN)/pip:
	@command -v $(PYTHON) >/dev/null \
		|| { echo "'$(PYTHON)' is not installed: stem-amqp needs Python 3.11 or newer" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "$$($(PYTHON) --version) is too old: stem-amqp needs Python 3.11 or newer;" \
			"name one with 'make PYTHON=/path/to/python3 ...'" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || $(MAKE) --no-print-directory python-venv
	$(PYTHON) -m venv $(VENV)

# On Debian the venv module is in a separate package.
python-venv:
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && [ "$(STEM_TEST_INSTALL)" = 1 ]; then \
		echo "installing Debian's python3-venv package"; \
		apt-get -qq update && DEBIAN_FRONTEND=noninteractive \
			apt-get -qq -y --no-install-recommends install python3-venv >/dev/null; \
	else \
		echo "$(PYTHON) cannot create virtual environments;" \
			"on Debian and Ubuntu: sudo apt-get install python3-venv" >&2; \
		exit 1; \
	fi
