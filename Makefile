# make setup | demo | test | check | docs | clean. Each target does its own set-up; only python3, make and git are taken for granted.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
# Where this is set, every command would compile torch's sources anew: half a minute each time.
unexport PYTHONDONTWRITEBYTECODE

PYTHON ?= python3
# uv from the PATH, else a private copy in .uv/ (a virtual environment of its own, never the system's packages).
UV := $(shell command -v uv 2>/dev/null || echo .uv/bin/uv)
RUN = $(UV) run --frozen
DEMO_DIR ?= outputs/demo
DEMO_SEED ?= 0
CHECKPOINT ?= $(DEMO_DIR)/train/detector.safetensors

.PHONY: help setup demo web test test-slow test-browser check docs clean

help: ## what this Makefile can do
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

.uv/bin/uv:
	$(PYTHON) -m venv .uv
	.uv/bin/python -m pip install --quiet --disable-pip-version-check uv

setup: $(filter .uv/bin/uv,$(UV)) ## install everything into .venv, as uv.lock says
	$(UV) sync --frozen

demo: setup ## the whole chain on drawn videos: preprocess, train, evaluate, predict (about 3 minutes on 2 cores; DEMO_SEED=1: other people)
	$(RUN) python -m dfd.data.demo $(DEMO_DIR) --seed $(DEMO_SEED)
	$(RUN) python -m dfd.preprocess manifest=$(DEMO_DIR)/videos/manifest.csv store=$(DEMO_DIR)/store
	rm -rf $(DEMO_DIR)/train
	$(RUN) python train.py experiment=demo seed=$(DEMO_SEED) data.store=$(DEMO_DIR)/store hydra.run.dir=$(DEMO_DIR)/train
	$(RUN) python -m dfd.evaluate checkpoint=$(DEMO_DIR)/train/detector.safetensors data.store=$(DEMO_DIR)/store output=$(DEMO_DIR)/evaluation
	$(RUN) python predict.py checkpoint=$(DEMO_DIR)/train/detector.safetensors input=$(DEMO_DIR)/inbox output=$(DEMO_DIR)/predictions overwrite=true
	@echo
	@echo "The demonstration is done. It was drawn by dfd itself and says nothing about real deepfakes."
	@echo "  the report:  $(DEMO_DIR)/predictions/report.html"
	@echo "  predictions: $(DEMO_DIR)/predictions/predictions.csv"
	@echo "  figures:     $(DEMO_DIR)/evaluation/*.png"
	@echo "  your turn:   README.md, 'Your own videos'"

web: setup ## the page to upload videos to, at http://127.0.0.1:8000/ (CHECKPOINT=FILE; without it the demonstration's)
	test -f $(CHECKPOINT) || $(MAKE) demo
	$(RUN) python -m dfd.web checkpoint=$(CHECKPOINT)

test: setup ## every test that needs no GPU, no download and no browser
	$(RUN) pytest -n auto

test-slow: setup ## the slow tests too
	$(RUN) pytest -m 'not gpu and not weights and not browser'

test-browser: setup ## the web page in a real browser; needs chromium (Debian: apt-get install chromium)
	$(RUN) pytest -m browser tests/web

check: setup ## lint, format and types
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy

docs: setup ## the documentation as a site, in site/ (a minute or two)
	NO_MKDOCS_2_WARNING=1 $(RUN) mkdocs build --quiet
	@echo "the site is site/index.html"

clean: ## remove the demonstration and the caches; your own runs and the environment stay
	rm -rf $(DEMO_DIR) .pytest_cache .mypy_cache .ruff_cache
