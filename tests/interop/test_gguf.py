"""What zi_gguf_write writes, read by gguf-py. Needs the packages gguf and numpy, and
TEST_GGUF, the path of the built program test_gguf:

    TEST_GGUF=build/tests/test_gguf python3 -m unittest discover -s tests/interop
"""

import os
import pathlib
import subprocess
import tempfile
import unittest

import gguf
import numpy as np


class Written(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        path = pathlib.Path(cls.folder.name) / "written.gguf"
        subprocess.run([os.environ["TEST_GGUF"], path], check=True)
        cls.reader = gguf.GGUFReader(path)
        cls.tensors = {tensor.name: tensor for tensor in cls.reader.tensors}

    @classmethod
    def tearDownClass(cls):
        del cls.reader, cls.tensors  # they hold the file mapped
        cls.folder.cleanup()

    def value(self, key):
        return self.reader.get_field(key).contents()

    def test_metadata(self):
        self.assertEqual(self.value("general.architecture"), "lumina2")
        self.assertEqual(self.value("signs"), [-1, 0, 1])
        self.assertEqual(self.value("huge"), 2**64 - 1)
        self.assertEqual(self.value("wide"), 1e300)
        self.assertEqual(self.value("singles"), [0.5, -2])
        self.assertEqual(self.value("words"), ["first", "", "雪"])
        self.assertIs(self.value("yes"), True)
        self.assertEqual(self.value("byte"), 7)

    def test_shapes_and_types(self):
        found = {name: (t.tensor_type.name, t.shape.tolist()) for name, t in self.tensors.items()}
        self.assertEqual(found, {
            "z.weight": ("F32", [64, 3]),
            "ids": ("I64", [3]),
            "q.weight": ("Q8_0", [64, 3]),
            "h.weight": ("F16", [64, 3, 1]),
            "b.weight": ("BF16", [64, 3]),
            "norm": ("F32", [5]),
        })

    def test_numbers(self):
        x = self.tensors["z.weight"].data
        self.assertEqual(x.shape, (3, 64))
        self.assertTrue(0.9 < np.abs(x).max() <= 1)
        for name, type in ("q.weight", "Q8_0"), ("h.weight", "F16"), ("b.weight", "BF16"):
            wanted = gguf.quants.quantize(x, gguf.GGMLQuantizationType[type])
            self.assertEqual(self.tensors[name].data.tobytes(), wanted.tobytes(), name)
        self.assertEqual(self.tensors["ids"].data.tolist(), [-1, 0, 1])
        self.assertEqual(self.tensors["norm"].data.tolist(), x.reshape(-1)[:5].tolist())


if __name__ == "__main__":
    unittest.main()
