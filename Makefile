# Every target sets up what it needs; `make` alone lists them.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.NOTPARALLEL:
.DEFAULT_GOAL := help

BIN := .venv/bin
READY := .venv/.setup-stamp
READY_TO_TEST := .venv/.test-stamp
READY_TO_REGRESS := .venv/.regress-stamp
READY_TO_COMPARE := .venv/.compare-stamp
NNCODEC := build/nnc/bin/python
OUT ?= out

SEED ?= 1
CYCLES ?= 1000000
MUTANTS ?= 300
CASES ?= 10000
FUZZ ?= 1000000
# Drawn graphs and checkpoints of each kind.
READERS ?= 10000
# How often each command is killed by each signal.
KILLS ?= 25
MACHINES ?= 200
# Processes of the tests; a file's tests stay in one, which shares what is slow to make.
WORKERS ?= 2
TESTS ?= tests eie

.PHONY: help setup demo reproduce reproduce-compression test lint regress formal notebooks site bench coverage
.PHONY: signoff docs clean

help: ## list the targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' Makefile | expand -t 30

setup: ## install everything and say what was found (PYTHON=...)
	scripts/setup
	@touch $(READY)

demo: $(READY) ## run the main job into out/ (OUT=folder)
	$(BIN)/eie demo --out $(OUT)

reproduce: $(READY) ## repeat the published evaluation, into out/evaluation/
	$(BIN)/eie reproduce --out $(OUT)/evaluation

reproduce-compression: $(READY_TO_COMPARE) $(NNCODEC) ## repeat every table of compression, an hour
	$(BIN)/python benchmarks/reproduce_compression.py --nncodec $(NNCODEC) --out $(OUT)/compression $(PARTS)

test: $(READY_TO_TEST) lint ## run lint, then every test and doctest (WORKERS=2)
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --timeout=600 --durations=15 $(TESTS)

lint: $(READY) ## check style, types and import arrows
	scripts/lint

regress: $(READY_TO_REGRESS) ## run long campaigns (SEED=1; see docs/regress.md)
	EIE_REGRESS_SEED=$(SEED) EIE_REGRESS_CYCLES=$(CYCLES) EIE_REGRESS_MUTANTS=$(MUTANTS) \
	    EIE_REGRESS_CASES=$(CASES) EIE_REGRESS_FUZZ=$(FUZZ) EIE_REGRESS_READERS=$(READERS) \
	    EIE_REGRESS_KILLS=$(KILLS) EIE_REGRESS_MACHINES=$(MACHINES) \
	    $(BIN)/python -m pytest -s --hypothesis-seed=$(SEED) --hypothesis-show-statistics \
	    tests/regress tests/cosim/test_chip.py tests/compress/test_onnx_oracle.py tests/compress/test_torch_oracle.py \
	    tests/sim/test_graph_oracle.py tests/sim/test_module_oracle.py

formal: $(READY_TO_TEST) ## prove what the checkers say of every block, in minutes (see docs/formal.md)
	$(BIN)/python -m pytest -s tests/regress/test_formal.py

signoff: $(READY_TO_REGRESS) ## prove, cover, mutate, run in lockstep, and write build/signoff/signoff.md (SEED=1)
	rm -rf build/signoff
	EIE_REGRESS_SEED=$(SEED) EIE_REGRESS_CYCLES=$(CYCLES) EIE_REGRESS_MUTANTS=$(MUTANTS) \
	    $(BIN)/python -m pytest -s tests/regress/test_formal.py tests/regress/test_hdl_coverage.py \
	    tests/regress/test_cover_points.py tests/regress/test_mutants.py tests/regress/test_unknowns.py \
	    tests/regress/test_campaign.py || true
	$(BIN)/python scripts/signoff.py

notebooks: $(READY) ## open the notebooks in JupyterLab
	$(BIN)/python -m pip install -qq --disable-pip-version-check --editable '.[notebooks,train]'
	$(BIN)/jupyter lab --notebook-dir examples/notebooks $$([ $$(id -u) -ne 0 ] || echo --allow-root)

bench: $(READY) ## measure every engine against its promised speed
	$(BIN)/python benchmarks/run.py

coverage: $(READY_TO_TEST) ## run the tests and show what they do not reach
	rm -rf build/coverage
	mkdir -p build/coverage
	EIE_COVERAGE=$(CURDIR)/build/coverage $(MAKE) test
	$(BIN)/python scripts/eie_coverage.py build/coverage

site: $(READY_TO_TEST) ## build the pages as a site, into build/site/
	$(BIN)/python -m sphinx -q -W --keep-going -b html docs build/site

docs: $(READY) ## write the generated parts of docs/ again
	$(BIN)/python scripts/gen_docs.py

clean: ## remove what was built, except .venv and out/
	rm -rf build dist *.egg-info .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache tests/cocotb/sim_build
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

$(READY): pyproject.toml scripts/setup
	scripts/setup
	@touch $@

# PyTorch is large, and only training and its tests need it.
$(READY_TO_TEST): $(READY)
	$(BIN)/python -m pip install -qq --disable-pip-version-check --editable '.[test,train]'
	@touch $@

$(READY_TO_REGRESS): $(READY_TO_TEST)
	$(BIN)/python -m pip install -qq --disable-pip-version-check --editable '.[test,train,regress]'
	@touch $@

$(READY_TO_COMPARE): $(READY_TO_TEST)
	$(BIN)/python -m pip install -qq --disable-pip-version-check --editable '.[test,train,bench]'
	@touch $@

# It wants an older numpy than the rest.
$(NNCODEC): | $(READY)
	$(BIN)/python -m venv --clear build/nnc
	$@ -m pip install -qq --disable-pip-version-check 'nncodec>=2,<3' 'pandas<3'
