# pagewalk's words: make demo | test | lint | bench | docs | build | run | clean. Each sets up what it needs in .venv.
# PYTHON=/path/to/python3.12 chooses the interpreter that .venv is made with.

VENV := .venv
PY := $(VENV)/bin/python
SOURCES := $(shell find src -name '*.py') setup.py pyproject.toml
RUN ?= /bin/ls -l /
JOBS ?= 2
ARGS ?=

.DELETE_ON_ERROR:
.PHONY: all build compiled demo run test quick lint format bench docs clean help

all: build

help:
	@sed -n '1,2s/^# //p' Makefile

# An interpreter of 3.11 or later that can make virtual environments, with the build's own requirements in it.
$(VENV)/.made: pyproject.toml
	@.ci/venv $(VENV) $(PYTHON)
	@$(PY) -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['build-system']['requires'], sep='\n')" \
	    > $(VENV)/build-requires.txt
	@$(PY) -m pip install --quiet -r $(VENV)/build-requires.txt
	@touch $@

# What pagewalk runs on; its own code comes next, so an edit of a source does not ask pip about anything.
$(VENV)/.depends: $(VENV)/.made
	@$(PY) -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" \
	    > $(VENV)/depends.txt
	@$(PY) -m pip install --quiet -r $(VENV)/depends.txt
	@touch $@

$(VENV)/.dev: $(VENV)/.depends
	@$(PY) -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['optional-dependencies']['dev'], sep='\n')" \
	    > $(VENV)/dev.txt
	@$(PY) -m pip install --quiet -r $(VENV)/dev.txt
	@touch $@

# The package, compiled, in .venv.
$(VENV)/.installed: $(VENV)/.depends $(SOURCES) README.md
	@echo "building pagewalk (a minute or two the first time)"
	@$(PY) -m pip install --quiet --no-build-isolation --no-deps --force-reinstall .
	@touch $@

build: $(VENV)/.installed

# The package, compiled, as build/lib: for PYTHONPATH=build/lib with any Python of the same version.
compiled: $(VENV)/.made
	@PAGEWALK_COMPILE=1 $(PY) setup.py --quiet build --build-lib build/lib

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

bench: build
	$(PY) -m bench $(ARGS)

# docs/differences.md collects the Mirrors: and Differs: lines of the kernel rooms.
docs: $(VENV)/.depends
	PYTHONPATH=src $(PY) docs/collect.py

clean:
	rm -rf $(VENV) build dist src/*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find src tests bench -name __pycache__ -prune -exec rm -rf {} +
