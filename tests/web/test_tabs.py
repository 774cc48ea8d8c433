"""Several tabs of one browser: one stream of events for all, none while all are hidden; requests without an answer."""

import json
import unittest
import urllib.request

from support import RED, STAR, PageCase, expect, poll

VISIBILITY = """(state) => {
    Object.defineProperty(document, 'visibilityState', { get: () => state, configurable: true });
    document.dispatchEvent(new Event('visibilitychange')); }"""


class Tabs(PageCase):
    """self.page is the first tab; more_tabs() adds others to the same browser profile."""

    def more_tabs(self, count):
        tabs = []
        for _ in range(count):
            page = self.page.context.new_page()
            page.on("pageerror", lambda error: self.console_errors.append(str(error)))
            page.goto(self.server.url)
            self.wait_until_loaded(page)
            tabs.append(page)
        return tabs

    def streams(self):
        with urllib.request.urlopen(self.server.url + "api/health") as answer:
            return json.load(answer)["listeners"]

    def wait_for_streams(self, count):
        poll(self.page, lambda: self.streams() == count, lambda: f"{self.streams()} streams, not {count}")

    def show(self, page, visible):
        page.evaluate(VISIBILITY, "visible" if visible else "hidden")


class Shared(Tabs):
    def test_six_tabs_and_a_seventh(self):
        """A browser has six connections to a server: a stream for each tab would leave none."""
        tabs = [self.page, *self.more_tabs(6)]
        self.wait_for_streams(1)
        before = self.page.locator("#strip img").count()
        self.generate(RED, tabs[6], seed=21)
        for page in tabs:
            expect(page.locator("#strip img")).to_have_count(before + 1)
            expect(page.locator("#run")).to_contain_text("seed 21")
            expect(page.locator("#status")).to_have_text("Ready")

    def test_tab_that_is_opened_while_a_job_runs(self):
        self.start_long_job()
        expect(self.page.locator("#frame .preview")).to_be_visible()
        page = self.page.context.new_page()
        page.goto(self.server.url)
        expect(page.locator("#frame .preview")).to_be_visible()
        expect(page.locator("#run")).to_contain_text("of 20")
        before = page.locator("#run .run-stage").text_content()
        expect(page.locator("#run .run-stage")).not_to_have_text(before)
        page.click("#cancel")
        for each in page, self.page:
            expect(each.locator("#run")).to_have_text("Cancelled.")

    def test_closed_tabs(self):
        second, third = self.more_tabs(2)
        self.page.close()
        second.close()
        self.page = third
        self.generate(RED, third, seed=22)
        self.wait_for_streams(1)
        third.reload()
        self.wait_until_loaded(third)
        self.generate(RED, third, seed=23)

    def test_no_stream_while_all_tabs_are_hidden(self):
        [other] = self.more_tabs(1)
        self.show(self.page, False)
        self.page.wait_for_timeout(6000)
        self.wait_for_streams(1)  # for the other one
        self.generate(RED, other, seed=24)
        expect(self.page.locator("#run")).to_contain_text("seed 24")
        self.show(other, False)
        self.wait_for_streams(0)
        client = self.open_page()
        self.generate(STAR, client, seed=25)
        client.context.close()
        self.wait_for_streams(0)
        expect(self.page.locator("#run")).to_contain_text("seed 24")
        self.show(self.page, True)
        for page in self.page, other:
            expect(page.locator("#run")).to_contain_text("seed 25")
        self.wait_for_streams(1)

    def test_tab_that_is_opened_while_all_are_hidden(self):
        self.show(self.page, False)
        self.wait_for_streams(0)
        [other] = self.more_tabs(1)
        self.generate(RED, other, seed=26)
        expect(self.page.locator("#run")).to_contain_text("seed 26")
        self.wait_for_streams(1)


class Alone(Tabs):
    """A browser without shared workers, such as those of many phones: a stream for each tab that is visible."""

    def open_page(self, *args, **options):
        page = super().open_page(*args, **options)
        page.context.add_init_script("delete window.SharedWorker")
        page.reload()
        self.wait_until_loaded(page)
        return page

    def test_seven_tabs_of_which_one_is_visible(self):
        tabs = [self.page]
        for _ in range(6):
            self.show(tabs[-1], False)
            tabs += self.more_tabs(1)
            self.wait_for_streams(1)
        self.generate(RED, tabs[-1], seed=31)
        self.show(tabs[-1], False)
        self.show(tabs[0], True)
        expect(tabs[0].locator("#run")).to_contain_text("seed 31")
        self.wait_for_streams(1)


class Unanswered(PageCase):
    """Requests that a server gets and does not answer."""

    def setUp(self):
        super().setUp()
        self.page.clock.install()
        self.page.reload()
        self.wait_until_loaded(self.page)

    def ignore(self, pattern):
        """Holds such requests for ever. -> a function that waits until there was one"""
        seen = []
        self.page.route(pattern, lambda route: seen.append(route))
        self.addCleanup(self.page.unroute_all, behavior="ignoreErrors")

        return lambda: poll(self.page, lambda: seen, f"no request for {pattern}", seconds=20)

    def test_generate(self):
        asked = self.ignore("**/api/jobs")
        self.page.fill("#prompt", RED)
        self.page.click("#generate")
        asked()
        self.page.clock.fast_forward(31000)
        expect(self.page.locator("#form-error")).to_contain_text("did not answer within 30 seconds")
        expect(self.page.locator("#generate")).to_be_enabled()

    def test_gallery(self):
        asked = self.ignore("**/api/images?limit=60")
        self.page.click(".tabs >> text=Gallery")
        asked()
        self.page.clock.fast_forward(31000)
        expect(self.page.locator("#gallery")).to_contain_text("did not answer within 30 seconds")
        self.page.unroute_all(behavior="ignoreErrors")
        self.page.get_by_role("button", name="Try again").click()
        expect(self.page.locator("#gallery")).to_contain_text("No images yet")

    def test_enhance(self):
        asked = self.ignore("**/api/enhance")
        self.page.fill("#prompt", "a cow")
        self.page.evaluate("document.querySelector('#enhance').disabled = false")  # the server has no language model
        self.page.click("#enhance")
        asked()
        self.page.clock.fast_forward(31000)
        expect(self.page.locator("#prompt-error")).to_contain_text("did not answer within 30 seconds")
        self.assertEqual(self.page.input_value("#prompt"), "a cow")

    def test_upload(self):
        asked = self.ignore("**/api/models/comfyui/*")
        self.page.click(".tabs >> text=Models")
        self.page.set_input_files("#import-file", {"name": "x.safetensors", "mimeType": "", "buffer": b"no model"})
        asked()
        self.page.clock.fast_forward(11 * 60000)
        expect(self.page.locator("#import-error")).to_contain_text("did not answer")


if __name__ == "__main__":
    unittest.main()
