"""zimage generate: names of outputs, standard output, existing files, links, metadata."""

import os
import stat
import subprocess
import unittest

from support import MODEL, SENTINEL, ZIMAGE, Case, png_chunks, png_infotext


class Names(Case):
    def names(self, *args, **options):
        return self.good(self.generate("-s1", *args, **options)).stdout.decode().split()

    def test_numbers_that_sort(self):
        self.assertEqual(self.names("-n", "3", output="o-%04d.png"), ["o-0001.png", "o-0002.png", "o-0003.png"])
        self.assertEqual(self.names(output="o-%d.jpg"), ["o-1.jpg"])
        self.assertEqual(self.names(output="o-%2d.png"), ["o-", "1.png"])

    def test_seeds_and_percent_signs(self):
        self.assertEqual(self.names("-n", "2", output="%s.png", seed=41), ["41.png", "42.png"])
        self.assertEqual(self.names(output="%06s-%d-%%d-%.png", seed=41), ["000041-1-%d-%.png"])
        self.assertEqual(self.names("-n", "2", output="50%.png"), ["50%-1.png", "50%-2.png"])

    def test_folders_and_traces(self):
        for name in ("7", "8"):
            os.mkdir(self.path(name))
        self.assertEqual(self.names("-n", "2", "--trace", "t%02d.safetensors", output="%s/o.png", seed=7),
                         ["7/o.png", "8/o.png"])
        self.assertEqual(self.files(), ["7/o.png", "8/o.png", "t01.safetensors", "t02.safetensors"])

    def test_a_run_does_not_replace_its_own_images(self):
        self.write("list", "a\nb\nc\n")
        words = ["generate", "-m", MODEL, "-W64", "-H64", "-s1", "--seed", "1", "--prompts", "list", "-o", "%s.png"]
        for _ in range(2):
            result = self.good(self.zimage(*words))
            self.assertEqual(result.stdout, b"1.png\n1-2.png\n1-3.png\n")

    def test_unknown_letters(self):
        for name, word in (("o-%x.png", "'%x'"), ("%20f.png", "'%20f'"), ("%99d.png", "'%99d'"), ("%1000d.png", "'%1000d'")):
            self.refuses(2, ["--output", word, "%04d", "%%"], "-o", name)
        self.refuses(2, ["--trace", "'%q'"], "--trace", "%q.safetensors")

    def test_format(self):
        self.assertEqual(self.names("--format", "webp", output=None, seed=3), ["zimage-3.webp"])
        self.assertTrue(self.read("zimage-3.webp").startswith(b"RIFF"))
        self.assertEqual(self.names("--format", "jpeg", output="plain"), ["plain"])
        self.assertTrue(self.read("plain").startswith(b"\xff\xd8"))
        self.assertEqual(self.names("--format", "jpeg", output="a.JPG"), ["a.JPG"])
        self.refuses(2, ["--format", "does not fit the extension", "out.png"], "--format", "webp")

    def test_quality_of_png_is_remarked(self):
        self.assertEqual(self.good(self.generate("--quality", "50")).stderr,
                         b"zimage: --quality has no effect on PNG files; it applies to .jpg and .webp\n")
        self.assertEqual(self.good(self.generate("--quality", "50", output="a.jpg")).stderr, b"")
        self.assertIn(b"no effect on PNG", self.good(self.generate("--quality", "50", "--format", "png", output="plain")).stderr)
        self.assertEqual(self.good(self.generate("--quality", "50", "--format", "jpeg", output="plain")).stderr, b"")
        self.write("list", '{"prompt": "x", "output": "b.jpg"}')
        call = ["generate", "-m", MODEL, "-W64", "-H64", "-s1", "--seed", "1", "--quality", "50", "--prompts", "list", "-o"]
        self.assertEqual(self.good(self.zimage(*call, "c.png")).stderr, b"")
        self.write("list", '{"prompt": "x", "output": "b.png"}')
        self.assertIn(b"no effect on PNG", self.good(self.zimage(*call, "c.jpg")).stderr)


class StandardOutput(Case):
    def test_is_the_image_alone(self):
        self.good(self.generate("-v"))
        for words in ([], ["-v"], ["-q"]):
            result = self.good(self.generate(*words, output="-"))
            self.assertEqual(result.stdout, self.read("out.png"))
        self.assertEqual(self.files(), ["out.png"])
        for name, magic in (("webp", b"RIFF"), ("jpeg", b"\xff\xd8")):
            self.assertTrue(self.good(self.generate("--format", name, output="-")).stdout.startswith(magic))

    def test_what_it_cannot_do(self):
        self.refused(self.generate("-n", "2", output="-"), 2, "--output", "one image", "%04d")
        result = self.generate("--json", output="-")
        self.assertEqual(result.returncode, 2)
        self.assertIn(b'"event":"failed"', result.stdout)
        self.refused(self.generate(model="nowhere", output="-"), 1, "nowhere")

    def test_not_to_a_terminal(self):
        master, terminal = self.open_terminal()
        result = subprocess.run([ZIMAGE, "generate", "-m", MODEL, "-p", "x", "--seed", "1", "-o", "-"], cwd=self.dir,
                                stdout=terminal, stderr=subprocess.PIPE, timeout=60, check=False)
        os.close(terminal)
        os.close(master)
        self.assertEqual(result.returncode, 2)
        self.assertIn(b"is a terminal", result.stderr)

    def test_a_closed_pipe(self):
        begin, end = os.pipe()
        os.close(begin)
        result = subprocess.run([ZIMAGE, "generate", "-m", MODEL, "-p", "x", "-W64", "-H64", "-s1", "--seed", "1", "-o", "-"],
                                cwd=self.dir, stdout=end, stderr=subprocess.PIPE, timeout=60, check=False)
        os.close(end)
        self.assertEqual(result.returncode, 1)
        self.assertIn(b"standard output: cannot write", result.stderr)
        self.assertEqual(result.stderr.count(b"\n"), 1)


