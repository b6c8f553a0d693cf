# Tollhouse needs python3 (3.11 or newer) with pip and venv, and make; nothing else. `make` alone lists what there is to do.
# Settings come from the environment or the command line: make run PORT=9000 DATA_DIR=/srv/tollhouse

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
unexport PYTHONDONTWRITEBYTECODE  # without compiled files each start would take seconds longer
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
LOCKED := install --no-deps --no-compile --require-hashes
EDITABLE := install --no-deps --no-build-isolation

# A plugin whose third parties cannot stand in the common lock has one of its own, requirements-<name>.lock, and is not installed
# until somebody asks: make install PLUGIN=<name>.
GROUPS := $(patsubst requirements-%.lock,%,$(filter-out requirements-dev.lock,$(wildcard requirements-*.lock)))
PLUGINS := $(patsubst %/pyproject.toml,%,$(wildcard plugins/*/*/pyproject.toml))
APART := $(filter $(foreach group,$(GROUPS),%/$(group)),$(PLUGINS))
MEMBERS := kernel $(filter-out $(APART),$(PLUGINS))

PROBLEM = $(shell command -v $(PYTHON) >/dev/null 2>&1 || { echo "$(PYTHON) is not installed: Tollhouse needs Python 3.11 or newer"; exit; }; \
  $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
    { echo "Tollhouse needs Python 3.11 or newer, $(PYTHON) is older: make $(MAKECMDGOALS) PYTHON=python3.12"; exit; }; \
  $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || echo "$(PYTHON) lacks venv or ensurepip: install python3-venv (Debian, Ubuntu)")

.PHONY: help run install test check mutate bench bench-growth docs lock clean

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

run: $(VENV)/.run ## Serve Tollhouse; the first time, set everything up (PORT, HOST, DATA_DIR, DATABASE_URL, PUBLIC_URL)
	@exec $(BIN)/tollhouse serve --prepare

install: $(VENV)/.run ## Install a plugin: PLUGIN=<its folder's name here, a path, or a package>
	$(if $(PLUGIN),,$(error PLUGIN is missing: make install PLUGIN=litellm, or a path, or the name of a package))
	@set -e; found=; \
	for member in $(PLUGINS); do if [ "$${member##*/}" = '$(PLUGIN)' ]; then found=$$member; fi; done; \
	if [ -n "$$found" ]; then \
	  if [ -f 'requirements-$(PLUGIN).lock' ]; then $(PIP) $(LOCKED) -r 'requirements-$(PLUGIN).lock'; fi; \
	  $(PIP) $(EDITABLE) -e "$$found"; \
	else \
	  $(PIP) freeze --exclude-editable > $(VENV)/installed.txt; \
	  if [ -d '$(PLUGIN)' ]; then $(PIP) install -c $(VENV)/installed.txt -e '$(PLUGIN)'; \
	  else $(PIP) install -c $(VENV)/installed.txt '$(PLUGIN)'; fi; \
	fi; \
	$(BIN)/tollhouse plugins list; \
	echo 'Installed. Switch it on by its name in that list: enabled = […] in plugins.toml; then start again.'

test: $(VENV)/.dev ## Run every test (ARGS="-k policy")
	$(BIN)/python -m pytest -q -n auto --dist worksteal $(ARGS)

check: $(VENV)/.dev ## Lint, format, types, import contracts, docs
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy kernel/tollhouse $(wildcard plugins/*/*/tollhouse_*)
	$(BIN)/lint-imports
	$(BIN)/python -m tollhouse.wiring.docs --check
	$(BIN)/python -m pytest -q tests/contracts/test_docs.py tests/contracts/test_words.py tests/contracts/test_size.py

mutate: $(VENV)/.dev ## Put 200 small mistakes into the kernel and see whether the tests notice (ARGS="--seed 7 --only usage")
	$(BIN)/python -m tests.mutation $(ARGS)

bench: $(VENV)/.dev ## Print the performance table
	$(BIN)/python benchmarks/run.py $(ARGS)

bench-growth: $(VENV)/.dev ## Print what reports, sums and checks cost at 10^5, 10^6 and 10^7 entries (ARGS="--rows 100000")
	$(BIN)/python benchmarks/growth.py $(ARGS)

docs: $(VENV)/.dev ## Write the generated pages of docs/reference
	$(BIN)/python -m tollhouse.wiring.docs

# One resolution for everything, so that each lock stands beside the others; then its parts. No index, no path is written down.
COMPILE = uv pip compile --quiet --universal --python-version 3.11 --no-header --no-annotate --no-emit-index-url --no-emit-package tollhouse
MANIFESTS = $(MEMBERS:%=%/pyproject.toml)
ALL := $(VENV)/all.lock

lock: ## Renew the locks (needs uv; ARGS=--upgrade for newer versions)
	$(if $(shell command -v uv),,$(error make lock needs uv: pip install uv))
	@mkdir -p $(VENV)
	@cat requirements*.lock 2>/dev/null | sed -n 's/^\([a-zA-Z0-9].*==[^\\]*\)\\*$$/\1/p' | sort -u > $(ALL)
	$(COMPILE) $(ARGS) $(MANIFESTS) $(APART:%=%/pyproject.toml) --group build --group test --group check -o $(ALL)
	$(COMPILE) --generate-hashes -c $(ALL) $(MANIFESTS) --group build -o requirements.lock
	$(COMPILE) --generate-hashes -c $(ALL) --group test --group check -o requirements-dev.lock
	$(foreach member,$(APART),$(COMPILE) --generate-hashes -c $(ALL) $(member)/pyproject.toml -o requirements-$(notdir $(member)).lock &&) true

clean: ## Remove caches and build output; the environment and the data stay
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
	find kernel plugins tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# The environment. Each step is repeated only when what it is made from has changed; nothing is ever removed from it.
$(VENV)/.made:
	$(if $(PROBLEM),$(error $(PROBLEM)))
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip >/dev/null
	@touch $@

$(VENV)/.run: requirements.lock $(MANIFESTS) | $(VENV)/.made
	@echo 'Installing what Tollhouse stands on …'
	@$(PIP) $(LOCKED) -r requirements.lock
	@$(PIP) $(EDITABLE) $(MEMBERS:%=-e %)
	@touch $@

$(VENV)/.dev: $(VENV)/.run requirements-dev.lock $(GROUPS:%=requirements-%.lock) $(APART:%=%/pyproject.toml) tests/peers/package-lock.json
	@echo 'Installing what the tests and checks need …'
	@$(PIP) $(LOCKED) -r requirements-dev.lock
	@$(foreach member,$(APART),$(PIP) $(LOCKED) -r requirements-$(notdir $(member)).lock && $(PIP) $(EDITABLE) -e $(member) &&) true
	@if command -v npm >/dev/null; then cd tests/peers && npm ci --silent --no-audit --no-fund; \
	else echo 'npm is not installed: tests that talk to servers on Node.js will be skipped'; fi
	@touch $@
