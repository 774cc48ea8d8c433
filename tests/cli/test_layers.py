"""The layers of the source: calls go strictly down, and what each layer must not do."""

import os
import re
import unittest

TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")

# A folder, and the folders whose headers its files may include beside its own; src/ itself is "top".
ALLOWED = {
    "base": set(),
    "io": {"base"},
    "kernels": {"base"},
    "backend": {"base"},
    "backend/cpu": {"base", "kernels", "backend"},
    "backend/vulkan": {"base", "kernels", "backend", "backend/cpu"},
    "model": {"base", "io", "backend"},
    "inspect": {"base", "io", "model"},
    "convert": {"base", "io", "model"},
    "hub": {"base", "io"},
    "registry": {"base", "io", "convert", "inspect", "hub"},
}


PUBLIC = ("zimage.h", "zimage_models.h", "zimage_bench.h")


def sources(*folders):
    """(path from the top, text without comments) of every C file in folders."""
    for folder in folders:
        for at, _, names in os.walk(os.path.join(TOP, folder)):
            for name in sorted(names):
                if name.endswith((".c", ".h")):
                    path = os.path.join(at, name)
                    with open(path, encoding="utf-8") as file:
                        text = re.sub(r"/\*.*?\*/", "", file.read(), flags=re.S)
                    yield os.path.relpath(path, TOP), text


def matches(pattern, *folders):
    return [f"{path}: {found.group(0)}" for path, text in sources(*folders) for found in re.finditer(pattern, text)]


class Layers(unittest.TestCase):
    def test_includes_go_down(self):
        wrong = []
        for path, text in sources("src"):
            folder = os.path.relpath(os.path.dirname(path), "src")
            for include in re.findall(r'#include "([^"]+\.h)"', text):  # .inc: made by the build
                other = os.path.dirname(include)
                if folder != "." and include not in PUBLIC and other not in ALLOWED[folder] | {folder}:
                    wrong.append(f"{path} includes {include}")
        self.assertEqual(wrong, [])

    def test_front_ends_see_the_interface(self):
        """And the parts of the library that are no part of the engine."""
        wrong = [line for line in matches(r'#include "(?!zimage(_models|_bench)?\.h|base/|server/|cli\.h|generate\.h|\.\.)[^"]+"', "cli", "server")]
        self.assertEqual(wrong, [])

    def test_models_compute_through_the_backend(self):
        """No kernel, no thread pool, no look at device memory."""
        self.assertEqual(matches(r"\bkernels\b|\bzi_pool_\w+|->host\b|\bzi_view_host\b", "src/model"), [])

    def test_no_environment_in_the_library(self):
        self.assertEqual(matches(r"\bgetenv\b", "src", "server"), [])

    def test_threads_that_answer_do_not_inspect(self):
        """Nor do they bring files to the disk; the scanner and the workers do."""
        slow = r"\b(zi_inspect|zi_registry_inspect_all|zi_verify|zi_convert|zi_model_load|fsync)\("
        self.assertEqual([line for line in matches(slow, "server")
                          # links.c writes its file before the server answers.
                          if not line.startswith(("server/scanner.c", "server/worker.c", "server/run_", "server/links.c"))], [])


if __name__ == "__main__":
    unittest.main()
