"""Size and time of the first load, no third-party requests, reconnecting, restarts and the API key."""

import re
import statistics
import unittest
import urllib.request

from support import JOB_TIMEOUT_MS, RED, STAR, Browser, Listener, PageCase, Proxy, expect

MAX_BYTES = 100_000  # of the first load, compressed
MAX_RATIO = 4  # of the time of the first load to that of a page of 1 kB
LOADS = 12


class SmallPage(Listener):
    """A server of one page of 1 kB, which answers without delay."""

    PAGE = b"<!doctype html><html lang=en><title>small</title><p>".ljust(1000, b"x")
    ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\nContent-Length: 1000\r\n\r\n" + PAGE

    def handle(self, client):
        with client:
            if client.recv(65536):
                client.sendall(self.ANSWER)


class Network(PageCase):
    def test_first_load(self):
        """Size and time of loads with an empty cache. Machines differ, and this one may be busy: the time is compared with
        that of a small page in the same browser, in turns."""
        small = SmallPage()
        self.addCleanup(small.close)
        page = Browser.get().new_context().new_page()
        self.addCleanup(page.context.close)
        session = page.context.new_cdp_session(page)
        session.send("Network.enable")
        session.send("Network.setCacheDisabled", {"cacheDisabled": True})
        received = []
        session.on("Network.loadingFinished", lambda event: received.append(event["encodedDataLength"]))

        def load_time(url):
            page.goto(url)
            took = page.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd")
            self.assertGreater(took, 0)
            return took

        times, small_times = [], []
        for _ in range(LOADS):
            small_times.append(load_time(small.url))
            received.clear()
            times.append(load_time(self.server.url))
            expect(page.locator("#status")).to_have_text("Ready")
            self.assertGreater(sum(received), 30_000)  # page, script and style sheet are counted
            self.assertLess(sum(received), MAX_BYTES)
        ratio = statistics.median(times) / statistics.median(small_times)
        self.assertLess(ratio, MAX_RATIO, (times, small_times))

    def test_few_requests(self):
        """The build bundles modules and style sheets: with many requests, they take most of the loading time."""
        entries = "performance.getEntriesByType('resource').map(one => new URL(one.name).pathname)"
        self.wait_until(f"{entries}.includes('/favicon.svg')")  # after all others: browsers are in no hurry
        asked = self.page.evaluate(entries)
        files = sorted({path for path in asked if not path.startswith("/api/")})
        self.assertEqual(files, ["/favicon.svg", "/js/main.js", "/style.css"])

    def test_no_third_party_requests(self):
        """tearDown checks all requests; this shows every view."""
        self.generate(RED)
        for view, content in ("gallery", ".card"), ("models", ".model"), ("log", ".log-line"), ("generate", "#result .property"):
            self.page.click(f".tabs [href='#/{view}']")
            expect(self.page.locator(f"#view-{view} {content}").first).to_be_visible()
        paths = {url[len(self.server.url) - 1:].split("?")[0] for url in self.requests}
        for path in "/", "/js/main.js", "/style.css", "/api/jobs", "/api/images", "/api/models", "/api/log":
            self.assertIn(path, paths)
        for url in {url for url in self.requests if re.search(r"\.(js|css|svg)$|/$", url)}:
            with urllib.request.urlopen(url) as answer:
                body = answer.read().decode()
            body = body.replace("http://www.w3.org/2000/svg", "")  # a namespace, which is not fetched
            self.assertNotRegex(body, r"(https?:)?//[a-z0-9-]+\.[a-z]", url)

    def test_content_security_policy(self):
        with urllib.request.urlopen(self.server.url) as answer:
            policy = answer.headers["Content-Security-Policy"]
        rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";") if " " in rule.strip())
        self.assertEqual(rules["default-src"], "'none'")
        for kind in "script-src", "style-src", "connect-src":
            self.assertEqual(rules[kind], "'self'", policy)
        for kind in "base-uri", "frame-ancestors":
            self.assertEqual(rules[kind], "'none'", policy)
        self.assertNotIn("unsafe", policy)
        refused = self.page.evaluate("""() => new Promise((resolve) => {
            document.addEventListener('securitypolicyviolation', (event) => resolve(event.violatedDirective));
            const script = document.createElement('script');
            script.textContent = 'window.broken = true';
            document.body.append(script); })""")
        self.assertTrue(refused.startswith("script-src"))
        self.assertFalse(self.page.evaluate("'broken' in window"))
        self.console_errors.clear()  # the browser logs the violation

    def test_reconnect(self):
        """The connection is lost while a job runs and restored after it has ended: the page shows the image."""
        proxy = Proxy(self.server.port)
        self.addCleanup(proxy.close)
        page = self.open_page(url=proxy.url)
        self.start_long_job(page, width=640, height=640, seed=77)
        expect(page.locator("#run")).to_contain_text(re.compile(r"Step \d+ of 20"))
        expect(self.page.locator("#strip .ring")).to_have_count(1)
        proxy.cut()
        expect(page.locator("#status")).to_have_text("Disconnected, reconnecting")
        expect(self.page.locator("#strip .ring")).to_have_count(0, timeout=JOB_TIMEOUT_MS)  # self.page is connected directly
        expect(self.page.locator("#status")).to_have_text("Ready")
        proxy.restore()
        expect(page.locator("#status")).to_have_text("Ready")
        expect(page.locator("#run")).to_contain_text("seed 77")
        self.assertRegex(proxy.sent, rb"(?i)last-event-id: |last_event_id=")

    def test_short_disconnect(self):
        proxy = Proxy(self.server.port)
        self.addCleanup(proxy.close)
        page = self.open_page(url=proxy.url)
        self.start_long_job(page, width=512, height=512, seed=78)
        proxy.cut()
        proxy.restore()
        expect(page.locator("#run")).to_contain_text("seed 78", timeout=JOB_TIMEOUT_MS)
        expect(page.locator("#status")).to_have_text("Ready")


class Restart(PageCase):
    def test_server_restart(self):
        self.generate(STAR, seed=1)
        self.server.stop()
        expect(self.page.locator("#status")).to_have_text("Disconnected, reconnecting")
        self.page.click("#generate")
        expect(self.page.locator("#form-error")).to_contain_text("Cannot reach the server")
        self.server.start()
        expect(self.page.locator("#status")).to_have_text("Ready")
        expect(self.page.locator("#strip img")).to_have_count(1)
        self.generate(RED)
        self.console_errors.clear()


class Key(PageCase):
    options = ("--api-key", "open sesame")

    def open_page(self, *args, **options):
        context = Browser.get().new_context(viewport={"width": 1000, "height": 800})
        self.addCleanup(context.close)
        page = context.new_page()
        page.goto(self.server.url)
        return page

    def test_login(self):
        dialog = self.page.get_by_role("dialog", name="API key required")
        field = dialog.get_by_label("API key")
        field.fill("wrong")
        dialog.get_by_role("button", name="Sign in").click()
        expect(dialog.locator("#key-error")).not_to_be_empty()
        expect(field).to_be_focused()
        field.fill("open sesame")
        dialog.get_by_role("button", name="Sign in").click()
        expect(dialog).to_have_count(0)
        self.wait_until_loaded(self.page)
        self.generate(RED)
        self.wait_until("document.querySelector('#frame .image').naturalWidth === 128")


if __name__ == "__main__":
    unittest.main()
