# make            builds build/release
# make demo       a tour of the examples, then a network that learns to read digits
# make test       all tests; the end of its output is the summary of the last run
# make install    to PREFIX (default /usr/local); make uninstall takes it away again
# make format     lays the sources out; make lint looks for mistakes
#
# Options of the build are in CMakeLists.txt, its flavours in CMakePresets.json.

PREFIX ?= /usr/local
JOBS ?= $(shell nproc 2>/dev/null || echo 1)

all: build/release/build.ninja
	cmake --build --preset release

# The first build of a flavour also installs what the machine lacks, where it may.
build/%/build.ninja: CMakePresets.json
	sh tools/setup
	cmake --fresh --preset $*
	@touch $@

setup:
	sh tools/setup

demo: all
	build/release/examples/tour
	build/release/examples/digits

test: all build/sanitize/build.ninja
	cmake --build --preset sanitize
	ctest --preset sanitize -j $(JOBS)
	ctest --preset fault -j $(JOBS)
	ctest --preset release -j $(JOBS)

install: all
	cmake --install build/release --prefix "$(PREFIX)"

uninstall: build/release/build.ninja
	cmake -DPREFIX="$(PREFIX)" -P build/release/uninstall.cmake

# Laid out by hand: autograd.h, one line per function with its formula; tables and templates of rows.
format:
	find src tests examples bench -name '*.[ch]' ! -path '*/readings/*' ! -name '*_tpl.h' \
	    ! -name table.c | xargs clang-format -i

# The analyzer's findings are for a reader to judge; those of the other checks fail. Left
# out are checks that misread compound literals, va_list or the rows of ops.def.
TIDY = -*,clang-analyzer-*,bugprone-*,misc-redundant-expression,performance-*,$\
       -bugprone-easily-swappable-parameters,-bugprone-macro-parentheses,$\
       -bugprone-implicit-widening-of-multiplication-result,-bugprone-narrowing-conversions,$\
       -bugprone-reserved-identifier,-bugprone-assignment-in-if-condition,$\
       -bugprone-suspicious-include,-bugprone-sizeof-expression,$\
       -bugprone-not-null-terminated-result,-performance-no-int-to-ptr,$\
       -clang-analyzer-valist.Uninitialized,-clang-analyzer-security.FloatLoopCounter,$\
       -clang-analyzer-security.insecureAPI.DeprecatedOrUnsafeBufferHandling
lint: build/debug/build.ninja
	@if command -v clang-tidy >/dev/null; then \
	    find src -name '*.c' | xargs clang-tidy -p build/debug --quiet --checks='$(TIDY)' \
	        --warnings-as-errors='bugprone-*,misc-*,performance-*' \
	        --extra-arg=-Wno-unknown-warning-option --extra-arg=-Wno-error; \
	else echo "lint: no clang-tidy here"; fi
	@if command -v cppcheck >/dev/null; then \
	    cppcheck --quiet --std=c11 --enable=warning,portability --inline-suppr \
	        --suppress=missingIncludeSystem --suppress=preprocessorErrorDirective \
	        --suppress=invalidPointerCast --suppress=unknownMacro --suppress=internalAstError \
	        --suppress=returnDanglingLifetime --suppress=legacyUninitvar \
	        --suppress=invalidFunctionArg --suppress=toomanyconfigs \
	        --max-configs=4 --error-exitcode=1 -Iinclude -Isrc src; \
	else echo "lint: no cppcheck here"; fi

clean:
	rm -rf build

.PHONY: all setup demo test install uninstall format lint clean
