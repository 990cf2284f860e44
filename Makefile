# make demo | check | docs | test | lint | types | doctor | clean: each makes the environment first if it is missing.
# check is lint, types and test, as continuous integration runs them.
# Another interpreter or place: make test PYTHON=python3.12 VENV=~/envs/ovperc

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
EXTRAS ?= dev,demo,docs
PYTEST_ARGS ?=

PY := $(VENV)/bin/python
STAMP := $(VENV)/.ovperc-installed

# glibc's default allocator gives large tensors back to the kernel after every step; keeping them is
# several times faster on CPU. One thread a process lets two test workers share two cores.
QUICK_MALLOC := MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=17179869184 MALLOC_TOP_PAD_=268435456 MALLOC_ARENA_MAX=1
TEST_ENV := $(QUICK_MALLOC) OMP_NUM_THREADS=1 PYTHONUNBUFFERED=1

.PHONY: demo check docs test lint types doctor env clean
.DEFAULT_GOAL := demo

demo: env
	$(QUICK_MALLOC) $(PY) demo/run_all.py --out outputs/demo

check: lint types test

test: env
	@workers=$$($(PY) -c 'import os, xdist; print(min(2, os.cpu_count() or 1))' 2>/dev/null || echo 0); \
	if [ "$$workers" -gt 1 ]; then spread="-n $$workers --dist loadfile"; else spread=""; fi; \
	echo "$(PY) -m pytest $$spread $(PYTEST_ARGS)"; \
	$(TEST_ENV) $(PY) -m pytest $$spread $(PYTEST_ARGS)

lint: env
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

types: env
	$(PY) -m mypy

docs: env
	NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict

doctor: env
	$(PY) tools/doctor.py

env: $(STAMP)

# torch and torchvision are asked for in the same command as all else, without pins: pip then takes a
# pair released together. An environment that already satisfies setup.py is left as it is.
$(STAMP): setup.py pyproject.toml
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	@if $(PY) tools/doctor.py --satisfies $(EXTRAS); then \
		echo "$(VENV) already satisfies the requirements"; \
	else \
		echo "installing ovperc and its dependencies into $(VENV)"; \
		$(PY) -m pip install --only-binary :all: torch torchvision -e '.[$(EXTRAS)]'; \
	fi
	@touch $@

clean:
	rm -rf build dist *.egg-info outputs .pytest_cache .ruff_cache .mypy_cache site
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +
