"""The Generate view: form, progress, queue, viewer, downloads."""

import re
import unittest
import zlib

from support import JOB_TIMEOUT_MS, PHONE, RED, STAR, HeldRequest, PageCase, expect


def png_text(data):
    """The text chunks of a PNG file, by keyword."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    found, at = {}, 8
    while at < len(data):
        size, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        body = data[at + 8 : at + 8 + size]
        assert zlib.crc32(kind + body) == int.from_bytes(data[at + 8 + size : at + 12 + size], "big")
        if kind == b"tEXt":
            keyword, text = body.split(b"\0", 1)
            found[keyword.decode()] = text.decode("latin-1")
        at += 12 + size
    return found


class Generate(PageCase):
    def download(self, name, page=None):
        """Clicks a download link. -> file name, bytes"""
        with (page or self.page).expect_download() as info:
            (page or self.page).click(f"#run >> text={name}")
        with open(info.value.path(), "rb") as file:
            return info.value.suggested_filename, file.read()

    def size(self, page=None):
        page = page or self.page
        return int(page.input_value("#width")), int(page.input_value("#height"))

    def test_prompt_to_downloaded_image(self):
        self.generate(RED, seed=42)
        image = self.page.locator("#frame .image")
        expect(image).to_have_attribute("alt", RED)
        self.assertEqual(image.evaluate("node => node.decode().then(() => [node.naturalWidth, node.naturalHeight])"), [128, 128])
        for word in RED, "demo-model", "128 × 128", "42":
            expect(self.page.locator("#result")).to_contain_text(word)
        name, data = self.download("PNG")
        self.assertRegex(name, r"^zimage-[0-9a-f-]+\.png$")
        infotext = png_text(data)["parameters"]
        self.assertTrue(infotext.startswith(RED + "\n"), infotext)
        self.assertIn("Seed: 42", infotext)
        self.assertEqual(self.download("JPEG")[1][:3], b"\xff\xd8\xff")
        data = self.download("WebP")[1]
        self.assertEqual((data[:4], data[8:12]), (b"RIFF", b"WEBP"))

    def test_image_before_the_response(self):
        held = HeldRequest(self.page, "**/api/jobs", "POST")
        before = self.page.locator("#strip img").count()
        self.page.fill("#prompt", RED)
        self.page.fill("#seed", "43")
        self.page.click("#generate")
        expect(self.page.locator("#strip img")).to_have_count(before + 1)
        expect(self.page.locator("#status")).to_have_text("Ready")
        held.release()
        expect(self.page.locator("#generate")).to_be_enabled()
        expect(self.page.locator("#run")).to_contain_text("seed 43")
        expect(self.page.locator("#frame .image")).to_be_visible()

    def test_image_while_the_list_is_requested(self):
        other = self.open_page()
        held = HeldRequest(other, "**/api/images?limit=24")
        other.reload()
        held.wait()
        self.generate(RED, seed=44)
        expect(other.locator("#strip img")).not_to_have_count(0)  # because of the event
        held.release()
        expect(other.locator("#strip:not([aria-busy])")).to_have_count(1)
        expect(other.locator("#strip img")).to_have_count(self.page.locator("#strip img").count())

    def test_progress_and_preview(self):
        self.start_long_job(width=512, height=512)
        bar = self.page.get_by_role("progressbar", name="Generation progress")
        expect(bar).to_be_visible()
        expect(self.page.locator("#run")).to_contain_text(re.compile(r"Step \d+ of 20"))
        expect(self.page.locator("#run")).to_contain_text("left")
        expect(self.page.locator("#frame .preview")).to_be_visible()
        expect(self.page.locator("#status")).to_have_text("Running")
        self.wait_until("document.querySelector('#frame .preview')?.naturalWidth > 0")
        before = int(bar.get_attribute("aria-valuenow"))
        self.wait_until(
            "before => document.querySelector('#run .progress-bar')?.getAttribute('aria-valuenow') > before", arg=before)
        expect(self.page.locator("#run")).to_contain_text("Generated", timeout=JOB_TIMEOUT_MS)
        expect(self.page.locator("#announcer")).to_have_text("1 image generated.")

    def test_cancel(self):
        self.start_long_job()
        self.page.click("#cancel")
        expect(self.page.locator("#run")).to_have_text("Cancelled.")
        expect(self.page.locator("#status")).to_have_text("Ready")
        expect(self.page.locator("#frame .placeholder")).to_be_visible()

    def test_reload_while_running(self):
        self.start_long_job(width=640, height=640, seed=7)
        expect(self.page.locator("#frame .preview")).to_be_visible()
        self.page.reload()
        expect(self.page.locator("#run")).to_contain_text(re.compile(r"Step \d+ of 20"))
        expect(self.page.locator("#frame .preview")).to_be_visible()
        self.assertEqual(self.page.input_value("#prompt"), STAR)
        expect(self.page.locator("#run")).to_contain_text("seed 7", timeout=JOB_TIMEOUT_MS)

    def test_queue(self):
        self.start_long_job()
        self.page.fill("#prompt", RED)
        self.page.click("#generate")
        expect(self.page.locator("#status")).to_have_text("Running, 1 job queued")
        expect(self.page.locator("#strip .ring")).to_have_count(2)
        expect(self.page.locator("#run")).to_contain_text(re.compile(r"Step \d+ of 20"))  # the running one stays visible
        self.page.click("#strip .tile >> nth=1")
        expect(self.page.locator("#run")).to_contain_text("in the queue")
        self.page.click("#cancel")
        expect(self.page.locator("#strip .ring")).to_have_count(1)
        self.page.click("#strip .tile >> nth=0")
        self.page.click("#cancel")
        expect(self.page.locator("#status")).to_have_text("Ready")

    def test_several_images(self):
        self.page.fill("#count", "3")
        expect(self.page.locator("#generate")).to_have_text("Generate 3 images")
        self.page.click("#lock-seed")
        before = self.page.locator("#strip img").count()
        self.generate(RED, seed=100)
        expect(self.page.locator("#strip img")).to_have_count(before + 3)
        expect(self.page.locator("#run")).to_contain_text("seed 102")

    def test_aspects_and_short_sides(self):
        for landscape in True, False:
            if not landscape:
                self.page.click("#portrait")
            for aspect in "1:1", "5:4", "4:3", "7:5", "3:2", "16:9", "21:9":
                w, h = map(int, aspect.split(":"))
                self.page.check(f"[name=aspect][value='{aspect}']", force=True)
                for side in 512, 768, 1024, 1280:
                    self.page.check(f"[name=short_side][value='{side}']", force=True)
                    width, height = self.size()
                    if not landscape:
                        width, height = height, width
                    self.assertEqual(height, side, aspect)
                    self.assertEqual(width % 16, 0)
                    self.assertLessEqual(abs(width - side * w / h), 8)
                    self.assertTrue(self.page.is_checked(f"[name=aspect][value='{aspect}']"))
                    expect(self.page.locator(".frame-size")).to_have_text(" × ".join(map(str, self.size())))

    def test_largest_size(self):
        self.page.check("[name=aspect][value='21:9']", force=True)
        self.page.check("[name=short_side][value='1280']", force=True)
        self.start(RED, steps=1)
        expect(self.page.locator("#size-error")).to_be_empty()
        expect(self.page.locator("#cancel")).to_be_visible()
        self.page.click("#cancel")
        expect(self.page.locator("#run")).to_have_text("Cancelled.")

    def test_custom_size(self):
        self.page.fill("#width", "160")
        self.page.fill("#height", "96")
        expect(self.page.locator("#size-note")).to_have_text("custom size")
        self.page.fill("#width", "165")
        self.page.locator("#width").blur()
        self.assertEqual(self.size(), (160, 96))
        self.generate()
        expect(self.page.locator("#result")).to_contain_text("160 × 96")

    def test_errors_are_shown_beside_their_fields(self):
        def expect_error(field, message, focused):
            self.page.click("#generate")
            expect(self.page.locator(f"#{field}-error")).to_contain_text(message)
            expect(self.page.locator(f"#{focused}")).to_be_focused()
            expect(self.page.locator(f"#{focused}")).to_have_attribute("aria-invalid", "true")
            self.assertIn(f"{field}-error", self.page.get_attribute(f"#{focused}", "aria-describedby"))

        expect_error("prompt", "Enter a prompt", "prompt")
        self.page.fill("#prompt", RED)
        expect(self.page.locator("#prompt-error")).to_be_empty()
        self.page.fill("#seed", "fish")
        expect_error("seed", "whole number", "seed")
        self.page.fill("#seed", "99999999999999999999")  # 20 digits, but above 2^64 - 1: an error of the server
        expect_error("seed", "seed", "seed")
        self.page.fill("#seed", "1")
        self.page.fill("#width", "99999")
        expect_error("size", "Width must be a whole number from 16 to 4096", "width")
        self.page.fill("#width", "128")
        self.page.fill("#count", "99")
        expect_error("count", "from 1 to 16", "count")
        self.page.fill("#count", "1")
        self.page.fill("#prompt", "é" * 8000)
        expect_error("prompt", "prompt", "prompt")

    def test_random_and_locked_seed(self):
        seed = lambda: self.page.input_value("#seed")
        first = seed()
        self.assertRegex(first, r"^\d+$")
        self.page.click("#random-seed")
        self.assertNotEqual(seed(), first)
        self.generate()
        drawn = seed()
        expect(self.page.locator("#run")).to_contain_text(drawn)
        self.generate()
        self.assertNotEqual(seed(), drawn)
        self.page.click("#lock-seed")
        expect(self.page.locator("#lock-seed")).to_have_attribute("aria-pressed", "true")
        kept = seed()
        self.generate()
        self.assertEqual(seed(), kept)
        self.page.fill("#seed", "18446744073709551615")  # more than a double holds
        self.generate()
        expect(self.page.locator("#run")).to_contain_text("18446744073709551615")

    def test_form_is_saved(self):
        self.page.fill("#prompt", STAR)
        self.page.click("#lock-seed")
        for _ in range(2):
            self.page.reload()
            self.wait_until_loaded(self.page)
            self.assertEqual(self.page.input_value("#prompt"), STAR)
            expect(self.page.locator("#lock-seed")).to_have_attribute("aria-pressed", "true")
            self.assertTrue(self.page.is_checked("[name=short_side][value='128']"))

    def test_use_these_settings(self):
        self.generate(STAR, seed=5, width=96, height=144)
        self.page.fill("#prompt", "something else")
        self.page.fill("#seed", "6")
        self.page.check("[name=aspect][value='1:1']", force=True)
        self.page.click("#run >> text=Use these settings")
        self.assertEqual(self.page.input_value("#prompt"), STAR)
        self.assertEqual(self.page.input_value("#seed"), "5")
        self.assertEqual(self.size(), (96, 144))
        expect(self.page.locator("#lock-seed")).to_have_attribute("aria-pressed", "true")

    def test_compare(self):
        self.generate(RED, seed=1)
        self.generate(RED, seed=2)
        self.page.click("#run >> text=Compare")
        dialog = self.page.get_by_role("dialog", name="Compare images")
        expect(dialog.locator(".differences")).to_contain_text("Seed")
        self.wait_until("[...document.querySelectorAll('dialog figure img')].every(img => img.naturalWidth)")
        dialog.get_by_role("slider").focus()
        self.page.keyboard.press("Home")
        self.assertEqual(dialog.locator(".compare-pair").evaluate("node => node.style.getPropertyValue('--split')"), "0%")
        dialog.get_by_text("Side by side").click()
        left, right = (dialog.locator(f"figure.{side}").bounding_box() for side in ("left", "right"))
        self.assertGreaterEqual(right["x"], left["x"] + left["width"])
        self.page.keyboard.press("Escape")
        expect(dialog).to_have_count(0)
        expect(self.page.locator("#run").get_by_text("Compare")).to_be_focused()

    def test_on_a_phone(self):
        page = self.open_page(viewport=PHONE, has_touch=True, is_mobile=True)
        self.generate(RED, page, seed=3)
        self.wait_until("document.querySelector('#stage').getBoundingClientRect().top < innerHeight / 2", page)  # scrolled to the viewer
        self.assertTrue(page.evaluate("document.documentElement.scrollWidth <= innerWidth"))
        self.download("PNG", page)


if __name__ == "__main__":
    unittest.main()
