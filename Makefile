# make demo | test | bench | setup. Everything happens in .venv; nothing else is installed.
PYTHON ?=
BIN := .venv/bin
DATA ?=
NEWS ?=
NEWS_DELAY ?=

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-bars demo-news test test-slow test-trading run-trading-tests bench lint docs clean

help:
	@sed -n 's/^## //p' $(MAKEFILE_LIST)

## make setup    .venv with the pinned dependencies (Python 3.11 to 3.13 and a package registry: docs/setup.md)
setup: .venv/installed
	@[ -z '$(PYTHON)' ] || $(MAKE_VENV)

MAKE_VENV := PYTHON='$(PYTHON)' sh deploy/make_venv.sh .venv 3.11 3.12 3.13

.venv/installed: pyproject.toml setup.cfg setup.py constraints.txt
	@$(MAKE_VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --progress-bar on \
		-c constraints.txt -e '.[trade,server,train,onnx,dbn,bench,dev]'
	@touch $@

.venv/ray: .venv/installed
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt -e '.[ray]'
	@touch $@

.venv/docs: .venv/installed
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt -e '.[docs]'
	@touch $@

## make demo     train, pack, serve, trade, report; DATA=trades.csv or DATA=catalog/ for your own trades
demo: setup
	$(BIN)/python scripts/demo.py $(if $(DATA),--data '$(DATA)')

## make demo-bars  the same with a price model on bars; DATA=bars.csv or DATA=catalog/ for your own bars
demo-bars: setup
	$(BIN)/python scripts/demo.py bars $(if $(DATA),--data '$(DATA)')

## make demo-news  bars and headlines in one model; DATA=bars.csv NEWS=headlines.csv for your own
demo-news: setup
	$(BIN)/python scripts/demo.py news $(if $(DATA),--data '$(DATA)') $(if $(NEWS),--news '$(NEWS)') \
		$(if $(NEWS_DELAY),--news-delay '$(NEWS_DELAY)')

# Two processes, one OpenMP thread each: two OpenMP programs on two cores spin against each other.
## make test     the test suite, with a real TorchServe; under ten minutes on two cores
test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -m 'not slow' -n 2 --dist loadfile --no-loadscope-reorder

# The attack puts a server under load, which takes both cores.
## make test-slow  the longer proofs
test-slow: setup .venv/ray
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -m slow tests/fault_injection
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -m slow -n 2 --dist loadfile --no-loadscope-reorder \
		--ignore tests/fault_injection

# The newest NautilusTrader 1.x needs Python 3.12; PYTHON= names the one to take.
MAKE_TRADING_VENV := PYTHON='$(PYTHON)' sh deploy/make_venv.sh .venv-trading 3.12 3.13

.venv-trading/installed: setup.cfg constraints.txt
	@$(MAKE_TRADING_VENV)
	.venv-trading/bin/python -m pip install --disable-pip-version-check --quiet -c constraints.txt \
		-e '.[trade]' cryptography hypothesis pytest pytest-xdist websockets
	@touch $@

## make test-trading  the trading side on a host of its own: NautilusTrader 1.231, no torch; PYTHON=python3.12
test-trading:
	@if [ -n '$(PYTHON)' ]; then $(MAKE_TRADING_VENV); fi
	@if [ -n '$(PYTHON)' ] || sh deploy/find_python.sh 3.12 3.13 >/dev/null; then $(MAKE) run-trading-tests; \
	else echo 'skipped: no Python for NautilusTrader 1.231'; fi

run-trading-tests: .venv-trading/installed
	OMP_NUM_THREADS=1 .venv-trading/bin/python -m pytest -q -m 'not slow' -n 2 --dist loadfile --no-loadscope-reorder -r fE \
		tests/trading tests/market tests/latency

## make bench    the server against TorchServe's defaults, FastAPI and the bare forward
bench: setup
	$(BIN)/python scripts/bench_features.py
	$(BIN)/python scripts/train.py tick --out runs/tick
	$(BIN)/python scripts/train.py price --bars 2000 --folds 1 --set fit.epochs=1 --out runs/price-bench
	$(BIN)/python scripts/train.py sentiment --set fit.epochs=1 --set fit.rdrop=0 --out runs/sentiment-bench
	$(BIN)/python scripts/train.py ensemble --price-run runs/price-bench --sentiment-run runs/sentiment-bench \
		--bars 6000 --out runs/ensemble-bench
	$(BIN)/python scripts/bench_serving.py --run runs/tick --price-run runs/price-bench --ensemble-run runs/ensemble-bench

## make lint     ruff and mypy
lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

## make docs     the documentation as a site: build/site/index.html
docs: .venv/docs
	$(BIN)/python -m mkdocs build --strict

## make clean    remove what was made here (.venv too)
clean:
	rm -rf .venv .venv-trading runs reports .server archives/*.mar *.egg-info
