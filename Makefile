# pagewalk's words: make demo | test | lint | bench | conform | docs | build | run | clean. Each sets up what it needs in .venv.
# PYTHON=/path/to/python3.12 chooses the interpreter that .venv is made with.

VENV := .venv
PY := $(VENV)/bin/python
SOURCES := $(shell find src -name '*.py') setup.py pyproject.toml
RUN ?= /bin/ls -l /
JOBS ?= 2
ARGS ?=
OPS ?= 100000

.DELETE_ON_ERROR:
.PHONY: all build compiled demo run test quick lint format bench reclaim conform docs clean help

all: build

help:
	@sed -n '1,2s/^# //p' Makefile

# What pyproject.toml lists under the keys $(1), for pip.
requirements = $(PY) -c "import functools, sys, tomllib; \
    print(*functools.reduce(dict.get, sys.argv[1:], tomllib.load(open('pyproject.toml', 'rb'))), sep='\n')" $(1)
pip_install = $(PY) -m pip install -qq --disable-pip-version-check

# An interpreter of 3.11 or later, in a virtual environment.
$(PY):
	@.ci/venv $(VENV) $(PYTHON)

# What pagewalk is built with and runs on. Its own code comes later: an edit of a source asks pip about nothing.
$(VENV)/.depends: pyproject.toml | $(PY)
	@echo "installing what pagewalk needs into $(VENV)"
	@($(call requirements,build-system requires); $(call requirements,project dependencies)) > $(VENV)/depends.txt
	@$(pip_install) -r $(VENV)/depends.txt
	@touch $@

$(VENV)/.dev: $(VENV)/.depends
	@$(call requirements,project optional-dependencies dev) > $(VENV)/dev.txt
	@$(pip_install) -r $(VENV)/dev.txt
	@touch $@

# The package, compiled, in .venv.
$(VENV)/.installed: $(VENV)/.depends $(SOURCES) README.md
	@echo "building pagewalk (a minute or two the first time)"
	@flock $(VENV) $(pip_install) --no-build-isolation --no-deps --force-reinstall .
	@touch $@

build: $(VENV)/.installed

# The package, compiled, as build/lib: for PYTHONPATH=build/lib with any Python of the same version.
compiled: $(VENV)/.depends
	@flock $(VENV) env PAGEWALK_COMPILE=1 $(PY) setup.py --quiet build --build-lib build/lib

demo run: build
	$(VENV)/bin/pagewalk run -- $(RUN)

test: build $(VENV)/.dev
	$(PY) -m pytest -n $(JOBS) $(ARGS) tests
	PAGEWALK_INTERPRETED=1 $(PY) -m pytest -n $(JOBS) -q -m quick tests

# The developers' loop: no build, sources as they are.
quick: $(VENV)/.dev
	PYTHONPATH=src $(PY) -m pytest -n $(JOBS) -q -m "not slow and not linux" $(ARGS) tests

lint: $(VENV)/.dev
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy --strict src/pagewalk

format: $(VENV)/.dev
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

# The model against the running kernel: make conform OPS=1000000
conform: build
	$(VENV)/bin/pagewalk conform --ops $(OPS) --jobs $(JOBS) --programs tests/linux/programs $(ARGS)

# The patterns of bench/uml on a real kernel and in the model; needs Debian's user-mode-linux.
reclaim: build
	$(PY) -m bench.uml $(ARGS)
	$(PY) -m bench.uml.groups

# What the benchmark measures beside: a peer that cannot be installed is left out, and the table says so.
$(VENV)/.bench: $(VENV)/.depends
	@$(call requirements,project optional-dependencies bench) > $(VENV)/bench.txt
	@$(pip_install) -r $(VENV)/bench.txt || echo "bench: not all peers could be installed"
	@touch $@

bench: build $(VENV)/.bench
	$(PY) -m bench $(ARGS)

# docs/differences.md collects the Mirrors: and Differs: lines of the kernel rooms.
docs: $(VENV)/.depends
	PYTHONPATH=src $(PY) docs/collect.py

clean:
	rm -rf $(VENV) build dist src/*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find src tests bench -name __pycache__ -prune -exec rm -rf {} +
