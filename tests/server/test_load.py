"""A long day: memory stays as it is while pictures are drawn and clients come and go, and a crowd of
clients takes little from what draws."""

import json
import os
import subprocess
import sys
import time
import unittest

from serving import Case, Stream

PICTURES = int(os.environ.get("ZI_TEST_PICTURES", "96"))  # 2000 for a thorough look


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


POLLING, LISTENING = 200, 50


class Crowd(Case):
    def seconds(self):
        """Of the processor: of the threads that talk to clients, and of all."""
        talking = total = 0
        folder = f"/proc/{self.server.process.pid}/task"
        for thread in os.listdir(folder):
            with open(f"{folder}/{thread}/schedstat", encoding="ascii") as file:
                spent = int(file.read().split()[0]) / 1e9
            with open(f"{folder}/{thread}/comm", encoding="ascii") as file:
                talking += spent if file.read().startswith("MHD") else 0
            total += spent
        return talking, total

    @unittest.skipUnless(os.path.exists("/proc/self/schedstat"), "reads /proc")
    def test_crowd(self):
        """Time on the clock says little on a busy machine; the processor's time does not lie."""
        crowd = subprocess.Popen([sys.executable, "-B", "crowd.py", str(self.server.port),
                                  str(POLLING), str(LISTENING)],
                                 stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        while self.server.get("/api/health").json["listeners"] < LISTENING:
            time.sleep(0.1)
        before = self.seconds()
        job = self.server.wait(self.server.submit(model="demo", width=512, height=512, steps=20))
        spent = [after - then for after, then in zip(self.seconds(), before)]
        saw = json.loads(crowd.communicate()[0])
        self.assertEqual(job["state"], "done")
        self.assertEqual(saw["failures"], [])
        self.assertGreaterEqual(saw["requests"], POLLING)
        self.assertGreater(saw["events"], LISTENING * 20)
        share = spent[0] / spent[1]
        print(f"{saw['requests']} requests and {saw['events']} events took {100 * share:.1f} % of "
              f"the processor's time; the slowest request {saw['slowest']:.2f} s")
        self.assertLess(share, 0.05)


if __name__ == "__main__":
    unittest.main()
