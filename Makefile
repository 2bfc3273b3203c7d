# Everything runs from virtual environments that make creates itself; nothing else of the machine is touched.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3.14 python3.15 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
DOCS := .venv/bin/sphinx-build --builder html --fail-on-warning --keep-going --fresh-env docs site
SDKS := oldest last-1 last-2 newest
EXTRAS := cli gateway otel redis
PROVIDER_TESTS := tests/providers tests/sdk

.DEFAULT_GOAL := help
.PHONY: help demo test check test-sdks bench chaos mutation transparency docs format clean $(SDKS:%=test-sdks-%) test-sdks-instrumented

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: .venv/ready ## the main job, against the local provider: no key, no network
	$(BIN)/python examples/demo.py $(ARGS)

test: .venv/ready ## every test, with coverage
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -n auto
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

check: .venv/ready ## lint, format, import layers, types, docs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache --no-logo
	$(BIN)/mypy
	$(BIN)/pyright
	$(DOCS) --quiet

test-sdks: $(SDKS:%=test-sdks-%) test-sdks-instrumented ## the provider tests on the oldest, the last of every major, and the newest SDKs

test-sdks-instrumented: PROVIDER_TESTS := tests/sdk/test_instrumentation.py
$(SDKS:%=test-sdks-%) test-sdks-instrumented: test-sdks-%: .venvs/%/ready
	ACTGUARD_SDKS=sdks-$* .venvs/$*/bin/python -m pytest -n auto -p no:cacheprovider $(PROVIDER_TESTS)

bench: .venv/ready ## the figures in the README, measured on this machine
	$(BIN)/python -m benchmarks

chaos: .venv/ready ## kill -9 of clients, gateways and Postgres through 10,000 pairs, 2,000 random histories, 1,000 seeds (100 on Postgres)
	ACTGUARD_CHAOS=1 ACTGUARD_SEEDS=1000 HYPOTHESIS_PROFILE=long $(BIN)/python -m pytest -n 0 --timeout 3600 tests/gateway

mutation: .venvs/mutation/ready ## change the guards in small ways, one at a time: does a test notice? (ARGS="--sample 40")
	.venvs/mutation/bin/python -m tools.mutation $(ARGS)

transparency: .venv/ready ## the SDKs' own tests, which must come out the same inside a guard
	$(BIN)/python -m benchmarks.transparency

docs: .venv/ready ## the manual, as pages in site/
	$(DOCS)

format: .venv/ready ## put the code into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## remove everything that make made
	rm -rf .venv .venvs site dist build htmlcov .coverage* .hypothesis .mutation .*_cache
	find . -name __pycache__ -prune -exec rm -rf {} +

# pyproject.toml states every version, so an environment is ready while it is newer than that file.
.venv/ready: pyproject.toml tools/environment.py
	$(call environment,.venv,dev,$(EXTRAS))

.venvs/mutation/ready: pyproject.toml tools/environment.py
	$(call environment,.venvs/mutation,mutation,$(EXTRAS))

.venvs/%/ready: pyproject.toml tools/environment.py
	$(call environment,.venvs/$*,sdks-$*)

define environment
	@test -n "$(PYTHON)" || { echo "actguard needs Python 3.11 or newer, and none was found. Name one: make PYTHON=..." >&2; exit 1; }
	@$(PYTHON) tools/environment.py $(1) $(2) $(3)
	@touch $@
endef
