"""Output files are written atomically, whatever fails."""

import os
import resource
import time
import unittest

from support import Case


class Unwritable(Case):
    def test_missing_folder(self):
        self.refuses(1, ["nowhere/out.png"], "-o", "nowhere/out.png")
        self.refuses(1, ["nowhere/t.safetensors"], "--trace", "nowhere/t.safetensors")

    def test_a_folder_in_its_place(self):
        os.mkdir(self.path("folder.png"))
        self.refuses(1, ["folder.png", "folder"], "-o", "folder.png")

    def test_no_right_to_write(self):
        if os.geteuid() == 0:
            self.skipTest("root may write everywhere")
        os.mkdir(self.path("locked"), 0o555)
        self.refuses(1, ["locked/out.png"], "-o", "locked/out.png")

    def test_refused_before_the_work(self):
        begun = time.monotonic()
        self.refuses(1, ["nowhere/out.png"], "-o", "nowhere/out.png", size=1024, steps=1000)
        self.assertLess(time.monotonic() - begun, 5)

    def test_full_disk(self):
        """A file size limit stands in for the disk's end: both fail in write(2)."""
        # A small image is written at once, when its file is closed.
        for size, limit, extra in ((128, 4096, []), (128, 4096, ["--trace", "t.safetensors"]),
                                   (16, 100, [])):
            with self.subTest(size=size, extra=extra):
                self.refuses(1, ["t.safetensors" if extra else "out.png"], *extra, size=size,
                             preexec_fn=lambda most=limit: resource.setrlimit(
                                 resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY)))

    def test_failure_leaves_the_images_before_it(self):
        os.mkdir(self.path("out-2.png"))
        result = self.generate("-n", "3")
        self.assertEqual(result.returncode, 1)
        self.assertEqual(result.stdout, b"out-1.png\n")
        self.assertEqual(self.files(), ["out-1.png"])


if __name__ == "__main__":
    unittest.main()
