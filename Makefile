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
POOL ?= fashion_mlp.jsonl
TABLE ?= nas_bench_macro_cifar10.json
STORAGE ?= postgresql+psycopg://designer@127.0.0.1/designer
RESULTS = benchmarks/results
PRUNED = --data MNIST=$(MNIST) --data Fashion-MNIST=$(FASHION)
PUBLISHED ?= naslib_zero_cost_nasbench201.json
FRESH = --archs 100 --epochs 20 --train-size 1000 --seeds 2
FRESH_CONV = --archs 100 --epochs 20 --final-epochs 40 --train-size 500 --seeds 1

.PHONY: search test database browser lint picture results clean

search: $(INSTALLED)  ## search on the bundled digits and show the report
	$(BIN)/designer search --data digits --trials 30 --epochs 10 --out $(RUN)

test: $(INSTALLED) database browser  ## run all tests
	$(BIN)/python -m pytest --numprocesses 3 --dist worksteal

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

picture: $(INSTALLED)  ## make the README's pictures again, from a real run
	$(BIN)/python docs/picture.py docs

results: $(INSTALLED)  ## run every benchmark again and write all figures from it
	$(BIN)/python -m benchmarks.paper --figure all --mnist $(MNIST) --fashion $(FASHION) --runs paper_runs.jsonl --json $(RESULTS)/paper.json
	$(BIN)/python -m benchmarks.bench_separation --json $(RESULTS)/separation.json
	$(BIN)/python -m benchmarks.bench_criterion --pool $(POOL) --json $(RESULTS)/criterion_fashion_mlp.json
	$(BIN)/python -m benchmarks.bench_criterion --data $(FASHION) $(FRESH) --image-size 10 --json $(RESULTS)/criterion_fashion.json
	$(BIN)/python -m benchmarks.bench_criterion --data $(MNIST) $(FRESH) --image-size 10 --json $(RESULTS)/criterion_mnist.json
	$(BIN)/python -m benchmarks.bench_criterion --data $(MNIST) $(FRESH) --image-size 10 --seed 100 --json $(RESULTS)/criterion_mnist_100.json
	$(BIN)/python -m benchmarks.bench_criterion --data digits $(FRESH) --json $(RESULTS)/criterion_digits.json
	for space in cnn resnet; do \
		$(BIN)/python -m benchmarks.bench_criterion --space $$space --data $(FASHION) $(FRESH_CONV) --image-size 10 --json $(RESULTS)/criterion_$${space}_fashion.json && \
		$(BIN)/python -m benchmarks.bench_criterion --space $$space --data $(MNIST) $(FRESH_CONV) --image-size 10 --json $(RESULTS)/criterion_$${space}_mnist.json && \
		$(BIN)/python -m benchmarks.bench_criterion --space $$space --data digits $(FRESH_CONV) --json $(RESULTS)/criterion_$${space}_digits.json || exit 1; \
	done
	$(BIN)/python -m benchmarks.bench_published --table $(PUBLISHED) --json $(RESULTS)/zero_cost_published.json
	$(BIN)/python -m benchmarks.bench_search --table $(TABLE) --json $(RESULTS)/search_macro.json
	$(BIN)/python -m benchmarks.bench_search --data $(FASHION) --train-size 1000 --image-size 10 --json $(RESULTS)/search_fashion.json
	$(BIN)/python -m benchmarks.bench_search --data $(MNIST) --train-size 1000 --image-size 10 --json $(RESULTS)/search_mnist.json
	$(BIN)/python -m benchmarks.bench_payoff --data $(MNIST) --train-size 1000 --image-size 10 --json $(RESULTS)/payoff_mnist.json
	$(BIN)/python -m benchmarks.bench_payoff --data $(FASHION) --train-size 1000 --image-size 10 --json $(RESULTS)/payoff_fashion.json
	$(BIN)/python -m benchmarks.bench_payoff --data digits --json $(RESULTS)/payoff_digits.json
	$(BIN)/python -m benchmarks.bench_analysis --json $(RESULTS)/analysis.json
	$(BIN)/python -m benchmarks.bench_residual --json $(RESULTS)/residual.json
	$(BIN)/python -m benchmarks.bench_pruning $(PRUNED) --data digits=digits --family "plain MLP" --family "residual MLP" --json $(RESULTS)/pruning_mlp.json
	$(BIN)/python -m benchmarks.bench_pruning --data MNIST=$(MNIST) --family "plain MLP" --train-size 2000 --image-size 14 --json $(RESULTS)/pruning_mlp_14.json
	$(BIN)/python -m benchmarks.bench_pruning $(PRUNED) --data digits=digits --family ResNet --json $(RESULTS)/pruning_resnet.json
	$(BIN)/python -m benchmarks.bench_pruning $(PRUNED) --data digits=digits --family ViT --json $(RESULTS)/pruning_vit.json
	$(BIN)/python -m benchmarks.bench_pruning --best $(PRUNED) --data digits=digits --json $(RESULTS)/pruning_best.json
	$(BIN)/python -m benchmarks.bench_pruning --max-drop 0.01 $(PRUNED) --family "plain MLP" --json $(RESULTS)/pruning_max_drop.json
	$(BIN)/python -m benchmarks.bench_pruning --max-drop 0.01 $(PRUNED) --family ResNet --json $(RESULTS)/pruning_max_drop_resnet.json
	$(BIN)/python -m benchmarks.bench_scaling --part cores --json $(RESULTS)/scaling_cores.json
	$(BIN)/python -m benchmarks.bench_scaling --part plain --mnist $(MNIST) --json $(RESULTS)/scaling_plain.json
	$(BIN)/python -m benchmarks.bench_scaling --part workers --storage $(STORAGE) --json $(RESULTS)/scaling_workers.json
	$(BIN)/python -m benchmarks.bench_scaling --part growth --storage $(STORAGE) --json $(RESULTS)/scaling_growth.json
	$(BIN)/python -m benchmarks.bench_scaling --part stacked --mnist $(MNIST) --json $(RESULTS)/scaling_stacked.json
	$(BIN)/python -m benchmarks.tables

clean:
	rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@
