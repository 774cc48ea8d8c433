"""Helpers for the tests of the page: a server, a browser, and ways to delay or cut what goes between them.

Environment variables: ZIMAGE, the program; ZIMAGE_MORE, the program with additional generation parameters;
ZI_TEST_DATA; CHROMIUM, the browser; SCREENSHOTS, the folder for screenshots.
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

from playwright.sync_api import expect, sync_playwright

ZIMAGE = os.path.abspath(os.environ["ZIMAGE"])
ZIMAGE_MORE = os.path.abspath(os.environ["ZIMAGE_MORE"])
DATA = os.path.abspath(os.environ["ZI_TEST_DATA"])
CHROMIUM = os.environ["CHROMIUM"]
SCREENSHOTS = os.path.abspath(os.environ["SCREENSHOTS"])

TIMEOUT_MS = 60000  # of each expectation
JOB_TIMEOUT_MS = 300000  # of the end of a long job
DESK = {"width": 1440, "height": 900}
PHONE = {"width": 390, "height": 844}
RED = "a red circle on a blue background"
STAR = "a large yellow star on a purple background"
expect.set_options(timeout=TIMEOUT_MS)


class Server:
    """zimage serve, with temporary folders for models and images."""

    def __init__(self, *options, program=ZIMAGE):
        self.program = program
        self.dir = tempfile.mkdtemp(prefix="zimage-web-")
        self.models = os.path.join(self.dir, "models")
        os.makedirs(self.models)
        self.options = options
        self.port = 0  # any free one, which it keeps after that
        self.start()
        self.url = f"http://127.0.0.1:{self.port}/"

    def start(self):
        self.process = subprocess.Popen(
            [self.program, "serve", "--port", str(self.port), "--models", self.models,
             "--output", os.path.join(self.dir, "images"), *self.options],
            cwd=self.dir, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        with self.process.stdout as output:
            address = output.readline().decode().strip()  # when it listens
        if not address:
            raise RuntimeError(f"zimage serve ended with {self.process.wait()}")
        self.port = int(address.rsplit(":", 1)[1])

    def stop(self):
        self.process.terminate()
        self.process.wait(20)

    def remove(self):
        if self.process.poll() is None:
            self.stop()
        shutil.rmtree(self.dir, ignore_errors=True)


class Listener:
    """A TCP server, which calls handle(client) for each connection, in a thread of its own."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}/"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.handle, args=(client,), daemon=True).start()

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


class Proxy(Listener):
    """A TCP proxy to the server, whose connections can be cut."""

    def __init__(self, port):
        self.port = port
        self.sockets = []
        self.enabled = True
        self.sent = b""  # all bytes that the browser sent
        super().__init__()

    def handle(self, client):
        if not self.enabled:
            client.close()
            return
        server = socket.create_connection(("127.0.0.1", self.port))
        self.sockets += [client, server]
        for direction in (client, server, True), (server, client, False):
            threading.Thread(target=self.forward, args=direction, daemon=True).start()
        if not self.enabled:  # cut off meanwhile
            self.cut()

    def forward(self, source, target, from_browser):
        try:
            while data := source.recv(65536):
                self.sent += data if from_browser else b""
                target.sendall(data)
        except OSError:
            pass
        for each in source, target:
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        source.close()  # target is closed by the thread of the other direction

    def cut(self):
        """Closes all connections and refuses new ones."""
        self.enabled = False
        for each in self.sockets:
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self.sockets.clear()

    def restore(self):
        """Accepts connections again."""
        self.enabled = True

    def close(self):
        self.cut()
        super().close()


def poll(page, condition, message, seconds=TIMEOUT_MS / 1000):
    """Waits until condition() is true and returns what it returned; the page's events are handled meanwhile. message: what to
    say of a failure, or a function that returns it."""
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(message() if callable(message) else message)
        page.wait_for_timeout(20)
    return result


class HeldRequest:
    """Delays the first request that matches until release(): after the server has responded, or (unsent) before the
    server gets it."""

    def __init__(self, page, pattern, method="GET", unsent=False):
        self.page, self.method, self.unsent = page, method, unsent
        self.route = self.response = None
        page.route(pattern, self.hold)

    def hold(self, route):
        if self.route or route.request.method != self.method:
            route.continue_()
            return
        self.route = route
        if not self.unsent:
            self.response = route.fetch()

    def wait(self):
        """Until the request is held."""
        poll(self.page, lambda: self.response or self.unsent and self.route, "no request matched")

    def release(self):
        self.wait()
        if self.unsent:
            self.route.continue_()
        else:
            self.route.fulfill(response=self.response)


class HeldEvents:
    """Reloads the page, without the worker that tabs share, and delays server events of one name until release()."""

    def __init__(self, page, name):
        self.page = page
        page.add_init_script("""
            delete window.SharedWorker;
            const listen = EventTarget.prototype.addEventListener;
            window.held = [];
            EventSource.prototype.addEventListener = function (name, listener) {
                listen.call(this, name, name === '%s' ? (event) => held.push(() => listener(event)) : listener);
            };""" % name)
        page.reload()

    def release(self):
        """Delivers the events that have arrived, at least one."""
        poll(self.page, lambda: self.page.evaluate("held.length"), "no event arrived")
        self.page.evaluate("held.splice(0).forEach((deliver) => deliver())")


