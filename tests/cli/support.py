"""What the suites of the command line share: checks of its results, files to damage, PNG chunks."""

import json
import os
import shutil
import struct
import subprocess
import sys
import unittest
import zlib

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.append(os.path.join(HERE, "..", "support"))
import program  # noqa: E402
from program import LONG_FORM, MODEL, ZIMAGE  # noqa: E402, F401: for the suites

SENTINEL = b"what was here before"
LIMIT = 300  # seconds that one run may take: a sanitizer may be at work


class Case(unittest.TestCase):
    """A test with an empty folder of its own, in which the program runs."""

    def setUp(self):
        self.dir = program.temporary_folder(self)

    def path(self, *names):
        return os.path.join(self.dir, *names)

    def write(self, name, data):
        os.makedirs(os.path.dirname(self.path(name)), exist_ok=True)
        with open(self.path(name), "wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
        return self.path(name)

    def read(self, name):
        with open(self.path(name), "rb") as file:
            return file.read()

    def files(self):
        """All files below the folder."""
        found = []
        for folder, _, names in os.walk(self.dir):
            found += [os.path.relpath(os.path.join(folder, name), self.dir) for name in names]
        return sorted(found)

    def zimage(self, *args, **options):
        """Runs the program; output as bytes in .stdout and .stderr."""
        result = program.run(*args, cwd=self.dir, timeout=LIMIT, **options)
        self.assertGreaterEqual(result.returncode, 0, f"a crash: {result.stderr!r}")
        self.assertNotIn(b"Sanitizer", result.stderr)
        self.assertNotIn(b"runtime error", result.stderr)
        return result

    def generate(self, *args, model=MODEL, size=64, steps=2, seed=1, output="out.png", **options):
        """A small image, unless args say otherwise (the last of two equal options counts)."""
        words = ["-m", model, "-p", "a red circle", "-W", str(size), "-H", str(size)]
        words += ["-s", str(steps), "--seed", str(seed)]
        words += ["-o", output] if output else []
        return self.zimage("generate", *words, *args, **options)

    def open_terminal(self):
        """A pseudo terminal, (master, slave); skips the test where there are none, as in a bare chroot."""
        try:
            return os.openpty()
        except OSError as reason:
            self.skipTest(str(reason))

    def good(self, result):
        self.assertEqual(result.returncode, 0, result.stderr)
        return result

    def refused(self, result, code, *words):
        """One line on stderr with these words in it, the exit code, nothing on stdout."""
        text = result.stderr.decode(errors="replace")
        self.assertEqual(result.returncode, code, text)
        self.assertEqual(result.stdout, b"")
        self.assertTrue(text.startswith("zimage: ") and text.endswith("\n"), text)
        self.assertEqual(text.count("\n"), 1, f"more than one line: {text}")
        for word in words:
            self.assertIn(word, text)

    def refused_alone(self, code, words, *args):
        """generate with just these words fails so: no remark, as on a seed, blurs the one line."""
        self.refused(self.zimage("generate", *args), code, *words)
        self.assertEqual(self.files(), [])

    def refuses(self, code, words, *args, **options):
        """generate fails so; the image that was there stays and no other file comes."""
        self.write("out.png", SENTINEL)
        before = self.files()
        result = self.generate(*args, **options)
        self.refused(result, code, *words)
        self.assertEqual(self.files(), before)
        self.assertEqual(self.read("out.png"), SENTINEL)

    def copy_model(self, name="model"):
        shutil.copytree(MODEL, self.path(name), copy_function=shutil.copy)
        subprocess.run(["chmod", "-R", "u+w", self.path(name)], check=True)
        return self.path(name)


# ---- safetensors ----


def read_safetensors_bytes(data):
    """{name: [dtype, shape, bytes]}"""
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size])
    header.pop("__metadata__", None)
    body = data[8 + size :]
    return {
        name: [row["dtype"], row["shape"], body[slice(*row["data_offsets"])]]
        for name, row in header.items()
    }


def read_safetensors(path):
    with open(path, "rb") as file:
        return read_safetensors_bytes(file.read())


def safetensors_bytes(tensors, padding=0):
    """padding: spaces in the header."""
    header, at = {}, 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header).encode() + b" " * padding
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + b"".join(data for _, _, data in tensors.values())


def write_safetensors(path, tensors):
    with open(path, "wb") as file:
        file.write(safetensors_bytes(tensors))


def shard_of(folder, tensor):
    """The file of a component's folder that holds the tensor."""
    for name in sorted(os.listdir(folder)):
        path = os.path.join(folder, name)
        if name.endswith(".safetensors") and tensor in read_safetensors(path):
            return path
    raise KeyError(tensor)


def change_tensor(folder, tensor, change):
    """change([dtype, shape, bytes]) -> its replacement, or None to leave the tensor out."""
    path = shard_of(folder, tensor)
    tensors = read_safetensors(path)
    replacement = change(tensors.pop(tensor))
    if replacement is not None:
        tensors[tensor] = replacement
    write_safetensors(path, tensors)
    return path


def change_json(path, **fields):
    with open(path, encoding="utf-8") as file:
        data = json.load(file)
    data.update(fields)
    with open(path, "w", encoding="utf-8") as file:
        json.dump(data, file)


# ---- PNG ----


def png_chunks(data):
    """[(type, bytes)], lengths and checksums checked."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n", data[:8]
    chunks, at = [], 8
    while at < len(data):
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        body = data[at + 8 : at + 8 + size]
        (crc,) = struct.unpack(">I", data[at + 8 + size : at + 12 + size])
        assert crc == zlib.crc32(kind + body), kind
        chunks.append((kind, body))
        at += 12 + size
    assert chunks[-1][0] == b"IEND"
    return chunks


def png_size(data):
    return struct.unpack(">II", dict(png_chunks(data))[b"IHDR"][:8])


def png_infotext(data):
    for kind, body in png_chunks(data):
        keyword, _, rest = body.partition(b"\0")
        if keyword != b"parameters":
            continue
        if kind == b"tEXt":
            return rest.decode("latin-1")
        if kind == b"iTXt":
            compressed = rest[0]
            text = rest[2:].split(b"\0", 2)[2]
            return (zlib.decompress(text) if compressed else text).decode()
    return None
