"""What all Python suites share: where the program and the test data are, an environment of its own for the program,
temporary folders, and running the program.

The environment names the program (ZIMAGE) and the test data (ZI_TEST_DATA). Importing this module isolates the program
from the machine: all HF_ variables are replaced, so that no model in a cache of the user is found, and the hub's URL is
one where nobody listens; nor does the user's configuration of zimage count, or a GPU.
"""

import atexit
import os
import shutil
import subprocess
import tempfile

ZIMAGE = os.path.abspath(os.environ["ZIMAGE"])
DATA = os.path.abspath(os.environ["ZI_TEST_DATA"])
GOLDEN = os.path.join(DATA, "golden")
MODEL = os.path.join(GOLDEN, "model")
LONG_FORM = "ZI_TEST_LONG" in os.environ  # suites that have a short form then run in full

_cache = tempfile.mkdtemp(prefix="zimage-test-cache.")
atexit.register(shutil.rmtree, _cache, True)
for _name in [name for name in os.environ if name.startswith(("HF_", "ZIMAGE_")) and name != "ZIMAGE_BUILD"]:
    del os.environ[_name]
os.environ["HF_HOME"] = os.path.join(_cache, "huggingface")
os.environ["HF_ENDPOINT"] = "http://127.0.0.1:9"
os.environ["XDG_CACHE_HOME"] = _cache
os.environ["XDG_CONFIG_HOME"] = _cache
os.environ["ZIMAGE_DEVICE"] = "cpu"  # images that are compared bit for bit are those of the processor


def temporary_folder(case):
    """A new folder, removed when the test ends; case is the unittest.TestCase, or its class in setUpClass."""
    folder = tempfile.mkdtemp(prefix="zimage-test-")
    clean_up = case.addClassCleanup if isinstance(case, type) else case.addCleanup
    clean_up(_remove, folder)
    return folder


def _remove(folder):
    if os.path.exists(folder):
        subprocess.run(["chmod", "-R", "u+rwX", folder], check=True)  # tests take rights away
        shutil.rmtree(folder)


def run(*args, cwd, timeout, **options):
    """Runs `zimage ARGS` without standard input and captures its output; the subprocess.CompletedProcess."""
    return subprocess.run([ZIMAGE, *args], cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout,
                          **options)
