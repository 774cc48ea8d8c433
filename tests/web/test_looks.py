"""Every view in light and dark, on a desk and on a phone: a picture of each to look at, no finding of axe, nothing that
jumps and nothing that is cut off."""

import re
import unittest

from axe_playwright_python.sync_playwright import Axe

from support import DESK, PHONE, RED, STAR, PageCase, expect

VIEWS = "generate", "gallery", "models", "log"
SCHEMES = "light", "dark"
SIZES = {"desk": DESK, "phone": PHONE}


class Looks(PageCase):
    def setUp(self):
        super().setUp()
        if not self.page.locator("#strip img").count():
            for seed, prompt in enumerate([RED, STAR, "a green triangle on a white background", "an orange square on a black background",
                                           "a blue star on a yellow background", "a white circle on a green background"]):
                self.draw(prompt, seed=seed)

    def axe(self, page, where):
        page.wait_for_timeout(400)  # colours that fade in are not the ones to be judged
        findings = Axe().run(page).response["violations"]
        bad = [f"{where}: {one['id']} ({one['impact']}): {node['html'][:160]}"
               for one in findings if one["impact"] in ("serious", "critical") for node in one["nodes"]]
        self.assertEqual(bad, [])

    def fits(self, page, where):
        self.assertTrue(page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"), where)

    def every_page(self):
        for name, viewport in SIZES.items():
            for scheme in SCHEMES:
                yield f"{name}-{scheme}", self.open_page(viewport=viewport, color_scheme=scheme)

    def test_views(self):
        for where, page in self.every_page():
            for view in VIEWS:
                page.click(f".tabs [href='#{view}']")
                expect(page.locator(f"#view-{view}")).to_be_visible()
                expect(page.locator(f"#view-{view} .skeleton")).to_have_count(0)
                page.wait_for_load_state("networkidle") if view != "log" else None
                self.axe(page, f"{where} {view}")
                self.fits(page, f"{where} {view}")
                self.shot(page, f"{where}-{view}")
            background = page.evaluate("getComputedStyle(document.body).backgroundColor")
            brightness = sum(map(int, re.findall(r"\d+", background)[:3])) / 3
            self.assertEqual("light" if brightness > 128 else "dark", where.split("-")[1])
            page.context.close()

    def test_dialogs(self):
        for where, page in self.every_page():
            page.click(".tabs [href='#gallery']")
            page.click(".card button >> nth=0")
            expect(page.get_by_role("dialog")).to_be_visible()
            self.axe(page, f"{where} picture")
            self.shot(page, f"{where}-picture")
            page.click("dialog >> text=Compare")
            expect(page.locator(".differences")).to_be_visible()
            self.axe(page, f"{where} compare")
            self.shot(page, f"{where}-compare")
            page.keyboard.press("Escape")
            page.click(".tabs [href='#models']")
            page.click("[data-action='Inspect'] >> nth=0")
            expect(page.locator("dialog .properties")).not_to_have_count(0)
            self.axe(page, f"{where} inspect")
            self.shot(page, f"{where}-inspect")
            page.keyboard.press("Escape")
            page.click("[data-action='Convert'] >> nth=0")
            expect(page.get_by_role("dialog")).to_be_visible()
            self.axe(page, f"{where} convert")
            self.fits(page, f"{where} convert")
            self.shot(page, f"{where}-convert")
            page.context.close()

    def test_at_work_and_after(self):
        for where, page in self.every_page():
            self.begin_long(page, width=1024, height=1024)  # until it is cancelled, below
            expect(page.locator("#frame .preview")).to_be_visible()
            self.axe(page, f"{where} running")
            self.shot(page, f"{where}-running")
            page.click("#cancel")
            expect(page.locator("#run")).to_have_text("Cancelled.")
            page.fill("#prompt", "")
            page.click("#generate")
            self.axe(page, f"{where} error")
            self.shot(page, f"{where}-error")
            self.draw(RED, page, width=192, height=128)
            self.axe(page, f"{where} result")
            self.fits(page, f"{where} result")
            self.shot(page, f"{where}-result")
            page.context.close()

    def test_nothing_jumps(self):
        """The browser's own measure of layout shifts, through a load, a picture and its result."""
        for viewport in SIZES.values():
            page = self.open_page(viewport=viewport)
            page.evaluate("""() => {
                window.shifts = [];
                new PerformanceObserver((list) => window.shifts.push(...list.getEntries().map((one) =>
                    [one.value, one.sources.map((source) => source.node?.className ?? '?').join()])))
                    .observe({ type: 'layout-shift', buffered: true }); }""")
            self.draw(RED, page)
            page.wait_for_timeout(500)
            shifts = page.evaluate("window.shifts")
            self.assertLess(sum(value for value, _ in shifts), 0.02, shifts)
            page.context.close()

    def test_colours_can_be_chosen(self):
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


class NothingYet(PageCase):
    def test_empty_views(self):
        for scheme in SCHEMES:
            page = self.open_page("gallery", color_scheme=scheme)
            expect(page.get_by_role("heading", name="No images yet")).to_be_visible()
            self.shot(page, f"desk-{scheme}-gallery-empty")
            page.click(".tabs [href='#generate']")
            expect(page.locator("#frame .placeholder")).to_be_visible()
            self.shot(page, f"desk-{scheme}-generate-empty")


if __name__ == "__main__":
    unittest.main()
