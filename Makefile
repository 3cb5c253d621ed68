# A plain Linux machine with Python 3.11 or 3.12, a compiler and CMake: everything goes into .venv, ROS 2 included.
# In a sourced ROS distribution use rosdep and colcon instead (README).

SHELL := /bin/bash
VENV := .venv
PYTHON ?= $(shell for python in python3.11 python3.12 python3; do \
	$$python -c 'import ensurepip, sys, venv; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' \
	2>/dev/null && echo $$python && break; done)
PYTEST_ARGS ?=

# Nothing of a sourced distribution may mix with the wheels.
unexport PYTHONPATH PYTHONHOME LD_LIBRARY_PATH CMAKE_PREFIX_PATH COLCON_PREFIX_PATH
unexport ROS_DISTRO RMW_IMPLEMENTATION _ROS_WHEELS_BOOTSTRAP_COMPLETE
export AMENT_PREFIX_PATH := $(CURDIR)/$(VENV)
export VIRTUAL_ENV := $(CURDIR)/$(VENV)
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Idle OpenMP threads that spin slow down everything else on a small machine.
export OMP_WAIT_POLICY ?= PASSIVE

STAMPS := $(VENV)/.trg_ros
UBUNTU := $(VENV)/ubuntu-24.04
CMAKE_OPTIONS := -GNinja -Wno-dev -DCMAKE_BUILD_TYPE=Release -DBUILD_TESTING=OFF -DAMENT_CMAKE_SYMLINK_INSTALL=ON \
	-DTRG_ROS_INSTALL_MODULES=OFF -DCMAKE_INSTALL_PREFIX=$(CURDIR)/$(VENV) -DPython3_EXECUTABLE=$(CURDIR)/$(VENV)/bin/python
# $(call build_messages,SOURCE,NAME): configure, build and install one package of messages into $(VENV)
build_messages = mkdir -p $(STAMPS)/$(2) && cd $(STAMPS)/$(2) && { \
	cmake -S $(CURDIR)/$(1) -B . $(CMAKE_OPTIONS) && cmake --build . && cmake --install . ; } > $(2).log 2>&1 \
	|| { tail -n 40 $(2).log; echo "building $(2) failed; the whole log: $(STAMPS)/$(2)/$(2).log"; exit 1; }

.PHONY: setup build demo test test-ubuntu reliability lint format docs clean help
help:
	@echo "make setup | demo | test | test-ubuntu | reliability | lint | format | docs | build | clean    (PYTHON=python3.12 chooses the interpreter)"

setup: $(STAMPS)/python $(STAMPS)/tf2_msgs.done $(STAMPS)/trg_ros.done $(STAMPS)/face_detection

demo: setup
	python -m trg_ros.demo

test: setup
	python -m pytest $(PYTEST_ARGS)

# With the NumPy and OpenCV of Ubuntu 24.04, which Jazzy's users have. (Ubuntu 22.04's have no wheels for this Python.)
test-ubuntu: setup
	@test -d $(UBUNTU) || python -m pip install --quiet --no-deps --target $(UBUNTU) \
		'numpy==1.26.4' 'opencv-python-headless==4.6.0.66'
	PYTHONPATH=$(CURDIR)/$(UBUNTU) python -m pytest $(PYTEST_ARGS)

# Runs the tests of faults and writes their table.
reliability: setup
	python -m pytest --reliability-table=docs/reliability.md $(PYTEST_ARGS)

lint: setup
	ruff check .
	ruff format --check .
	mypy

format: setup
	ruff check --fix .
	ruff format .

docs: setup
	python docs/update.py

build: setup
	rm -rf dist
	python -m build --no-isolation --outdir dist .

clean:
	rm -rf $(VENV) build install log dist demo_output .mypy_cache .pytest_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "trg_ros needs Python 3.11 or 3.12 with the venv module (Debian, Ubuntu:" \
		"apt install python3-venv python3-dev), or PYTHON=/path/to/python3.11"; exit 1; }
	@command -v cmake > /dev/null || { echo "trg_ros needs CMake (apt install cmake)"; exit 1; }
	@command -v c++ > /dev/null || { echo "trg_ros needs a C++ compiler (apt install g++)"; exit 1; }
	@$(PYTHON) -c 'import os, sys, sysconfig; \
		sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))' \
		|| { echo "trg_ros needs the headers of $(PYTHON) (apt install python3-dev)"; exit 1; }
	$(PYTHON) -m venv $(VENV)

# torch is pinned: an open requirement may bring several GB of CUDA libraries.
$(STAMPS)/python: pyproject.toml setup.py underlay/python/pyproject.toml | $(VENV)/bin/python
	@mkdir -p $(STAMPS)
	@echo "installing PyTorch, ROS 2 and tools into $(VENV): a few minutes, once"
	@python -m pip install --quiet 'setuptools>=77,<80'
	@python -m pip install --quiet --no-build-isolation 'torch==2.13.0' -e ./underlay/python -e '.[ros,train,onnx,openvino,dev]'
	@touch $@

$(STAMPS)/tf2_msgs.done: $(wildcard underlay/tf2_msgs/* underlay/tf2_msgs/msg/*) cmake/drop_missing_include_directories.cmake \
		| $(STAMPS)/python
	@echo "building tf2_msgs"
	@$(call build_messages,underlay/tf2_msgs,tf2_msgs)
	@touch $@

# The folders: a new launch file, configuration or script has to be linked into $(VENV), too.
$(STAMPS)/trg_ros.done: CMakeLists.txt package.xml $(wildcard cmake/* msg/* launch config scripts) | $(STAMPS)/python
	@echo "building trg_ros.msg"
	@$(call build_messages,.,trg_ros)
	@# pip would take rosidl's metadata for an installation of its own and remove the messages with it.
	@rm -rf $(VENV)/lib/python3.*/site-packages/trg_ros-*.egg-info
	@touch $@

# yuface has wheels for two Pythons on x86-64 only, but the library in them does not depend on Python's version.
# Without it the own finder looks for faces; it misses more of them.
$(STAMPS)/face_detection: | $(STAMPS)/python
	@python -c 'import yuface' 2>/dev/null || { \
		python -m pip download --quiet --no-deps --only-binary=:all: --python-version 3.11 --dest $(STAMPS) yuface && \
		python -m zipfile -e $(STAMPS)/yuface-*.whl $(STAMPS)/yuface && \
		cp $(STAMPS)/yuface/yuface/libfacedetection.so $(VENV)/lib/ && \
		cp -r $(STAMPS)/yuface/yuface.libs $(VENV)/ ; } || \
		echo "libfacedetection has no wheel for this machine ($$(uname -m)): the own finder takes its place"
	@touch $@
