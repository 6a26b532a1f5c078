# For a machine with Python 3 and make, and nothing else: `make demo` and `make test` set up all that they need.
#
# What is set up lies in .venv, in the order of the rules below. A file in it marks each step that went through, so an
# interrupted one is done again, and one whose inputs have changed too.

PYTHON ?= python3
VENV := .venv

.PHONY: help demo test bench clean system

help:
	@echo "make demo    a broadcast server, three subscribers and a ticker, for ten seconds"
	@echo "make test    all tests, checks and sanitizers (tox); some minutes"
	@echo "make bench   the benchmarks, half an hour; a minute with ARGS=--quick"
	@echo "make clean   remove all that was built and set up"
	@echo "Another Python than python3: make PYTHON=python3.12 ..."

demo: $(VENV)/.package
	@$(VENV)/bin/python examples/demo.py

test: $(VENV)/.tox
	@echo "== the steps (tox.ini): $$($(VENV)/bin/tox list --no-desc | xargs); the first minute goes into setting up"
	@$(VENV)/bin/tox run -q --fail-fast \
		&& echo "== make test: all passed" \
		|| { echo "== make test: FAILED, and stopped there: see the FAIL above, and what stands before it"; exit 1; }

bench: $(VENV)/.bench
	@$(VENV)/bin/python -m benchmarks $(ARGS)

clean:
	rm -rf $(VENV) .tox build dist .pytest_cache .mypy_cache .ruff_cache
	find gzmqhelper tests examples benchmarks -name __pycache__ -prune -exec rm -rf {} +

# ---- the steps -------------------------------------------------------------------------------------------------------

# An environment that was made with another Python or for another folder, or whose Python is gone since the system was
# upgraded, is made afresh.
made := $(PYTHON) $(CURDIR)
ifneq ($(wildcard $(VENV)/.made),)
ifneq ($(shell $(VENV)/bin/python -c 'import pip' 2>/dev/null && cat $(VENV)/.made),$(made))
$(shell rm -f $(VENV)/.made)
endif
endif

# Looked at every time, because it is quick and the builds inside tox need it too.
system:
	@tools/setup.sh system $(PYTHON)

$(VENV)/.made: pyproject.toml tools/setup.sh | system
	@tools/setup.sh venv $(PYTHON) $(VENV)
	@echo '$(made)' >$@

# Editable: an edited Python file needs no new installation, only an edited C file does.
$(VENV)/.package: $(VENV)/.made csrc/CMakeLists.txt $(wildcard csrc/*.[ch])
	@tools/setup.sh install $(VENV) 'gzmqhelper and what it needs' --editable .
	@touch $@

$(VENV)/.bench: $(VENV)/.package
	@tools/setup.sh install $(VENV) 'what the benchmarks need' --editable '.[bench]'
	@touch $@

# 4.36 is the first with --fail-fast.
$(VENV)/.tox: $(VENV)/.made
	@tools/setup.sh install $(VENV) tox 'tox>=4.36'
	@touch $@
