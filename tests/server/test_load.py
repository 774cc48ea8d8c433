"""A long day: memory stays as it is while pictures are drawn and clients come and go."""

import os
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


if __name__ == "__main__":
    unittest.main()
