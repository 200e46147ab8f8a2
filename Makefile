# Everything runs in .venv, from locked versions. `make help` lists the targets.
PYTHON ?= python3
BIN := .venv/bin
SHELL := /bin/sh

.PHONY: help venv check lint unit test test-buildkit demo bench soak fuzz vectors golden schemas proto lock clean
.DEFAULT_GOAL := help

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 22

venv: .venv/installed ## the environment: .venv with locked versions and this folder installed

.venv/installed: requirements.lock pyproject.toml
	@sh runners/local/make-venv.sh "$(PYTHON)"
	@touch $@

check: venv lint unit ## format, lint, types, layers, unit and golden tests; no services, a minute or two

lint: venv
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo 2>/dev/null || $(BIN)/lint-imports
	$(BIN)/python schemas/buildkit/generate.py --check

unit: venv
	$(BIN)/python -m pytest -q -n auto tests/unit tests/property tests/golden tests/scenarios tests/docs tests/conformance tests/samples

test: venv ## the whole suite with real engines and registries, which it starts and stops itself
	$(BIN)/python runners/local/test_services.py -- $(BIN)/python -m pytest -q $(PYTEST_ARGS)

# Services that are not named here are not there: their tests are skipped, also where CI is set.
test-buildkit: venv ## the BuildKit client against one daemon of this machine: BUILDKIT_HOST=tcp://… [REGISTRY=host:port]
	@test -n "$(BUILDKIT_HOST)" || { echo "make test-buildkit: set BUILDKIT_HOST, such as tcp://127.0.0.1:1234"; exit 2; }
	CI= TASKS_TEST_BUILDKIT="$(BUILDKIT_HOST)" TASKS_TEST_REGISTRY="$(REGISTRY)" $(BIN)/python -m pytest -q \
	  tests/integration/test_buildkit_client.py tests/integration/test_buildkit_features.py $(PYTEST_ARGS)

demo: venv ## two images built, tested against each other, pushed, read back and pulled again
	@$(BIN)/python runners/local/demo.py

bench: venv ## the benchmarks; prints ratios measured in one run
	$(BIN)/python runners/local/test_services.py -- $(BIN)/python -m tests.benchmarks.run $(BENCH_ARGS)

soak: venv ## runs killed with -9 at random moments, and what `tasks gc` leaves of them: N=100 [SEED=…]
	$(BIN)/python runners/local/test_services.py -- $(BIN)/python -m tests.soak.run $(if $(N),--rounds $(N)) \
	  $(if $(SEED),--seed $(SEED))

fuzz: venv ## every parser fed with what a fuzzer finds; ten minutes each, or FUZZ_ARGS="--seconds 60 --target task"
	$(BIN)/python tests/fuzz/run.py $(FUZZ_ARGS)

vectors: venv ## rewrite tests/conformance/RESULTS.md, and print it for the folders of CONFORMANCE_DIR too
	$(BIN)/python -m tests.conformance.report

golden: venv ## rewrite the expected files of tests/golden and tests/scenarios; read the diff
	$(BIN)/python -m pytest -q tests/golden tests/scenarios --rewrite-golden

schemas: venv ## regenerate schemas/run-event.schema.json and schemas/plan.schema.json
	$(BIN)/python -m tasks_engine.event_schema > schemas/run-event.schema.json
	$(BIN)/python -m tasks_engine.plan_schema > schemas/plan.schema.json

proto: venv ## regenerate the Python of schemas/buildkit/*.proto
	$(BIN)/python schemas/buildkit/generate.py

lock: ## resolve requirements.lock anew from pyproject.toml (needs uv)
	uv pip compile --quiet --group dev pyproject.toml --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-emit-find-links --no-annotate --custom-compile-command "make lock" -o requirements.lock

clean: ## remove the environment and caches
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis dist
