# make reproduce | test | lab | demo | docs | reference | screenshots | launch | scatter | bench | mutants | refresh | baselines | figures | wheel; each creates .venv from the lock when it is missing.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PROFILE ?= mini
OUT ?= build/reproduce
NOTEBOOKS := $(sort $(wildcard notebooks/*.ipynb))

# One thread each: the networks are small, and sums then round alike on every machine.
export OMP_NUM_THREADS ?= 1
export MKL_NUM_THREADS ?= 1

.PHONY: reproduce test lab demo docs reference screenshots launch scatter bench mutants refresh baselines figures wheel clean

reproduce: $(READY)
	$(BIN)/dtnet notebooks run --profile $(PROFILE) --output $(OUT) $(NOTEBOOKS)

test: $(READY)
	$(BIN)/ruff check dtnet_core tests benchmarks docs notebooks
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests
	$(BIN)/python -m pytest -q --nbval --nbval-current-env --nbval-sanitize-with notebooks/nbval.cfg $(NOTEBOOKS)

lab: $(READY)
	$(BIN)/jupyter lab notebooks

# A page that takes a crystal and shows its tensor; for this machine only, unless ADDRESS says otherwise.
ADDRESS ?= 127.0.0.1
PORT ?= 8866
demo: $(READY)
	$(BIN)/dtnet demo --address $(ADDRESS) --port $(PORT)

# The documentation, in build/docs; a warning or a link to nowhere is an error.
docs: $(VENV)/.docs
	rm -rf build/docs
	$(BIN)/python -m sphinx -W --keep-going -q -c docs . build/docs
	$(BIN)/python docs/links.py build/docs

# The pages of docs/api, after a module was added, moved or removed.
reference: $(READY)
	$(BIN)/python docs/reference.py

# Pictures of the front page, two notebooks, the page of `make demo` and the documentation, in docs/images; needs Chromium.
screenshots: docs
	$(BIN)/python docs/screenshots.py build/docs

# Links that open the notebooks on Binder and Colab, in README.md, from the repository's address in pyproject.toml.
launch: $(READY)
	$(BIN)/python docs/launch.py

# The optional torch-scatter: compiled (minutes, needs a C++ compiler), then held against torch's own sums.
scatter: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation torch-scatter==2.1.2
	$(BIN)/python -m pytest -q -m scatter tests/test_readout.py

bench: $(READY)
	$(BIN)/python benchmarks/run.py
	$(BIN)/python benchmarks/inference.py
	$(BIN)/python benchmarks/set_building.py
	$(BIN)/python benchmarks/streaming.py
	$(BIN)/python benchmarks/first_prediction.py
	$(BIN)/python benchmarks/modes.py

# Which small faults do the tests see? A sample of each module, an hour or more; goes on where it was stopped.
SAMPLE ?= 15
mutants: $(READY)
	$(BIN)/python benchmarks/mutants.py --sample $(SAMPLE)

# Execute the notebooks in place: run after a change that changes their outputs, then look at the difference.
refresh: $(READY)
	$(BIN)/dtnet notebooks refresh $(NOTEBOOKS)

# Table 2's baselines on the full profile, every run with the same budget; hours, and what is finished or measured is skipped.
HOURS ?= 0.04
baselines: $(READY)
	$(BIN)/dtnet baselines price
	$(BIN)/dtnet baselines search
	$(BIN)/dtnet baselines run --profile full --model PaiNN M3GNet MatTen AnisoNet median forest ridge --target electronic ionic total --seeds 0 1 2 3 4 --hours $(HOURS)

# Redraw figures/ and the tables of the Markdown files from data/results.
figures: $(READY)
	$(BIN)/dtnet results figures
	$(BIN)/dtnet results tables

# A wheel in build/wheel, with the trained weights: prediction without a clone.
wheel: $(READY)
	rm -rf build/lib build/bdist.*
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir build/wheel .

$(READY): requirements.lock pyproject.toml postBuild
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || python3 -m venv $(VENV)
	PYTHON=$(abspath $(BIN)/python) ./postBuild
	touch $@

$(VENV)/.docs: docs/requirements.txt $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r docs/requirements.txt
	touch $@

clean:
	rm -rf build
