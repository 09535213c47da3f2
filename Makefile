# Two commands do all the set-up: `make quickstart` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Python compiles what is imported and keeps it; pip would compile all 27,000 modules, for a minute.
PIP := $(BIN)/python -m pip install -q --disable-pip-version-check --no-compile
# What needs only the set-up is done two at a time.
MAKEFLAGS += --jobs=2
# Debian's packages that Python's cannot bring: what `apt-get` installs when it is missing.
LIBRARIES := $(shell { ldconfig -p 2>/dev/null || /sbin/ldconfig -p 2>/dev/null; } | grep -oE 'lib(vulkan|EGL|GL|gthread-2\.0)\.so\.[01]' | sort -u)
# Without them SAPIEN and OpenCV, and so ManiSkill2, cannot be imported.
MANISKILL := $(strip $(if $(filter libvulkan.so.1,$(LIBRARIES)),,libvulkan1) $(if $(filter libGL.so.1,$(LIBRARIES)),,libgl1) \
  $(if $(filter libgthread-2.0.so.0,$(LIBRARIES)),,libglib2.0-0))
# Films are drawn without a display by EGL, on a machine without a GPU by Mesa's software driver.
DRAWING := $(if $(and $(filter libEGL.so.1,$(LIBRARIES)),$(filter libGL.so.1,$(LIBRARIES)),$(wildcard /usr/lib/*/dri/swrast_dri.so)),,libegl1 libgl1 libgl1-mesa-dri)
CHROMIUM := $(shell command -v chromium || command -v chromium-browser || command -v google-chrome)
APT := $(shell command -v apt-get)
SUDO := $(shell [ "$$(id -u)" = 0 ] || command -v sudo)

.PHONY: setup quickstart test lint types browser lock clean

setup: $(VENV)/.ready

$(VENV)/.ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { \
	  echo "Python 3.11 is needed (ManiSkill2 and its numpy have no later build). Install it, or name it: make PYTHON=/path/to/python3.11"; exit 2; }
ifneq ($(MANISKILL),)
ifneq ($(APT),)
	@echo "Installing $(MANISKILL), without which ManiSkill2 cannot be imported …"
	@$(SUDO) apt-get install -y -qq $(MANISKILL) >/dev/null 2>&1 || { $(SUDO) apt-get update -qq && $(SUDO) apt-get install -y -qq $(MANISKILL) >/dev/null; } || { \
	  echo "apt-get could not install $(MANISKILL). Install them as root, then run make again."; exit 2; }
else
	@echo "The Vulkan loader, OpenGL or GLib is missing and there is no apt-get: ManiSkill2 cannot be imported until your system's are installed (Fedora: vulkan-loader mesa-libGL glib2). MuJoCo benchmarks work without it."
endif
endif
ifneq ($(DRAWING),)
ifneq ($(APT),)
	@echo "Installing $(DRAWING), by which films are drawn without a display …"
	@$(SUDO) apt-get install -y -qq $(DRAWING) >/dev/null 2>&1 || { $(SUDO) apt-get update -qq && $(SUDO) apt-get install -y -qq $(DRAWING) >/dev/null; } || \
	  echo "apt-get could not install them: all but \`hypogen film\` works without."
else
	@echo "EGL or its software driver is missing and there is no apt-get: \`hypogen film\` needs them (Fedora: mesa-libEGL, mesa-dri-drivers)."
endif
endif
	@$(PYTHON) -m venv $(VENV) 2>/dev/null || { [ -n "$(APT)" ] && $(SUDO) apt-get update -qq && $(SUDO) apt-get install -y -qq python3-venv && $(PYTHON) -m venv $(VENV); } || { \
	  echo "$(PYTHON) cannot make a virtual environment: install Python's venv module (Debian: python3-venv)."; exit 2; }
	@echo "Installing the locked dependencies into $(VENV) …"
	@$(PIP) -r requirements.lock
	@$(PIP) --no-deps --no-build-isolation -e .
ifneq ($(PYTHONDONTWRITEBYTECODE),)
	@echo "Compiling the modules, since PYTHONDONTWRITEBYTECODE keeps Python from doing it at the first import …"
	@$(BIN)/python -m compileall -q -j 0 $(VENV)/lib >/dev/null || true  # some packages bring modules for later Pythons
endif
	@echo "Compiling the kernels of training …"
	@$(BIN)/python -c "import torch; from hypogen.adam import adam; adam([torch.nn.Parameter(torch.zeros(1))], 0.1)"
	@touch $@

quickstart: setup
	$(BIN)/python -m orchestrator.sweep experiments/quickstart.yaml

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

# Triton interprets the GPU's kernels in one test. It has a folder of its own: where torch finds it, it imports it.
$(VENV)/triton/.ready: $(VENV)/.ready
	@echo "Installing Triton, by which the GPU's kernels are tested on a processor …"
	@$(PIP) --no-deps --upgrade --target $(VENV)/triton triton==3.9.0
	@touch $@

# trackio wants an older Pillow than the lock has: for its test it lies in a folder of its own, with what it brings.
$(VENV)/trackio/.ready: $(VENV)/.ready
	@echo "Installing trackio, for the test of what is sent to it …"
	@$(PIP) --no-deps --upgrade --target $(VENV)/trackio \
	  trackio==0.43.0 brotli==1.2.1 gradio_client==2.7.2 hf-xet==1.8.0 httpcore==1.0.9 httpcore2==2.16.2 httptools==0.9.0 httpx==0.28.1 \
	  httpx2==2.16.2 huggingface_hub==2.4.0 orjson==3.13.0 pillow==12.3.0 python-multipart==0.0.34 truststore==0.10.5 uvloop==0.23.0 watchfiles==1.3.0
	@touch $@

# The tests open the report in a browser.
browser: setup
ifeq ($(CHROMIUM),)
ifneq ($(APT),)
	@echo "Installing Chromium, in which the tests open the report …"
	@$(SUDO) apt-get install -y -qq --no-install-recommends chromium >/dev/null 2>&1 || { $(SUDO) apt-get update -qq && $(SUDO) apt-get install -y -qq --no-install-recommends chromium >/dev/null; } || { \
	  echo "apt-get could not install chromium. Install it as root, then run make again."; exit 2; }
else
	@echo "Chromium is missing and there is no apt-get: the tests of the report fail until Chromium or Chrome is installed."
endif
endif

test: setup lint types browser $(VENV)/triton/.ready $(VENV)/trackio/.ready
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis

# Renew requirements.lock from pyproject.toml: resolve in an empty environment, keep the versions.
lock:
	rm -rf $(VENV)-lock && $(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/python -m pip install -q ".[maniskill,cluster,export,sinks,sharing,test]" wheel
	{ echo "# Every package that the set-up installs, for Python 3.11 on Linux; \`make lock\` renews it."; \
	  $(VENV)-lock/bin/python -m pip list --format=freeze --exclude hypogen --exclude pip | sed 's/+.*//'; } > requirements.lock
	rm -rf $(VENV)-lock
