# Each target does its own set-up on a fresh Debian or Ubuntu machine (Python 3.11 or later; root, or sudo, the first time).
.PHONY: help demo test test-quick lint format bench setup clean distclean

PY := .venv/bin/python
TESTS ?= tests

help: ## Show the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20

demo: ## Big and small images of the same two applications: built, run, measured, build/report.html written
	@scripts/setup run
	@$(PY) scripts/demo

test: setup ## Every test (about ten minutes)
	$(PY) -m pytest $(TESTS)

test-quick: setup ## The tests that take seconds and need neither root nor a network
	$(PY) -m pytest -m "not slow and not root and not network" $(TESTS)

lint: setup ## Style, types, and what may import what
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

format: setup ## Put the sources into the house's style
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

bench: setup ## Against buildah and BuildKit, mmdebstrap; and the sizes of bases
	$(PY) benchmarks/build.py
	$(PY) benchmarks/base.py
	$(PY) benchmarks/sizes.py

setup:
	@scripts/setup dev

clean: ## Remove what the demo, tests and benchmarks made
	rm -rf build out dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

distclean: clean ## And the environment
	rm -rf .venv
