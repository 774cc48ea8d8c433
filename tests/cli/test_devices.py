"""`zimage devices` and --device: which device computes, and images of a Vulkan device beside those of the processor."""

import json
import os
import unittest
import zlib

from support import Case, LONG_FORM

DEMO = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "share", "demo-model")
COLOURS, SHAPES = ("red", "blue", "yellow", "green", "purple"), ("circle", "square", "star", "triangle")
PROMPTS = [f"a {colour} {shape} on a {COLOURS[(i + j + 1) % 5]} background"
           for i, colour in enumerate(COLOURS) for j, shape in enumerate(SHAPES)]


def pixels(png):
    """The values of an RGB image of 8 bits."""
    width, height, at, data = 0, 0, 8, b""
    while at < len(png):
        size, kind = int.from_bytes(png[at:at + 4], "big"), png[at + 4:at + 8]
        chunk = png[at + 8:at + 8 + size]
        if kind == b"IHDR":
            width, height = int.from_bytes(chunk[:4], "big"), int.from_bytes(chunk[4:8], "big")
        if kind == b"IDAT":
            data += chunk
        at += 12 + size
    return unfilter(zlib.decompress(data), 3 * width, height)


def paeth(a, b, c):
    p = a + b - c
    return min((abs(p - a), 0, a), (abs(p - b), 1, b), (abs(p - c), 2, c))[2]


