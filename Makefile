# What a developer does with this project, one word each. `make` alone lists them.
#
# Everything runs in .venv, made from requirements.lock with the hashes checked. Tools that are pinned
# there are called from there, so two machines agree on what "formatted" and "generated" mean.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules --no-print-directory

# The interpreter that makes .venv: 3.11 or newer.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
comma := ,
STAMP := $(VENV)/.ready
PROTOS := $(wildcard common/*/proto/*.proto)
# uv resolves the lock file and is needed for nothing else.
UV := $(or $(wildcard $(BIN)/uv),uv)

define HELP
make setup     create .venv from requirements.lock, with this project in it
make demo      set up, then run three nodes and show a membership change on them
make test      everything a change must pass: format, lint, types, tests
make coverage  run the library's tests and show what they cover; less than 95 % fails
make lint      format, lint and types only
make format    format the code
make proto     regenerate the code of the .proto files
make manual    write what is made from the code anew: manual pages, completions, schemas, asyncio calls
make lock      resolve requirements.lock anew from pyproject.toml (needs uv)
make wheel     build dist/*.whl
make clean     remove what the above leave behind, .venv excepted
make distclean remove .venv too
endef

.PHONY: help
help:
	@: $(info $(HELP))

# ---- environment ---------------------------------------------------------------------------------

.PHONY: setup
setup: $(STAMP) ;@:

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) and f"Python 3.11 or newer is needed, this is {v[0]}.{v[1]}: set PYTHON=")'
	@test -x $(BIN)/python || { echo "making $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

.PHONY: lock
lock:
	$(UV) pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --no-emit-find-links --no-header --all-extras --quiet pyproject.toml -o requirements.lock

# ---- use -----------------------------------------------------------------------------------------

.PHONY: demo
demo: setup
	@$(BIN)/raftctl demo $(ARGS)

# ---- checks --------------------------------------------------------------------------------------

.PHONY: test
test:
	@.ci/run $(ARGS)

CORE_TESTS := tests/unit/raft tests/conformance tests/paper tests/datadriven

.PHONY: coverage
coverage: setup
	@$(BIN)/python -m coverage run -m pytest -q $(CORE_TESTS) $(ARGS)
	@$(BIN)/python -m coverage report --show-missing --skip-covered --fail-under=95

.PHONY: lint
lint: setup
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy --no-error-summary

.PHONY: format
format: setup
	$(BIN)/ruff format --quiet .
	$(BIN)/ruff check --quiet --fix-only .

# ---- what takes long -----------------------------------------------------------------------------
#
# Offered only where it exists. ARGS goes to the program: `make sim ARGS="--seeds 1000"`. How long
# it takes has a word of its own: `make torture MINUTES=5`, `make fuzz SECONDS=30`.

define NEWLINE


endef

# $(call long,NAME,MODULE,WHAT IT DOES[,OPTIONS]): run `python -m MODULE OPTIONS`, if there is one.
define long
ifneq ($(wildcard $(subst .,/,$(2))/__main__.py $(subst .,/,$(2)).py),)
.PHONY: $(1)
$(1): setup
	@$$(BIN)/python -m $(2) $(4) $$(ARGS)
HELP += $$(NEWLINE)$(shell printf '%-14s' 'make $(1)') $(3)
endif
endef

$(eval $(call long,bench,tests.bench,measure throughput and latency$(comma) beside etcd where it is installed))
$(eval $(call long,volume,tests.bench.volume,send much data through a group and see that memory and disk stay small))
$(eval $(call long,sim,tests.simulation,search seeds of the simulator for violations: SEEDS=n))
$(eval $(call long,torture,tests.torture,kill$(comma) pause and cut real daemons and check what they promised,$$(MINUTES:%=--minutes %)))
$(eval $(call long,matrix,tests.daemon.matrix,kill each role at each step of a change of membership (20 min)))
$(eval $(call long,search,tests.search,take a change of membership through every order of events (15 min)))
$(eval $(call long,search-mutants,tests.search.mutants,break the rules of rollback one at a time and search for the harm))
$(eval $(call long,mutants,tests.mutants,plant known bugs and prove that the tests find them))
$(eval $(call long,mutation,tests.mutation,change the core at random and see which changes no test notices))
$(eval $(call long,fuzz,tests.fuzz,feed the decoders and the core with damaged bytes,$$(SECONDS:%=--seconds %)))

.PHONY: bench-quick
bench-quick: setup
	@$(BIN)/python -m tests.bench --quick $(ARGS)

# ---- generated and built -------------------------------------------------------------------------

.PHONY: proto
proto: setup
	cd common && ../$(BIN)/protoc -I . --python_out=. --pyi_out=. $(PROTOS:common/%=%)

.PHONY: manual
manual: setup
	$(BIN)/python -m tests.house.shipped
	$(BIN)/python -m tests.house.schemas
	$(BIN)/python -m tests.house.asynced

.PHONY: wheel
wheel: setup
	$(BIN)/python -m hatchling build -t wheel

.PHONY: clean
clean:
	rm -rf dist build htmlcov .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage .coverage.*
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

.PHONY: distclean
distclean: clean
	rm -rf $(VENV)
