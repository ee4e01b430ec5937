# Each target creates .venv if it is missing. `make` lists the targets.
VENV := .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.ready
CODE := db triggers monitor distill redistill migrations tests examples bench deploy

# Each process of the tests would compile the code again.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
# Every target with a help text.
.PHONY: $(shell awk -F: '/^[a-z0-9-]+:.*\#\# / { print $$1 }' $(MAKEFILE_LIST))

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(READY): pyproject.toml constraints.txt
	python3 -m venv $(VENV) || (python3 -m venv --without-pip $(VENV) && python3 -m pip --python $(PY) install pip)
	$(PY) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(READY) ## run the whole loop on a simulated service, in minutes
	$(VENV)/bin/redistill demo

# Four processes even on two cores: many tests wait for processes that they started. The longest files come first.
test: $(READY) ## run the test suite, on SQLite and PostgreSQL
	$(PY) -m pytest -m "not slow and not chaos and not image and not pgbouncer and not promtool and not gpu and not fuzz and not soak" --numprocesses 4 --dist loadfile --no-loadscope-reorder

check: lint types arch test ## run everything that CI runs

lint: $(READY) ## check rules and format with ruff
	$(VENV)/bin/ruff check $(CODE)
	$(VENV)/bin/ruff format --check $(CODE)

types: $(READY) ## check types with mypy: strict for the product and tests/support, plain for the tests
	$(VENV)/bin/mypy

arch: $(READY) ## check the import contracts
	$(VENV)/bin/lint-imports

fix: $(READY) ## repair what ruff can repair, and format
	$(VENV)/bin/ruff check --fix $(CODE)
	$(VENV)/bin/ruff format $(CODE)

unit: $(READY) ## run the tests of pure code
	$(PY) -m pytest -m "unit and not slow"

integration: $(READY) ## run the tests with real databases, models, files and servers
	$(PY) -m pytest -m "integration and not slow and not pgbouncer and not promtool"

acceptance: $(READY) ## run the tests of the product as its users run it
	$(PY) -m pytest -m "acceptance and not slow"

slow: $(READY) ## run the long tests: statistics, kills at random moments, a rolling deploy, ten times as many examples
	$(PY) -m pytest -m slow
	$(PY) -m pytest -m "hypothesis and not slow and not fuzz" --hypothesis-profile thorough
	$(PY) -m pytest -k machine --hypothesis-profile thorough tests/integration

# Not in `make test`, as no Python package brings these servers: apt-get install pgbouncer postgresql
pgbouncer-test: $(READY) ## test with PgBouncer and with the TLS of PostgreSQL itself, from the system's packages
	$(PY) -m pytest -m pgbouncer

# Not in `make test`, for the same reason: apt-get install --no-install-recommends prometheus
promtool-test: $(READY) ## check metrics, alert rules and the Grafana board with Prometheus itself
	$(PY) -m pytest -m promtool

# Not in `make test`: it needs an NVIDIA GPU, and in .venv a build of torch with CUDA, such as PyPI's for Linux.
gpu: $(READY) ## test scoring and training on this machine's GPU
	$(PY) -m pytest -m gpu

# To repeat a run, or to draw other moments: REDISTILL_TEST_SEED=N make chaos
chaos: $(READY) ## kill daemons and workers hundreds of times, on both databases; 20 minutes
	$(PY) -m pytest -m chaos -s

# Needs root, and buildah, crun, mmdebstrap and podman: it says how to install them.
image-test: $(READY) ## build the image and run the loop in its containers, as root; 10 minutes
	$(PY) -m pytest -m image -s

# Shorter: REDISTILL_SOAK_MINUTES=5 make soak
soak: $(READY) ## judge a window a second for half an hour, on each database: nothing grows; an hour
	$(PY) -m pytest -m soak -s

# To repeat a run: make fuzz, with the seed that it printed in FUZZ_SEED
FUZZ_SEED := $(shell date +%s)
fuzz: $(READY) ## try 250,000 odd inputs: configurations, logs, tables, models, answers; 20 minutes
	$(PY) -m pytest -m fuzz --numprocesses 2 --hypothesis-seed $(FUZZ_SEED)

mutations: $(READY) ## break the product on purpose, 30 times, and check that the tests notice
	$(PY) tests/mutations/run.py

bench-traffic: $(READY) ## compare sampling a million records with Polars, DuckDB and the standard library
	$(PY) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[bench]'
	$(PY) bench/traffic.py

bench-cluster: $(READY) ## compare a cycle on a Ray cluster of two nodes with a cluster of one
	$(PY) bench/cluster.py

bench-intervals: $(READY) ## compare the intervals of five metrics with scipy.stats.bootstrap
	$(PY) bench/intervals.py

