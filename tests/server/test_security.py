"""Access control, limits of sizes and times, and service to others during attacks."""

import json
import os
import resource
import shutil
import socket
import struct
import time
import unittest

from serving import LIMIT, MODEL, Case, Server, Stream, connect, path, run, temporary_folder

KEY = "a key, quite long: 0123456789"


def talk(server, data, timeout=LIMIT):
    """Sends bytes as they stand; what comes back until the server closes."""
    with connect(server) as wire:
        wire.settimeout(timeout)
        answer = b""
        try:
            wire.sendall(data)
            while part := wire.recv(1 << 16):
                answer += part
        except (ConnectionError, TimeoutError):
            pass
        return answer


def status_of(answer):
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.") else None


class Guard(Case):
    def test_host(self):
        for host, status in (("127.0.0.1", 200), (f"127.0.0.1:{self.server.port}", 200),
                             ("localhost", 200), ("LOCALHOST:1", 200), ("[::1]:7860", 200),
                             ("evil.example", 403), ("127.0.0.1.evil.example", 403),
                             ("localhost.evil.example", 403), ("[::1", 403), ("", 403),
                             ("192.168.1.1", 403), ("a" * 2000, 403)):
            for url in "/api/health", "/":
                reply = self.server.get(url, headers={"Host": host})
                self.assertIn(reply.status, (status, 404) if status == 200 and url == "/"
                              else (status,), (host, url))

    def test_no_host(self):
        self.assertEqual(status_of(talk(self.server, b"GET /api/health HTTP/1.1\r\n\r\n")), 400)
        self.assertEqual(status_of(talk(self.server, b"GET /api/health HTTP/1.0\r\n\r\n")), 403)

    def test_origin(self):
        own = f"127.0.0.1:{self.server.port}"
        body = {"kind": "verify", "params": {"model": "none"}}
        for headers, status in (({"Origin": f"http://{own}"}, 404),
                                ({"Origin": f"https://{own}"}, 404),
                                ({"Origin": "http://127.0.0.1:1"}, 403),
                                ({"Origin": "http://evil.example"}, 403), ({"Origin": "null"}, 403),
                                ({"Origin": own}, 403), ({"Origin": f"file://{own}"}, 403),
                                ({"Sec-Fetch-Site": "cross-site"}, 403),
                                ({"Sec-Fetch-Site": "same-site"}, 403),
                                ({"Sec-Fetch-Site": "same-origin"}, 404), ({}, 404)):
            headers["Host"] = own
            reply = self.server.request("POST", "/api/jobs", body, headers=headers)
            self.assertEqual(reply.status, status, headers)

    def test_headers_of_all_replies(self):
        for reply in (self.server.get("/api/health"), self.server.get("/none"),
                      self.server.request("POST", "/api/jobs", raw=b"x"),
                      self.server.get("/api/health", headers={"Host": "evil.example"})):
            policy = reply.headers["Content-Security-Policy"]
            self.assertIn("default-src 'none'", policy)
            self.assertNotIn("unsafe", policy)
            self.assertEqual(reply.headers["X-Content-Type-Options"], "nosniff")
            self.assertEqual(reply.headers["X-Frame-Options"], "DENY")
            self.assertNotIn("Access-Control-Allow-Origin", reply.headers)

    def test_paths(self):
        secret = path(self.dir, "secret.png")
        with open(secret, "wb") as file:
            file.write(b"secret")
        for url in ("/../secret.png", "/%2e%2e/secret.png", "/api/images/../secret/file",
                    "/api/images/..%2f..%2fsecret/file", "/api/images/%2e%2e%2fsecret/thumbnail",
                    "/api/models/mlx/../../secret.png", "/api/models/mlx%2f..%2f..%2fsecret.png",
                    "/api/models//etc/passwd", "/api/models/demo/../../secret.png",
                    "/api/models/comfyui/.hidden", "/api/models/" + "a" * 5000,
                    "/api/images/20260101-000000-00000000%00/file", "/api/images/%ff/file",
                    "/api/jobs/%0a", "/%ff"):
            reply = self.server.get(url)
            self.assertIn(reply.status, (400, 404), url)
            self.assertNotIn(b"secret\n", reply.body)
            json.loads(reply.body)
        for wire in b"GET * HTTP/1.1", b"OPTIONS * HTTP/1.1", b"GET http://x/api/jobs HTTP/1.1":
            answer = talk(self.server, wire + b"\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
            self.assertIn(status_of(answer), (400, 404, 405), answer)

    def test_links(self):
        """Links in the models folder that lead out of it are not followed."""
        os.makedirs(path(self.dir, "models", "pytorch"), exist_ok=True)
        os.makedirs(path(self.dir, "elsewhere"))
        shutil.copytree(MODEL, path(self.dir, "elsewhere", "golden"))
        shutil.copytree(MODEL, path(self.dir, "models", "pytorch", "real"))
        os.symlink(path(self.dir, "elsewhere", "golden"), path(self.dir, "models", "pytorch", "out"))
        os.symlink("real", path(self.dir, "models", "pytorch", "within"))
        os.symlink(path(self.dir, "elsewhere"), path(self.dir, "models", "mlx"))
        names = [m["name"] for m in self.server.get("/api/models").json["models"]]
        self.assertEqual(names, ["pytorch/real", "pytorch/within", "demo"])
        for name in "pytorch/out", "mlx/golden":
            self.refused(self.server.get("/api/models/" + name), 404)
            body = {"kind": "generate", "params": {"prompt": "a", "model": name}}
            self.refused(self.server.request("POST", "/api/jobs", body), 404, "model")
        body = {"kind": "convert", "params": {"source": "demo", "destination": "x", "layout": "mlx"}}
        self.refused(self.server.request("POST", "/api/jobs", body), 500)
        self.assertEqual(os.listdir(path(self.dir, "elsewhere")), ["golden"])

    def test_linked_image(self):
        """An image that somebody replaced by a link is not sent."""
        job = self.server.wait(self.server.submit(steps=1, model="demo"))
        name = path(self.dir, "output", job["images"][0] + ".png")
        with open(name, "rb") as file:
            picture = file.read()
        os.remove(name)
        secret = path(self.dir, "secret-picture.png")
        with open(secret, "wb") as file:
            file.write(picture)
        os.symlink(secret, name)
        for what in "/file", "/file?format=jpeg", "/thumbnail":
            reply = self.server.get(f"/api/images/{job['images'][0]}{what}")
            self.refused(reply, 404)

    def test_log(self):
        """Nothing of a request breaks a line of the log or drives a terminal."""
        time.sleep(1.1)  # of refusals, only some a second are told
        self.server.get("/api/%0a1970-01-01%20error%20forged%1b[2J", headers={"Host": "evil.example"})
        lines = self.server.get("/api/log").json["lines"]
        text = "".join(line["text"] for line in lines)
        self.assertIn("\\x0a1970-01-01 error forged\\x1b[2J", text)
        self.assertNotIn("\x1b", self.server.log())
        self.assertNotIn("\n1970", self.server.log())


class Sizes(Case):
    def test_large_bodies(self):
        head = b"POST /api/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        answer = talk(self.server, head + b"Content-Length: 1048577\r\n\r\n")
        self.assertEqual(status_of(answer), 413)
        answer = talk(self.server, head + b"Content-Length: 99999999999999999999999\r\n\r\n")
        self.assertIn(status_of(answer), (400, 413))
        answer = talk(self.server, head + b"Content-Length: -1\r\n\r\n")
        self.assertIn(status_of(answer), (400, 413))
        chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
        close = b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
        answer = talk(self.server, head + close + chunk * 20 + b"0\r\n\r\n")
        self.assertEqual(status_of(answer), 413)
        # One without an end is cut.
        self.assertIn(status_of(talk(self.server, head + close + chunk * 1000)), (413, None))
        answer = talk(self.server, b"GET /api/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                                   b"Content-Length: 99999999\r\n\r\n")
        self.assertEqual(status_of(answer), 413)
        self.assertEqual(self.server.get("/api/health").status, 200)

    def test_large_images(self):
        """A few bytes that would unfold into gigabytes are refused before they do."""
        for data in (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", 16384, 16384)
                     + b"\x08\2\0\0\0" + bytes(100),
                     b"\xff\xd8\xff\xff\xe0\0\4ab\xff\xc2\0\x11\x08"
                     + struct.pack(">HH", 16384, 16384) + bytes(100),
                     b"RIFF\x40\0\0\0WEBPVP8L\x30\0\0\0\x2f"
                     + struct.pack("<I", 16383 | 16383 << 14) + bytes(100)):
            message = self.refused(self.server.request("POST", "/api/recipe", raw=data), 400)
            self.assertRegex(message, "1638. x 1638. pixels")

    def test_large_headers(self):
        for data in (b"GET /" + b"a" * 100000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
                     b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"a" * 100000 + b"\r\n\r\n",
                     b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n" + b"X: a\r\n" * 10000 + b"\r\n"):
            self.assertIn(status_of(talk(self.server, data)), (413, 414, 431, None))
        self.assertEqual(self.server.get("/api/health").status, 200)

    def test_what_is_no_http(self):
        for data in (b"\0" * 100, b"\r\n\r\n\r\n", b"GET\r\n\r\n", b"\x16\x03\x01\x02\0" * 20,
                     b"POST /api/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                     b"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 10\r\n\r\n--y",
                     b"POST /api/recipe HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked"
                     b"\r\n\r\nzz\r\n"):
            with connect(self.server) as wire:
                wire.sendall(data)
                wire.shutdown(socket.SHUT_WR)
                wire.settimeout(LIMIT)
                try:
                    while wire.recv(1 << 16):
                        pass
                except ConnectionError:
                    pass
        self.assertEqual(self.server.get("/api/health").status, 200)


class Keys(Case):
    args = ("--api-key", KEY)

    def test_key(self):
        # The demo model's page may be loaded and health be asked without; nothing else may.
        self.assertEqual(self.server.get("/api/health").status, 200)
        self.assertTrue(self.server.get("/api/config", headers={"X-API-Key": KEY}).json["key_required"])
        for headers, status in (({}, 401), ({"X-API-Key": KEY}, 200), ({"X-API-Key": KEY + "x"}, 401),
                                ({"X-API-Key": KEY[:-1]}, 401), ({"X-API-Key": ""}, 401),
                                ({"Authorization": "Bearer " + KEY}, 200),
                                ({"Authorization": "bearer " + KEY}, 200),
                                ({"Authorization": KEY}, 401), ({"Authorization": "Basic " + KEY}, 401),
                                ({"Cookie": "zimage="}, 401), ({"Cookie": "zimage=" + KEY}, 401)):
            for url in "/api/jobs", "/api/images", "/api/openapi.json":
                reply = self.server.get(url, headers=headers)
                self.assertEqual(reply.status, status, headers)
        self.refused(self.server.request("POST", "/api/login", {"key": "wrong"}), 401, "key")
        reply = self.server.request("POST", "/api/login", {"key": KEY})
        cookie = reply.headers["Set-Cookie"]
        self.assertIn("HttpOnly", cookie)
        self.assertIn("SameSite=Strict", cookie)
        self.assertNotIn(KEY, cookie)
        self.assertEqual(self.server.get("/api/jobs",
                                         headers={"Cookie": cookie.split(";")[0]}).status, 200)


class Addresses(unittest.TestCase):
    def setUp(self):
        self.dir = temporary_folder(self)

    def test_other_addresses(self):
        for args in ("--host", "0.0.0.0"), ("--host", "::"), ("--host", "192.0.2.1"), (
                "--host", "0.0.0.0", "--api-key", ""):
            done = run("serve", "--port", "0", *args, folder=self.dir)
            self.assertEqual(done.returncode, 2, done.stderr)
            self.assertIn("--api-key", done.stderr)
            if "--api-key" not in args:
                self.assertIn("--insecure", done.stderr)
        # Who shows the key itself may use any name; a page that was led here has no key to show.
        for args, named in (("--insecure",), 403), (("--api-key", KEY), 200):
            server = Server(self.dir, "--host", "0.0.0.0", *args)
            headers = {"X-API-Key": KEY, "Host": "192.168.1.7:80"}
            self.assertEqual(server.get("/api/jobs", headers=headers).status, 200)
            headers["Host"] = "evil.example"
            self.assertEqual(server.get("/api/jobs", headers=headers).status, named)
            for key in {}, {"X-API-Key": "wrong"}, {"Cookie": "zimage=wrong"}:
                reply = server.get("/api/jobs", headers=dict(key, Host="evil.example"))
                self.assertEqual(reply.status, 403)
            self.assertEqual(server.stop(), 0)

    def test_folders_with_blanks(self):
        """The log on standard error names them, messages to clients do not."""
        output = os.path.join(self.dir, "Application Support", "out")
        os.makedirs(output)
        server = Server(self.dir, "--output", output)
        image = server.wait(server.submit(width=16, height=16, steps=1))["images"][0]
        thumbnail = os.path.join(output, ".thumbnails", f"{image}.webp")
        if os.path.exists(thumbnail):
            os.remove(thumbnail)
        os.makedirs(thumbnail)  # which cannot be removed as a file
        self.assertEqual(server.request("DELETE", f"/api/images/{image}").status, 204)
        text = json.dumps(server.get("/api/log").json)
        self.assertIn(f"image {image}: {thumbnail}: cannot be removed", server.log())
        self.assertIn(f"image {image}: {image}.webp: cannot be removed", text)
        self.assertNotIn("Application Support", text)
        self.assertEqual(server.stop(), 0)

    def test_port_taken(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            done = run("serve", "--port", str(taken.getsockname()[1]), folder=self.dir)
        self.assertEqual(done.returncode, 1)
        self.assertIn("--port", done.stderr)


class Patience(Case):
    """Clients that keep the server waiting."""

    def test_slow_headers_and_bodies(self):
        """One byte a second, for ever, is not taken for a request."""
        head = b"GET /api/health HTTP/1.1\r\nHost: 127.0.0.1\r\nX: "
        wires = [connect(self.server) for _ in range(20)]
        began = time.monotonic()
        for wire in wires:
            wire.sendall(head)
        alive = list(wires)
        while alive and time.monotonic() - began < 60:
            self.assertEqual(self.server.get("/api/health").status, 200)
            time.sleep(0.5)
            for wire in list(alive):
                try:
                    wire.sendall(b"a")
                except OSError:
                    alive.remove(wire)
        for wire in wires:
            wire.close()
        self.assertEqual(alive, [])
        self.assertGreater(time.monotonic() - began, 10)

    def idle(self, server, count):
        """Opens connections that say nothing; others must be served all the while."""
        wires = []
        try:
            for i in range(count):
                wires.append(connect(server))
                if i % 500 == 499:
                    began = time.monotonic()
                    self.assertEqual(server.get("/api/health").status, 200)
                    self.assertLess(time.monotonic() - began, LIMIT / 4)
            job = server.submit(model="demo", steps=1)
            stream = Stream(server, f"/api/jobs/{job}/events")
            self.assertEqual(list(stream)[-1].name if server.wait(job)["state"] == "done" else "",
                             "done")
            stream.close()
        finally:
            for wire in wires:
                wire.close()

    def test_idle_connections(self):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        self.idle(self.server, min(10000, hard - 500))

    def test_more_than_there_are_places_for(self):
        """The oldest that wait make room."""
        folder = temporary_folder(self)
        limit = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (600, 600))
        server = Server(folder, preexec=limit)
        self.idle(server, 500)
        self.assertEqual(server.stop(), 0)


class Uploads(Case):
    def test_one_that_cannot_be_stored(self):
        """The reason is told, and the rest of the body is read for that."""
        folder = temporary_folder(self)
        server = Server(folder, preexec=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000)))
        reply = server.request("PUT", "/api/models/comfyui/x.gguf", raw=bytes(40_000_000))
        self.assertIn("File too large; free space", self.refused(reply, 500))
        self.assertEqual([name for name in os.listdir(os.path.join(folder, "output")) if "upload" in name], [])
        self.assertEqual(server.get("/api/health").status, 200)
        self.assertEqual(server.stop(), 0)

    def test_queries_that_are_no_text(self):
        self.assertIn("the query parameter q is not", self.refused(self.server.get("/api/images?q=%ff"), 400, "q"))


if __name__ == "__main__":
    unittest.main()
