# One virtual environment, made once; `make help` lists the targets.
PYTHON ?= python3.11
PIP_FLAGS = -q --disable-pip-version-check
SERVE = .venv/.serve
ALL = .venv/.all

.PHONY: help venv venv-all test test-fast lint clean

help:            ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/ -/'

$(SERVE): pyproject.toml
	@test -x .venv/bin/python || $(PYTHON) -m venv .venv || python3 -m venv .venv
	.venv/bin/pip install $(PIP_FLAGS) -e '.[cpu,demo,console]'
	@touch $@

.venv/.dev: $(SERVE)
	.venv/bin/pip install $(PIP_FLAGS) -e '.[dev]'
	@touch $@

$(ALL): .venv/.dev
	.venv/bin/pip install $(PIP_FLAGS) -e '.[train]'
	@touch $@

venv: $(SERVE)       ## what serving, the demo and the console need
venv-all: $(ALL)     ## the same, plus training and development

lint: .venv/.dev     ## formatter, linter, types, import rules
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports

test-fast: .venv/.dev  ## no services, under two minutes
	.venv/bin/pytest -q -m "not services" $(ARGS)

test: lint           ## everything, with a real Kafka and a real Elasticsearch
	.venv/bin/pytest -q $(ARGS)

clean:               ## removes the environment and caches
	rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache
