# The short way to everything; CMakePresets.json has the long one. Each goal first sees to the Debian packages it needs.
JOBS ?= $(shell nproc)
PREFIX ?= /usr/local

.PHONY: help build run test proof bench install clean setup
.NOTPARALLEL:

help:
	@echo 'make run                  build a release and show it at work (two minutes)'
	@echo 'make test                 build and run every test'
	@echo 'make proof                the long form of the proofs, with figures (some hours)'
	@echo 'make build                build a release: the command, the libraries'
	@echo 'make install PREFIX=DIR   install that release (now: $(PREFIX))'
	@echo 'make bench                measure it against the kernel and others'
	@echo 'make clean                remove build/'

setup:
	@tools/setup

build: setup
	cmake --preset release
	cmake --build --preset release -j $(JOBS) --target product

run: build
	@tools/demo build/release

test: setup
	cmake --preset dev
	cmake --build --preset dev -j $(JOBS)
	ctest --preset dev -j $(JOBS)

# On the release, as it is installed; the seeded faults need a build that has them.
proof: setup
	cmake --preset release
	cmake --build --preset release -j $(JOBS) --target product proofs
	cmake --preset dev
	cmake --build --preset dev -j $(JOBS) --target proof_mutants_test
	@tools/proof --jobs $(JOBS)

# Everything in the release tree is built, for an installation installs all of it.
install: build
	cmake --install build/release --prefix '$(PREFIX)'

bench: setup
	cmake --preset release
	cmake --build --preset release -j $(JOBS) --target product muster_bench
	build/release/bin/muster_bench

clean:
	rm -rf build
