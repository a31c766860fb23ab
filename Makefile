# One virtual environment, made once; `make help` lists the targets.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
PIP_FLAGS = --disable-pip-version-check
comma = ,
SERVE = .venv/.serve
ALL = .venv/.all

.PHONY: help demo venv venv-all test test-fast mutants lint docs chaos bench services-up services-down clean

help:            ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/ -/'

# Installs extras and shows the large downloads, what is installed, and errors; ends as pip does.
define install
@{ .venv/bin/pip install $(PIP_FLAGS) -c constraints.txt -e '.[$(1)]' 2>&1; echo "exit $$?"; } | \
	while IFS= read -r line; do case "$$line" in \
		"exit "*) exit "$${line#exit }";; \
		*"MB)"|"Installing collected"*|ERROR*|error*|"Successfully installed"*) printf '    %.100s\n' "$$line";; \
	esac; done >&2
endef

$(SERVE): pyproject.toml constraints.txt
	@test -x .venv/bin/python || { echo "making the virtual environment .venv ..." >&2; $(PYTHON) -m venv .venv; }
	@echo "installing what serving needs (no torch): one to three minutes ..." >&2
	$(call install,cpu$(comma)demo$(comma)console)
	@touch $@

.venv/.dev: $(SERVE)
	@echo "installing what development and tests need: about a minute ..." >&2
	$(call install,dev)
	@touch $@

$(ALL): .venv/.dev
	@echo "installing what training needs (torch): several minutes ..." >&2
	$(call install,train)
	@touch $@

demo: $(SERVE)       ## two weeks of posts in a minute, one crisis, one alert; ARGS="--once --json --no-console"
	@.venv/bin/opinionwatch demo $(ARGS)

venv: $(SERVE)       ## what serving, the demo and the console need
venv-all: $(ALL)     ## the same, plus training and development

lint: $(ALL) docs     ## formatter, linter, types, import rules, the site
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

mutants: $(ALL)        ## changes of the code that no fast test notices; ARGS="models pipeline/classify --sample 20 --seed 1"
	.venv/bin/python -m tools.mutants $(ARGS)

docs: .venv/.dev       ## the documents as a site in site/; a broken link fails
	NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build -q --site-dir site

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
	rm -rf .venv site .cache .mypy_cache .ruff_cache .pytest_cache
