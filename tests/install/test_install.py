"""`make install`, and programs that are built against what it installs, in C and C++, by pkg-config and by CMake."""

import os
import re
import subprocess
import tempfile
import unittest

TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
BUILD = os.environ["ZIMAGE_BUILD"]
EXAMPLES = os.path.join(TOP, "examples")
MODEL = os.path.join(TOP, "share", "demo-model")
PUBLIC = ["zimage.h", "zimage_bench.h", "zimage_models.h"]
STRICT = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"]


def call(*command, **options):
    run = subprocess.run(command, capture_output=True, text=True, **options)
    if run.returncode:
        raise AssertionError(f"{' '.join(command)} ended with {run.returncode}:\n{run.stdout}{run.stderr}")
    return run.stdout


class Install(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        # Installed in one place and moved to another one.
        first, cls.prefix = (os.path.join(cls.folder.name, name) for name in ("first", "moved"))
        call("cmake", "--install", BUILD, "--prefix", first)
        os.rename(first, cls.prefix)
        cls.include = os.path.join(cls.prefix, "include")
        cls.lib = next(at for at, _, files in os.walk(cls.prefix) if "libzimage.so" in files)
        cls.environment = {**os.environ, "LD_LIBRARY_PATH": cls.lib,
                           "PKG_CONFIG_PATH": os.path.join(cls.lib, "pkgconfig")}

    def path(self, name):
        return os.path.join(self.folder.name, name)

    def flags(self, *options):
        return call("pkg-config", *options, "zimage", env=self.environment).split()

    def generates(self, *program):
        image = self.path("image.png")
        call(*program, MODEL, "a red circle", image, env=self.environment)
        with open(image, "rb") as file:
            self.assertEqual(file.read(8), b"\x89PNG\r\n\x1a\n")
        os.remove(image)

    def test_programs_by_pkg_config(self):
        for name in ("generate", "progress", "inspect"):
            call("cc", "-std=c99", *STRICT, os.path.join(EXAMPLES, f"{name}.c"), "-o", self.path(name),
                 *self.flags("--cflags", "--libs"))
        self.generates(self.path("generate"))
        self.generates(self.path("progress"))
        says = call(self.path("inspect"), MODEL, env=self.environment)
        self.assertRegex(says, r"zimage \d.*\n.*: Z-Image-Turbo, diffusers\n(.*\n)*good\n")

    def test_cancelled(self):
        call("cc", os.path.join(EXAMPLES, "progress.c"), "-o", self.path("cancelled"), *self.flags("--cflags", "--libs"))
        image = self.path("no.png")
        run = subprocess.run([self.path("cancelled"), MODEL, "a red circle", image, "1"], env=self.environment,
                             capture_output=True, text=True)
        self.assertEqual(run.returncode, 3, run.stderr)
        self.assertFalse(os.path.exists(image))

    def test_static_by_pkg_config(self):
        """libzimage.a with shared libraries that it needs: not all of those exist as static ones."""
        needs = call("pkg-config", "--libs", *self.flags("--print-requires-private")).split()
        call("cc", os.path.join(EXAMPLES, "generate.c"), "-o", self.path("static"), "-I", self.include,
             os.path.join(self.lib, "libzimage.a"), *needs, "-pthread", "-lm")
        self.assertNotIn("libzimage", call("ldd", self.path("static")))
        self.generates(self.path("static"))

    def test_cpp_by_pkg_config(self):
        call("c++", "-std=c++17", *STRICT, os.path.join(EXAMPLES, "generate.cpp"), "-o", self.path("cpp"),
             *self.flags("--cflags", "--libs"))
        self.generates(self.path("cpp"))

    def test_by_cmake(self):
        call("cmake", "-S", EXAMPLES, "-B", self.path("build"), f"-DCMAKE_PREFIX_PATH={self.prefix}")
        call("cmake", "--build", self.path("build"))
        for name in ("generate", "generate++", "generate-static"):
            self.generates(os.path.join(self.path("build"), name))

    def test_every_header_alone(self):
        for name in PUBLIC:
            for compiler, language, standard in (("cc", "c", "c99"), ("c++", "c++", "c++11")):
                call(compiler, "-x", language, f"-std={standard}", *STRICT, "-fsyntax-only", "-I", self.include, "-",
                     input=f"#include <{name}>\n")

    def test_exports_what_headers_declare(self):
        """No more and no less."""
        declared = set()
        for name in PUBLIC:
            with open(os.path.join(self.include, name), encoding="utf-8") as file:
                text = re.sub(r"/\*.*?\*/", "", file.read(), flags=re.S)
            declared |= set(re.findall(r"ZI_API [^;(]*?\b(zi_\w+)\(", text))
        exported = call("nm", "-D", "--defined-only", os.path.join(self.lib, "libzimage.so"))
        self.assertEqual({line.split()[-1].split("@")[0] for line in exported.splitlines()}, declared)

    def test_man_page_and_completions(self):
        for name in ("man/man1/zimage.1", "bash-completion/completions/zimage", "zsh/site-functions/_zimage",
                     "fish/vendor_completions.d/zimage.fish"):
            with open(os.path.join(self.prefix, "share", name), encoding="utf-8") as file:
                self.assertIn("precision", file.read(), name)

    def test_uninstall(self):
        """What was installed goes, and nothing else."""
        prefix = self.path("third")
        call("cmake", "--install", BUILD, "--prefix", prefix)
        other = os.path.join(prefix, "bin", "other")
        with open(other, "w", encoding="utf-8"):
            pass
        call("make", "-C", TOP, "uninstall", f"BUILD={os.path.abspath(BUILD)}")
        left = [os.path.join(at, name) for at, _, names in os.walk(prefix) for name in names]
        self.assertEqual(left, [other])
        self.assertFalse(os.path.exists(os.path.join(prefix, "share", "zimage")))
        again = subprocess.run(["make", "-C", TOP, "uninstall", f"BUILD={os.path.abspath(BUILD)}"], capture_output=True,
                               text=True)
        self.assertEqual(again.returncode, 2)
        self.assertIn("nothing was installed from this folder", again.stderr)

    def test_make_help(self):
        """Every target for users is named."""
        text = call("make", "-C", TOP, "help")
        for target in "demo", "deps", "check", "check-all", "install", "uninstall", "clean":
            self.assertIn(f"make {target} ", text)

    def test_soname(self):
        says = call("readelf", "-d", os.path.join(self.lib, "libzimage.so"))
        self.assertIn("[libzimage.so.0]", says)

    def test_program_finds_its_demo_model(self):
        zimage = os.path.join(self.prefix, "bin", "zimage")
        image = self.path("demo.png")
        call(zimage, "generate", "-q", "-p", "a red circle", "-o", image, cwd=self.folder.name,
             env={"HOME": self.folder.name, "PATH": os.environ["PATH"]})
        self.assertTrue(os.path.exists(image))


if __name__ == "__main__":
    unittest.main()
