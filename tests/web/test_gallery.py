"""The Gallery view: search, reuse, deletion, changes by other clients; infotext of dropped files."""

import base64
import json
import os
import unittest
import urllib.request

from support import RED, STAR, HeldRequest, HeldEvents, PageCase, expect

METADATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "data", "metadata")


class Gallery(PageCase):
    def setUp(self):
        super().setUp()
        with urllib.request.urlopen(f"{self.server.url}api/images") as answer:
            for image in json.load(answer)["images"]:
                self.delete(image["id"])
        self.generate(RED, seed=11)
        self.generate(STAR, seed=12)
        self.generate(STAR, seed=13)
        self.page.click(".tabs >> text=Gallery")
        self.cards = self.page.locator(".card button")
        expect(self.cards).not_to_have_count(0)

    def delete(self, identity):
        request = urllib.request.Request(f"{self.server.url}api/images/{identity}", method="DELETE")
        urllib.request.urlopen(request).close()

    def image_and_file(self, prompt):
        """The latest image with the second word of the prompt, and the bytes of its file."""
        with urllib.request.urlopen(f"{self.server.url}api/images?q={prompt.split()[1]}") as answer:
            found = json.load(answer)["images"][0]
        with urllib.request.urlopen(f"{self.server.url}api/images/{found['id']}/file") as answer:
            return found, answer.read()

    def drop(self, selector, name, kind, data):
        """Dispatches the events of a file that is dropped on the element."""
        self.page.evaluate(
            """([selector, name, type, data]) => {
                const file = new File([Uint8Array.from(atob(data), (c) => c.charCodeAt(0))], name, { type });
                const dataTransfer = new DataTransfer();
                dataTransfer.items.add(file);
                for (const event of ['dragover', 'drop'])
                    document.querySelector(selector).dispatchEvent(new DragEvent(event, { bubbles: true, cancelable: true, dataTransfer }));
            }""",
            [selector, name, kind, base64.b64encode(data).decode()])

    def test_search(self):
        everything = self.cards.count()
        self.page.fill("#search", "CIRCLE red")
        expect(self.cards).to_have_count(1)
        expect(self.cards.first).to_contain_text(RED)
        expect(self.page.locator("#gallery-count")).to_have_text("1 image found")
        self.page.fill("#search", "purple 12")
        expect(self.cards.first).to_contain_text(STAR)
        expect(self.cards).to_have_count(1)
        self.page.fill("#search", "no such thing")
        expect(self.page.get_by_role("heading", name="No matching images")).to_be_visible()
        self.page.get_by_text("Clear search").click()
        expect(self.cards).to_have_count(everything)

    def test_reuse(self):
        self.page.fill("#search", "circle")
        expect(self.cards).to_have_count(1)
        self.cards.first.click()
        dialog = self.page.get_by_role("dialog", name="Image")
        expect(dialog.locator(".properties")).to_contain_text("11")
        dialog.get_by_text("Use these settings").click()
        expect(dialog).to_have_count(0)
        expect(self.page.locator("#view-generate")).to_be_visible()
        self.assertEqual(self.page.input_value("#prompt"), RED)
        self.assertEqual(self.page.input_value("#seed"), "11")
        found, before = self.image_and_file(RED)
        self.submit()  # "Generated" would not do here: the page still says it of the image before
        self.wait_for_image()
        again, after = self.image_and_file(RED)
        self.assertNotEqual(found["id"], again["id"])
        self.assertEqual(before, after)  # equal parameters give an equal file

    def test_delete(self):
        before = self.cards.count()
        self.cards.first.click()
        self.page.get_by_role("button", name="Delete", exact=True).click()
        expect(self.page.get_by_role("button", name="Cancel")).to_be_focused()
        self.page.keyboard.press("Enter")
        expect(self.page.get_by_role("button", name="Delete", exact=True)).to_be_focused()
        self.page.keyboard.press("Enter")
        self.page.get_by_role("button", name="Delete permanently").click()
        expect(self.cards).to_have_count(before - 1)
        expect(self.cards.first).to_be_focused()
        folder = os.path.join(self.server.dir, "images")
        files = [name for _, _, names in os.walk(folder) for name in names if name.endswith(".png")]
        self.assertEqual(len(files), before - 1)
        self.wait_until("!history.state?.dialog")  # a reload while the browser goes back would fail
        self.page.reload()
        expect(self.cards).to_have_count(before - 1)

    def test_deleted_event_before_the_response(self):
        held = HeldRequest(self.page, "**/api/images/*", "DELETE")
        before = self.cards.count()
        beside = self.cards.nth(2).get_attribute("data-id")
        self.cards.nth(1).click()
        self.page.get_by_role("button", name="Delete", exact=True).click()
        self.page.get_by_role("button", name="Delete permanently").click()
        expect(self.cards).to_have_count(before - 1)  # because of the event
        held.release()
        expect(self.page.get_by_role("dialog")).to_have_count(0)
        expect(self.page.locator(f"[data-id='{beside}']")).to_be_focused()

    def test_next_image_while_one_is_deleted(self):
        held = HeldRequest(self.page, "**/api/images/*", "DELETE", unsent=True)
        before = self.cards.count()
        second = self.cards.nth(1).get_attribute("data-id")
        self.cards.first.click()
        self.page.get_by_role("button", name="Delete", exact=True).click()
        self.page.get_by_role("button", name="Delete permanently").click()
        self.page.keyboard.press("ArrowRight")
        dialog = self.page.get_by_role("dialog", name="Image")
        expect(dialog).to_have_attribute("data-image", second)
        held.release()
        expect(self.cards).to_have_count(before - 1)
        expect(self.page.locator("#toasts")).to_contain_text("Image deleted.")
        expect(dialog).to_have_attribute("data-image", second)  # the image shown now stays
        self.page.keyboard.press("Escape")
        expect(dialog).to_have_count(0)
        expect(self.page.locator(f"[data-id='{second}']")).to_be_focused()

    def test_new_image_is_added_in_place(self):
        before = self.cards.count()
        old = self.cards.first.element_handle()
        self.generate(RED, seed=16, page=self.open_page())
        expect(self.cards).to_have_count(before + 1)
        expect(self.cards.first).to_contain_text(RED)
        self.assertTrue(old.evaluate("node => node.isConnected"))
        expect(self.page.locator("#gallery-count")).to_have_text(f"{before + 1} images")

    def test_focus_is_kept_when_search_results_change(self):
        self.page.fill("#search", "star")
        expect(self.cards).to_have_count(2)
        held = self.cards.first.get_attribute("data-id")
        self.cards.first.focus()
        self.generate(STAR, seed=17, page=self.open_page())
        expect(self.cards).to_have_count(3)
        expect(self.page.locator(f"[data-id='{held}']")).to_be_focused()

    def test_focus_is_kept_when_other_clients_change_the_list(self):
        before = self.cards.count()
        first, second, third = (self.cards.nth(n).get_attribute("data-id") for n in range(3))
        card = lambda identity: self.page.locator(f"[data-id='{identity}']")
        card(second).focus()
        self.generate(RED, seed=14, page=self.open_page())
        expect(self.cards).to_have_count(before + 1)
        expect(card(second)).to_be_focused()
        self.delete(second)
        expect(card(second)).to_have_count(0)
        expect(card(third)).to_be_focused()
        card(first).click()
        self.generate(RED, seed=15, page=self.open_page())
        expect(self.cards).to_have_count(before + 1)
        self.page.keyboard.press("Escape")
        expect(card(first)).to_be_focused()
        card(third).focus()
        for identity in [self.cards.nth(n).get_attribute("data-id") for n in range(before + 1)]:
            self.delete(identity)
        expect(self.page.get_by_role("heading", name="No images yet")).to_be_visible()
        expect(self.page.locator("#title-gallery")).to_be_focused()

    def test_deleted_elsewhere(self):
        other = self.open_page("gallery")
        before = self.cards.count()
        identity = self.cards.first.get_attribute("data-id")
        self.delete(identity)
        expect(self.cards).to_have_count(before - 1)
        expect(other.locator(".card button")).to_have_count(before - 1)

    def test_deleted_while_the_list_is_requested(self):
        other = self.open_page()
        held = HeldRequest(other, "**/api/images?limit=60*")
        other.click(".tabs [href='#/gallery']")
        held.wait()
        before = self.cards.count()
        self.delete(self.cards.first.get_attribute("data-id"))
        expect(self.cards).to_have_count(before - 1)
        expect(other.locator("#strip img")).to_have_count(before - 1)  # the event arrives before the list
        held.release()
        expect(other.locator(".card button")).to_have_count(before - 1)

    def test_image_in_the_list_before_its_event(self):
        before = self.cards.count()
        held = HeldEvents(self.page, "image")
        self.wait_until_loaded(self.page)
        expect(self.cards).to_have_count(before)
        self.generate(RED, seed=18, page=self.open_page())
        self.page.fill("#search", " ")  # reloads the list
        expect(self.cards).to_have_count(before + 1)
        held.release()
        self.page.wait_for_timeout(300)
        expect(self.cards).to_have_count(before + 1)
        expect(self.page.locator("#gallery-count")).to_have_text(f"{before + 1} images")

    def test_outdated_response_is_ignored(self):
        held = HeldRequest(self.page, "**/api/images?*q=circle*")
        self.page.fill("#search", "circle")
        held.wait()
        self.page.fill("#search", "star")
        expect(self.cards).to_have_count(2)
        expect(self.page.locator("#gallery-count")).to_have_text("2 images found")
        held.release()
        self.page.wait_for_timeout(300)
        expect(self.cards).to_have_count(2)

    def test_new_image_after_an_error(self):
        self.page.route("**/api/images?*", lambda route: route.abort())
        self.page.fill("#search", " ")
        expect(self.page.get_by_role("button", name="Try again")).to_be_visible()
        self.page.unroute("**/api/images?*")
        self.generate(RED, seed=19, page=self.open_page())
        expect(self.cards).to_have_count(4)

    def test_infotext_of_a_dropped_file(self):
        found, data = self.image_and_file(STAR)
        self.drop("#view-gallery", "found.png", "image/png", data)
        dialog = self.page.get_by_role("dialog", name="Generation parameters")
        for word in STAR, found["seed"], "demo-model":
            expect(dialog).to_contain_text(word)
        dialog.get_by_text("Use these settings").click()
        self.assertEqual(self.page.input_value("#prompt"), STAR)
        self.assertEqual(self.page.input_value("#seed"), found["seed"])

    def test_infotext_of_a_chosen_file(self):
        _, data = self.image_and_file(RED)
        self.page.set_input_files("#infotext-file", {"name": "red.png", "mimeType": "image/png", "buffer": data})
        expect(self.page.get_by_role("dialog", name="Generation parameters")).to_contain_text(RED)

    def test_parameters_of_other_programs(self):
        def drop(name):
            with open(os.path.join(METADATA, name), "rb") as file:
                self.drop("#view-gallery", name, "image/png", file.read())
            return self.page.get_by_role("dialog", name="Generation parameters")
        dialog = drop("comfyui.png")
        for words in "ComfyUI graph", "a cat, 猫 é", "18446744073709551615":
            expect(dialog).to_contain_text(words)
        dialog.get_by_text("All settings").click()
        expect(dialog).to_contain_text("res_multistep")
        dialog.get_by_text("Use these settings").click()
        self.assertEqual(self.page.input_value("#prompt"), "a cat, 猫 é")
        self.assertEqual(self.page.input_value("#seed"), "18446744073709551615")
        self.page.fill("#seed", "77")
        dialog = drop("odd.png")
        expect(dialog).to_contain_text("Seed: -1")
        dialog.get_by_text("Use these settings").click()
        self.assertEqual(self.page.input_value("#steps"), "8")
        self.assertEqual(self.page.input_value("#seed"), "77")  # as it was: the image has none that fits
        expect(drop("comfyui-workflow.png")).to_contain_text("contains a ComfyUI workflow")

    def test_no_infotext(self):
        self.drop("#view-gallery", "notes.txt", "text/plain", b"not an image")
        expect(self.page.locator("#toasts")).to_contain_text("notes.txt is not a PNG, JPEG or WebP image.")
        self.drop("#view-gallery", "broken.png", "image/png", b"not an image")
        expect(self.page.locator("#toasts")).to_contain_text("broken.png: ")
        blank = self.page.evaluate("""() => {
            const canvas = document.createElement('canvas');
            canvas.width = canvas.height = 8;
            canvas.getContext('2d').fillRect(0, 0, 8, 8);
            return canvas.toDataURL('image/png').split(',')[1]; }""")
        self.drop("#view-gallery", "blank.png", "image/png", base64.b64decode(blank))
        expect(self.page.get_by_role("dialog")).to_contain_text("This image has no generation parameters.")

    def test_arrow_keys(self):
        first, second = (self.cards.nth(n).get_attribute("data-id") for n in (0, 1))
        self.cards.first.click()
        dialog = self.page.get_by_role("dialog", name="Image")
        expect(dialog).to_have_attribute("data-image", first)
        self.page.keyboard.press("ArrowRight")
        expect(dialog).to_have_attribute("data-image", second)
        self.page.keyboard.press("ArrowLeft")
        expect(dialog).to_have_attribute("data-image", first)

class Empty(PageCase):
    def test_empty(self):
        self.page.click(".tabs >> text=Gallery")
        expect(self.page.get_by_role("heading", name="No images yet")).to_be_visible()
        self.page.get_by_text("Generate an image").click()
        expect(self.page.locator("#view-generate")).to_be_visible()
        self.page.click("text=a red circle on a blue background")
        self.page.click("#generate")
        expect(self.page.locator("#run")).to_contain_text("Generated")

if __name__ == "__main__":
    unittest.main()
