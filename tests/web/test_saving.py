"""Images that cannot be saved: the page says why, shows them and offers them for download until they are."""

import os
import shutil
import unittest

from support import RED, STAR, PageCase, expect


class Saving(PageCase):
    def setUp(self):
        super().setUp()
        self.notice = self.page.locator("#saving")
        self.folder = os.path.join(self.server.dir, "images")

    def test_missing_folder(self):
        self.generate(RED, seed=1)
        expect(self.notice).to_be_empty()
        shutil.rmtree(self.folder)
        self.generate(STAR, seed=2)
        expect(self.notice).to_contain_text("Images cannot be saved: the server's output folder")
        expect(self.notice).to_contain_text("1 image could not be saved.")
        expect(self.page.locator("#result")).to_contain_text("Not saved")
        with self.page.expect_download() as download:
            self.page.get_by_role("link", name="Download as PNG").click()
        with open(download.value.path(), "rb") as file:
            self.assertTrue(file.read().startswith(b"\x89PNG"))
        self.page.click(".tabs >> text=Gallery")
        card = self.page.locator(".card").first
        expect(card).to_contain_text("Not saved")
        self.assertGreater(card.locator("img").evaluate("(img) => img.decode().then(() => img.naturalWidth)"), 0)
        self.page.reload()
        expect(self.notice).to_contain_text("1 image could not be saved.")
        expect(card).to_contain_text("Not saved")
        os.mkdir(self.folder)
        expect(self.notice).to_be_empty()
        expect(card).not_to_contain_text("Not saved")
        self.assertEqual(sum(name.endswith(".png") for name in os.listdir(self.folder)), 1)


if __name__ == "__main__":
    unittest.main()
