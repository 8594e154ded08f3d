# make run and make test do all the set-up on a machine that has Python 3.11, 3.12 or 3.13. `make` lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup run test test-cluster up down logs replay bench model lint format docs lock deploy-check clean

PYTHON ?= python3
BIN := .venv/bin

# Settings of `make run` (make run DAYS=7 PORT=8081 REDIS_PORT=6380 ONCE=1)
DAYS ?= 3
PORT ?= 8080
REDIS_PORT ?= 6379
ONCE ?=
# Settings of `make replay`
START ?= 2013-01-01
END ?=
SPEED ?= 0
LATE ?= 0
DOUBLED ?= 0
BROKEN ?= 0
SEED ?= 2013
# Settings of `make bench` and `make model`
ROWS ?= 1000000
ROUNDS ?= 3
ONLY ?= abcde
PLOTS ?=
EXAMPLES ?= 300
# Settings of `make test` (make test ARGS="-k interval")
ARGS ?=
# Settings of `make down`
DATA ?=

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

setup: ## Make .venv from requirements.lock; nothing when it is current
	@command -v $(PYTHON) >/dev/null || { echo "setup: $(PYTHON) is not on PATH; install Python 3.11, 3.12 or 3.13" >&2; exit 1; }
	@$(PYTHON) plugins/feature_pipelines/embedded/install.py

run: setup ## Start everything here and run the first DAYS=3 days; PORT, REDIS_PORT; ONCE=1 ends by itself
	@exec $(BIN)/python -m feature_pipelines.embedded --days $(DAYS) --port $(PORT) --redis-port $(REDIS_PORT) $(if $(ONCE),--once)

test: setup ## Run all tests on real Redis, Spark and Airflow; ARGS="…" goes to pytest
	@$(BIN)/python -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder $(ARGS)

test-cluster: setup ## Test on HDFS, Spark 1+2, Kafka, Azurite, Redis, PostgreSQL and Airflow, as processes and, with Docker, in containers
	@$(BIN)/python -m pytest -m cluster --numprocesses 2 --dist loadfile --no-loadscope-reorder $(ARGS)

up: ## Start the cluster environment in containers (Docker with Compose 2.24), wait until all is healthy, say where it is
	@$(PYTHON) docker/up.py

down: ## Stop the containers and keep their data; DATA=1 removes it, and the secrets with it
	@docker compose --profile eventhubs down $(if $(DATA),--volumes)
	$(if $(DATA),@secrets="$${MY_FEAST_SECRETS:-.local/cluster/secrets}"; rm -rf "$$secrets" "$$(dirname "$$secrets")/ca.pem")

logs: ## What the containers say, as they say it; ARGS="airflow-scheduler" names one
	@docker compose --profile eventhubs logs --follow --tail 50 $(ARGS)

replay: setup ## Send the weather of START=2013-01-01 (up to END) to the event stream; SPEED, LATE, DOUBLED, BROKEN, SEED
	@$(BIN)/my-feast replay --start $(START) $(if $(END),--end $(END)) --speed $(SPEED) --late $(LATE) --doubled $(DOUBLED) --broken $(BROKEN) --seed $(SEED)

bench: setup ## Measure ours beside its peers; ROWS=1000000 ROUNDS=3 ONLY=abcde; PLOTS=1 draws docs/benchmarks
	@$(BIN)/python -m benchmarks --rows $(ROWS) --rounds $(ROUNDS) --only $(ONLY) $(if $(PLOTS),--plots)

model: setup ## The engine's state machine, thoroughly: EXAMPLES=300 examples of 40 steps
	@MODEL_EXAMPLES=$(EXAMPLES) $(BIN)/python -m pytest tests/feast_lakehouse/test_state_machine.py

lint: setup ## ruff, its formatter, mypy --strict, and docs/tables.md as it is generated
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/my-feast docs --check

format: setup ## Format the code and fix what ruff can fix
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: setup ## Generate docs/tables.md from the contracts
	$(BIN)/my-feast docs

lock: setup ## Resolve requirements.txt into requirements.lock, keeping what still fits; ARGS="--upgrade" moves on
	$(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-annotate \
	  --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" --quiet \
	  requirements.txt -o requirements.lock $(ARGS)

deploy-check: setup ## Check deploy/ without a cloud: Terraform, the Databricks bundle, checkov
	@cache="$${MY_FEAST_CACHE:-$$HOME/.cache/my-feast}"; export PATH="$(CURDIR)/$(BIN):$$PATH"; \
	uv run --quiet --no-project --python $(BIN)/python --with python-hcl2==8.1.4 --with pyyaml==6.0.3 deploy/validate.py "$$cache/deploy"; \
	uv tool run --quiet --from checkov==3.3.30 checkov --config-file deploy/checkov.yaml 2>/dev/null

clean: ## Remove .venv, the data of `make run` (.local) and caches
	rm -rf .venv .local .pytest_cache .mypy_cache .ruff_cache .hypothesis
