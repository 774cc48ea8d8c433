"""All views and dialogs, in both themes and two sizes: screenshots, accessibility (axe), overflow and layout shifts."""

import re
import unittest

from axe_playwright_python.sync_playwright import Axe

from support import DESK, PHONE, RED, STAR, PageCase, expect

VIEWS = "generate", "gallery", "models", "log"
SCHEMES = "light", "dark"
# Whether the images that can be seen are there. Playwright's "networkidle" waits for the end of the shared worker's script.
LOADED = """[...document.images].filter((one) => one.checkVisibility() && one.getBoundingClientRect().top < innerHeight)
    .every((one) => one.complete && one.naturalWidth)"""
SIZES = {"desk": DESK, "phone": PHONE}


class Looks(PageCase):
    def setUp(self):
        super().setUp()
        if not self.page.locator("#strip img").count():
            for seed, prompt in enumerate([RED, STAR, "a green triangle on a white background", "an orange square on a black background",
                                           "a blue star on a yellow background", "a white circle on a green background"]):
                self.generate(prompt, seed=seed)

    def assert_accessible(self, page, where):
        self.wait_for_transitions(page)
        findings = Axe().run(page).response["violations"]
        bad = [f"{where}: {one['id']} ({one['impact']}): {node['html'][:160]}"
               for one in findings if one["impact"] in ("serious", "critical") for node in one["nodes"]]
        self.assertEqual(bad, [])

    def assert_no_overflow(self, page, where):
        self.assertTrue(page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"), where)

    def open_pages(self):
        for name, viewport in SIZES.items():
            for scheme in SCHEMES:
                yield f"{name}-{scheme}", self.open_page(viewport=viewport, color_scheme=scheme)

    def test_views(self):
        for where, page in self.open_pages():
            for view in VIEWS:
                page.click(f".tabs [href='#/{view}']")
                expect(page.locator(f"#view-{view}")).to_be_visible()
                expect(page.locator(f"#view-{view} .skeleton")).to_have_count(0)
                self.wait_until(LOADED, page)
                self.assert_accessible(page, f"{where} {view}")
                self.assert_no_overflow(page, f"{where} {view}")
                self.screenshot(page, f"{where}-{view}")
            background = page.evaluate("getComputedStyle(document.body).backgroundColor")
            brightness = sum(map(int, re.findall(r"\d+", background)[:3])) / 3
            self.assertEqual("light" if brightness > 128 else "dark", where.split("-")[1])
            page.context.close()

    def test_dialogs(self):
        for where, page in self.open_pages():
            page.click(".tabs [href='#/gallery']")
            page.click(".card button >> nth=0")
            expect(page.get_by_role("dialog")).to_be_visible()
            self.assert_accessible(page, f"{where} image")
            self.screenshot(page, f"{where}-image")
            page.click("dialog >> text=Compare")
            expect(page.locator(".differences")).to_be_visible()
            self.assert_accessible(page, f"{where} compare")
            self.screenshot(page, f"{where}-compare")
            page.keyboard.press("Escape")
            page.click(".tabs [href='#/models']")
            page.click("[data-action='Inspect'] >> nth=0")
            expect(page.locator("dialog .properties")).not_to_have_count(0)
            self.assert_accessible(page, f"{where} inspect")
            self.screenshot(page, f"{where}-inspect")
            page.keyboard.press("Escape")
            page.click("[data-action='Convert'] >> nth=0")
            expect(page.get_by_role("dialog")).to_be_visible()
            self.assert_accessible(page, f"{where} convert")
            self.assert_no_overflow(page, f"{where} convert")
            self.screenshot(page, f"{where}-convert")
            page.context.close()

    def test_running_error_and_result(self):
        for where, page in self.open_pages():
            self.start_long_job(page)
            expect(page.locator("#frame .preview")).to_be_visible()
            self.assert_accessible(page, f"{where} running")
            self.screenshot(page, f"{where}-running")
            page.click("#cancel")
            expect(page.locator("#run")).to_have_text("Cancelled.")
            page.fill("#prompt", "")
            page.click("#generate")
            self.assert_accessible(page, f"{where} error")
            self.screenshot(page, f"{where}-error")
            self.generate(RED, page, width=192, height=128)
            self.assert_accessible(page, f"{where} result")
            self.assert_no_overflow(page, f"{where} result")
            self.screenshot(page, f"{where}-result")
            page.context.close()

    def test_no_layout_shifts(self):
        """The browser's cumulative layout shift while the page loads and generates an image."""
        for viewport in SIZES.values():
            page = self.open_page(viewport=viewport)
            page.evaluate("""() => {
                window.shifts = [];
                new PerformanceObserver((list) => window.shifts.push(...list.getEntries().map((one) =>
                    [one.value, one.sources.map((source) => source.node?.className ?? '?').join()])))
                    .observe({ type: 'layout-shift', buffered: true }); }""")
            self.generate(RED, page)
            page.wait_for_timeout(500)
            shifts = page.evaluate("window.shifts")
            self.assertLess(sum(value for value, _ in shifts), 0.02, shifts)
            page.context.close()

    def test_theme(self):
        page = self.open_page(color_scheme="light")
        colour = lambda: page.evaluate("getComputedStyle(document.body).backgroundColor")
        light = colour()
        page.click("#theme")
        expect(page.locator("#theme")).to_have_attribute("aria-label", "Theme: light")
        page.click("#theme")
        expect(page.locator("#theme")).to_have_attribute("aria-label", "Theme: dark")
        self.assertNotEqual(colour(), light)
        page.reload()
        expect(page.locator("#theme")).to_have_attribute("aria-label", "Theme: dark")
        self.assertNotEqual(colour(), light)
        page.click("#theme")
        self.assertEqual(colour(), light)


class Empty(PageCase):
    def test_empty_views(self):
        for scheme in SCHEMES:
            page = self.open_page("gallery", color_scheme=scheme)
            expect(page.get_by_role("heading", name="No images yet")).to_be_visible()
            self.screenshot(page, f"desk-{scheme}-gallery-empty")
            page.click(".tabs [href='#/generate']")
            expect(page.locator("#frame .placeholder")).to_be_visible()
            self.screenshot(page, f"desk-{scheme}-generate-empty")


if __name__ == "__main__":
    unittest.main()
