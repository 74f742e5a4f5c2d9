# Everything runs in .venv, made on first use. Change PYTHON to choose the interpreter.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help install demo test test-long check format docs schema bench bench-long clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/'

install: .venv/installed ## make .venv with the tested versions

.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 …")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: install ## train, prune and unprune a small network on the digits, and show what came out
	$(BIN)/framework run experiments/quickstart.yaml

# Three processes; tests/conftest.py says which tests share one, and so what they have run.
test: install ## run the tests
	$(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder

test-long: install ## run what takes long: all classification models of torchvision, all experiments, the notebook
	$(BIN)/pytest -m 'long and not huge'

check: install ## lint, types, floors
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: install ## write docs/hooks.md and docs/components.md anew, out of the docstrings
	$(BIN)/python docs/generate.py

schema: install ## write the schema of new databases anew, after an upgrade of MLflow
	$(BIN)/python -c 'from framework._tracking.database import write_schema; write_schema()'

bench: install ## measure against what one would use otherwise
	$(BIN)/python benchmarks/trainer.py
	$(BIN)/python benchmarks/masked_step.py
	$(BIN)/python benchmarks/scoring.py
	$(BIN)/python benchmarks/compact.py
	$(BIN)/python benchmarks/many_trials.py
	$(BIN)/python benchmarks/plan.py
	$(BIN)/python benchmarks/estimate.py
	$(BIN)/python benchmarks/snapshot.py
	$(BIN)/python benchmarks/rounds.py
	$(BIN)/python benchmarks/lengths.py
	$(BIN)/python benchmarks/scheduler.py
	$(BIN)/python benchmarks/tracking.py
	$(BIN)/python benchmarks/registry.py
	$(BIN)/python benchmarks/reading.py
	$(BIN)/python benchmarks/figures.py
	$(BIN)/python benchmarks/loading.py

bench-long: install ## measure the whole study, and kill it fifty times
	$(BIN)/python benchmarks/study.py --reuse-only
	$(BIN)/python benchmarks/study.py --reuse-only --specs pruning
	$(BIN)/python benchmarks/faults.py

clean: ## remove .venv and caches, not results
	rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
