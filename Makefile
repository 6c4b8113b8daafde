# Two commands for a newcomer: `make demo` and `make test`.
PYTHON ?= python3.11
BIN := .venv/bin

.PHONY: install install-test install-locked demo test clean

install: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	@touch $@

install-test: .venv/installed-test

.venv/installed-test: .venv/installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test]'
	@touch $@

# As install-test, but checks the sha256 of every package against requirements.lock: see SECURITY.md.
install-locked:
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --require-hashes --no-deps --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch .venv/installed .venv/installed-test

demo: install
	$(BIN)/triptych run quickstart
	@$(BIN)/triptych board runs/quickstart | tail -1

test: install-test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal

clean:
	rm -rf .venv build dist *.egg-info
