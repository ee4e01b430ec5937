# Every target makes its own .venv. `make` lists them.
VENV := .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.ready
CODE := db triggers monitor distill redistill migrations tests examples bench

.DEFAULT_GOAL := help
.PHONY: help demo test check fix lint types arch unit integration acceptance slow chaos bench-traffic bench-scoring bench-cluster bench-intervals bench-detection bench-checkpoint bench-queue example example-s3 monitor worker clean

help: ## what there is to make
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(READY): pyproject.toml constraints.txt
	python3 -m venv $(VENV) || (python3 -m venv --without-pip $(VENV) && python3 -m pip --python $(PY) install pip)
	$(PY) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(READY) ## the whole loop on a simulated MangaAssist, in minutes
	$(VENV)/bin/redistill demo

# Three at a time, also on two cores: many tests wait for processes that they have started.
test: $(READY) ## the test suite, on SQLite and PostgreSQL
	$(PY) -m pytest -m "not slow and not chaos" --numprocesses 3 --dist loadfile

check: lint types arch test ## all that CI runs

lint: $(READY) ## ruff: rules and format
	$(VENV)/bin/ruff check $(CODE)
	$(VENV)/bin/ruff format --check $(CODE)

types: $(READY) ## mypy: strict for the product and tests/support, plain for the tests
	$(VENV)/bin/mypy

arch: $(READY) ## the import contracts
	$(VENV)/bin/lint-imports

fix: $(READY) ## ruff: mend what can be mended
	$(VENV)/bin/ruff check --fix $(CODE)
	$(VENV)/bin/ruff format $(CODE)

unit: $(READY) ## the tests of pure code
	$(PY) -m pytest -m "unit and not slow"

integration: $(READY) ## the tests with real databases, models, files and servers
	$(PY) -m pytest -m "integration and not slow"

acceptance: $(READY) ## the tests of the product as its users run it
	$(PY) -m pytest -m "acceptance and not slow"

slow: $(READY) ## the long proofs: statistics, kills at random moments, a rolling deploy
	$(PY) -m pytest -m slow

# The same moments again: REDISTILL_TEST_SEED=N make chaos
chaos: $(READY) ## hundreds of kills over two daemons and two workers, on both databases; 20 minutes
	$(PY) -m pytest -m chaos -s

bench-traffic: $(READY) ## a window of a million records, against Polars, DuckDB and the standard library
	$(PY) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[bench]'
	$(PY) bench/traffic.py

bench-cluster: $(READY) ## a cycle on a Ray cluster of two nodes, against one
	$(PY) bench/cluster.py

bench-intervals: $(READY) ## intervals of five metrics, against scipy.stats.bootstrap
	$(PY) bench/intervals.py

# frouros' metadata asks for older versions of numpy and scipy; its CUSUM runs on ours.
bench-detection: $(READY) ## how soon drift is found, and how often for nothing, against river and frouros
	$(PY) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[bench]' tqdm requests
	$(PY) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --no-deps frouros
	$(PY) bench/detection/run.py

bench-queue: $(READY) ## a job's way through the queue, against procrastinate, huey and bare SQL
	$(PY) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[bench]'
	PYTHONPATH=. $(PY) bench/job_queue.py

bench-scoring: $(READY) ## 10,000 requests through two models, against transformers.pipeline and the machine's limit
	$(PY) bench/scoring.py

bench-checkpoint: $(READY) ## what it costs to save a training, against a step of it
	$(PY) bench/checkpoint.py

example: $(READY) ## the loop on real utterances: make example DATA=/path/to/clinc150
	@test -n "$(DATA)" || { echo "make example DATA=FOLDER: name the folder that holds CLINC150's data_full.json and domains.json"; exit 2; }
	$(PY) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[example]'
	$(PY) examples/clinc150/run.py --data "$(DATA)"

example-s3: $(READY) ## the demo's traffic in a local S3 bucket, as Firehose and SageMaker write it
	@test -d demo/models/student || $(VENV)/bin/redistill demo
	$(PY) examples/s3/run.py

monitor: $(READY) ## the daemon, with ./redistill.toml
	$(VENV)/bin/redistill monitor

worker: $(READY) ## the worker, with ./redistill.toml
	$(VENV)/bin/redistill worker

clean: ## remove what was made
	rm -rf $(VENV) demo build .mypy_cache .ruff_cache .pytest_cache *.egg-info