# The metadata of frouros requires older versions of numpy and scipy; its CUSUM also works with these.
bench-detection: $(READY) ## compare detection delay and false alarms with river and frouros
	$(PY) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[bench]' tqdm requests
	$(PY) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --no-deps frouros
	$(PY) bench/detection/run.py

bench-queue: $(READY) ## compare the job queue with procrastinate, huey and bare SQL
	$(PY) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[bench]'
	PYTHONPATH=. $(PY) bench/job_queue.py

bench-alpha: $(READY) ## show what a lower alpha does, with and without true labels; half an hour
	PYTHONPATH=. $(PY) bench/alpha.py

bench-decisions: $(READY) ## measure the error rates of gates and shadows on simulated candidates; 4 minutes
	PYTHONPATH=. $(PY) bench/decisions.py

bench-windows: $(READY) ## run a month of traffic by day and night, with and without merged windows; 5 minutes
	PYTHONPATH=. $(PY) bench/quiet_month.py

bench-temperature: $(READY) ## compare fixed temperatures of the loss with four that adapt; 10 minutes
	PYTHONPATH=. $(PY) bench/temperature.py

bench-first-students: $(READY) ## compare self-distillation and a teacher assistant with the large teacher; 10 minutes
	PYTHONPATH=. $(PY) bench/first_students.py

bench-label-free: $(READY) ## compare accuracy without labels with CBPE: make bench-label-free DATA=/path/to/clinc150
	@test -n "$(DATA)" || { echo "make bench-label-free DATA=FOLDER: give the folder of CLINC150's data_full.json and domains.json"; exit 2; }
	$(PY) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[example]'
	PYTHONPATH=.:examples/clinc150 $(PY) bench/label_free.py "$(DATA)"

bench-history: $(READY) ## time views, ticks and decisions with up to 100,000 cycles
	PYTHONPATH=. $(PY) bench/history.py

bench-scoring: $(READY) ## compare scoring 10,000 requests with transformers.pipeline and the hardware limit
	$(PY) bench/scoring.py

bench-rules: $(READY) ## count the orders of the rule sets in simulated years; a minute
	PYTHONPATH=. $(PY) bench/rule_sets.py

bench-checkpoint: $(READY) ## compare the cost of a checkpoint with a training step
	$(PY) bench/checkpoint.py

# As a module: the script's name is that of the package.
bench-distill: $(READY) ## compare a distillation with transformers' Trainer: steps per CPU second, memory
	$(PY) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[bench]'
	PYTHONPATH=. $(PY) -m bench.distillation

example: $(READY) ## run the loop on real utterances: make example DATA=/path/to/clinc150
	@test -n "$(DATA)" || { echo "make example DATA=FOLDER: give the folder of CLINC150's data_full.json and domains.json"; exit 2; }
	$(PY) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[example]'
	$(PY) examples/clinc150/run.py --data "$(DATA)"

example-s3: $(READY) ## read the demo's traffic from a local S3 bucket, as Firehose and SageMaker write it
	@test -d demo/models/student || $(VENV)/bin/redistill demo
	$(PY) examples/s3/run.py

demo-picture: $(READY) ## draw the README's picture again from docs/demo.json
	$(PY) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt matplotlib
	$(PY) examples/demo/picture.py

# TORCH_CPU: the index or folder that has the wheels of torch without CUDA.
LOCK := $(VENV)/bin/uv pip compile --quiet --upgrade --generate-hashes --no-header --no-annotate --python-version 3.11 \
	--python-platform x86_64-manylinux_2_28 --constraint constraints.txt --no-emit-package setuptools
locks: $(READY) ## resolve the lock files of the image again: make locks TORCH_CPU=URL-OR-FOLDER
	@test -n "$(TORCH_CPU)" || { echo "make locks TORCH_CPU=...: give the index or folder of torch without CUDA"; exit 2; }
	$(PY) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt uv
	$(LOCK) --extra parquet --output-file deploy/locks/cuda.txt pyproject.toml
	$(LOCK) --extra parquet --find-links "$(TORCH_CPU)" --output-file deploy/locks/cpu.txt pyproject.toml
	$(VENV)/bin/uv pip compile --quiet --upgrade --generate-hashes --no-header --no-annotate --python-version 3.11 \
		--python-platform x86_64-manylinux_2_28 --output-file deploy/locks/build.txt deploy/locks/build.in

monitor: $(READY) ## run the daemon with ./redistill.toml
	$(VENV)/bin/redistill monitor

worker: $(READY) ## run the worker with ./redistill.toml
	$(VENV)/bin/redistill worker

clean: ## remove .venv, demo/ and build files
	rm -rf $(VENV) demo build .mypy_cache .ruff_cache .pytest_cache *.egg-info
