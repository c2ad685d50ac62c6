# One environment in .venv; it is made anew only when what it is made from has changed.
PYTHON ?= python3
BIN = .venv/bin
STAMP = .venv/.made-from-$(shell cat setup.cfg pyproject.toml | cksum | cut -d' ' -f1)
# Debian's python3 may come without venv; then virtualenv does the same.
VENV = $(PYTHON) -m venv $(1) || { rm -rf $(1); \
	$(PYTHON) -m pip install --quiet --target build/virtualenv virtualenv && \
	PYTHONPATH=build/virtualenv $(PYTHON) -m virtualenv --quiet $(1); }
PEERS = .venv-peers
export OMP_NUM_THREADS = 1
export MKL_NUM_THREADS = 1

.PHONY: help quickstart test browser slow soak fuzz audit fresh lint bench peers docs dist clean

help:
	@echo "make quickstart   see the whole tool work in a few minutes"
	@echo "make test         all tests but the slow ones, with nearly all extras"
	@echo "make slow         the tests that take minutes each"
	@echo "make soak         kill every stage, 210 times in all, and look whether it ends the same"
	@echo "make fuzz         search for files that break a reader"
	@echo "make audit        look for known vulnerabilities in what is installed"
	@echo "make fresh        the two commands of the README in an empty clone, and the wheel without one"
	@echo "make lint         ruff and mypy"
	@echo "make bench        measure speed beside other ways of doing the same, an hour or more"
	@echo "make peers        and beside other packages, which it installs in $(PEERS); hours"
	@echo "make docs         the pages, in build/site; a warning is an error"
	@echo "make dist         sdist and wheel in dist, checked by twine"

# The quickstart needs no extras; an environment with all of them will do.
quickstart: $(if $(wildcard $(STAMP)-all),$(STAMP)-all,$(STAMP)-core)
	$(BIN)/vbench-ctl quickstart

test: $(STAMP)-all browser
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow"

# The pages are tested in Debian's chromium; without it those tests are skipped.
browser:
	@command -v chromium >/dev/null || { apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium; } \
		|| echo "no chromium: the tests in a browser will be skipped"

slow: $(STAMP)-all
	$(BIN)/python -m pytest -m slow

soak: $(STAMP)-all
	VBENCH_KILLS=210 $(BIN)/python -m pytest -s tests/test_kills.py

fuzz: $(STAMP)-all
	$(BIN)/python -m pip install --quiet atheris
	$(BIN)/python tests/fuzz.py

audit: $(STAMP)-all
	$(BIN)/python -m pip install --quiet pip-audit
	$(BIN)/python -m pip_audit --strict --local --skip-editable

fresh:
	tests/fresh.sh

lint: $(STAMP)-all
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy -p vbench_ctl
	$(BIN)/mypy --namespace-packages --explicit-package-bases datasets generators baselines benchmarks

bench: $(STAMP)-all
	$(BIN)/python -m pip install --quiet opencv-python-headless
	$(BIN)/vbench-ctl weights fetch i3d-k400 inception-2015 lpips-alex lpips-vgg
	$(BIN)/python benchmarks/wsprites.py
	$(BIN)/python benchmarks/store.py
	$(BIN)/python benchmarks/windows.py
	$(BIN)/python benchmarks/bair.py
	$(BIN)/python benchmarks/kinetics.py
	$(BIN)/python benchmarks/ssim.py
	$(BIN)/python benchmarks/frechet.py
	$(BIN)/python benchmarks/convolution.py
	$(BIN)/python benchmarks/i3d.py
	$(BIN)/python benchmarks/i3d.py engines
	$(BIN)/python benchmarks/memory.py
	$(BIN)/python benchmarks/load.py
	$(BIN)/python benchmarks/g3an.py
	$(BIN)/python benchmarks/ccvs.py
	$(BIN)/python benchmarks/cinn.py
	$(BIN)/python benchmarks/play.py
	$(BIN)/python benchmarks/glass.py
	$(BIN)/python benchmarks/control.py build/control

# The other packages have an environment of their own, so that theirs and ours need not agree.
peers: $(STAMP)-all $(PEERS)/made
	$(BIN)/vbench-ctl weights fetch i3d-k400 inception-2015 lpips-alex
	$(BIN)/python benchmarks/i3d.py $(PEERS)
	$(BIN)/python benchmarks/peers.py --peer-python $(PEERS)/bin/python --clips 64

$(PEERS)/made:
	$(call VENV,$(PEERS))
	$(PEERS)/bin/python -m pip install --quiet cd-fvd==0.1.1 pytorch-fid==0.3.0 lpips==0.1.4 'scikit-image==0.26.*'
	touch $@

docs: $(STAMP)-all
	$(BIN)/mkdocs build --strict

dist: $(STAMP)-all
	rm -rf dist
	$(BIN)/python -m build --outdir dist
	$(BIN)/twine check --strict dist/*

$(STAMP)-core:
	$(call VENV,.venv)
	$(BIN)/python -m pip install --quiet --editable .
	rm -f .venv/.made-from-*
	touch $@

$(STAMP)-all:
	$(call VENV,.venv)
	$(BIN)/python -m pip install --quiet --editable '.[all,docs,test]'
	rm -f .venv/.made-from-*
	touch $@

clean:
	rm -rf .venv $(PEERS) build dist *.egg-info quickstart .pytest_cache .ruff_cache .mypy_cache
