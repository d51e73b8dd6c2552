# Everything starts from a plain Python 3.11 or newer; each target installs what it needs into .venv, once.
#
#   make demo       diagnose the network that ships with the package, write the report to runs/demo
#   make test       the quick tests          make test-slow   the long ones
#   make lint       style, types, arrows     make bench       the benchmarks, JSON into build/bench
#   make docs       the site, into site/     make lock        lock the dependencies again
#   make dist       wheel and sdist, into dist/, and the demo from the wheel in an empty environment
#   make verdict    plant errors, measure them, fit the combiner of `whywrong verdict`, write its page (hours)
#   make models     train the shipped networks again, plant the shipped mistakes, draw the contact sheets of the docs
#
# Nothing is fetched but the locked packages, checked by hash. The files under requirements/ name versions and hashes
# and no host: pip and uv ask whichever index the machine is set up for.
#   requirements/uv.txt       uv itself, and what builds the package   (from requirements/uv.in)
#   requirements/run.txt      what `whywrong` needs to run             (from pyproject.toml)
#   requirements/dev.txt      run.txt, all extras, tests, docs, lint   (from pyproject.toml)
#   requirements/oracles.txt  adv-lib, an oracle in tests, without its dependencies: visdom does not build, and the
#                             attacks do not need it                   (from requirements/oracles.in)
# `make lock` rewrites them and keeps every version that still fits; `make lock UPGRADE=--upgrade` takes new ones.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.PHONY: demo test test-slow lint bench docs dist models verdict lock clean

VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv
INSTALL := $(UV) pip install --quiet --python $(BIN)/python
# The first of these that runs and is new enough; `make PYTHON=...` chooses another.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python3.14; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
LOCK = $(UV) pip compile --universal --python-version 3.11 --generate-hashes --no-header --quiet $(UPGRADE)

demo: $(VENV)/.run
	$(BIN)/whywrong demo --out runs/demo

test: $(VENV)/.dev
	$(BIN)/pytest --numprocesses auto --maxprocesses 4

test-slow: $(VENV)/.dev
	$(BIN)/pytest -m slow --timeout 3600

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

bench: $(VENV)/.dev
	mkdir -p build/bench
	for script in benchmarks/*.py; do \
		echo "$$script" >&2; $(BIN)/python "$$script" > "build/bench/$$(basename "$$script" .py).json"; done

docs: $(VENV)/.dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

dist: $(UV)
	rm -rf dist build/empty build/demo
	$(BIN)/python -m hatchling build -d dist
	$(UV) venv --quiet --python $(BIN)/python build/empty
	$(UV) pip install --quiet --python build/empty/bin/python --require-hashes -r requirements/run.txt
	$(UV) pip install --quiet --python build/empty/bin/python --no-deps dist/*.whl
	cd build && empty/bin/whywrong demo --out demo --progress none

models: $(VENV)/.dev
	$(BIN)/python -m whywrong.planting.shipped --sheets docs/images

# Tables of other nets that are in build/verdict are used as well; `python -m whywrong.planting.verdicts.tables` makes one.
verdict: $(patsubst %,build/verdict/%.npz,cnn cnn-robust vit)
	$(BIN)/python -m whywrong.planting.verdicts.train build/verdict --figures build/verdict/figures.json \
		--out src/whywrong/verdicts/combiner/shipped.npz --card docs/methods/verdict_card.md

# The helper is a net that neither trains nor tests.
build/verdict/%.npz: $(VENV)/.dev
	mkdir -p build/verdict
	$(BIN)/python -m whywrong.planting.verdicts.tables planted:$* planted:test --out $@ --net $* \
		--family $(if $(filter cnn%,$*),planted_cnn,planted_$*) --helper planted:cnn-spurious \
		--surrogate planted:$(if $(filter vit,$*),cnn,vit) --images planted:test --licence 'drawn by whywrong'

lock: $(UV)
	$(LOCK) requirements/uv.in -o requirements/uv.txt > /dev/null
	$(LOCK) pyproject.toml --all-extras --group dev -o requirements/dev.txt > /dev/null
	$(LOCK) pyproject.toml -c requirements/dev.txt -o requirements/run.txt > /dev/null
	$(LOCK) --no-deps requirements/oracles.in -o requirements/oracles.txt > /dev/null

clean:
	rm -rf $(VENV) build dist site runs

# Stamps: a second `make` finds them newer than the lock files and installs nothing.

$(UV): requirements/uv.txt
	@test -n "$(PYTHON)" || { echo "make: Python 3.11 or newer is needed and was not found" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	touch $(UV)

$(VENV)/.run: $(UV) requirements/run.txt pyproject.toml
	$(INSTALL) --require-hashes -r requirements/run.txt
	$(INSTALL) --no-deps --no-build-isolation --editable .
	touch $@

$(VENV)/.dev: $(UV) requirements/dev.txt requirements/oracles.txt pyproject.toml
	$(INSTALL) --require-hashes --compile-bytecode -r requirements/dev.txt  # the tests start many processes
	$(INSTALL) --require-hashes --no-deps --no-build-isolation -r requirements/oracles.txt
	$(INSTALL) --no-deps --no-build-isolation --editable .
	touch $@ $(VENV)/.run
