"""scripts/deps.sh, with mock package managers."""

import os
import shutil
import subprocess
import unittest

from support import Case

SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "scripts", "deps.sh")


class Deps(Case):
    def setUp(self):
        super().setUp()
        os.mkdir(self.path("bin"))
        for name in ("sh", "awk", "sort", "cat", "env", "touch"):
            os.symlink(shutil.which(name), self.path("bin", name))
        self.tool("id", "echo 0")
        self.tool("uname", "echo Linux")
        for name in ("cc", "c++", "cmake", "python3"):
            self.tool(name, "exit 0")
        # libwebp is there once the file "installed" is.
        self.tool("pkg-config", f'[ "$2" != libwebp ] || [ -e "{self.path("installed")}" ]')

    def tool(self, name, script):
        self.write("bin/" + name, f"#!/bin/sh\n{script}\n")
        os.chmod(self.path("bin", name), 0o755)

    def deps(self, *args):
        env = {"PATH": self.path("bin"), "INSTALLED": self.path("installed")}
        return subprocess.run(["sh", SCRIPT, *args], env=env, capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, check=False)

    def test_silent_when_all_is_there(self):
        self.write("installed", "")
        for args in ([], ["--tests"], ["--look"]):
            result = self.deps(*args)
            self.assertEqual((result.returncode, result.stdout, result.stderr), (0, "", ""))

    def test_installs_by_apt(self):
        self.tool("apt-get",
                  'echo "$*" >> "$INSTALLED.log"\n[ "$1" = update ] || touch "$INSTALLED"')
        self.assertEqual(self.deps().returncode, 0)
        last = self.read("installed.log").decode().splitlines()[-1]
        self.assertTrue(last.startswith("install ") and last.endswith(" libwebp-dev"), last)

    def test_installs_by_homebrew(self):
        self.tool("brew", 'echo "$*" > "$INSTALLED"')
        self.assertEqual(self.deps().returncode, 0)
        self.assertEqual(self.read("installed"), b"install --quiet webp\n")

    def test_names_what_cannot_be_installed(self):
        line = "missing: libwebp (Debian: libwebp-dev); install it and run make again"
        for script in ("exit 100", None):  # apt-get fails; there is none
            if script:
                self.tool("apt-get", script)
            else:
                os.remove(self.path("bin", "apt-get"))
            result = self.deps()
            self.assertEqual(result.returncode, 1)
            self.assertEqual(result.stderr.splitlines()[-1], line)
        self.tool("uname", "echo Darwin")
        self.assertIn("libwebp (Homebrew: webp)", self.deps().stderr)

    def test_without_the_right_to_install(self):
        self.tool("id", "echo 1000")
        self.tool("apt-get", 'touch "$INSTALLED"')
        self.assertEqual(self.deps().returncode, 1)
        self.tool("sudo", '[ "$1" = -n ] && exit 1; exec "$@"')  # it would ask for a password
        self.assertEqual(self.deps().returncode, 1)
        self.tool("sudo", '[ "$1" = -n ] && shift; exec "$@"')
        self.tool("true", "exit 0")
        self.assertEqual(self.deps().returncode, 0)

    def test_looking_installs_nothing(self):
        self.tool("apt-get", 'touch "$INSTALLED"')
        result = self.deps("--look")
        self.assertEqual(result.returncode, 1)
        self.assertIn("missing: libwebp (Debian: libwebp-dev)", result.stderr)
        self.assertNotIn("installed", self.files())

    def test_names_tools_and_compiler(self):
        self.write("installed", "")
        os.remove(self.path("bin", "cmake"))
        self.tool("cc", "exit 1")
        self.assertIn("C-compiler (Debian: gcc libc6-dev), cmake (Debian: cmake);",
                      self.deps().stderr)
        os.remove(self.path("bin", "python3"))
        self.assertNotIn("python3", self.deps().stderr)
        self.assertIn("python3", self.deps("--tests").stderr)

    def test_names_what_arm64_takes(self):
        self.write("installed", "")
        self.assertIn("missing: aarch64-linux-gnu-gcc (Debian: gcc-aarch64-linux-gnu "
                      "libc6-dev-arm64-cross), qemu-aarch64 (Debian: qemu-user);",
                      self.deps("--arm64").stderr)
        self.tool("qemu-aarch64", "exit 0")
        self.tool("aarch64-linux-gnu-gcc", "exit 1")  # no headers
        self.assertIn("missing: aarch64-linux-gnu-gcc (", self.deps("--arm64").stderr)
        self.tool("aarch64-linux-gnu-gcc", "exit 0")
        result = self.deps("--arm64")
        self.assertEqual((result.returncode, result.stdout, result.stderr), (0, "", ""))

    def test_names_what_fuzzing_takes(self):
        self.write("installed", "")
        line = "missing: libFuzzer (Debian: clang libclang-rt-dev);"
        self.assertIn(line, self.deps("--fuzz").stderr)
        self.tool("clang", "exit 1")  # without its libraries
        self.assertIn(line, self.deps("--fuzz").stderr)
        self.tool("clang", "exit 0")
        result = self.deps("--fuzz")
        self.assertEqual((result.returncode, result.stdout, result.stderr), (0, "", ""))


if __name__ == "__main__":
    unittest.main()
