# make builds, make test runs all tests; see README.md.
all: build/release/CMakeCache.txt
	cmake --build build/release
build/%/CMakeCache.txt: | setup
	cmake -S . -B build/$* -DAG_SANITIZE=$(if $(filter sanitize,$*),ON,OFF)
setup:
	sh tools/setup
test: all build/sanitize/CMakeCache.txt
	cmake --build build/sanitize
	ctest --test-dir build/sanitize --output-on-failure
	ctest --test-dir build/release --output-on-failure
.PHONY: all setup test
