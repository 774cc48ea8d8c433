"""Images in the terminal: kitty, iTerm2, sixel."""

import base64
import fcntl
import os
import re
import select
import subprocess
import termios
import time
import unittest
import zlib

from support import MODEL, ZIMAGE, Case, png_chunks, png_size

CALL = ["generate", "-m", MODEL, "-p", "x", "-W96", "-H64", "-s1", "--seed", "1", "-o", "out.png"]
DETECTED = ("KITTY_WINDOW_ID", "TERM_PROGRAM", "LC_TERMINAL", "TMUX", "TERM")


def decode_sixels(text):
    """{(x, y): colour in percent} and the announced size, by the rules of DEC's sixels."""
    body = re.fullmatch(r'\x1bPq"1;1;(\d+);(\d+)(.*)\x1b\\\s*', text, re.S)
    width, height, data = int(body[1]), int(body[2]), body[3]
    palette, pixels, colour, x, y = {}, {}, 0, 0, 0
    for define, select_, count, char in re.findall(r"#(\d+;2;\d+;\d+;\d+)|#(\d+)|(?:!(\d+))?([$\-?-~])", data):
        if define:
            number, _, *percent = map(int, define.split(";"))
            palette[number] = percent
        elif select_:
            colour = int(select_)
        elif char == "$":
            x = 0
        elif char == "-":
            x, y = 0, y + 6
        else:
            for _ in range(int(count or 1)):
                for bit in range(6):
                    if ord(char) - 63 >> bit & 1:
                        assert (x, y + bit) not in pixels
                        pixels[x, y + bit] = palette[colour]
                x += 1
    return pixels, (width, height)


def rgb(path):
    """Rows of pixels of an image, by the program itself: decoded from its PNG by zlib."""
    with open(path, "rb") as file:
        data = file.read()
    chunks = png_chunks(data)
    width, height = png_size(data)
    raw, rows, before = zlib.decompress(b"".join(body for kind, body in chunks if kind == b"IDAT")), [], bytes(width * 3)
    for y in range(height):
        kind, row = raw[y * (width * 3 + 1)], bytearray(raw[y * (width * 3 + 1) + 1 : (y + 1) * (width * 3 + 1)])
        for i in range(len(row)):
            a, b = row[i - 3] if i > 2 else 0, before[i]
            c = before[i - 3] if i > 2 else 0
            p = a + b - c
            paeth = min((abs(p - a), 0, a), (abs(p - b), 1, b), (abs(p - c), 2, c))[2]
            row[i] = (row[i] + [0, a, b, (a + b) // 2, paeth][kind]) % 256
        rows.append(bytes(row))
        before = row
    return rows


class Forced(Case):
    def shown(self, protocol, *args):
        result = self.good(self.zimage(*CALL, "--preview", protocol, *args))
        self.assertTrue(result.stdout.endswith(b"\nout.png\n"))
        return result.stdout[: -len(b"out.png\n")].decode()

    def test_kitty(self):
        text = self.shown("kitty")
        parts = re.findall(r"\x1b_G([^;]*);([^\x1b]*)\x1b\\", text)
        self.assertEqual("".join(f"\x1b_G{a};{b}\x1b\\" for a, b in parts) + "\n", text)
        self.assertEqual(parts[0][0], f"a=T,f=100,q=2,m={int(len(parts) > 1)}")
        self.assertTrue(all(len(body) <= 4096 for _, body in parts))
        self.assertEqual(png_size(base64.b64decode("".join(body for _, body in parts))), (96, 64))

    def test_kitty_in_pieces(self):
        parts = re.findall(r"\x1b_G([^;]*);", self.shown("kitty", "-W", "512", "-H", "512"))
        self.assertGreater(len(parts), 2)
        self.assertEqual(parts[1:], ["m=1"] * (len(parts) - 2) + ["m=0"])

    def test_iterm2(self):
        found = re.fullmatch(r"\x1b\]1337;File=inline=1;size=(\d+);preserveAspectRatio=1:([^\x07]*)\x07\n",
                             self.shown("iterm2"))
        png = base64.b64decode(found[2])
        self.assertEqual((len(png), png_size(png)), (int(found[1]), (96, 64)))

    def test_sixel(self):
        pixels, size = decode_sixels(self.shown("sixel"))
        self.assertEqual(size, (96, 64))
        self.assertEqual(set(pixels), {(x, y) for x in range(96) for y in range(64)})
        rows, total = rgb(self.path("out.png")), 0
        for y in range(0, 64, 8):  # dithering keeps the mean colours of areas
            for x in range(0, 96, 8):
                for c in range(3):
                    wanted = sum(rows[y + i][(x + k) * 3 + c] for i in range(8) for k in range(8)) / 64 / 2.55
                    found = sum(pixels[x + k, y + i][c] for i in range(8) for k in range(8)) / 64
                    total += abs(wanted - found)
        self.assertLess(total / (8 * 12 * 3), 3)

    def test_large_images_are_reduced(self):
        for args, size in ((["-W", "1024", "-H", "512"], (512, 256)), (["-W", "64", "-H", "1024"], (32, 512))):
            found = re.findall(r'\x1bPq"1;1;(\d+);(\d+)', self.shown("sixel", *args))
            self.assertEqual(found, [tuple(map(str, size))])

    def test_beside_an_image_on_standard_output(self):
        result = self.good(self.zimage(*CALL, "--preview", "kitty", "-o", "-"))
        self.assertTrue(result.stdout.startswith(b"\x89PNG"))
        self.assertIn(b"\x1b_G", result.stderr)

    def test_beside_an_image_that_a_line_sends_to_standard_output(self):
        self.write("list", '{"prompt": "x", "output": "-"}\n')
        result = self.good(self.zimage("generate", "-m", MODEL, "-W96", "-H64", "-s1", "--seed", "1", "--prompts", "list",
                                       "--preview", "kitty"))
        self.assertEqual(png_size(result.stdout), (96, 64))
        self.assertNotIn(b"\x1b_G", result.stdout)
        self.assertIn(b"\x1b_G", result.stderr)

    def test_not_with_json(self):
        for protocol in "kitty", "iterm2", "sixel":
            result = self.zimage(*CALL, "--preview", protocol, "--json")
            self.assertEqual(result.returncode, 2)
            self.assertIn(b"--preview: cannot be used with --json", result.stdout)


class Detected(Case):
    def seen(self, *args, answer=None, typed=b"", log=None, **variables):
        """What the terminal shows; answer: to the question what it is; log: a file for standard error."""
        master, terminal = self.open_terminal()
        env = {name: value for name, value in os.environ.items() if name not in DETECTED}
        if typed:
            os.write(master, typed)
        process = subprocess.Popen([ZIMAGE, *CALL, *args], cwd=self.dir, env={**env, "TERM": "xterm", **variables},
                                   stdin=terminal, stdout=terminal, stderr=log or terminal, start_new_session=True,
                                   preexec_fn=self.control)
        shown, asked = b"", False
        while process.poll() is None or select.select([master], [], [], 0.1)[0]:
            if select.select([master], [], [], 0.1)[0]:
                shown += os.read(master, 65536)
            if b"\x1b[c" in shown and not asked:
                asked = True
                if answer:
                    os.write(master, answer)
        os.close(terminal)
        os.close(master)
        self.assertEqual(process.returncode, 0, shown)
        return shown, asked

    @staticmethod
    def control():
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    def test_by_variables(self):
        for protocol, variables in ((b"\x1b_Ga=T", {"KITTY_WINDOW_ID": "1"}), (b"\x1b_Ga=T", {"TERM": "xterm-kitty"}),
                                    (b"\x1b_Ga=T", {"TERM_PROGRAM": "ghostty"}),
                                    (b"\x1b]1337;File=inline=1", {"TERM_PROGRAM": "iTerm.app"}),
                                    (b"\x1b]1337;File=inline=1", {"TERM_PROGRAM": "WezTerm"})):
            shown, asked = self.seen(**variables)
            self.assertIn(protocol, shown)
            self.assertFalse(asked)

    def test_by_asking(self):
        for answer, has in ((b"\x1b[?62;4;6c", True), (b"\x1b[?62;4c", True), (b"\x1b[?62;22c", False), (b"\x1b[?4c", False),
                            (b"\x1b[?64;14;44c", False), (None, False)):
            begun = time.monotonic()
            shown, asked = self.seen(answer=answer)
            self.assertTrue(asked)
            self.assertEqual(b"\x1bPq" in shown, has, answer)
            self.assertLess(time.monotonic() - begun, 10)
            self.assertIn(b"out.png\r\n", shown)

    def test_the_question_goes_where_the_image_goes(self):
        for args in (["--preview", "on"], []):
            with open(self.path("log"), "wb") as log:
                shown, asked = self.seen(*args, answer=b"\x1b[?62;4;6c", log=log)
            self.assertTrue(asked)
            self.assertIn(b"\x1bPq", shown)
            self.assertNotIn(b"\x1b", self.read("log"))

    def test_in_tmux_only_by_asking(self):
        shown, asked = self.seen(KITTY_WINDOW_ID="1", TMUX="x", answer=b"\x1b[?1;2;4c")
        self.assertTrue(asked)
        self.assertIn(b"\x1bPq", shown)

    def test_what_was_typed_before_is_not_taken_for_an_answer(self):
        shown, asked = self.seen(typed=b"ls\n")
        self.assertFalse(asked)
        self.assertNotIn(b"\x1bPq", shown)

    def test_not_where_it_is_not_wanted(self):
        for args, variables in ((["--preview", "off"], {}), (["-q"], {}), (["--json"], {}), ([], {"TERM": "dumb"})):
            shown, asked = self.seen(*args, KITTY_WINDOW_ID="1", **variables)
            self.assertNotIn(b"\x1b_G", shown)
            self.assertFalse(asked)

    def test_not_in_pipes(self):
        env = {**os.environ, "KITTY_WINDOW_ID": "1", "TERM": "xterm-kitty"}
        result = self.good(self.zimage(*CALL, env=env))
        self.assertEqual((result.stdout, result.stderr), (b"out.png\n", b""))

    def test_asked_for_where_there_is_none(self):
        shown, _ = self.seen("--preview", "on")
        self.assertIn(b"does not report that it can show images", shown)


if __name__ == "__main__":
    unittest.main()
