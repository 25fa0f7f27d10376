# `make demo` shows it, `make test` proves it. Everything else is for the working loop.

VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed

# The tests wait most of their time: a process more than there are processors. ARGS="-n 0" runs all in one.
SHARED := -n $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1) --dist worksteal

.PHONY: install demo test check lint fix bench chaos package example clean help

help:  ## Say what there is
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

install: $(STAMP)  ## Only install, into .venv

demo: $(STAMP)  ## Start everything, push a sample, show its jobs (ONCE=1: end with the workflow)
	@$(PY) -m appliance demo $(if $(ONCE),--once,)

test: $(STAMP).dev lint  ## The whole test suite, on real parts
	@sh packaging/test-tools.sh
	@$(PY) -m pytest $(SHARED) $(ARGS)

FAST := tests/test_house.py tests/test_settings.py tests/engine tests/store tests/steps \
	tests/language/test_cases.py tests/language/test_problems.py tests/scenarios/test_cases.py

check: $(STAMP).dev lint  ## The core without an engine, in less than a minute
	@$(PY) -m pytest -q $(SHARED) -m "not docker and not slow and not browser" $(FAST) $(ARGS)

lint: $(STAMP).dev
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy

fix: $(STAMP).dev  ## Format, and mend what a machine can
	@$(VENV)/bin/ruff check --fix .
	@$(VENV)/bin/ruff format .

bench: $(STAMP).dev  ## Every figure beside its floor; writes bench.json
	@$(PY) -m tests.bench $(ARGS)

chaos: $(STAMP).dev  ## Kill an appliance 200 times under jobs; nothing may be lost (ARGS="--kills N --seed S")
	@$(PY) -m tests.chaos $(ARGS)

package: $(STAMP).dev  ## A one-file executable in dist/
	@$(PY) packaging/build.py

example: $(STAMP)  ## Write config.example.toml from the settings
	@$(PY) -c "from appliance.settings import example_file; print(example_file(), end='')" > config.example.toml

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache

$(STAMP): pyproject.toml packaging/venv.sh
	@sh packaging/venv.sh $(VENV) .
	@touch $@

$(STAMP).dev: pyproject.toml packaging/venv.sh
	@sh packaging/venv.sh $(VENV) '.[dev]'
	@touch $(STAMP) $@
