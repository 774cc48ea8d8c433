"""The server is restarted while jobs run or wait: the page says what was lost and offers to generate it again."""

import signal
import unittest

from support import RED, STAR, expect
from test_parameters import Parameters


class Restart(Parameters):
    def setUp(self):
        super().setUp()
        self.lost = self.page.locator("#lost")

    def restart(self, kill):
        if kill:
            self.server.process.send_signal(signal.SIGKILL)
            self.server.process.wait()
        else:
            self.server.stop()
        expect(self.page.locator("#status")).to_have_text("Disconnected, reconnecting")
        self.server.start()
        expect(self.page.locator("#status")).to_have_text("Ready")
        self.console_errors.clear()

    def again(self, name):
        self.change_run(self.lost.get_by_role("button", name=f"Generate again: {name}").click)
        self.wait_for_image()

    def wait_for_pending(self, count):
        """Until the page has the responses to so many submissions, without which it would not know the jobs after a restart."""
        self.wait_until("count => Object.keys(JSON.parse(localStorage.getItem('zimage.pending') ?? '{}')).length === count", arg=count)

    def start_and_queue(self):
        self.start_long_job(seed=7)
        self.page.fill("#prompt", RED)
        self.page.fill("#seed", "8")
        for name, value in ("width", 128), ("height", 128), ("steps", 3):
            self.page.fill(f"#{name}", str(value))
        self.page.click("#generate")
        expect(self.page.locator("#strip .ring")).to_have_count(2)
        self.wait_for_pending(2)

    def check_restart(self, kill):
        self.start_and_queue()
        self.restart(kill)
        expect(self.lost).to_contain_text("The server was restarted. 2 jobs of this browser had not ended:")
        expect(self.lost).to_contain_text(f"Image: {STAR}")
        self.again(f"Image: {RED}")
        expect(self.page.locator("#run")).to_contain_text("seed 8")
        params = self.latest_job()["params"]
        self.assertEqual([params[name] for name in ("prompt", "seed", "width", "steps", "count")], [RED, "8", 128, 3, 1])
        expect(self.lost).not_to_contain_text(RED)
        self.page.reload()
        self.wait_until_loaded(self.page)
        expect(self.lost).to_contain_text(STAR)  # until it is dismissed
        self.lost.get_by_role("button", name="Dismiss").click()
        expect(self.lost).to_be_empty()
        expect(self.page.locator("#main")).to_be_focused()

    def test_killed(self):
        self.check_restart(kill=True)

    def test_stopped(self):
        self.check_restart(kill=False)

    def test_message_when_it_is_stopped(self):
        self.start_long_job()
        self.server.stop()
        expect(self.page.locator("#run")).to_have_text("The server is being stopped. The image was not finished.")
        self.server.start()
        expect(self.lost).to_contain_text(STAR)
        self.lost.get_by_role("button", name="Dismiss").click()
        self.console_errors.clear()

    def test_rest_of_several_images(self):
        """Of three images, those that were finished are kept, and the others get the same seeds as before."""
        self.page.fill("#count", "3")
        self.start_long_job(width=512, height=512, steps=12, seed=100)
        self.wait_until("document.querySelector('#run').textContent.includes('Image 2 of 3')")  # and kill it before the third
        self.restart(kill=True)
        expect(self.lost).to_contain_text(f"3 images, 1 of 3 finished: {STAR}")
        self.again("3 images")
        params = self.latest_job()["params"]
        self.assertEqual((params["seed"], params["count"]), ("101", 2))

    def test_other_tabs_and_ended_jobs(self):
        """Jobs that ended, or were cancelled, are not lost. All tabs say the same."""
        self.generate(RED, seed=9)
        self.start_long_job()
        self.page.click("#cancel")
        expect(self.page.locator("#run")).to_have_text("Cancelled.")
        self.start_long_job(seed=10)
        other = self.page.context.new_page()
        other.goto(self.server.url)
        expect(other.locator("#cancel")).to_be_visible()
        self.restart(kill=True)
        for page in self.page, other:
            expect(page.locator("#lost li")).to_have_count(1)
        other.locator("#lost").get_by_role("button", name="Dismiss").click()
        for page in self.page, other:
            expect(page.locator("#lost")).to_be_empty()

    def test_other_kinds_of_jobs(self):
        self.start_long_job()
        self.page.click(".tabs >> text=Models")
        self.page.get_by_role("button", name="Verify: demo", exact=True).click()
        expect(self.page.locator(".model-job").first).to_contain_text("Queued")
        self.wait_for_pending(2)
        self.restart(kill=True)
        self.lost.get_by_role("button", name="Start again: Verification: demo").click()
        expect(self.page.locator(".model-job").first).to_contain_text("Verified demo")
        self.lost.get_by_role("button", name="Dismiss").click()


del Parameters

if __name__ == "__main__":
    unittest.main()
