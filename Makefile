# Every target is a single command and needs no other: the first one sets up .venv by itself.
# Those that begin with _ are parts of another.
# PYTHON chooses the interpreter that .venv is made with:  make setup PYTHON=python3.12

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
BENCH  := .venv-bench
AIRFLOW := .venv-airflow
RUN    := var
SOAK   ?= 10m
TALLY  := $(VENV)/faults.jsonl

# Hundreds of processes of the tests would each compile the project anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup demo run build generate install-systemd clean \
        test test-crash test-crash-full test-faults soak test-system test-airflow \
        check _types bench bench-quick

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## make .venv with the project and its tools in it
	@echo '$(VENV) is ready. What there is: make help'

# pip first: the one that comes with Python 3.11 does not know --group.
define make_venv
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'assetstore needs Python 3.11 or newer, and $(PYTHON) is not: make $(or $(SETTING_UP),$(MAKECMDGOALS),setup) PYTHON=python3.11' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo '$(PYTHON) comes without venv: apt-get install python3-venv' >&2; exit 1; }
	@echo 'Setting up $(1) (once) ...'
	@test ! -e $(1)/.unfinished || rm -rf $(1)
	@mkdir -p $(1) && touch $(1)/.unfinished
	@$(PYTHON) -m venv $(1)
	@$(1)/bin/python -m pip install --quiet --upgrade pip
endef

# Where it was interrupted, pip itself may be in pieces: what is unfinished is made anew. And of two
# targets that are made at once in a fresh clone, the second one waits, and finds it made.
ifdef SETTING_UP
$(STAMP): pyproject.toml
	$(call make_venv,$(VENV))
	@$(BIN)/python -m pip install --quiet --editable '.[daemon,cli]' --group dev
	@touch $@
	@rm $(VENV)/.unfinished
else
$(STAMP): pyproject.toml
	@flock . $(MAKE) --no-print-directory --silent SETTING_UP='$(or $(MAKECMDGOALS),setup)' $@
endif

demo: $(STAMP) ## load real weather with four workers, kill some, prove that nothing is lost
	@$(BIN)/python -m examples.demo

run: $(STAMP) ## serve in the foreground from ./var with examples/manifest.json
	@mkdir -p $(RUN)
	@echo 'Serving from ./$(RUN); Ctrl-C stops it. Type next, in another terminal:'
	@echo '    ASSETSTORE_SOCKET=$(RUN)/assetstored.sock $(BIN)/assetstore status'
	@exec $(BIN)/assetstored --data-dir $(RUN)/data --socket $(RUN)/assetstored.sock --manifest examples/manifest.json

test: $(STAMP) ## all tests that need no root (under 5 minutes); says what it skips
	@echo 'In parts, three at a time; each is shown when it is done.'
	@$(MAKE) --no-print-directory --keep-going --jobs=3 --output-sync=target $(PARTS:%=_part-%)
	@$(MAKE) --no-print-directory _part-scale
	@echo 'All parts passed.'

check: $(STAMP) ## ruff, mypy and the unit tests (under 30 s): before every commit
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(MAKE) --no-print-directory --jobs=4 --output-sync=target _types $(UNITS:%=_part-%)

_types: $(STAMP)
	@$(BIN)/mypy

# More at a time than there are cores, for much of a test is waiting; the longest first, so that
# none is left over at the end. What no other part has is in "rest".
UNITS := unit-a-c unit-r-z unit-d-l unit-m-q
PARTS := crash faults integration-p-z integration-d-l integration-c integration-m-o integration-a-b rest $(UNITS)

SCALE := tests/integration/test_scale.py

PART_crash           := tests/crash
PART_faults          := tests/faults
PART_integration-a-b := tests/integration/test_[a-b]*.py
PART_integration-c   := tests/integration/test_c*.py
PART_integration-d-l := tests/integration/test_[d-l]*.py
PART_integration-m-o := tests/integration/test_[m-o]*.py
PART_integration-p-z := $(filter-out $(SCALE),$(wildcard tests/integration/test_[p-z]*.py))
# How long others wait is measured by itself, when the disk is not busy with other parts.
PART_scale           := $(SCALE)
PART_rest            := tests --ignore=tests/crash --ignore=tests/faults --ignore=tests/integration --ignore=tests/unit \
                        --ignore=tests/system --ignore=tests/airflow --ignore=tests/test_layers.py --ignore=tests/test_style.py

