"""Focus behind bars, targets for fingers, forced colours, a preview beside queued jobs, and axe where test_looks.py has not looked."""

import re
import unittest

from support import PHONE, RED, STAR, ZIMAGE_MORE, PageCase, expect
from test_looks import Looks
from test_reuse import FOREIGN, png

SMALL_DESK = {"width": 1280, "height": 720}
NARROW = {"width": 360, "height": 640}

# What of the focused element is not visible, with the elements that cover it. Bars do not count as covered by themselves.
COVERED = """() => {
    const node = document.activeElement, seen = node.matches('.choice input') ? node.nextElementSibling : node;
    if (node === document.body || node.matches('#main, h1, .log, .visually-hidden')) return null;
    const { left, top, right, bottom } = seen.getBoundingClientRect();
    const name = (one) => one && (one.id || one.className || one.tagName);
    if (top < 0 || bottom > innerHeight) return `${name(node)}: from ${top} to ${bottom} of ${innerHeight}`;
    const covers = [[left + 3, (top + bottom) / 2], [right - 3, (top + bottom) / 2], [(left + right) / 2, top + 3], [(left + right) / 2, bottom - 3]]
        .map(([x, y]) => document.elementFromPoint(x, y))
        .filter((one) => one && !seen.contains(one) && !one.contains(seen) && !one.closest('.choice, label'));
    return covers.length ? `${name(node)}: behind ${covers.map(name)}` : null; }"""


class Focus(PageCase):
    def walk(self, page, where, key, presses):
        """Presses Tab; each element that gets the focus must be visible."""
        seen = set()
        for _ in range(presses):
            page.keyboard.press(key)
            self.assertIsNone(page.evaluate(COVERED), where)
            seen.add(page.evaluate("document.activeElement.id || document.activeElement.textContent.trim()"))
        return seen

    def test_focus_is_visible(self):
        """In both directions, in all views, with all settings shown."""
        for _ in range(14):
            self.generate(RED, steps=1)
        for viewport in SMALL_DESK, PHONE:
            page = self.open_page(viewport=viewport)
            page.click("#more summary")
            page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
            seen = self.walk(page, "generate", "Tab", 60) | self.walk(page, "generate, back", "Shift+Tab", 60)
            for name in "prompt", "steps", "model", "cfg_truncation", "compute", "generate":
                self.assertIn(name, seen)
            for view in "gallery", "models":
                page.click(f".tabs [href='#/{view}']")
                expect(page.locator(".card button" if view == "gallery" else ".model button")).not_to_have_count(0)
                self.walk(page, view, "Tab", 40)
                self.walk(page, f"{view}, back", "Shift+Tab", 40)
            page.context.close()

    def test_focus_beside_an_error(self):
        """An error makes the bar with the button higher."""
        page = self.open_page(viewport=SMALL_DESK)
        page.route("**/api/jobs", lambda route: route.abort())
        page.fill("#prompt", RED)
        page.click("#more summary")
        page.click("#generate")
        expect(page.locator("#form-error")).to_contain_text("Cannot reach the server")
        page.evaluate("scrollTo(0, 0)")
        page.focus("#prompt")
        self.walk(page, "with an error", "Tab", 40)

    def test_focus_in_dialogs(self):
        self.generate(RED)
        page = self.open_page(viewport={"width": 1280, "height": 420})
        page.click(".tabs >> text=Gallery")
        page.click(".card button >> nth=0")
        expect(page.get_by_role("dialog")).to_be_visible()
        self.walk(page, "image", "Tab", 10)
        self.walk(page, "image, back", "Shift+Tab", 12)

    def test_focus_of_a_sticky_bar_does_not_scroll(self):
        page = self.open_page(viewport=SMALL_DESK)
        page.click("#more summary")
        page.evaluate("scrollTo(0, 100)")
        page.focus("#generate")
        self.assertEqual(page.evaluate("scrollY"), 100)


class Touch(PageCase):
    program = ZIMAGE_MORE  # which has a checkbox, too
    # Elements that take clicks, by the rectangle that does: that of the label where the input is hidden.
    SMALL = """() => [...document.querySelectorAll('a, button, input, select, textarea, summary')]
        .map((node) => [node, node.matches('.visually-hidden') ? node.closest('label') : node])
        .filter(([node, target]) => target.checkVisibility({ visibilityProperty: true }) && !node.matches('.skip-link'))
        .map(([node, target]) => {
            const label = node.matches('[type=checkbox]') && document.querySelector(`label[for="${node.id}"]`);
            const { width, height } = (label || target).getBoundingClientRect();
            return [node.id || node.textContent.trim() || node.className, width, height];
        }).filter(([, width, height]) => Math.round(width * 10) < 440 || Math.round(height * 10) < 440).map(String)"""

    def check(self, page, where):
        self.assertEqual(page.evaluate(self.SMALL), [], where)

    def test_targets(self):
        self.generate(RED, seed=1)
        self.generate(STAR, seed=2)
        for viewport in PHONE, NARROW, {"width": 1024, "height": 768}:
            page = self.open_page(viewport=viewport, has_touch=True, is_mobile=True)
            where = f"{viewport['width']} pixels: "
            page.click("#more summary")
            self.check(page, where + "generate")
            self.generate(RED, page, steps=1)
            self.check(page, where + "result")
            self.start_long_job(page)
            self.check(page, where + "running")
            page.click("#cancel")
            expect(page.locator("#run")).to_have_text("Cancelled.")
            for view in "gallery", "models", "log":
                page.click(f".tabs [href='#/{view}']")
                expect(page.locator(f"#view-{view}")).to_be_visible()
                expect(page.locator(f"#view-{view} .skeleton")).to_have_count(0)
                self.check(page, where + view)
                self.assertTrue(page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"), where + view)
            page.click(".tabs >> text=Gallery")
            page.click(".card button >> nth=0")
            self.check(page, where + "image")
            page.click("dialog >> text=Compare")
            expect(page.locator(".differences")).to_be_visible()
            self.check(page, where + "compare")
            page.keyboard.press("Escape")
            page.click(".tabs >> text=Models")
            page.click("[data-action='Convert'] >> nth=0")
            expect(page.get_by_role("dialog")).to_be_visible()
            self.check(page, where + "convert")
            page.context.close()


class ForcedColours(PageCase):
    def style(self, page, selector, name):
        return page.eval_on_selector(selector, "(node, name) => getComputedStyle(node)[name]", name)

    def test_states_can_be_told_apart(self):
        page = self.open_page(forced_colors="active")
        self.assertTrue(page.evaluate("matchMedia('(forced-colors: active)').matches"))
        pairs = [(".choice input:checked + span", ".choice input:not(:checked) + span"),
                 (".tabs a[aria-current]", ".tabs a:not([aria-current])")]
        for chosen, other in pairs:
            self.assertNotEqual(self.style(page, chosen, "backgroundColor"), self.style(page, other, "backgroundColor"), chosen)
        before = self.style(page, "#lock-seed", "backgroundColor")
        page.click("#lock-seed")
        expect(page.locator("#lock-seed")).to_have_attribute("aria-pressed", "true")
        page.mouse.move(0, 0)
        self.wait_for_transitions(page)
        self.assertNotEqual(self.style(page, "#lock-seed", "backgroundColor"), before)
        self.start_long_job(page)
        self.assertNotEqual(self.style(page, ".progress-bar > i", "backgroundColor"), self.style(page, ".progress-bar", "backgroundColor"))
        self.assertEqual(self.style(page, ".progress-bar", "borderTopStyle"), "solid")
        self.assertNotEqual(self.style(page, "#steps", "appearance"), "none")
        self.screenshot(page, "desk-forced-colours-running")
        page.click("#cancel")


class Queue(PageCase):
    def test_second_job_does_not_hide_the_preview(self):
        page = self.page
        self.start_long_job(seed=7)
        expect(page.locator("#frame .preview")).to_be_visible()
        page.fill("#prompt", RED)
        page.fill("#seed", "8")
        page.click("#generate")
        expect(page.locator("#strip .ring")).to_have_count(2)
        expect(page.locator("#toasts")).to_contain_text("Queued, next in the queue.")
        expect(page.locator("#frame .preview")).to_be_visible()
        expect(page.locator("#run")).to_contain_text("of 20")
        page.click("#strip .tile >> nth=1")  # the queued one can be looked at
        expect(page.locator("#run")).to_contain_text("Queued, next in the queue")
        page.click("#strip .tile >> nth=0")
        expect(page.locator("#frame .preview")).to_be_visible()
        before = page.get_attribute("#run", "data-mode")
        page.click("#cancel")
        expect(page.locator("#run")).to_have_attribute("data-mode", re.compile(f"^job (?!{before[4:]}$)"))
        expect(page.locator("#run")).to_contain_text("of 20")  # the next one
        page.click("#cancel")
        expect(page.locator("#run")).to_have_text("Cancelled.")


class Axe(Looks):
    """Views and dialogs that Looks does not open."""

    def test_views(self):
        """Notes above the form, and lost jobs."""
        for where, page in self.open_pages():
            page.evaluate("""() => localStorage.setItem('zimage.lost', JSON.stringify({ 1: { kind: 'generate', images: 1,
                params: { prompt: 'a red circle', seed: '1', count: 3 } } }))""")
            page.click(".tabs [href='#/gallery']")
            page.reload()
            page.set_input_files("#infotext-file", {"name": "other.png", "mimeType": "image/png", "buffer": png(FOREIGN)})
            expect(page.get_by_role("dialog", name="Generation parameters")).to_be_visible()
            page.get_by_text("Raw text").click()
            self.assert_accessible(page, f"{where} parameters")
            self.screenshot(page, f"{where}-parameters")
            page.get_by_role("button", name="Use these settings").click()
            expect(page.locator("#settings-notes")).not_to_be_empty()
            expect(page.locator("#lost")).not_to_be_empty()
            self.assert_accessible(page, f"{where} notes")
            self.assert_no_overflow(page, f"{where} notes")
            self.screenshot(page, f"{where}-notes")
            page.context.close()

    def test_dialogs(self):
        for where, page in self.open_pages():
            page.click(".tabs [href='#/gallery']")
            page.click(".card button >> nth=0")
            page.get_by_role("button", name="Delete", exact=True).click()
            self.assert_accessible(page, f"{where} delete")
            page.context.close()

    def test_running_error_and_result(self):
        """Side by side, and the page with forced colours."""
        page = self.open_page(forced_colors="active")
        self.assert_accessible(page, "forced colours")
        page.click(".tabs [href='#/gallery']")
        page.click(".card button >> nth=0")
        page.click("dialog >> text=Compare")
        expect(page.locator(".differences")).to_be_visible()
        page.get_by_role("button", name="Side by side").click()
        self.assert_accessible(page, "side by side, forced colours")

    test_no_layout_shifts = test_theme = None


class Login(Looks):
    options = ("--api-key", "open sesame")

    def setUp(self):
        PageCase.setUp(self)

    def wait_until_loaded(self, page):
        expect(page.get_by_role("dialog", name="API key required")).to_be_visible()

    def test_dialogs(self):
        for where, page in self.open_pages():
            self.assert_accessible(page, f"{where} login")
            self.screenshot(page, f"{where}-login")
            page.context.close()

    test_views = test_running_error_and_result = test_no_layout_shifts = test_theme = None


del Looks

if __name__ == "__main__":
    unittest.main()
