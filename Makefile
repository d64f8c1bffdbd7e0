# Everything that a newcomer needs, on a machine with Python 3.11 or newer and nothing else.

PYTHON ?= python3
VENV ?= .venv
RUN ?= runs/digits-mlp
BIN = $(VENV)/bin
INSTALLED = $(VENV)/.installed
SUDO = $(if $(filter 0,$(shell id -u)),,sudo)

# where the benchmarks find what is not bundled (see benchmarks/README.md)
MNIST ?= mnist.npz
FASHION ?= fashion_mnist_subset.npz
CIFAR ?= cifar10_subset.npz
MODELS ?= models
POOL ?= fashion_mlp.jsonl
TABLE ?= nas_bench_macro_cifar10.json
PUBLISHED ?= naslib_zero_cost_nasbench201.json
STORAGE ?= postgresql+psycopg://designer@127.0.0.1/designer
SOURCES = --mnist $(MNIST) --fashion $(FASHION) --cifar $(CIFAR) --models $(MODELS) \
	--pool $(POOL) --table $(TABLE) --published $(PUBLISHED) --storage $(STORAGE)
REPEATED = runs/benchmarks/repeated
TEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 3 --dist worksteal

.PHONY: search test ray pages coverage fuzz faults database browser lint structure docs picture results zoo clean

search: $(INSTALLED)  ## search on the bundled digits and show the report
	$(BIN)/designer search --data digits --trials 30 --epochs 10 --out $(RUN)

test: $(INSTALLED) database browser  ## run all tests
	$(TEST)

ray: $(INSTALLED)  ## test searches on Ray, which starts whole clusters
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/search/run_ray.py

coverage: $(INSTALLED) database browser  ## run all tests, slower, and say which lines they do not run
	$(TEST) --cov --cov-report=
	$(BIN)/coverage report

faults: $(INSTALLED)  ## kill searches at random moments, and let disks fill up at each step of writing
	OMP_NUM_THREADS=1 unshare --map-root-user --mount $(BIN)/python -m tests.faults

fuzz: $(INSTALLED)  ## spoil files and options at random for ten minutes, as the tests do for seconds
	OMP_NUM_THREADS=1 FUZZ_SECONDS=600 $(BIN)/python -m pytest tests/cli/test_fuzz.py --capture=no

database:  ## install the PostgreSQL that the tests start servers of, where there is none
	@ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || command -v initdb >/dev/null || \
		{ $(SUDO) apt-get update -qq && $(SUDO) apt-get install -qq -y postgresql; }

browser:  ## install the Chromium that the tests open pages with, where there is none
	@for name in chromium chromium-browser google-chrome $(CHROMIUM); do \
		command -v $$name >/dev/null && exit 0; \
	done; \
	$(SUDO) apt-get update -qq && $(SUDO) apt-get install -qq -y chromium

lint: $(INSTALLED)  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

structure: $(INSTALLED)  ## print what is wrong with the code's structure, place by place
	$(BIN)/python -m tests.structure

pages: $(INSTALLED) database  ## run the code of all tutorials, and compare what it prints with what they show
	$(TEST) tests/docs/run_pages.py

docs: $(INSTALLED)  ## build the documentation site into site/, which needs no network
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

picture: $(INSTALLED)  ## make the README's pictures again, from a real run
	$(BIN)/python docs/picture.py docs

results: $(INSTALLED)  ## repeat every result file, and write all figures from them; a stopped pass goes on
	@mkdir -p $(REPEATED)
	@for file in benchmarks/results/*.json; do \
		repeated=$(REPEATED)/$$(basename $$file); \
		if [ -e $$repeated ]; then continue; fi; \
		$(BIN)/python -m benchmarks.run --repeat $$file $(SOURCES) || exit 1; \
		touch $$repeated; \
	done
	$(BIN)/python -m benchmarks.evidence
	rm -r $(REPEATED)

zoo:  ## look into models of torchvision, timm and transformers, in an environment of their own
	$(PYTHON) -m venv .venv-zoo
	.venv-zoo/bin/python -m pip install --quiet --disable-pip-version-check \
		-r benchmarks/zoo.txt -e '.[dev]'
	@mkdir -p runs/benchmarks
	OMP_NUM_THREADS=1 .venv-zoo/bin/python -m benchmarks.run zoo \
		--runs runs/benchmarks/zoo.jsonl --json benchmarks/results/zoo.json

clean:
	rm -rf .venv .venv-zoo build site .coverage *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@