PART_unit-a-c := tests/unit/test_[a-c]*.py
PART_unit-d-l := tests/unit/test_[d-l]*.py tests/test_layers.py tests/test_style.py
PART_unit-m-q := tests/unit/test_[m-q]*.py
PART_unit-r-z := tests/unit/test_[r-z]*.py

_part-%: $(STAMP)
	@echo '== $*'
	@$(BIN)/pytest -q -rfEs $(PART_$*)

test-crash: $(STAMP) ## only the tests that kill the daemon under load
	@$(BIN)/pytest -q -rfEs -m crash

test-crash-full: $(STAMP) ## the same with 1,000 changes of each kind from 16 processes (5 minutes)
	@ASSETSTORE_FULL=1 $(BIN)/pytest -q -rfEs -m crash

test-faults: $(STAMP) ## every fault in full, counted in docs/reliability.md (under 20 minutes)
	@rm -f $(TALLY)
	@ASSETSTORE_FULL=1 ASSETSTORE_TALLY=$(TALLY) $(BIN)/pytest -q -rfEs tests/faults
	@$(BIN)/python scripts/reliability_tables.py $(TALLY)

soak: $(STAMP) ## a long run of everything at once; SOAK=1h says how long (10 minutes)
	@ASSETSTORE_SOAK=$(SOAK) $(BIN)/pytest -q -s -rfEs tests/faults/test_long_run.py

test-system: $(STAMP) ## install into a booted systemd and watch it work; needs root
	@$(BIN)/pytest -q -rfEs -m 'system or not system' tests/system

# Airflow pins much of what it needs; so it has an environment of its own, and our tests go there.
$(AIRFLOW)/.installed: pyproject.toml
	$(call make_venv,$(AIRFLOW))
	@$(AIRFLOW)/bin/python -m pip install --quiet --editable '.[daemon,cli,airflow]' --group test
	@touch $@
	@rm $(AIRFLOW)/.unfinished

test-airflow: $(AIRFLOW)/.installed ## against the real Airflow 3.3 from PyPI (under 6 minutes, installing included)
	@$(AIRFLOW)/bin/pytest -q -rfEs tests/airflow

generate: $(STAMP) ## write what is made from other files: the blocking client, docs/cli.md
	@$(BIN)/python scripts/unasync.py
	@$(BIN)/python scripts/cli_manual.py

# What is measured is what a user installs, not the checkout.
$(BENCH)/.made: pyproject.toml
	$(call make_venv,$(BENCH))
	@$(BENCH)/bin/python -m pip install --quiet '.[daemon,cli]' --group bench
	@touch $@
	@rm $(BENCH)/.unfinished

$(BENCH)/.installed: $(BENCH)/.made $(shell find lib daemon cli -name '*.py')
	@$(BENCH)/bin/python -m pip install --quiet --no-deps --force-reinstall .
	@touch $@

bench: $(BENCH)/.installed ## measure beside Redis and others (half an hour); BENCH_FLAGS="--help" says more
	@$(BENCH)/bin/python -m benchmarks --json benchmarks/results/latest.json $(BENCH_FLAGS)
	@$(BENCH)/bin/python -m benchmarks.scale >benchmarks/results/scale.md; \
	  code=$$?; cat benchmarks/results/scale.md; exit $$code

bench-quick: $(BENCH)/.installed ## the same in under 2 minutes, less exact
	@$(BENCH)/bin/python -m benchmarks --quick --json benchmarks/results/quick.json $(BENCH_FLAGS)

build: $(STAMP) ## sdist and wheel into dist/
	@$(BIN)/python -m build

install-systemd: ## units, users and default configuration; heeds DESTDIR, PREFIX, BINDIR
	@systemd/install.sh

clean: ## back to a fresh clone; leaves ./var alone, for it holds data
	@rm -rf $(VENV) $(BENCH) $(AIRFLOW) dist build .mypy_cache .ruff_cache .pytest_cache
	@find benchmarks/results -type f ! -name published.json -delete
	@find . -path ./$(RUN) -prune -o -name __pycache__ -type d -exec rm -rf {} +
