"""What the page's tests share: a server of their own, a browser, and what happened in it.

The environment names the program (ZIMAGE), the one with more generation parameters (ZIMAGE_MORE), the test data
(ZI_TEST_DATA), the browser (CHROMIUM) and a folder for screenshots (SCREENSHOTS).
"""

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.request

from playwright.sync_api import expect, sync_playwright

ZIMAGE = os.path.abspath(os.environ["ZIMAGE"])
ZIMAGE_MORE = os.path.abspath(os.environ["ZIMAGE_MORE"])
DATA = os.path.abspath(os.environ["ZI_TEST_DATA"])
CHROMIUM = os.environ["CHROMIUM"]
SCREENSHOTS = os.path.abspath(os.environ["SCREENSHOTS"])

PATIENCE = 60000  # milliseconds until something that must come is given up
DESK = {"width": 1440, "height": 900}
PHONE = {"width": 390, "height": 844}
RED = "a red circle on a blue background"
STAR = "a large yellow star on a purple background"
expect.set_options(timeout=PATIENCE)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """zimage serve with folders of its own."""

    def __init__(self, *options, program=ZIMAGE):
        self.program = program
        self.dir = tempfile.mkdtemp(prefix="zimage-web-")
        self.models = os.path.join(self.dir, "models")
        os.makedirs(self.models)
        self.options = options
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/"
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            [self.program, "serve", "--port", str(self.port), "--models", self.models,
             "--output", os.path.join(self.dir, "pictures"), *self.options],
            cwd=self.dir, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(300):
            try:
                with urllib.request.urlopen(self.url + "api/health", timeout=5):
                    return
            except OSError:
                if self.process.poll() is not None:
                    raise RuntimeError(f"zimage serve ended with {self.process.returncode}")
                time.sleep(0.05)
        raise RuntimeError("zimage serve does not answer")

    def stop(self):
        self.process.terminate()
        self.process.wait(20)

    def remove(self):
        if self.process.poll() is None:
            self.stop()
        shutil.rmtree(self.dir, ignore_errors=True)


class Line:
    """A line to the server that can be cut."""

    def __init__(self, port):
        self.port = port
        self.ends = []
        self.whole = True
        self.asked = b""  # all that the browser sent
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}/"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                end, _ = self.listener.accept()
            except OSError:
                return
            if not self.whole:
                end.close()
                continue
            other = socket.create_connection(("127.0.0.1", self.port))
            self.ends += [end, other]
            for way in (end, other, True), (other, end, False):
                threading.Thread(target=self.carry, args=way, daemon=True).start()

    def carry(self, one, other, asking):
        try:
            while data := one.recv(65536):
                self.asked += data if asking else b""
                other.sendall(data)
        except OSError:
            pass
        for end in one, other:
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        one.close()  # other's own thread closes that

    def cut(self):
        self.whole = False
        for end in self.ends:
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self.ends.clear()

    def mend(self):
        self.whole = True

    def close(self):
        self.cut()
        self.listener.close()


