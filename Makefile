# flat-mapper: `make run` shows it, `make test` tests it; each sets everything up by itself.
# Override on the command line: make map ARCH=cloud PROBLEM=my.yaml MAPSPACE=flat-r SEQ=4096

ARCH      = edge
PROBLEM   = bert-base
MAPSPACE  = default
# FLAT's baselines are of FLAT's chips.
MAPSPACES = $(if $(filter edge cloud,$(ARCH)),naive flex-stream flex flat,unfused default)
SEQ       = 4096
OBJECTIVE = edp
OUT       = out

VENV  = .venv
TOOLS = .venv-tools
READY = $(VENV)/.ready
BIN   = $(VENV)/bin
FLAT  = $(BIN)/flat-mapper
INPUT = --arch $(ARCH) --problem $(PROBLEM) --objective $(OBJECTIVE)
EACH  = --mapspace $(MAPSPACES)
NAME  = $(basename $(notdir $(ARCH)))-$(basename $(notdir $(PROBLEM)))

# A command starts in half the time where what Python compiled is kept.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run map compare lower report test test-nightly test-timeloop test-accelforge lint type format docs help clean
.DEFAULT_GOAL := help

run: $(READY)  ## compare on BERT-base at N = 512 and 4096, map it, and say where the files are (20 s)
	@for n in 512 4096; do $(FLAT) compare $(INPUT) $(EACH) --seq $$n -o $(OUT)/$(NAME)-$$n || exit; done
	@$(FLAT) map $(INPUT) --mapspace $(MAPSPACE) --seq $(SEQ) -o $(OUT)/$(NAME)-$(SEQ)-$(MAPSPACE) && find $(OUT) -maxdepth 2 -type f | sort
	@echo "the command is $(VENV)/bin/flat-mapper; try $(VENV)/bin/flat-mapper --help"

map: $(READY)  ## the best mapping of PROBLEM on ARCH in MAPSPACE (10 s)
	@$(FLAT) map $(INPUT) --mapspace $(MAPSPACE) --seq $(SEQ) -o $(OUT)/$(NAME)-$(SEQ)-$(basename $(notdir $(MAPSPACE)))

compare: $(READY)  ## one row for each of MAPSPACES (10 s)
	@$(FLAT) compare $(INPUT) $(EACH) --seq $(SEQ) -o $(OUT)/$(NAME)-$(SEQ)

lower: $(READY)  ## Timeloop files for the mapping that `make map` left in OUT (2 s)
	@$(FLAT) lower $(OUT)/$(NAME)-$(SEQ)-$(basename $(notdir $(MAPSPACE)))/fused-mapping.yaml -o $(OUT)/lowered

test: $(READY)  ## the tests, all but the nightly cases (4 minutes)
	@$(BIN)/python -m pytest -n auto --dist worksteal --timeout 300

test-nightly: $(READY)  ## the thousands of cases that `make test` leaves out (30 minutes)
	@$(BIN)/python -m pytest -n auto --dist worksteal --timeout 600 -m "nightly and not campaign"

lint: $(READY)  ## ruff: rules and format; and what the package weighs against its budget (5 s)
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/python tools/budget.py

type: $(READY)  ## mypy --strict (20 s)
	@$(BIN)/mypy

format: $(READY)  ## let ruff rewrite the files (1 s)
	@$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

help:  ## this list, with times on two cores once `make` has set up (1 s)
	@awk -F ':.*##' '/^[a-z-]+:.*##/ {printf "  make %-18s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))
	@echo "  with ARCH=$(ARCH) PROBLEM=$(PROBLEM) MAPSPACE=$(MAPSPACE) MAPSPACES=\"$(MAPSPACES)\" SEQ=$(SEQ) OBJECTIVE=$(OBJECTIVE) OUT=$(OUT)"
	@echo "  published and measured results made again: make -C studies help; for who works on it: make -C tools help"

clean:  ## remove the environments, caches and the results of these variables (1 s)
	rm -rf $(VENV) $(VENV)-accelforge $(VENV)-docs site $(TOOLS) .pytest_cache .mypy_cache .ruff_cache .hypothesis
	rm -rf $(wildcard $(OUT)/$(NAME)-* $(OUT)/lowered); find flat_mapper studies tests -name __pycache__ -prune -exec rm -rf {} +

# uv from PATH, or from an environment of its own; it also finds a Python that is new enough.
$(READY): pyproject.toml tools/setup.sh
	@VENV=$(VENV) TOOLS=$(TOOLS) sh tools/setup.sh
	@touch $@

test-timeloop: $(READY)  ## native against the real timeloop-model; fails where that is missing (15 minutes)
	@FLAT_MAPPER_REQUIRE_TIMELOOP=1 $(BIN)/python -m pytest -n auto -m needs_timeloop -o junit_family=xunit1 --junitxml $(OUT)/timeloop.xml tests/timeloop tests/studies/test_mapper.py
	@$(BIN)/python tools/validation_page.py $(OUT)/timeloop.xml

test-accelforge: $(VENV)-accelforge/.ready  ## native against AccelForge, in an environment of its own (1 minute)
	@FLAT_MAPPER_REQUIRE_ACCELFORGE=1 $(VENV)-accelforge/bin/python -m pytest tests/backends/test_accelforge.py

$(VENV)-accelforge/.ready: pyproject.toml tools/setup.sh
	@VENV=$(VENV)-accelforge TOOLS=$(TOOLS) EXTRAS=accelforge,dev sh tools/setup.sh
	@touch $@

docs: $(VENV)-docs/.ready  ## the pages of docs/ as a site, into site/ (30 s)
	@COLUMNS=100 NO_COLOR=1 NO_MKDOCS_2_WARNING=1 $(VENV)-docs/bin/mkdocs build --quiet --strict
	@echo "site/index.html"

report: $(READY)  ## one page of what `make run` or `make compare` left in OUT (5 s)
	@$(FLAT) report $(wildcard $(OUT)/$(NAME)-*) -o $(OUT)/report.html

$(VENV)-docs/.ready: pyproject.toml tools/setup.sh
	@VENV=$(VENV)-docs TOOLS=$(TOOLS) EXTRAS=docs sh tools/setup.sh
	@touch $@
