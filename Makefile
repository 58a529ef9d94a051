# make book [PROFILE=quick]   set up, run every chapter, build the site
# make test [PROCESSES=2]     set up, run all tests on so many processes; 0 for none beside pytest's own
# make help                   the other targets
#
# Versions come from requirements.lock. PyPI's torch for Linux carries CUDA; the smaller build for
# CPUs comes from PyTorch's own index, which PIP_EXTRA_INDEX_URL can add.

PROFILE ?= quick
PROCESSES ?= 2
VENV := .venv
STAMP := $(VENV)/.installed
BIN := $(VENV)/bin
FOUND := $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	"$$p" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null \
	&& command -v "$$p" && break; done)
PYTHON ?= $(FOUND)

.PHONY: book test faults install lock lint clean help
.DEFAULT_GOAL := help

book: $(STAMP)  ## Run every chapter at PROFILE and build _build/PROFILE/html
	@$(BIN)/spinscape build --profile $(PROFILE)

# A file's tests share what they set up, so a file is never divided; tests/conftest.py says the order.
test: $(STAMP)  ## Run all tests on PROCESSES (2); TESTS= narrows them down
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(PROCESSES) --dist loadfile --no-loadscope-reorder $(TESTS)

install: $(STAMP)  ## Set up .venv only

# The stamp is written last, so an interrupted installation is taken up again.
$(STAMP): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11, 3.12 or 3.13 is needed: none found." \
		"Name one with PYTHON=/path/to/python."; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
		|| { echo "$(PYTHON) is not Python 3.11, 3.12 or 3.13."; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) cannot make virtual environments: its venv module is missing" \
		"(Debian: apt install python3-venv)."; exit 1; }
	@rm -f $@; begin=$$(date +%s); \
	$(BIN)/python -m pip --version >/dev/null 2>&1 || "$(PYTHON)" -m venv --clear $(VENV); \
	echo "Installing the pinned packages into $(VENV) with $$($(BIN)/python -V)."; \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock \
	&& $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps \
		--no-build-isolation -e . \
	&& touch $@ \
	&& echo "Installed in $$(( $$(date +%s) - begin )) s."

lock: $(STAMP)  ## Resolve requirements.in into requirements.lock and environment.yml
	@$(BIN)/python tools/lock.py

faults: $(STAMP)  ## Disturb the commands in every way; a table of what came out (about an hour)
	@$(BIN)/python tests/campaign.py --output _build/faults.md

lint: $(STAMP)  ## Check style and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy lib/spinscape

clean:  ## Remove what builds made; memoised results and .venv stay
	@find _build -mindepth 1 -maxdepth 1 ! -name memo -exec rm -rf {} + 2>/dev/null || true

help:  ## Show the targets
	@sed -n 's/^\([a-z]*\):.*## /\1	/p' $(firstword $(MAKEFILE_LIST)) | expand -t 10
