"""What is printed on terminals of several kinds and in log files."""

import fcntl
import os
import re
import struct
import subprocess
import termios
import unittest

from support import MODEL, ZIMAGE, Case

CALL = ["-m", MODEL, "-p", "x", "-W64", "-H64", "-s3", "--seed", "1", "-o", "out.png"]


class Terminals(Case):
    def seen(self, *args, term="xterm", columns=80, command="generate"):
        """What a terminal that is this wide shows of stderr; term None: TERM is not set."""
        master, terminal = self.open_terminal()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        env = {name: value for name, value in os.environ.items() if name not in ("TERM", "COLUMNS")}
        if term is not None:
            env["TERM"] = term
        process = subprocess.Popen([ZIMAGE, command, *args], cwd=self.dir, env=env, stdout=subprocess.PIPE,
                                   stderr=terminal, stdin=subprocess.DEVNULL)
        os.close(terminal)
        shown = b""
        try:
            while part := os.read(master, 4096):
                shown += part
        except OSError:  # how Linux tells that the other end is closed
            pass
        os.close(master)
        process.communicate(timeout=60)
        self.assertEqual(process.returncode, 0, shown)
        return shown.decode()

    def lines(self, shown):
        """The lines that were visible at some time."""
        return [re.sub(r"\x1b\[K", "", line) for line in re.split(r"[\r\n]+", shown)]

    def test_dumb_terminals_get_lines(self):
        for term in ("dumb", None, ""):
            shown = self.seen(*CALL, term=term)
            self.assertNotIn("\x1b", shown)
            self.assertEqual(re.findall(r"step (\d) of 3", shown), ["1", "2", "3"])
            self.assertEqual(shown.count("\n"), 3)
            self.assertEqual(self.seen(*CALL, "-q", term=term), "")

    def test_no_line_is_wider_than_the_window(self):
        for columns in (10, 20, 40, 60, 80, 200):
            shown = self.seen(*CALL, "-n", "2", columns=columns)
            widest = max(map(len, self.lines(shown)))
            self.assertLess(widest, columns)
            self.assertTrue(shown.endswith("\r\x1b[K"))
        self.assertIn("[##############################]", shown)

    def test_convert_too(self):
        for term, columns in (("xterm", 30), ("dumb", 80)):
            shown = self.seen(MODEL, f"to-{term}", "--to", "mlx", "--precision", "q8", term=term, columns=columns,
                              command="convert")
            self.assertLess(max(map(len, self.lines(shown))), columns)
            if term == "dumb":
                self.assertEqual(shown, "")
            else:
                self.assertIn("converting", shown)

    def test_json_shows_no_bar(self):
        self.assertEqual(self.seen(*CALL, "--json"), "")


class Logs(Case):
    def log(self, *args):
        with open(self.path("log"), "wb") as file:
            result = subprocess.run([ZIMAGE, "generate", *CALL, *args], cwd=self.dir, stdout=subprocess.PIPE, stderr=file,
                                    timeout=60, check=True)
        self.assertTrue(result.stdout)
        return self.read("log").decode()

    def test_a_line_per_step(self):
        self.assertRegex(self.log(), r"^(zimage: step \d of 3, \d+\.\d\d s\n){3}$")
        self.assertRegex(self.log("-n", "2"), r"^(zimage: image [12] of 2, step \d of 3, \d+\.\d\d s\n){6}$")

    def test_quiet_and_json(self):
        self.assertEqual(self.log("-q"), "")
        self.assertEqual(self.log("--json"), "")

    def test_a_failure_is_one_line(self):
        with open(self.path("log"), "wb") as file:
            subprocess.run([ZIMAGE, "generate", *CALL, "-W", "100"], cwd=self.dir, stderr=file, timeout=60, check=False)
        self.assertRegex(self.read("log").decode(), r"^zimage: --width: .*\n$")


class Verbose(Case):
    def test_times_of_the_stages(self):
        result = self.good(self.generate("-v"))
        self.assertEqual(result.stdout, b"out.png\n")
        self.assertRegex(result.stderr.decode(),
                         r"^zimage: model .*model loaded in \d+\.\d\d s\n"
                         r"(zimage: step \d of 2, \d+\.\d\d s\n){2}"
                         r"zimage: encode \d+\.\d\d s, 2 steps \d+\.\d\d s \(\d+\.\d{3} s each\), decode \d+\.\d\d s, "
                         r"save \d+\.\d\d s; together \d+\.\d\d s\n$")

    def test_not_with_quiet(self):
        self.refuses(2, ["--verbose", "--quiet"], "-qv")


if __name__ == "__main__":
    unittest.main()
