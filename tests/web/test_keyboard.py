"""The page, used with the keyboard alone."""

import unittest

from support import RED, STAR, PageCase, expect


class Keyboard(PageCase):
    def focused(self):
        return self.page.evaluate("document.activeElement.id || document.activeElement.textContent.trim() || document.activeElement.tagName")

    def tab_to(self, wanted, key="Tab", max_presses=60):
        """Presses Tab until an element with this id or text has the focus. Its focus must be visible."""
        for _ in range(max_presses):
            if self.focused() == wanted:
                outline = self.page.evaluate("""() => {
                    const node = document.activeElement;
                    const seen = node.matches('.choice input') ? node.nextElementSibling : node;
                    return getComputedStyle(seen).outlineStyle; }""")
                self.assertNotEqual(outline, "none", wanted)
                return
            self.page.keyboard.press(key)
        self.fail(f"{wanted} was not reached")

    def test_prompt_to_downloaded_image(self):
        press, write = self.page.keyboard.press, self.page.keyboard.type
        self.tab_to("prompt")
        write(RED)
        self.tab_to("generate")
        press("Enter")
        expect(self.page.locator("#run")).to_contain_text("Generated")
        self.tab_to("PNG")
        with self.page.expect_download() as download:
            press("Enter")
        self.assertTrue(download.value.suggested_filename.endswith(".png"))

    def test_shortcut(self):
        self.tab_to("prompt")
        self.page.keyboard.type(RED)
        self.page.keyboard.press("Control+Enter")
        expect(self.page.locator("#run")).to_contain_text("Generated")

    def test_cancel(self):
        self.start_long_job()
        self.tab_to("cancel")
        self.page.keyboard.press("Enter")
        expect(self.page.locator("#run")).to_have_text("Cancelled.")

    def test_choices_and_sliders(self):
        self.tab_to("portrait")
        self.page.keyboard.press("Tab")
        self.page.keyboard.press("ArrowRight")
        self.assertTrue(self.page.is_checked("[name=aspect][value='5:4']"))
        self.page.keyboard.press("Tab")
        self.page.keyboard.press("ArrowRight")
        self.assertTrue(self.page.is_checked("[name=short_side][value='512']"))
        self.assertEqual(self.page.input_value("#width"), "640")
        self.tab_to("steps")
        self.page.keyboard.press("Home")
        expect(self.page.locator("#steps-value")).to_have_text("1")
        self.page.keyboard.press("End")
        expect(self.page.locator("#steps-value")).to_have_text("20")
        self.tab_to("shift")
        self.page.keyboard.press("End")
        expect(self.page.locator("#shift-value")).to_have_text("10.0")
        self.page.keyboard.press("Home")
        expect(self.page.locator("#shift-value")).to_have_text("1.0")
        self.tab_to("lock-seed")
        self.page.keyboard.press("Space")
        expect(self.page.locator("#lock-seed")).to_have_attribute("aria-pressed", "true")

    def test_views_and_dialogs(self):
        self.generate(STAR)
        self.page.evaluate("document.activeElement.blur()")
        self.page.reload()
        expect(self.page.locator("#status")).to_have_text("Ready")
        self.page.keyboard.press("Tab")
        self.assertEqual(self.focused(), "Skip to content")
        self.page.keyboard.press("Enter")
        self.assertEqual(self.focused(), "main")
        self.page.reload()
        self.tab_to("Gallery")
        self.page.keyboard.press("Enter")
        expect(self.page.locator("#title-gallery")).to_be_focused()
        self.page.keyboard.press("Tab")
        expect(self.page.locator("#search")).to_be_focused()
        self.page.keyboard.press("Tab")
        expect(self.page.locator("#infotext-file")).to_be_focused()
        expect(self.page.locator(".card button")).not_to_have_count(0)
        self.page.keyboard.press("Tab")
        expect(self.page.locator(".card button").first).to_be_focused()
        self.page.keyboard.press("Enter")
        dialog = self.page.get_by_role("dialog", name="Image")
        expect(dialog).to_be_visible()
        for _ in range(12):  # the focus stays in the dialog or goes to the browser's own controls
            self.page.keyboard.press("Tab")
            self.assertTrue(self.page.evaluate("document.activeElement === document.body || !!document.activeElement.closest('dialog')"))
        self.page.keyboard.press("Escape")
        expect(dialog).to_have_count(0)
        expect(self.page.locator(".card button").first).to_be_focused()


if __name__ == "__main__":
    unittest.main()