class Hold:
    """The first request like this waits until it is let go: with the server's answer, which the page does not know yet,
    or (unsent) before the server knows of it."""

    def __init__(self, page, pattern, method="GET", unsent=False):
        self.page, self.method, self.unsent = page, method, unsent
        self.route = self.answer = None
        page.route(pattern, self.take)

    def take(self, route):
        if self.route or route.request.method != self.method:
            route.continue_()
            return
        self.route = route
        if not self.unsent:
            self.answer = route.fetch()

    def wait(self):
        for _ in range(PATIENCE // 20):
            if self.answer or self.unsent and self.route:
                return
            self.page.wait_for_timeout(20)
        raise AssertionError("nothing was asked")

    def let_go(self):
        self.wait()
        if self.unsent:
            self.route.continue_()
        else:
            self.route.fulfill(response=self.answer)


class HoldEvents:
    """The page, loaded anew, does not hear of the server's events of a kind until they are let go."""

    def __init__(self, page, name):
        self.page = page
        page.add_init_script("""
            const listen = EventTarget.prototype.addEventListener;
            window.held = [];
            EventSource.prototype.addEventListener = function (name, listener) {
                listen.call(this, name, name === '%s' ? (event) => held.push(() => listener(event)) : listener);
            };""" % name)
        page.reload()

    def let_go(self):
        """Those that have come; there is one at least."""
        for _ in range(PATIENCE // 20):  # not wait_for_function: what it does later the page's policy refuses
            if self.page.evaluate("held.length"):
                break
            self.page.wait_for_timeout(20)
        else:
            raise AssertionError("no event came")
        self.page.evaluate("held.splice(0).forEach((tell) => tell())")


class Browser:
    """One Chromium for all tests."""

    instance = None

    @classmethod
    def get(cls):
        if not cls.instance:
            cls.playwright = sync_playwright().start()
            unittest.addModuleCleanup(cls.close)
            cls.instance = cls.playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        return cls.instance

    @classmethod
    def close(cls):
        cls.instance.close()
        cls.playwright.stop()
        cls.instance = None


class PageCase(unittest.TestCase):
    """A server for each class, a fresh browser profile for each test; errors on the page's console fail it."""

    options = ()
    program = ZIMAGE

    @classmethod
    def setUpClass(cls):
        cls.server = Server(*cls.options, program=cls.program)
        cls.addClassCleanup(cls.server.remove)

    def setUp(self):
        self.complaints = []
        self.requests = []
        self.page = self.open_page()

    def tearDown(self):
        self.assertEqual(self.complaints, [])
        self.assertEqual([url for url in self.requests if not url.startswith((self.server.url, "data:", "blob:"))], [])

    def complain(self, text):
        # An answer that says no is one the page reports by itself.
        if "Failed to load resource" not in text and "ERR_" not in text:
            self.complaints.append(text)

    def open_page(self, view="", viewport=DESK, url=None, **options):
        url = url or self.server.url
        context = Browser.get().new_context(viewport=viewport, **options)
        context.set_default_timeout(PATIENCE)
        self.addCleanup(context.close)
        page = context.new_page()
        page.on("console", lambda message: message.type == "error" and self.complain(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url.replace(url, self.server.url)))
        page.goto(f"{url}#{view}" if view else url)
        self.await_lists(page)
        return page

    def await_lists(self, page):
        """Until the page knows what there is: its state, the models, the pictures."""
        expect(page.locator("#status")).to_have_text("Ready")
        expect(page.locator("#model option")).not_to_have_count(0)
        expect(page.locator("#strip:not([aria-busy])")).to_have_count(1)

    def draw(self, prompt=RED, page=None, **fields):
        """Fills the form and waits for the picture."""
        page = page or self.page
        self.begin(prompt, page, **fields)
        expect(page.locator("#run")).to_have_attribute("data-mode", re.compile("^image "))

    def begin(self, prompt=RED, page=None, **fields):
        page = page or self.page
        page.fill("#prompt", prompt)
        for name, value in fields.items():
            page.fill(f"#{name}", str(value))
        before = page.get_attribute("#run", "data-mode")
        page.click("#generate")
        expect(page.locator("#run")).not_to_have_attribute("data-mode", before)

    def begin_long(self, page=None, **fields):
        """A job that takes seconds, on fast machines too."""
        self.begin(STAR, page, **{"width": 512, "height": 512, "steps": 20, **fields})
        expect((page or self.page).locator("#cancel")).to_be_visible()

    def shot(self, page, name):
        os.makedirs(SCREENSHOTS, exist_ok=True)
        if not page.locator("dialog").count() and "running" not in name and "result" not in name:
            page.evaluate("scrollTo(0, 0)")
        page.screenshot(path=os.path.join(SCREENSHOTS, f"{name}.png"))
