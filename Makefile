# Everything that is typed on a fresh machine. A second call is quick: a stamp is redone only when pyproject.toml changes.
#
#   make align                    align the quickstart model; its last line says where the report is
#   make align RECIPE=... ARGS="sl.rank=32"
#   make test  ARGS="-k tokenizer"
#   make help                     the rest

SHELL  := /bin/bash
VENV   ?= .venv
PARITY ?= .venv-parity
RECIPE ?= recipes/quickstart.yaml
ARGS   ?=
BENCH  ?= peers
BIN     = $(VENV)/bin
# The version that the reference values were made with.
TORCH   = torch==2.13.0
INSTALL = -m pip install -qq --disable-pip-version-check

.PHONY: help align install test slow parity lint types bench clean

help:
	@printf '%s\n' 'make align    align the quickstart model (RECIPE=..., ARGS="key=value ...")' \
	  'make test     default and real tests (ARGS="-k name")' 'make slow     tests that take minutes' \
	  'make parity   tests against torch, transformers, peft and llama.cpp' 'make lint     ruff' \
	  'make types    mypy' 'make bench    speed beside TRL, transformers and llama.cpp (BENCH=name of another file of benchmarks/)' \
	  'make clean    remove the environments'

align: $(VENV)/ready
	@$(BIN)/solon align $(RECIPE) $(ARGS)

install: $(VENV)/ready

# Two processes, whole files to each; ARGS="-n 0 --pdb" runs them in one.
test: $(VENV)/ready-test
	@$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

# Exit status 5 says that no test is marked so, which is no failure.
slow: $(VENV)/ready-test
	@$(BIN)/python -m pytest -n 2 --dist loadfile -m 'slow and not parity and not gpu' $(ARGS) || [ $$? -eq 5 ]

parity: $(PARITY)/ready
	@$(PARITY)/bin/python -m pytest -m 'parity and not gpu' $(ARGS)

lint: $(VENV)/ready-test
	@$(BIN)/ruff check .

types: $(VENV)/ready-test
	@$(BIN)/mypy

# Solon and its peers run in one environment, so that both see the same libraries.
bench: $(PARITY)/ready-bench
	@$(PARITY)/bin/python benchmarks/$(BENCH).py $(ARGS)

clean:
	rm -rf $(VENV) $(PARITY)

# A Python of 3.11 or newer that can make environments; PYTHON=/path/to/python chooses another.
define find_python
	found=; for name in $(PYTHON) python3.12 python3.13 python3.11 python3 python python3.14; do \
	  if "$$name" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
	    found="$$name"; break; fi; done; \
	if [ -z "$$found" ]; then \
	  echo "Solon needs Python 3.11 or newer with the venv module, and none was found." >&2; \
	  echo "  got:   $$(python3 --version 2>/dev/null || echo none at all)" >&2; \
	  echo "  to do: install one (on Debian: apt-get install python3 python3-venv), or call make PYTHON=/path/to/python" >&2; \
	  exit 2; fi
endef

# The stamp comes last, so an environment whose making was stopped half-way is made anew.
$(VENV)/made $(PARITY)/made:
	@$(find_python); echo "making $(@D) with $$("$$found" --version)"; "$$found" -m venv --clear $(@D)
	@touch $@

$(VENV)/ready: pyproject.toml | $(VENV)/made
	@echo "installing solon (once; about two minutes)"
	@$(BIN)/python $(INSTALL) -e .
	@touch $@

$(VENV)/ready-test: $(VENV)/ready
	@echo "installing what the tests need (once)"
	@$(BIN)/python $(INSTALL) -e '.[test]'
	@touch $@

# torch first and alone, so that nothing else chooses which build of it comes.
$(PARITY)/ready: pyproject.toml | $(PARITY)/made
	@echo "installing the reference libraries (once; some minutes)"
	@$(PARITY)/bin/python $(INSTALL) $(TORCH)
	@$(PARITY)/bin/python $(INSTALL) -e '.[parity]'
	@touch $@

$(PARITY)/ready-bench: $(PARITY)/ready
	@echo "installing what the benchmarks compare with (once)"
	@$(PARITY)/bin/python $(INSTALL) -e '.[parity,bench]'
	@touch $@
