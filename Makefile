# A thin front: the build is CMake's (CMakeLists.txt, CMakePresets.json), the work is done by scripts/.
# JOBS=n sets how many compilers and tests run at a time.
PREFIX ?= /usr/local
export JOBS ?= 2

.DEFAULT_GOAL := help
.PHONY: help deps deps-oracle deps-tidy build run test bench bench-count soak fuzz tidy format format-check docs install clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

deps: ## install what building and testing needs (apt, Debian 12)
	@scripts/deps.sh

deps-oracle: ## install the optional oracles: mingw-w64 and Wine
	@scripts/deps.sh oracle

deps-tidy: ## install clang-tidy
	@scripts/deps.sh tidy

build: deps ## build the release preset: build/release/ntmm, libntmm.a, libntmm.so
	@scripts/build.sh release

run: build ## the main job: real work in a machine with less memory than the work needs
	@scripts/run_main_job.sh build/release

test: deps ## format check, release build, then build and test with asan, tsan and debug
	@scripts/test.sh

bench: build ## run the benchmarks of the release preset (BENCH=name for one)
	@scripts/bench.sh build/release $(BENCH)

bench-count: deps ## instruction counts of the fault paths under callgrind (installs valgrind)
	@scripts/deps.sh valgrind
	@scripts/build.sh valgrind
	@scripts/count_instructions.sh build/valgrind

soak: deps ## randomized suites with new seeds, SOAK_SECONDS=3600 (SOAK_PRESET=asan)
	@scripts/build.sh $(or $(SOAK_PRESET),asan)
	@scripts/soak.sh $(or $(SOAK_PRESET),asan)

fuzz: deps ## libFuzzer over every target, FUZZ_SECONDS=60 each (FUZZ=name for one)
	@scripts/build.sh fuzz
	@scripts/fuzz.sh $(FUZZ)

tidy: deps ## clang-tidy over the product's sources
	@scripts/build.sh asan
	@scripts/tidy.sh

format: ## bring every C file into the house form (FILES=... for some)
	@scripts/format.sh $(FILES)

format-check: ## say which C files are not in the house form
	@scripts/format.sh --check $(FILES)

docs: ## regenerate the generated pages (every scripts/gen_*.py)
	@for generator in scripts/gen_*.py; do python3 $$generator || exit 1; done

install: build ## install headers, libraries, the command, pkg-config and CMake files to PREFIX=/usr/local (DESTDIR too)
	@cmake --install build/release --prefix $(PREFIX)

clean: ## remove everything that was built
	rm -rf build