class Existing(Case):
    def test_no_clobber(self):
        self.refuses(1, ["out.png", "--no-clobber"], "--no-clobber")
        os.remove(self.path("out.png"))
        self.good(self.generate("--no-clobber"))
        self.assertEqual(self.files(), ["out.png"])

    def test_no_clobber_of_several_makes_the_others(self):
        self.write("o2.png", SENTINEL)
        result = self.generate("-n", "3", "--no-clobber", output="o%d.png")
        self.assertEqual((result.returncode, result.stdout), (1, b"o1.png\no3.png\n"))
        self.assertEqual(result.stderr, b"zimage: o2.png: exists already and is kept, because of --no-clobber; "
                                        b"choose another name, or leave --no-clobber out\n")
        self.assertEqual(self.read("o2.png"), SENTINEL)
        self.write("o1.png", SENTINEL)
        self.assertEqual(self.generate("-n", "4", "--no-clobber", output="o%d.png").stdout, b"o4.png\n")

    def test_no_clobber_of_a_trace(self):
        self.write("t.safetensors", SENTINEL)
        self.refused(self.generate("--no-clobber", "--trace", "t.safetensors"), 1, "t.safetensors", "--no-clobber")

    def test_a_file_that_comes_meanwhile_stays(self):
        process = subprocess.Popen([ZIMAGE, "generate", "-m", MODEL, "-p", "x", "-W64", "-H64", "-s", "300", "--seed", "1",
                                    "-o", "out.png", "--no-clobber", "--json"], cwd=self.dir, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE)
        self.addCleanup(process.kill)
        process.stdout.readline()
        self.write("out.png", SENTINEL)
        answer, _ = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 1)
        self.assertIn(b'"code":"exists"', answer)
        self.assertEqual(self.read("out.png"), SENTINEL)
        self.assertEqual(self.files(), ["out.png"])

    def test_overwrite(self):
        for args, names in (([], ["zimage-1.png"]), ([], ["zimage-1-2.png"]), (["--overwrite"], ["zimage-1.png"])):
            self.assertEqual(self.good(self.generate(*args, output=None)).stdout.decode().split(), names)
        self.refuses(2, ["--no-clobber", "--overwrite"], "--no-clobber", "--overwrite")

    def test_links_stay(self):
        os.makedirs(self.path("real"))
        self.write("real/a.png", SENTINEL)
        os.symlink("real/a.png", self.path("out.png"))
        self.good(self.generate())
        self.assertEqual(os.readlink(self.path("out.png")), "real/a.png")
        self.assertTrue(self.read("real/a.png").startswith(b"\x89PNG"))
        os.symlink(self.path("out.png"), self.path("real", "chain.png"))
        self.good(self.generate(seed=2, output="real/chain.png"))
        self.assertTrue(os.path.islink(self.path("out.png")) and os.path.islink(self.path("real", "chain.png")))
        self.assertIn("Seed: 2", png_infotext(self.read("real/a.png")))
        self.assertEqual(self.files(), ["out.png", "real/a.png", "real/chain.png"])

    def test_links_to_nothing_and_to_themselves(self):
        os.symlink("new.png", self.path("out.png"))
        self.good(self.generate())
        self.assertEqual(self.files(), ["new.png", "out.png"])
        self.assertTrue(os.path.islink(self.path("out.png")))
        os.symlink("loop.png", self.path("loop.png"))
        self.refused(self.generate(output="loop.png"), 1, "loop.png", "this symbolic link leads to itself")
        os.symlink("nowhere/x.png", self.path("lost.png"))
        self.refused(self.generate(output="lost.png"), 1,
                     "lost.png: is a symbolic link to ./nowhere/x.png: cannot write here: the folder ./nowhere does not exist")

    def test_traces_too(self):
        self.write("real.safetensors", SENTINEL)
        os.symlink("real.safetensors", self.path("t.safetensors"))
        self.good(self.generate("--trace", "t.safetensors"))
        self.assertTrue(os.path.islink(self.path("t.safetensors")))
        self.assertNotEqual(self.read("real.safetensors"), SENTINEL)

    def test_modes_stay(self):
        for mode in (0o600, 0o640, 0o664, 0o444):
            self.write("out.png", SENTINEL)
            os.chmod(self.path("out.png"), mode)
            self.good(self.generate())
            self.assertEqual(stat.S_IMODE(os.stat(self.path("out.png")).st_mode), mode)
            self.assertTrue(self.read("out.png").startswith(b"\x89PNG"))
            os.remove(self.path("out.png"))

    def test_owners_stay(self):
        if os.geteuid() != 0:
            self.skipTest("only root may give files away")
        self.write("out.png", SENTINEL)
        os.chown(self.path("out.png"), 12345, 12346)
        self.good(self.generate())
        found = os.stat(self.path("out.png"))
        self.assertEqual((found.st_uid, found.st_gid), (12345, 12346))


class Metadata(Case):
    def test_none(self):
        self.good(self.generate())
        pixels = dict(png_chunks(self.read("out.png")))[b"IDAT"]
        self.good(self.generate("--no-metadata", "-p", "a red circle"))
        chunks = png_chunks(self.read("out.png"))
        self.assertEqual({kind for kind, _ in chunks}, {b"IHDR", b"IDAT", b"IEND"})
        self.assertEqual(dict(chunks)[b"IDAT"], pixels)
        for name in ("a.jpg", "a.webp"):
            self.good(self.generate("--no-metadata", output=name))
            self.assertNotIn(b"red circle", self.read(name))


if __name__ == "__main__":
    unittest.main()
