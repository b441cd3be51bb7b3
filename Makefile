# make run     set everything up, start the appliance, transcribe a sample through the API, keep serving
# make test    set everything up and run every test
# make check   before each commit: format, lint, types, import contracts, quick tests
# make help    the rest

# Runs what follows where nothing can leave the machine, and looks for recordings on the disk afterwards; needs root, or says so.
SEALED := .venv/bin/python -m tests.privacy.sealed
PYTHON := $(if $(wildcard .venv/bin/python),.venv/bin/python,python3)
# Empty: compiled modules are kept, whatever the environment says; without them each process compiles torch anew.
export PYTHONDONTWRITEBYTECODE :=
# Where the quick tests of `make check` put their files: in memory if it has room, since each transaction waits for a disk.
ROOMY := $(shell test "$$(df -Pk /dev/shm 2>/dev/null | awk 'END {print $$4}')" -gt 4000000 2>/dev/null && echo /dev/shm)

.PHONY: run test check bench accuracy gpu-check container-check format help clean

run:
	@scripts/bootstrap.sh
	@scripts/run.sh

test:
	@scripts/bootstrap.sh --tests
	@.venv/bin/appliance models fetch
	@.venv/bin/appliance models fetch whisper-tiny.en
	@$(SEALED) .venv/bin/python -m pytest -n auto --dist loadfile -m "not engine and not slow"
	@$(SEALED) .venv/bin/python -m pytest -n auto --dist loadfile -m "slow and not engine"
	@$(SEALED) .venv/bin/python -m pytest -m engine

check:
	@scripts/bootstrap.sh --tests
	@.venv/bin/ruff format --check .
	@.venv/bin/ruff check .
	@.venv/bin/mypy
	@.venv/bin/lint-imports
	@PYTEST_DEBUG_TEMPROOT=$(ROOMY) .venv/bin/python -m pytest -o tmp_path_retention_policy=failed -n auto --dist loadfile \
		-m "not engine and not slow"

# Word and speaker error rates beside plain faster-whisper and plain pyannote, over every recording of ../shared/audio.
accuracy:
	@.venv/bin/python -m tests.accuracy.measure
	@.venv/bin/python -m tests.accuracy.measure --speed-s 600
	@.venv/bin/python -m tests.accuracy.der

# This machine's real-time factor.
bench:
	@.venv/bin/appliance bench

# On a machine with an NVIDIA GPU, after scripts/bootstrap.sh --tests and appliance models fetch; needs nothing from the network.
gpu-check:
	@$(PYTHON) -m pytest -m gpu tests/engine/test_cuda.py
	@$(PYTHON) -m appliance.cli bench --device cuda --diarize

# Builds the image, runs it, and installs it from a bundle without a network; needs root, and skips with a sentence otherwise.
container-check:
	@.venv/bin/appliance models fetch
	@scripts/container_check.sh

format:
	@.venv/bin/ruff check --fix --quiet . || true
	@.venv/bin/ruff format .

clean:
	@rm -rf .venv .mypy_cache .ruff_cache .import_linter_cache .hypothesis

help:
	@sed -n 's/^# \{0,1\}//p' Makefile | head -4
	@echo "make accuracy | bench | gpu-check | container-check | format | clean"
	@echo "make gpu-check wants an NVIDIA GPU, and before it: scripts/bootstrap.sh --tests; .venv/bin/appliance models fetch"
