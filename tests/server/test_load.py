"""Memory stays constant over many images and clients, and many idle clients take little processor time."""

import http.client
import json
import os
import sqlite3
import statistics
import subprocess
import sys
import time
import unittest

from serving import LIMIT, LONG_FORM, Case, Stream, path

PICTURES = int(os.environ.get("ZI_TEST_PICTURES", "96" if LONG_FORM else "32"))  # 2000 for a thorough look


class Load(Case):
    def resident(self):
        with open(f"/proc/{self.server.process.pid}/status", encoding="ascii") as file:
            for line in file:
                if line.startswith("VmRSS:"):
                    return int(line.split()[1]) / 1024
        raise AssertionError("no VmRSS")

    def draw(self, count, first):
        for start in range(first, first + count, 16):
            job = self.server.submit(prompt=f"picture {start}", model="demo", count=16, steps=1,
                                     width=64, height=64, seed=start)
            stream = Stream(self.server, f"/api/jobs/{job}/events")
            stream.until("done")
            stream.close()
            self.server.get("/api/images?q=picture")
            image = self.server.get(f"/api/jobs/{job}").json["images"][0]
            self.server.get(f"/api/images/{image}/thumbnail")
            self.server.get(f"/api/images/{image}/file?format=jpeg")

    @unittest.skipUnless(os.path.exists("/proc/self/status"), "reads /proc")
    def test_memory(self):
        self.draw(PICTURES, 0)
        before = self.resident()
        self.draw(PICTURES, PICTURES)
        grown = self.resident() - before
        print(f"{before:.1f} MB, {grown:+.1f} MB after {PICTURES} more pictures")
        self.assertLess(grown, 5)
        self.assertEqual(self.server.get("/api/images").json["total"], 2 * PICTURES // 16 * 16)


class Steps(Case):
    def test_a_step_wakes_once(self):
        """What belongs together comes in one chunk, as a rule: a stream may be reading just then."""
        job = self.server.submit(model="demo", width=256, height=256, steps=50)
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=LIMIT)
        connection.request("GET", f"/api/jobs/{job}/events")
        file = connection.getresponse().fp  # as it comes, with the sizes of chunks
        chunks = []
        while size := int(file.readline(), 16):
            chunks.append(file.read(size + 2))
        connection.close()
        steps = [chunk for chunk in chunks if b"event: step" in chunk]
        torn = [chunk for chunk in steps if b"event: preview" not in chunk]
        self.assertGreater(len(steps), 25)
        self.assertLess(len(torn), 5)


POLLING, LISTENING = 200, 50
PAIRS = int(os.environ.get("ZI_TEST_PAIRS", "1"))  # 8 for a look at the clock, on a machine that does nothing else
REMEMBERED, PICTURES_BEFORE = 100, 10000


def running(process, prefix=""):
    """Seconds of the processor that its threads with such names have taken."""
    seconds = 0
    folder = f"/proc/{process.pid}/task"
    for thread in os.listdir(folder):
        with open(f"{folder}/{thread}/comm", encoding="ascii") as file:
            counts = file.read().startswith(prefix)
        with open(f"{folder}/{thread}/schedstat", encoding="ascii") as file:
            seconds += counts * int(file.read().split()[0]) / 1e9
    return seconds


@unittest.skipUnless(LONG_FORM, "takes long: make check-all runs it")
class Crowd(Case):
    @classmethod
    def setUpClass(cls):
        """A server that has been in use for long."""
        super().setUpClass()
        for _ in range(2):
            jobs = [cls.server.submit(model="demo", width=16, height=16, steps=1)
                    for _ in range(REMEMBERED // 2)]
            cls.server.wait(jobs[-1])
        database = sqlite3.connect(path(cls.dir, "output", "history.db"))
        row = database.execute("SELECT * FROM images").fetchone()
        database.executemany(f"INSERT INTO images VALUES ({', '.join('?' * len(row))})",
                             [(f"20250101-{i:06}-00000000", *row[1:]) for i in range(PICTURES_BEFORE)])
        database.commit()
        database.close()

    def draw(self):
        """Seconds on the clock."""
        began = time.monotonic()
        job = self.server.wait(self.server.submit(model="demo", width=512, height=512, steps=20,
                                                  count=min(PAIRS, 4)))
        self.assertEqual(job["state"], "done")
        return time.monotonic() - began

    def draw_in_crowd(self):
        """Seconds on the clock; of the processor that talking, the clients and all of the server took; and
        what the clients saw."""
        clients = subprocess.Popen([sys.executable, "-B", "crowd.py", str(self.server.port),
                                    str(POLLING), str(LISTENING)],
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        while self.server.get("/api/health").json["listeners"] < LISTENING:
            time.sleep(0.1)

        def spent():
            return (running(self.server.process, "MHD"), running(clients),
                    running(self.server.process))
        before = spent()
        seconds = self.draw()
        took = [after - then for after, then in zip(spent(), before)]
        return seconds, took, json.loads(clients.communicate()[0])

    @unittest.skipUnless(os.path.exists("/proc/self/schedstat"), "reads /proc")
    def test_crowd(self):
        """Polling clients take less than 5 % of the processor time of generation."""
        # Processor time, because wall-clock time depends on other programs. But clients poll by the clock: an image that
        # other programs delay is polled more often, so it is generated again.
        ratios, shares, parts = [], [], []
        processors, deadline = len(os.sched_getaffinity(0)), time.monotonic() + 60 * PAIRS
        while len(shares) < PAIRS:
            alone = self.draw()
            seconds, (talking, clients, server), saw = self.draw_in_crowd()
            self.assertEqual(saw["failures"], [])
            self.assertGreaterEqual(saw["requests"], POLLING)
            self.assertGreater(saw["events"], LISTENING * 20)
            if server < 0.8 * seconds * processors and time.monotonic() < deadline:
                print(f"the server had {100 * server / seconds / processors:.0f} % of the machine; once more")
                continue
            ratios.append(seconds / alone)
            shares.append(talking / server)
            parts.append((talking + clients) / seconds / processors)
            print(f"{saw['requests']} requests and {saw['events']} events took {100 * shares[-1]:.1f} % of "
                  f"the server's time, {100 * parts[-1]:.1f} % of all processors with the clients; "
                  f"{seconds:.2f} s instead of {alone:.2f}; the slowest request {saw['slowest']:.2f} s")
        self.assertLess(statistics.median(shares), 0.05)
        self.assertLess(statistics.median(parts), 0.05)
        if PAIRS >= 8:
            print(f"{statistics.median(ratios):.3f} times as long in the crowd")
            self.assertLess(statistics.median(ratios), 1.05)


if __name__ == "__main__":
    unittest.main()
