# Thin: every target installs what is missing, then calls CMake or a script.
# SPDX-License-Identifier: MIT
JOBS ?= 2

.PHONY: setup build test demo check bench package install agent-arm64 clean

setup:
	@scripts/setup

build: setup
	cmake --preset release >/dev/null
	cmake --build build/release -j $(JOBS)

test: build
	ctest --preset release -j $(JOBS)

demo: setup
	cmake --preset release >/dev/null
	cmake --build build/release -j $(JOBS) --target cirrus
	scripts/demo

check: setup
	scripts/check

bench: build
	scripts/bench

# A .deb and a tarball in build/release.
package: build
	cd build/release && cpack

# PREFIX=/usr/local unless given.
install: build
	cmake --install build/release --prefix $(or $(PREFIX),/usr/local)

agent-arm64: setup
	scripts/agent-arm64

clean:
	rm -rf build
