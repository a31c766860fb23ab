# One virtual environment, made once; `make help` lists the targets.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
PIP_FLAGS = -q --disable-pip-version-check
SERVE = .venv/.serve
ALL = .venv/.all

.PHONY: help demo venv venv-all test test-fast lint chaos bench services-up services-down clean

help:            ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/ -/'

$(SERVE): pyproject.toml constraints.txt
	@test -x .venv/bin/python || $(PYTHON) -m venv .venv
	@echo "installing the serving environment (no torch) ..." >&2
	@.venv/bin/pip install $(PIP_FLAGS) -c constraints.txt -e '.[cpu,demo,console]' >&2
	@touch $@

.venv/.dev: $(SERVE)
	@.venv/bin/pip install $(PIP_FLAGS) -c constraints.txt -e '.[dev]' >&2
	@touch $@

$(ALL): .venv/.dev
	@.venv/bin/pip install $(PIP_FLAGS) -c constraints.txt -e '.[train]' >&2
	@touch $@

demo: $(SERVE)       ## two weeks of posts in a minute, one crisis, one alert; ARGS="--once --json --no-console"
	@.venv/bin/opinionwatch demo $(ARGS)

venv: $(SERVE)       ## what serving, the demo and the console need
venv-all: $(ALL)     ## the same, plus training and development

lint: $(ALL)         ## formatter, linter, types, import rules
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports

# Two tests at a time, each with one thread: on two cores the threads of two small networks only wait for each other.
BY_TWO = OMP_NUM_THREADS=1 .venv/bin/pytest -q -n 2 --dist worksteal

test-fast: $(ALL)      ## no services, no demo, nothing long
	$(BY_TWO) -m "not services and not demo and not long" $(ARGS)

test: lint           ## everything, with a real Kafka and a real Elasticsearch
	$(BY_TWO) -m "not services and not demo" $(ARGS)
	.venv/bin/pytest -q -m "services or demo" $(ARGS)

chaos: .venv/.dev      ## the fault table on a real Kafka and a real Elasticsearch; ARGS="--rows 1,9 --seeds 5 --long"
	.venv/bin/python -m tests.chaos $(ARGS)

bench: .venv/.dev      ## posts a second against the bare engine; the alert rule beside the baseline to beat
	.venv/bin/opinionwatch bench flow
	.venv/bin/opinionwatch bench detector

services-up: .venv/.dev    ## a real Kafka and a real Elasticsearch for you, without Docker
	.venv/bin/python -m tests.services up

services-down: .venv/.dev  ## stops them and removes their data
	.venv/bin/python -m tests.services down

clean:               ## removes the environment and caches
	rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache
