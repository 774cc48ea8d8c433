"""The browser's history: views have addresses that are no ids of elements, and Back closes dialogs."""

import unittest

from support import PHONE, RED, STAR, PageCase, expect


class History(PageCase):
    def setUp(self):
        super().setUp()
        self.phone = self.open_page(viewport=PHONE, has_touch=True, is_mobile=True)
        if not self.phone.locator("#strip img").count():
            for seed, prompt in (1, RED), (2, STAR):
                self.generate(prompt, self.phone, seed=seed)
        self.dialogs = self.phone.locator("dialog")

    def fragment(self):
        return self.phone.evaluate("location.hash")

    def open_image(self):
        self.phone.click(".tabs >> text=Gallery")
        self.phone.click(".card button >> nth=0")
        expect(self.phone.get_by_role("dialog", name="Image")).to_be_visible()

    def test_fragments_are_no_ids(self):
        for name in "gallery", "models", "log", "generate":
            self.phone.click(f".tabs [href='#/{name}']")
            expect(self.phone.locator(f"#view-{name}")).to_be_visible()
            self.assertIsNone(self.phone.evaluate("document.querySelector(':target')"))
            self.assertEqual(self.phone.evaluate("scrollY"), 0)
        links = self.phone.eval_on_selector_all("a[href^='#']", "nodes => nodes.map(node => node.getAttribute('href'))")
        self.assertIn("#/gallery", links)
        self.assertEqual([link for link in links if not link.startswith("#/")], ["#main"])  # for the skip link

    def test_addresses_of_earlier_versions(self):
        self.phone.goto(self.server.url + "#gallery")
        expect(self.phone.locator("#view-gallery")).to_be_visible()

    def test_skip_link_keeps_the_view(self):
        self.page.click(".tabs >> text=Gallery")
        self.page.locator(".skip-link").focus()
        self.page.keyboard.press("Enter")
        expect(self.page.locator("#main")).to_be_focused()
        self.assertEqual(self.page.evaluate("location.hash"), "#/gallery")
        self.page.reload()
        expect(self.page.locator("#view-gallery")).to_be_visible()

    def test_back_closes_a_dialog(self):
        self.open_image()
        self.phone.go_back()
        expect(self.dialogs).to_have_count(0)
        expect(self.phone.locator("#view-gallery")).to_be_visible()
        self.phone.go_forward()  # the dialog does not come back, and nothing else happens
        expect(self.phone.locator("#view-gallery")).to_be_visible()
        expect(self.dialogs).to_have_count(0)

    def test_back_after_a_dialog_was_closed(self):
        for close in (lambda: self.phone.click("[aria-label=Close]"), lambda: self.phone.keyboard.press("Escape")):
            self.open_image()
            close()
            expect(self.dialogs).to_have_count(0)
            self.wait_until("!history.state?.dialog", self.phone)
            self.phone.click(".tabs >> text=Models")
            expect(self.phone.locator("#view-models")).to_be_visible()
            self.phone.go_back()
            expect(self.phone.locator("#view-gallery")).to_be_visible()
            self.phone.go_back()
            expect(self.phone.locator("#view-gallery")).to_be_hidden()

    def test_view_right_after_a_dialog(self):
        """A link that is followed at once, before the browser has left the entry of the dialog."""
        self.open_image()
        self.phone.evaluate("""() => {
            document.querySelector('dialog').addEventListener('close', () => document.querySelector(".tabs [href='#/log']").click());
            document.querySelector('dialog').close(); }""")
        expect(self.phone.locator("#view-log")).to_be_visible()
        self.phone.go_back()
        expect(self.phone.locator("#view-gallery")).to_be_visible()

    def test_dialog_after_a_dialog(self):
        self.open_image()
        self.phone.click("dialog >> text=Compare")
        expect(self.phone.get_by_role("dialog", name="Compare images")).to_be_visible()
        self.phone.wait_for_timeout(300)
        expect(self.phone.get_by_role("dialog", name="Compare images")).to_be_visible()
        self.phone.go_back()
        expect(self.dialogs).to_have_count(0)
        expect(self.phone.locator("#view-gallery")).to_be_visible()

    def test_back_after_use_these_settings(self):
        self.open_image()
        self.phone.click("dialog >> text=Use these settings")
        expect(self.phone.locator("#view-generate")).to_be_visible()
        self.phone.wait_for_timeout(300)
        self.assertEqual(self.fragment(), "#/generate")
        self.phone.go_back()
        expect(self.phone.locator("#view-gallery")).to_be_visible()
        expect(self.dialogs).to_have_count(0)

    def test_reload_with_a_dialog(self):
        self.open_image()
        self.phone.reload()
        expect(self.phone.locator("#view-gallery")).to_be_visible()
        expect(self.dialogs).to_have_count(0)
        self.open_image()
        self.phone.go_back()
        expect(self.dialogs).to_have_count(0)
        expect(self.phone.locator("#view-gallery")).to_be_visible()


class Key(PageCase):
    options = ("--api-key", "open sesame")

    def wait_until_loaded(self, page):
        expect(page.get_by_role("dialog", name="API key required")).to_be_visible()

    def test_back_does_not_close_the_login(self):
        self.page.evaluate("location.hash = '#/gallery'")
        self.page.go_back()
        for _ in range(3):
            self.page.keyboard.press("Escape")
        dialog = self.page.get_by_role("dialog", name="API key required")
        expect(dialog).to_be_visible()
        dialog.get_by_label("API key").fill("open sesame")
        self.page.keyboard.press("Enter")
        expect(dialog).to_have_count(0)
        expect(self.page.locator("#status")).to_have_text("Ready")


if __name__ == "__main__":
    unittest.main()
