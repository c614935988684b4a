# `make` lists the targets. Everything is installed into .venv and nothing outside it, except that
# `make test` fetches a browser, node, an SSH server, Redis, RabbitMQ, Java and Maven through apt when it runs as
# root and they are absent.

PYTHON ?= python3
BIN := .venv/bin
SOURCES := app.py engine workers webapp cli connectors bench deploy tests docs/examples

MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.PHONY: help run test lint format soak bench clean

help: ## Show this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1|\2/p' Makefile | column -t -s '|'

run: .venv/.run ## Serve on http://127.0.0.1:2200
	@exec $(BIN)/headrace up

test: .venv/.dev ## Install what the tests need, then check style, types and behaviour
	@.ci/tools
	@$(MAKE) lint
	-@$(BIN)/python -m deploy.local.search
	@$(BIN)/pytest -n 2 --dist worksteal

lint: .venv/.dev ## Check style and types only
	@$(BIN)/ruff check --quiet $(SOURCES)
	@$(BIN)/ruff format --check --quiet $(SOURCES)
	@$(BIN)/mypy --no-error-summary

format: .venv/.dev ## Rewrite the sources in the project's style
	@$(BIN)/ruff check --fix --quiet $(SOURCES)
	@$(BIN)/ruff format --quiet $(SOURCES)

soak: .venv/.dev ## Run the long failure tests
	@$(BIN)/pytest -m soak --timeout 0

bench: .venv/.dev ## Measure executions per second, CPU time and memory
	@$(BIN)/python -m bench.run
	@$(BIN)/python -m bench.flood

clean: ## Remove .venv and caches; the data folder stays
	@rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps: installing is skipped until pyproject.toml changes.
.venv/.run: pyproject.toml .ci/install
	@PYTHON=$(PYTHON) .ci/install ""
	@touch $@

.venv/.dev: pyproject.toml .ci/install
	@PYTHON=$(PYTHON) .ci/install "[dev]"
	@touch $@ .venv/.run
