"""Ctrl-C and other signals."""

import fcntl
import json
import os
import signal
import subprocess
import time
import unittest

from support import MODEL, SENTINEL, ZIMAGE, Case


def wait_for_handlers(process):
    """Until the program, not the system, decides what SIGINT and SIGTERM do, which a busy machine may delay."""
    wanted = 1 << signal.SIGINT - 1 | 1 << signal.SIGTERM - 1
    deadline = time.monotonic() + 60
    while process.poll() is None and os.path.exists(f"/proc/{process.pid}/status"):
        with open(f"/proc/{process.pid}/status", encoding="ascii") as file:
            caught = next(line for line in file if line.startswith("SigCgt:"))
        if int(caught.split()[1], 16) & wanted == wanted:
            return
        if time.monotonic() > deadline:
            raise AssertionError("the program handles no signals")
        time.sleep(0.002)


class Interrupted(Case):
    """Ctrl-C ends within a second, by the signal, with an event that says so and without partial files."""

    def start(self, *args, stage="step"):
        """The running program, once it has told of a layer in that stage."""
        self.write("out.png", SENTINEL)
        words = ["-m", MODEL, "-p", "x", "--seed", "1", "-o", "out.png", "--json"]
        words += ["--trace", "t.safetensors"]
        process = subprocess.Popen([ZIMAGE, "generate", *words, *args], cwd=self.dir,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.addCleanup(process.kill)
        while f'"stage":"{stage}"'.encode() not in process.stdout.readline():
            self.assertIsNone(process.poll())
        return process

    def start_long_layer(self):
        process = self.start("-W", "1536", "-H", "1536", "--threads", "1", stage="encode")
        time.sleep(1)  # past the encoder, into a layer of many seconds
        return process

    def ends(self, process, begun, number=signal.SIGINT):
        """Seconds that it took to end."""
        events, errors = process.communicate(timeout=30)
        seconds = time.monotonic() - begun
        self.assertEqual(process.returncode, -number)
        self.assertEqual(errors, b"")
        events = [json.loads(line)["event"] for line in events.splitlines()]
        self.assertEqual(events.count("cancelled"), 1)
        self.assertEqual(events[-1], "cancelled")
        self.assertEqual(self.files(), ["out.png"])
        self.assertEqual(self.read("out.png"), SENTINEL)
        return seconds

    def test_signals(self):
        times = []
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            with self.subTest(number):
                process = self.start("-W", "256", "-H", "256", "-s", "1000")
                begun = time.monotonic()
                process.send_signal(number)
                times.append(self.ends(process, begun, number))
        self.assertLess(max(times), 1)
        self.assertLess(min(times), 0.45)  # by asking: before half a second brings the alarm

    def test_inside_a_long_layer(self):
        process = self.start_long_layer()
        begun = time.monotonic()
        process.send_signal(signal.SIGINT)
        self.assertLess(self.ends(process, begun), 1)

    def test_twice_ends_at_once(self):
        times = []
        for _ in range(3):  # one quick end proves it, a busy machine may be late now and then
            process = self.start_long_layer()
            begun = time.monotonic()
            process.send_signal(signal.SIGINT)
            time.sleep(0.05)
            process.send_signal(signal.SIGINT)
            times.append(self.ends(process, begun))
        self.assertLess(min(times), 0.45)

    def test_people_read_a_line_once(self):
        """Also when signals come at the moment in which the first one is reported."""
        for delay in (0, 0.002, 0.005, 0.01, 0.02, 0.03, 0.04):
            process = subprocess.Popen(
                [ZIMAGE, "generate", "-m", MODEL, "-p", "x", "--seed", "1", "-W", "256", "-H", "256", "-s", "1000",
                 "-o", "i.png"], cwd=self.dir, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            self.addCleanup(process.kill)
            wait_for_handlers(process)
            time.sleep(0.4)
            process.send_signal(signal.SIGTERM)
            time.sleep(delay)
            process.send_signal(signal.SIGINT)
            answer, errors = process.communicate(timeout=30)
            self.assertEqual(process.returncode, -signal.SIGTERM)
            self.assertEqual((answer, errors), (b"", b"zimage: cancelled\n"))
        self.assertEqual(self.files(), [])

    def signal_twice_while_it_writes(self):
        """A run whose standard error takes nothing until it has got two signals: the seconds that took, and what
        it wrote then."""
        reader, writer = os.pipe()
        full = b"." * fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
        os.write(writer, full)
        process = subprocess.Popen(
            [ZIMAGE, "generate", "-m", MODEL, "-p", "x", "--seed", "1", "-W", "64", "-H", "64", "-s", "1000", "-o",
             "i.png"], cwd=self.dir, stderr=writer)
        self.addCleanup(process.kill)
        os.close(writer)
        wait_for_handlers(process)
        time.sleep(0.4)
        begun = time.monotonic()
        process.send_signal(signal.SIGTERM)
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        time.sleep(0.02)
        seconds = time.monotonic() - begun
        with open(reader, "rb") as stream:
            errors = stream.read()
        self.assertEqual((process.wait(timeout=30), errors[:len(full)]), (-signal.SIGTERM, full))
        return seconds, errors[len(full):]

    def test_a_line_is_whole(self):
        """When the second signal comes while it is written."""
        seconds = 1
        for _ in range(5):  # after half a second the program waits no more
            seconds, errors = self.signal_twice_while_it_writes()
            if seconds < 0.3:
                break
        self.assertLess(seconds, 0.3)
        self.assertEqual(errors, b"zimage: cancelled\n")

    def test_a_loop_of_a_shell_ends(self):
        script = 'for i in 1 2 3; do "$0" "$@"; done; echo still here'
        process = subprocess.Popen(
            ["bash", "-c", script, ZIMAGE, "generate", "-q", "-m", MODEL, "-p", "x", "--seed", "1", "-W", "256", "-H",
             "256", "-s", "1000", "-o", "i.png"], cwd=self.dir, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            start_new_session=True)
        self.addCleanup(process.kill)
        time.sleep(1)
        os.killpg(process.pid, signal.SIGINT)  # as the terminal does
        answer, errors = process.communicate(timeout=30)
        self.assertEqual(process.returncode, -signal.SIGINT)
        self.assertEqual((answer, errors.count(b"cancelled")), (b"", 1))

    def test_an_ignored_signal_stays_ignored(self):
        def ignore():
            signal.signal(signal.SIGHUP, signal.SIG_IGN)

        process = subprocess.Popen(
            [ZIMAGE, "generate", "-m", MODEL, "-p", "x", "--seed", "1", "-W", "128", "-H", "128",
             "-s", "20", "-o", "out.png", "--json"],
            cwd=self.dir, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=ignore)
        process.stdout.readline()
        process.send_signal(signal.SIGHUP)
        process.communicate(timeout=60)
        self.assertEqual(process.returncode, 0)
        self.assertEqual(self.files(), ["out.png"])


if __name__ == "__main__":
    unittest.main()
