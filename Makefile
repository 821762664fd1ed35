# Two commands do everything on a fresh machine: `make demo` and `make test`.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO ?= solar-cells
SERVE ?= 1
HUB ?=
TEST_PROCESSES ?= 2

.PHONY: demo run test check install install-dev browser clean

demo: install  ## fine-tune the sample model, say where it errs, and open the dashboard (SERVE=0: stop after the run)
	$(BIN)/python -m superft_hf.demo --images sample:$(DEMO)
	@if [ "$(SERVE)" != "0" ]; then $(BIN)/superft serve; fi

run: install  ## the dashboard (HUB=standin: with a Hub on this machine that has models, data sets and tokens to try, and no network)
	@if [ "$(HUB)" = "standin" ]; then $(BIN)/python -m tests.stand_ins.hub_demo; else $(BIN)/superft serve; fi

test: install-dev browser  ## everything but the tests that need a GPU
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest -q -m "not gpu" -n $(TEST_PROCESSES) --dist loadfile

check: install-dev  ## style and the fast tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest -q -m "not slow and not gpu" -n $(TEST_PROCESSES) --dist loadfile

install: $(VENV)/.installed
install-dev: $(VENV)/.installed-dev

$(VENV)/.installed: requirements.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

$(VENV)/.installed-dev: requirements-dev.txt $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

browser: install-dev  ## the system's Chromium, else one from apt (as root), else Playwright's own
	@command -v chromium chromium-browser google-chrome >/dev/null 2>&1 && exit 0; \
	if [ "$$(id -u)" = "0" ] && command -v apt-get >/dev/null; then \
		apt-get update -qq && apt-get install -y -qq chromium >/dev/null && exit 0; \
	fi; \
	$(BIN)/python -m playwright install chromium

clean:
	rm -rf $(VENV) build *.egg-info