def unfilter(data, width, height):
    before, out = [0] * width, []
    for y in range(height):
        kind, row = data[y * (width + 1)], list(data[y * (width + 1) + 1:(y + 1) * (width + 1)])
        for i in range(width):
            a, c = (row[i - 3], before[i - 3]) if i >= 3 else (0, 0)
            b = before[i]
            row[i] = (row[i] + (0, a, b, (a + b) // 2, paeth(a, b, c))[kind]) & 255
        out += row
        before = row
    return out


def correlation(a, b):
    n = len(a)
    mean_a, mean_b = sum(a) / n, sum(b) / n
    product = sum((x - mean_a) * (y - mean_b) for x, y in zip(a, b))
    return product / (sum((x - mean_a) ** 2 for x in a) * sum((y - mean_b) ** 2 for y in b)) ** 0.5


class Devices(Case):
    def without_drivers(self):
        """An environment in which the loader finds no driver."""
        missing = self.path("no-driver.json")
        return dict(os.environ, VK_DRIVER_FILES=missing, VK_ICD_FILENAMES=missing)

    def list(self, **options):
        return json.loads(self.good(self.zimage("devices", "--json", **options)).stdout)

    def vulkan(self):
        found = self.list()
        if found["no_vulkan"]:
            self.skipTest(found["no_vulkan"])
        return [device for device in found["devices"] if device["id"] != "cpu"]

    def test_list(self):
        found = self.list()
        self.assertEqual(found["devices"][0]["id"], "cpu")
        self.assertGreater(found["devices"][0]["gflops"], 0.1)
        self.assertIn(found["auto"], [device["id"] for device in found["devices"]])
        for number, device in enumerate(found["devices"][1:]):
            self.assertEqual(device["id"], f"vulkan:{number}")
            self.assertTrue(device["missing"] or device["gflops"] > 0, device)
            if device["kind"] == "software":
                self.assertNotEqual(found["auto"], device["id"])
        text = self.good(self.zimage("devices")).stdout.decode()
        for device in found["devices"]:
            self.assertIn(device["name"], text)

    def test_without_a_driver(self):
        found = self.list(env=self.without_drivers())
        self.assertEqual([device["id"] for device in found["devices"]], ["cpu"])
        self.assertTrue(found["no_vulkan"])
        self.assertEqual(found["auto"], "cpu")
        for device in "vulkan", "vulkan:0":
            self.refused(self.generate("--device", device, env=self.without_drivers()), 1, "Vulkan")
        self.good(self.generate("--device", "auto", "-q", env=self.without_drivers()))

    def test_wrong_devices(self):
        for device in "gpu", "vulkan:", "vulkan:-1", "vulkan:1x", "VULKAN", "":
            self.refused(self.generate("--device", device), 2, "--device", "auto, cpu, vulkan")
        self.vulkan()
        self.refused(self.generate("--device", "vulkan:99"), 1, "there is no Vulkan device 99", "zimage devices")

    def test_memory(self):
        self.vulkan()
        for size in "4", "x", "-1G", "4 parrots", "0":
            self.assertNotEqual(self.generate("--device", "vulkan", "--vram", size).returncode, 0)
        self.refused(self.generate("--device", "vulkan", "--vram", "x"), 2, "--vram", "'x' is not a size")
        self.refused(self.generate("--device", "vulkan", "--vram", "0.1MB"), 1, "weights of even one layer")
        note = self.good(self.generate("--device", "vulkan", "--vram", "2MB", "-v", "-s", "1")).stderr.decode()
        self.assertIn("images are computed in the host's memory: device memory is short", note)
        note = self.good(self.generate("--device", "vulkan", "--vram", "1g", "-v", "-s", "1")).stderr.decode()
        self.assertRegex(note, r"of [0-9.]+ .B of weights, [0-9.]+ .B are in device memory")
        self.assertRegex(note, r"images take [0-9.]+ .B there")

    def test_same_image_twice(self):
        self.vulkan()
        for name in "a.png", "b.png":
            self.good(self.generate("--device", "vulkan", "-q", output=name))
        self.good(self.generate("--device", "cpu", "--compute", "exact", "-q", output="cpu.png"))
        self.assertEqual(self.read("a.png"), self.read("b.png"))
        a, cpu = pixels(self.read("a.png")), pixels(self.read("cpu.png"))
        self.assertLessEqual(max(abs(x - y) for x, y in zip(a, cpu)), 1)

    def test_cache(self):
        """What the driver has compiled is kept in the user's folder of caches."""
        self.vulkan()
        env = dict(os.environ, XDG_CACHE_HOME=self.path("caches"))
        folder = self.path("caches/zimage/gpu")
        for name in "a.png", "b.png":
            self.good(self.generate("--device", "vulkan", "-q", "-s", "1", output=name, env=env))
            kinds = {file.split("-")[0] for file in os.listdir(folder)}
            # lavapipe of Mesa 26 gives no pipelines to keep: see tests/test_vulkan_checks.c.
            self.assertEqual(kinds | {"pipelines"}, {"checked", "pipelines"})
            for file in os.listdir(folder):
                self.assertGreater(os.path.getsize(os.path.join(folder, file)), 50, file)
        self.assertEqual(self.read("a.png"), self.read("b.png"))
        env["XDG_CACHE_HOME"] = self.path("a.png")  # no folder can be made there
        self.good(self.generate("--device", "vulkan", "-q", "-s", "1", output="c.png", env=env))
        self.assertEqual(self.read("a.png"), self.read("c.png"))

    def test_demo_model(self):
        """Images of prompts: those of the processor's exact arithmetic."""
        self.vulkan()
        prompts = PROMPTS if LONG_FORM else PROMPTS[::7]
        self.write("prompts.txt", "\n".join(prompts) + "\n")
        for device in "vulkan", "cpu":
            self.good(self.zimage("generate", "-m", DEMO, "--prompts", "prompts.txt", "--compute", "exact", "-q",
                                  "--device", device, "-W", "64", "-H", "64", "-s", "4", "--seed", "3",
                                  "-o", f"{device}.png"))
        for i, prompt in enumerate(prompts, 1):
            images = [pixels(self.read(f"{device}-{i}.png")) for device in ("vulkan", "cpu")]
            self.assertGreater(correlation(*images), 0.999, prompt)


if __name__ == "__main__":
    unittest.main()