class Browser:
    """One Chromium for all tests of a module."""

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
    """A server for each class and a new browser profile for each test. Errors on the page's console, and requests to other
    servers, fail the test."""

    options = ()
    program = ZIMAGE

    @classmethod
    def setUpClass(cls):
        cls.server = Server(*cls.options, program=cls.program)
        cls.addClassCleanup(cls.server.remove)

    def setUp(self):
        self.console_errors = []
        self.requests = []
        self.page = self.open_page()

    def tearDown(self):
        self.assertEqual(self.console_errors, [])
        self.assertEqual([url for url in self.requests if not url.startswith((self.server.url, "data:", "blob:"))], [])

    def add_console_error(self, text):
        # The page itself handles HTTP errors.
        if "Failed to load resource" not in text and "ERR_" not in text:
            self.console_errors.append(text)

    def open_page(self, view="", viewport=DESK, url=None, **options):
        url = url or self.server.url
        context = Browser.get().new_context(viewport=viewport, **options)
        context.set_default_timeout(TIMEOUT_MS)
        self.addCleanup(context.close)
        page = context.new_page()
        page.on("console", lambda message: message.type == "error" and self.add_console_error(message.text))
        page.on("pageerror", lambda error: self.console_errors.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url.replace(url, self.server.url)))
        page.goto(f"{url}#/{view}" if view else url)
        self.wait_until_loaded(page)
        return page

    def wait_until_loaded(self, page):
        """Waits for the status, the models and the latest images."""
        expect(page.locator("#status")).to_have_text("Ready")
        expect(page.locator("#model option")).not_to_have_count(0)
        expect(page.locator("#strip:not([aria-busy])")).to_have_count(1)

    def wait_until(self, expression, page=None, arg=None):
        """Waits until a JavaScript expression, or function of arg, is true. Not as wait_for_function() does, which the page's
        Content-Security-Policy lets look only once."""
        page = page or self.page
        poll(page, lambda: page.evaluate(expression, arg), expression)

    def generate(self, prompt=RED, page=None, **fields):
        """Fills the form, clicks Generate and waits for the image. fields: values by id"""
        page = page or self.page
        self.start(prompt, page, **fields)
        self.wait_for_image(page)

    def wait_for_image(self, page=None):
        """Waits until the job that the page shows has become an image."""
        expect((page or self.page).locator("#run")).to_have_attribute("data-mode", re.compile("^image "))

    def start(self, prompt=RED, page=None, **fields):
        """Fills the form, clicks Generate and waits until the page shows the job, or its image."""
        page = page or self.page
        page.fill("#prompt", prompt)
        for name, value in fields.items():
            page.fill(f"#{name}", str(value))
        self.submit(page)

    def submit(self, page=None):
        """Clicks Generate and waits until the page shows the job, or its image, and has the server's response, which may come
        after that."""
        page = page or self.page
        self.change_run(lambda: page.click("#generate"), page)
        expect(page.locator("#generate")).to_be_enabled()

    def change_run(self, action, page=None):
        """Calls action, and waits until the page shows another job, or its image."""
        run = (page or self.page).locator("#run")
        before = run.get_attribute("data-mode")
        action()
        expect(run).not_to_have_attribute("data-mode", before)

    def start_long_job(self, page=None, **fields):
        """Starts a job that is cancelled before it ends, unless fields say otherwise, and waits until it is shown."""
        self.start(STAR, page, **{"width": 1024, "height": 1024, "steps": 20, **fields})
        expect((page or self.page).locator("#cancel")).to_be_visible()

    def new_model_job(self, action):
        """Calls action, which submits a job that works on models. -> the job in the list, which may have had equal ones"""
        known = self.page.eval_on_selector_all(".model-job", "nodes => nodes.map(node => node.dataset.job)")
        action()
        new = self.page.locator(".model-job" + "".join(f":not([data-job='{job}'])" for job in known))
        expect(new).to_have_count(1)
        return self.page.locator(f"[data-job='{new.get_attribute('data-job')}']")

    def wait_for_transitions(self, page):
        """Waits until what moves or changes its colour now has done so, but for what always does."""
        page.evaluate("""async () => {
            const nextFrame = () => new Promise(requestAnimationFrame);
            await nextFrame().then(nextFrame); // then the last click or key has had its effects
            const moving = document.getAnimations().filter((one) => one.effect.getComputedTiming().endTime !== Infinity);
            await Promise.allSettled(moving.map((one) => one.finished)); }""")

    def screenshot(self, page, name):
        os.makedirs(SCREENSHOTS, exist_ok=True)
        if not page.locator("dialog").count() and "running" not in name and "result" not in name:
            page.evaluate("scrollTo(0, 0)")
        page.screenshot(path=os.path.join(SCREENSHOTS, f"{name}.png"))
