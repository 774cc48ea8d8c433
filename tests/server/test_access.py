"""Who may use the server: links to images, pages of other sites, reverse proxies, guessed keys, keys from files, and what
messages must not tell."""

import json
import os
import shutil
import socket
import stat
import time
import unittest
import urllib.parse
import urllib.request

from serving import LIMIT, MODEL, ZIMAGE, Case, Server, Stream, path, run, temporary_folder
from test_security import KEY, status_of, talk


class Links(Case):
    """Links to images, which need no key and work from everywhere, but only for their image."""

    args = ("--api-key", KEY)

    def key(self, url, **options):
        return self.server.get(url, headers={"X-API-Key": KEY}, **options)

    def test_links(self):
        body = {"prompt": "a", "steps": 1, "size": "32x32", "n": 2, "response_format": "url"}
        headers = {"X-API-Key": KEY, "Host": "host.docker.internal:7860"}
        reply = self.server.request("POST", "/v1/images/generations", body, headers=headers)
        links = [urllib.parse.urlsplit(one["url"]) for one in reply.json["data"]]
        self.assertEqual({f"{link.scheme}://{link.netloc}" for link in links}, {"http://host.docker.internal:7860"})
        ids = [link.path.split("/")[3] for link in links]
        tokens = [link.path.split("/")[5] for link in links]
        self.assertNotEqual(*tokens)
        for image, link, token in zip(ids, links, tokens):
            self.assertRegex(token, r"^[0-9a-f]{32}\.png$")
            self.assertEqual(self.key(f"/api/images/{image}").json["link"],
                             f"{self.server.address}{link.path}")
            # From any page, under any name, without a key and even with a wrong one.
            for headers in ({}, {"Host": "evil.example"}, {"Origin": "https://app.example", "Sec-Fetch-Site": "cross-site"},
                            {"Sec-Fetch-Site": "cross-site"}, {"X-API-Key": "wrong"}, {"Cookie": "zimage=old"}):
                reply = self.server.get(link.path, headers=headers)
                self.assertEqual((reply.status, reply.headers["Content-Type"]), (200, "image/png"), headers)
                self.assertEqual(reply.headers["Access-Control-Allow-Origin"], "*")
                self.assertEqual(reply.headers["Cross-Origin-Resource-Policy"], "cross-origin")
                self.assertIn("default-src 'none'", reply.headers["Content-Security-Policy"])
            self.assertEqual(self.server.request("OPTIONS", link.path).status, 204)
            head = self.server.request("HEAD", link.path)
            self.assertEqual((head.status, head.headers["Content-Length"], head.body), (200, str(len(reply.body)), b""))
            for form, signature in ("jpeg", b"\xff\xd8"), ("webp", b"RIFF"):
                self.assertTrue(self.server.get(link.path[:-3] + form + "?quality=50").body.startswith(signature))
                for query, how in ("", "inline"), ("?download=1", "attachment"):
                    reply = self.server.get(link.path[:-3] + form + query)
                    self.assertRegex(reply.headers["Content-Disposition"], f'^{how}; filename="zimage-{image}.(jpg|jpeg|webp)"$')
            # No other way to the image, nor another method, is open by that.
            for url in f"/api/images/{image}", f"/api/images/{image}/file", f"/api/images/{image}/thumbnail", "/api/images":
                self.assertEqual(self.server.get(url).status, 401)
            self.assertIn(self.server.request("DELETE", link.path).status, (401, 405))
        for image, token in ((ids[0], tokens[1]), (ids[0], "0" * 32 + ".png"), (ids[0], tokens[0][:-1]), (ids[0], tokens[0][1:]),
                             (ids[0], tokens[0].upper()), (ids[0], tokens[0][:32]), (ids[0], tokens[0] + "x"), (ids[0], ".png"),
                             (ids[0], tokens[0][:32] + "0.png"), (ids[0][:-1] + "x", tokens[0]), ("..", tokens[0])):
            self.refused(self.server.get(f"/api/images/{image}/link/{token}"), 404)
        self.log_has_no_token(ids[1], tokens[1])
        self.server.request("DELETE", f"/api/images/{ids[0]}", headers={"X-API-Key": KEY})
        self.assertEqual([self.server.get(link.path).status for link in links], [404, 200])
        self.restart(links[1].path)

    def log_has_no_token(self, image, token):
        """Also where a request with one is refused or fails."""
        file, link = path(self.dir, "output", f"{image}.png"), f"/api/images/{image}/link/{token}"
        time.sleep(1.1)  # so many refused requests in one second are not logged
        self.assertEqual(self.server.request("POST", "/" + link, {}).status, 401)
        os.rename(file, file + ".away")
        os.mkdir(file)
        for url in link, link[:-3] + "webp":
            self.assertEqual(self.server.get(url).status, 500)
        os.rmdir(file)
        os.rename(file + ".away", file)
        for method in "rejected POST", "error GET":
            self.assertIn(f"{method} /api/images/{image}/link/", self.server.log())
        self.assertNotIn(token[:8], self.server.log())
        self.assertNotIn(token[:8], self.key("/api/log").body.decode())

    def test_hosts_that_are_none(self):
        """Who has the key may send any Host; links have the server's own then."""
        job = self.server.request("POST", "/api/jobs", {"kind": "generate", "params": {
            "model": "demo", "prompt": "a", "steps": 1, "width": 16, "height": 16}}, headers={"X-API-Key": KEY}).json["id"]
        while not self.key(f"/api/jobs/{job}").json["images"]:
            time.sleep(0.05)
        image = self.key(f"/api/jobs/{job}").json["images"][0]
        for host in "a b", "<script>", 'a"b', "a/b", "a:b", "user@a":
            link = self.server.get(f"/api/images/{image}", headers={"X-API-Key": KEY, "Host": host}).json["link"]
            self.assertTrue(link.startswith(self.server.address + "/api/images/"), (host, link))

    def test_preflight(self):
        """Browsers ask before a page of another site sends unusual headers."""
        link, asked = f"/api/images/1/link/{'0' * 32}.png", {"Host": "evil.example", "Origin": "https://app.example",
                                                            "Sec-Fetch-Site": "cross-site", "Access-Control-Request-Headers": "range"}
        reply = self.server.request("OPTIONS", link, headers=asked)
        self.assertEqual((reply.status, reply.headers["Access-Control-Allow-Origin"], reply.headers["Access-Control-Allow-Methods"],
                          reply.headers["Access-Control-Allow-Headers"]), (204, "*", "GET, HEAD, OPTIONS", "range"))
        self.assertEqual(reply.headers["Access-Control-Max-Age"], "600")  # they need not ask each time
        for method, url in ("OPTIONS", "/api/images/1"), ("OPTIONS", link + "/x"), ("DELETE", link), ("POST", link):
            reply = self.server.request(method, url, headers=asked)
            self.assertEqual((reply.status, reply.headers["Access-Control-Allow-Origin"]), (403, None), (method, url))
        exposed = self.server.get(link).headers["Access-Control-Expose-Headers"].split(", ")
        self.assertLessEqual({"Content-Range", "Accept-Ranges", "ETag", "Content-Disposition", "Retry-After"}, set(exposed))

    def restart(self, link):
        """Links outlive the server, until somebody deletes the secret; others cannot read that."""
        secret = path(self.dir, "output", ".link-key")
        self.assertEqual((os.stat(secret).st_mode & 0o777, os.path.getsize(secret)), (0o600, 32))
        away = secret + ".away"
        def put_back(): os.remove(secret), os.rename(away, secret)
        for spoil, status, logged in (
                (lambda: None, 200, None), (lambda: os.chmod(secret, 0o644), 200, "it had mode 644, so that others could read it, and has 600 now"),
                # A link or pipe in its place is left alone, so that the links work again when it is back.
                (lambda: (os.rename(secret, away), os.symlink(away, secret)), 404, "cannot be read: it is no ordinary file"), (put_back, 200, None),
                (lambda: (os.rename(secret, away), os.mkfifo(secret)), 404, "cannot be read: it is no ordinary file"), (put_back, 200, None),
                (lambda: os.truncate(secret, 5), 404, "had 5 bytes instead of 32, and was replaced: all earlier links"), (lambda: os.remove(secret), 404, None)):
            type(self).server.stop()
            before = len(self.server.log())
            spoil()
            mode = os.lstat(secret).st_mode if os.path.lexists(secret) else None
            type(self).server = Server(self.dir, *self.args)
            self.assertEqual(self.server.get(link).status, status, logged)
            log = self.server.log()[before:]
            if logged:
                self.assertRegex(log, f"warning output/.link-key: [^\n]*{logged}")
            else:
                self.assertNotIn(".link-key", log)
            if mode and not stat.S_ISREG(mode):
                self.assertEqual(os.lstat(secret).st_mode, mode)
            else:
                self.assertEqual((os.stat(secret).st_mode & 0o777, os.path.getsize(secret)), (0o600, 32))

    def test_without_a_place_for_the_secret(self):
        folder = temporary_folder(self)
        os.makedirs(path(folder, "output", ".link-key", "x"))
        server = Server(folder)
        job = server.wait(server.submit(model="demo", steps=1, width=32, height=32))
        link = server.get(f"/api/images/{job['images'][0]}").json["link"]
        self.assertEqual(server.get(urllib.parse.urlsplit(link).path).status, 200)
        self.assertIn("links to images will not work after a restart of the server", server.log())
        self.assertTrue(os.path.isdir(path(folder, "output", ".link-key", "x")))
        self.assertEqual(server.stop(), 0)

    def test_what_a_killed_server_has_left(self):
        """Its half-written secret is in nobody's way."""
        folder = temporary_folder(self)
        os.mkdir(path(folder, "output"))
        secret, half = path(folder, "output", ".link-key"), path(folder, "output", ".link-key.part-1-0")
        with open(half, "wb") as file:
            file.write(b"half")
        server = Server(folder)
        self.assertEqual((os.stat(secret).st_mode & 0o777, os.path.getsize(secret)), (0o600, 32))
        self.assertFalse(os.path.exists(half))
        self.assertNotIn(".link-key", server.log())
        self.assertEqual(server.stop(), 0)


class Origins(Case):
    """Pages of other sites that may use the server."""

    args = ("--api-key", KEY, "--allow-origin", "https://app.example,chrome-extension://abc", "--allow-origin", "http://localhost:3000/",
            "--allow-origin", "https://port.example:443/,http://port.example:80,http://port.example:443",
            "--allow-host", "images.example", "--allow-host", "[fe80::1]")

    def test_allowed(self):
        for origin in "https://app.example", "http://localhost:3000", "chrome-extension://abc", "https://APP.example":
            asked = {"Origin": origin, "Access-Control-Request-Method": "POST", "Sec-Fetch-Site": "cross-site",
                     "Access-Control-Request-Headers": "authorization, content-type,x-stainless-os", "Access-Control-Request-Private-Network": "true"}
            for url in "/v1/images/generations", "/api/jobs", "/sdapi/v1/txt2img":
                reply = self.server.request("OPTIONS", url, headers=asked)  # browsers send no key yet
                self.assertEqual((reply.status, reply.headers["Access-Control-Allow-Origin"], reply.headers["Vary"]),
                                 (204, origin, "Origin"))
                self.assertIn("POST", reply.headers["Access-Control-Allow-Methods"].split(", "))
                self.assertEqual(reply.headers["Access-Control-Allow-Headers"], asked["Access-Control-Request-Headers"])
                self.assertEqual(reply.headers["Access-Control-Allow-Private-Network"], "true")
                self.assertNotIn("Access-Control-Allow-Credentials", reply.headers)
            for headers, status in (({"X-API-Key": KEY}, 200), ({}, 401), ({"Authorization": "Bearer no"}, 401)):
                reply = self.server.get("/v1/models", headers=dict(headers, Origin=origin))
                self.assertEqual((reply.status, reply.headers["Access-Control-Allow-Origin"]), (status, origin))
        # Under a name that only the key permits, the key comes after the question, too.
        asked["Host"] = "zimage.lan:7860"
        for origin, status in ("https://app.example", 204), ("https://evil.example", 403), (None, 403):
            asked.update({"Origin": origin}) if origin else asked.pop("Origin")
            self.assertEqual(self.server.request("OPTIONS", "/api/jobs", headers=asked).status, status, origin)
        for headers, status in ({"X-API-Key": KEY}, 200), ({}, 403), ({"X-API-Key": "no"}, 403):
            reply = self.server.get("/api/jobs", headers=dict(headers, Host=asked["Host"], Origin="https://app.example"))
            self.assertEqual((reply.status, reply.headers["Access-Control-Allow-Origin"]), (status, "https://app.example"))
        # A header that is none is not said back.
        reply = self.server.request("OPTIONS", "/api/jobs", headers={"Origin": "https://app.example", "Access-Control-Request-Headers": "a;b"})
        self.assertNotIn("Access-Control-Allow-Headers", reply.headers)

    def test_usual_ports(self):
        """Browsers leave them out."""
        for origin, status in (("https://port.example", 200), ("http://port.example", 200), ("http://port.example:443", 200),
                               ("https://port.example:80", 403), ("https://port.example:44", 403), ("https://port.example:4433", 403)):
            reply = self.server.get("/api/jobs", headers={"Origin": origin, "X-API-Key": KEY})
            self.assertEqual(reply.status, status, origin)

    def test_others(self):
        for origin in ("https://evil.example", "http://app.example", "https://app.example:8443", "https://app.example.evil.example",
                       "https://xapp.example", "https://app.exampl", "null", "https://app.example/", "*", "chrome-extension://abcd"):
            for method in "GET", "OPTIONS", "POST":
                reply = self.server.request(method, "/api/jobs", headers={"Origin": origin, "X-API-Key": KEY})
                message = self.refused(reply, 403)
                self.assertNotIn("Access-Control-Allow-Origin", reply.headers)
                self.assertIn("zimage serve --allow-origin", message)
        self.assertIn("--allow-origin https://evil.example`", self.refused(self.server.get("/api/jobs", headers={
            "Origin": "https://evil.example"}), 403))
        reply = self.server.get("/api/health", headers={"Sec-Fetch-Site": "cross-site"})
        self.assertIn("--allow-origin ORIGIN", self.refused(reply, 403))

    def test_hosts(self):
        for host, status in (("images.example", 200), ("IMAGES.example:443", 200), ("[fe80::1]:7", 200), ("www.images.example", 403),
                             ("images.example.evil", 403), ("[fe80::2]", 403), ("app.example", 403)):
            reply = self.server.get("/api/health", headers={"Host": host})
            self.assertEqual(reply.status, status, host)
            if status == 403:
                self.assertIn("--allow-host " + host.split(":7")[0] + "`", reply.json["error"]["message"])
        for host in "a b", "<script>", "x" * 300, "a:b", "a\"b":
            message = self.refused(self.server.get("/api/health", headers={"Host": host}), 403)
            self.assertIn("--allow-host NAME`", message)
            self.assertNotIn(host, message)
        for origin in ("x; curl evil|sh #://a", "://a", "https://a;b", "https://", "a b://c", "`x`://a", "*", "null", "https://" + "x" * 300):
            message = self.refused(self.server.get("/api/health", headers={"Origin": origin}), 403)
            self.assertIn("--allow-origin ORIGIN`", message)
            self.assertNotIn(origin, message)

    def test_all(self):
        folder = temporary_folder(self)
        server = Server(folder, "--allow-origin", "*", "--allow-host", "*", "--insecure")
        for origin in "https://any.example", "null":
            reply = server.get("/api/jobs", headers={"Origin": origin, "Host": "other.example"})
            self.assertEqual((reply.status, reply.headers["Access-Control-Allow-Origin"]), (200, "*"))
        self.assertEqual(server.stop(), 0)

    def test_all_need_a_key(self):
        """Without one, each page that somebody opens could use the server, as if it listened on all addresses."""
        folder = temporary_folder(self)
        for option in "--allow-origin", "--allow-host":
            for value in "*", "https://a.example,*" if option == "--allow-origin" else "a.example,*":
                done = run("serve", "--port", "0", option, value, folder=folder)
                self.assertEqual((done.returncode, done.stdout), (2, ""), (option, value))
                self.assertRegex(done.stderr, f"^zimage: {option}: with \\*, [^\n]*; see --api-key, --insecure\n$")
            server = Server(folder, option, "*", "--api-key", KEY)
            headers = {"Host": "evil.example", "Origin": "https://evil.example"}
            self.assertIn(server.get("/api/jobs", headers=headers).status, (401, 403))
            headers["X-API-Key"] = KEY
            self.assertEqual(server.get("/api/jobs", headers=headers).status, 200)
            self.assertEqual(server.stop(), 0)

    def test_from_variables(self):
        """With commas between the values; options on the command line take the place of all of them."""
        env = dict(os.environ, ZIMAGE_ALLOW_ORIGIN="https://a.example,https://b.example")
        for args, allowed in ((), ("a", "b")), (("--allow-origin", "https://c.example"), ("c",)):
            server = Server(temporary_folder(self), *args, env=env)
            for name in "a", "b", "c":
                reply = server.get("/api/jobs", headers={"Origin": f"https://{name}.example"})
                self.assertEqual(reply.status, 200 if name in allowed else 403, (args, name))
            self.assertEqual(server.stop(), 0)
        many = ",".join(f"https://{i}.example" for i in range(65))
        done = run("serve", "--port", "0", "--allow-origin", many, folder=self.dir)
        self.assertEqual(done.returncode, 2)
        self.assertIn("--allow-origin: has more than 64 values", done.stderr)

    def test_wrong_values(self):
        for option, values in (("--allow-origin", ("app.example", "https://", "https://a/b", "://a", "https://a b", "", "https://a,")),
                               ("--allow-host", ("https://a", "a/b", "", "a b", "a:b")),
                               ("--trusted-proxy", ("proxy.example", "10.0.0.0/33", "10.0.0.1/", "::1/129", "10.0.0", "", "1.2.3.4:80")),
                               ("--public-url", ("a.example", "ftp://a", "https://", "https://a?b", "https://a b", "https://" + "a" * 500, ""))):
            for value in values:
                done = run("serve", "--port", "0", option, value, folder=self.dir)
                self.assertEqual((done.returncode, done.stdout), (2, ""), (option, value))
                self.assertRegex(done.stderr, f"^zimage: {option}: '[^\n]*\n$")


def link_of(server, image, **headers):
    return server.get(f"/api/images/{image}", headers=headers).json["link"]


class Proxies(unittest.TestCase):
    """X-Forwarded-* headers, which count only from proxies that are trusted."""

    FORWARDED = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "images.example", "X-Forwarded-For": "192.0.2.7"}

    def start(self, *args):
        self.server = Server(temporary_folder(self), *args)
        self.addCleanup(self.server.stop)
        job = self.server.wait(self.server.submit(model="demo", steps=1, width=32, height=32))
        self.image = job["images"][0]

    def link(self, **headers):
        return link_of(self.server, self.image, **headers).split("/api/")[0]

    def test_untrusted(self):
        for args in (), ("--trusted-proxy", "10.0.0.0/8,::1", "--trusted-proxy", "127.0.0.2"):
            self.start("--allow-host", "images.example", *args)
            self.assertEqual(self.link(**self.FORWARDED), self.server.address)
            # Nor do they make a foreign page one of this server.
            self.assertEqual(self.server.get("/api/jobs", headers=dict(self.FORWARDED, Origin="https://images.example")).status, 403)
            self.assertIn("from 127.0.0.1:", self.server.log())
            self.assertNotIn("192.0.2.7", self.server.log())

    def test_trusted(self):
        for proxy in "127.0.0.1", "127.0.0.0/8", "0.0.0.0/0", "::ffff:127.0.0.0/104":
            self.start("--trusted-proxy", proxy, "--allow-host", "images.example")
            self.assertEqual(self.link(**self.FORWARDED), "https://images.example")
            # Values before the proxy's own ones come from the client and are not believed.
            self.assertEqual(self.link(**dict(self.FORWARDED, **{"X-Forwarded-Host": "evil.example, images.example:8443",
                                                                "X-Forwarded-Proto": "http,https"})), "https://images.example:8443")
            self.assertEqual(self.link(**{"X-Forwarded-Proto": "https"}), self.server.address.replace("http", "https"))
            for scheme in "http", "https, http", "ftp", "https,":
                self.assertEqual(self.link(**{"X-Forwarded-Proto": scheme}), self.server.address, scheme)
            self.assertEqual(self.link(), self.server.address)
            own = dict(self.FORWARDED, Origin="https://images.example")
            self.assertEqual(self.server.get("/api/jobs", headers=own).status, 200)
            # A forwarded name is a name like any other.
            for host in "evil.example", "images.example, evil.example", "x" * 400:
                headers = dict(self.FORWARDED, **{"X-Forwarded-Host": host})
                self.assertEqual(self.server.get("/api/jobs", headers=headers).status,
                                 200 if len(host) == 400 else 403, host)
            reply = self.server.get("/api/jobs", headers={"X-Forwarded-For": "192.0.2.7", "Host": "evil.example"})
            self.assertEqual(reply.status, 403)
            # Nor is one that names itself a proxy of others excused from that.
            for url in "/api/jobs", "/api/health", "/":
                reply = self.server.get(url, headers={"X-Forwarded-For": "127.0.0.1, 127.0.0.1", "X-Forwarded-Host": "evil.example"})
                self.assertEqual(reply.status, 403, url)

    def test_two_lines(self):
        """A proxy may append a line of its own behind the client's."""
        self.start("--trusted-proxy", "127.0.0.1", "--allow-host", "images.example")
        answer = talk(self.server, f"GET /api/images/{self.image} HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Forwarded-Host: evil.example\r\n"
                      "x-forwarded-host: images.example\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Proto: HTTPS\r\n"
                      "Connection: close\r\n\r\n".encode())
        self.assertEqual(status_of(answer), 200, answer)
        self.assertIn(b'"link":"https://images.example/api/', answer)

    def test_public_url(self):
        self.start("--public-url", "https://public.example/zimage/")
        self.assertEqual(self.link(**self.FORWARDED), "https://public.example/zimage")
        for headers, status in (({"Host": "public.example"}, 200), ({"Host": "other.example"}, 403),
                                ({"Origin": "https://public.example"}, 200), ({"Origin": "http://public.example"}, 403),
                                ({"Origin": "https://public.example.evil"}, 403)):
            self.assertEqual(self.server.get("/api/jobs", headers=headers).status, status, headers)
        self.assertEqual(self.server.process.stdout.readline().decode(), "https://public.example/zimage/\n")
        self.start("--public-url", "http://public.example:80")
        for origin, status in ("http://public.example", 200), ("https://public.example", 403), ("http://public.example:8", 403):
            self.assertEqual(self.server.get("/api/jobs", headers={"Origin": origin}).status, status, origin)

    def test_cookie(self):
        self.start("--trusted-proxy", "127.0.0.1")
        for headers, secure in ({}, False), ({"X-Forwarded-Proto": "https"}, True):
            reply = self.server.request("POST", "/api/login", {"key": "none"}, headers=headers)
            self.assertEqual("; Secure" in reply.headers["Set-Cookie"], secure)


class Guesses(unittest.TestCase):
    """Who guesses keys is slowed down, and nobody else."""

    def setUp(self):
        self.server = Server(temporary_folder(self), "--api-key", KEY, "--trusted-proxy", "127.0.0.1")
        self.addCleanup(self.server.stop)

    def ask(self, key, **headers):
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.server.get("/api/jobs", headers=dict(headers, **{"X-API-Key": key}))

    def login(self, key, **headers):
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.server.request("POST", "/api/login", {"key": key}, headers=headers)

    def test_guesses(self):
        cookie = self.login(KEY).headers["Set-Cookie"].split(";")[0]
        for i in range(11):
            reply = self.ask(f"guess {i}") if i % 2 else self.login(f"guess {i}")
            self.assertEqual(reply.status, 401, i)
        # Not even the right one is looked at now, in whatever way it is sent.
        for reply in (self.ask(KEY), self.login(KEY), self.ask("guess 12"), self.server.get("/v1/models", headers={
                "Authorization": "Bearer " + KEY}), self.server.get("/api/health", headers={"X-API-Key": KEY, "Host": "evil.example"})):
            self.assertEqual(reply.status, 429, reply.body)
            self.assertRegex(reply.headers["Retry-After"], "^[12]$")
            self.assertIn("too many wrong API keys", reply.body.decode())
        # Clients with the cookie, requests that need no key, and other addresses do not wait.
        self.assertEqual(self.server.get("/api/jobs", headers={"Cookie": cookie}).status, 200)
        self.assertEqual(self.server.get("/api/health").status, 200)
        self.assertEqual(self.ask(KEY, X_Forwarded_For="192.0.2.1").status, 200)
        time.sleep(1.1)
        self.assertEqual(self.ask("guess 13").status, 401)
        time.sleep(1.1)
        self.assertEqual(self.ask(KEY).status, 429)  # it takes longer each time
        self.assertEqual(self.login(KEY).status, 429)
        metrics = self.server.get("/api/metrics", headers={"Cookie": cookie}).body
        self.assertIn(b"\nzimage_requests_refused_total 19\n", metrics)  # logins, too
        for why in "wrong key", "too many wrong keys":
            self.assertIn(f"rejected a login from 127.0.0.1: {why}\n", self.server.log())
        time.sleep(1.1)
        self.assertEqual(self.ask(KEY).status, 200)
        self.assertEqual(self.ask("guess 14").status, 401)
        self.assertEqual(self.ask(KEY).status, 200)

    def test_a_wrong_setting(self):
        """The same wrong key again is no guess: others at that address can go on."""
        for _ in range(30):
            self.assertEqual(self.ask("old key").status, 401)
        self.assertEqual(self.ask(KEY).status, 200)

    def test_several_wrong_settings(self):
        """Nor do several wrong keys that come by turns, or two in one request."""
        for i in range(60):
            self.assertEqual(self.ask(f"old key {i % 10}").status, 401)
            self.assertEqual(self.ask("old key 1", Authorization="Bearer old key 2").status, 401)
        self.assertEqual(self.ask(KEY, Authorization="Bearer old key 1").status, 200)
        self.assertEqual(self.ask("old key 1", Authorization="Bearer " + KEY).status, 200)

    def test_where_no_key_is_needed(self):
        """A key there is not looked at: it is no guess, and too many wrong ones are no reason to refuse the request."""
        cookie = {"Cookie": self.login(KEY).headers["Set-Cookie"].split(";")[0]}
        for i in range(20):  # as a proxy with users of its own passes on
            for url in "/", "/api/health":
                self.assertEqual(self.server.get(url, headers={"X-API-Key": f"no {i}"}).status, 200)
            self.assertEqual(self.server.get("/api/jobs", headers=dict(cookie, Authorization=f"Bearer no {i}")).status, 200)
        self.assertEqual(self.ask(KEY).status, 200)
        for i in range(11):
            self.assertEqual(self.ask(f"guess {i}").status, 401)
        for url, headers in ("/", {}), ("/api/health", {}), ("/api/jobs", cookie):
            self.assertEqual(self.server.get(url, headers=dict(headers, **{"X-API-Key": "other"})).status, 200, url)
        self.assertEqual(self.ask("other", Origin="https://evil.example").status, 403)
        # A key in place of an allowed name is needed there, too.
        self.assertEqual(self.server.get("/", headers={"X-API-Key": KEY, "Host": "evil.example"}).status, 429)
        self.assertEqual(self.ask(KEY).status, 429)

    def test_addresses(self):
        """They are the clients', by the proxy's word; an IPv6 client has many."""
        for i in range(11):
            self.assertEqual(self.ask(f"guess {i}", X_Forwarded_For=f"6.6.6.{i}, 2001:db8::{i}, 127.0.0.1").status, 401)
        for address, status in (("2001:db8::99", 429), ("[2001:db8::1]:5000", 429), ("2001:db8:0:1::1", 200), ("6.6.6.1", 200),
                                ("2001:db8::1, 6.6.6.1", 200), ("unknown", 200)):
            self.assertEqual(self.ask(KEY, X_Forwarded_For=address).status, status, address)


class KeyFiles(unittest.TestCase):
    def setUp(self):
        self.dir = temporary_folder(self)

    def write(self, data):
        with open(path(self.dir, "key"), "wb") as file:
            file.write(data)

    def test_key_from_elsewhere(self):
        """From a file or a variable, so that other users of the machine do not see it."""
        variable = dict(os.environ, ZIMAGE_API_KEY="from a variable")
        for data, args, env, key in ((b"from a file\n", ("--api-key-file", "key"), None, "from a file"),
                                     (b"no line end", ("--api-key-file", "key"), None, "no line end"),
                                     (b"windows\r\n", ("--api-key-file", "key"), variable, "windows"),
                                     (b"", (), variable, "from a variable"),
                                     (b"", ("--api-key", "given"), variable, "given"),
                                     (b"by variable", (), dict(os.environ, ZIMAGE_API_KEY_FILE="key"), "by variable")):
            self.write(data)
            server = Server(self.dir, "--host", "0.0.0.0", *args, env=env)
            for sent, status in ((key, 200), (key + "\n", 400), (key + "x", 401)):
                answer = talk(server, f"GET /api/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nX-API-Key: {sent}\r\nConnection: close\r\n\r\n".encode())
                self.assertIn(status_of(answer), (status, 200) if "\n" in sent else (status,), sent)
            with open(f"/proc/{server.process.pid}/cmdline", "rb") as file:
                self.assertEqual(key.encode() in file.read(), "--api-key" in args)
            self.assertEqual(server.stop(), 0)

    def test_wrong_files(self):
        for data, message in ((b"", "key: is empty"), (b"\n\n", "key: is empty"), (b"a\nb\n", "several lines"),
                              (b"a\0b", "NUL"), (b"a\0", "NUL"), (b"a\0\n", "NUL"), (b"\0", "NUL"), (b"k" * 501, "has 501 bytes"), (b"\xff", "UTF-8")):
            self.write(data)
            done = run("serve", "--port", "0", "--api-key-file", "key", folder=self.dir)
            self.assertIn(done.returncode, (1, 2))
            self.assertIn(message, done.stderr)
            self.assertEqual(done.stderr.count("\n"), 1)
        done = run("serve", "--api-key-file", "none", folder=self.dir)
        self.assertEqual(done.returncode, 1)
        self.assertIn("none: ", done.stderr)
        self.write(b"a")
        done = run("serve", "--api-key-file", "key", "--api-key", "b", folder=self.dir)
        self.assertEqual(done.returncode, 2)
        self.assertIn("cannot be used with --api-key-file", done.stderr)


class Printed(unittest.TestCase):
    def test_address(self):
        """It can be opened; 0.0.0.0 cannot, at least not from other machines."""
        hosts = ["0.0.0.0", "::", "127.0.0.1"]
        try:
            socket.getaddrinfo("localhost", None)
            hosts.append("localhost")
        except OSError:
            pass  # a bare root has no /etc/hosts
        for host in hosts:
            server = Server(temporary_folder(self), "--host", host, "--insecure")
            self.addCleanup(server.stop)
            url = urllib.parse.urlsplit(server.address)
            self.assertNotIn(url.hostname, ("0.0.0.0", "::"))
            with urllib.request.urlopen(server.address + "/api/health", timeout=LIMIT) as reply:
                self.assertEqual(reply.status, 200)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:  # sends nothing
                try:
                    probe.connect(("192.0.2.1", 9))
                    own = probe.getsockname()[0]
                except OSError:
                    own = None
            if host in ("0.0.0.0", "::") and own:
                self.assertEqual(url.hostname, own)
            self.assertEqual(server.stop(), 0)


class Folders(Case):
    """No message to a client says where on the server something is."""

    def test_messages(self):
        folder = path(self.dir, "models", "pytorch")
        os.makedirs(folder)
        shutil.copytree(MODEL, path(folder, "broken"))
        for at, _, names in os.walk(path(folder, "broken", "transformer")):
            for name in names:
                if name.endswith(".safetensors"):
                    os.truncate(path(at, name), 1000)
        shutil.copytree(MODEL, path(folder, "odd"))
        with open(path(folder, "odd", "vae", "config.json"), "w", encoding="utf-8") as file:
            file.write("{")
        texts = []
        for name in "pytorch/broken", "pytorch/odd":
            for kind, params in (("generate", {"model": name, "prompt": "a", "steps": 1}), ("verify", {"model": name}), ("load", {"model": name}),
                                 ("convert", {"source": name, "destination": "x", "layout": "mlx"})):
                reply = self.server.request("POST", "/api/jobs", {"kind": kind, "params": params})
                texts.append(reply.body)
                if reply.status == 202:
                    texts.append(json.dumps(self.server.wait(reply.json["id"])).encode())
            texts.append(self.server.get("/api/models/" + name).body)
        self.assertIn(b"failed", b"".join(texts))
        texts.append(self.server.request("POST", "/api/jobs", {"kind": "import", "params": {"source": "/etc/passwd"}}).body)
        for url in "/api/models", "/api/log", "/api/jobs", "/api/config", "/sdapi/v1/cmd-flags", "/sdapi/v1/options", "/v1/models":
            texts.append(self.server.get(url).body)
        stream = Stream(self.server, "/api/events")
        texts.append(json.dumps(next(iter(stream)).data).encode())
        stream.close()
        os.rename(path(self.dir, "output", "history.db"), path(self.dir, "aside"))
        os.mkdir(path(self.dir, "output", "history.db"))
        texts.append(self.server.get("/api/images").body)
        for text in texts:
            self.assertNotIn(self.dir.encode(), text)
            self.assertNotIn(os.path.realpath(self.dir).encode(), text)
            self.assertNotIn(os.path.dirname(os.path.dirname(ZIMAGE)).encode(), text)
        self.assertIn(self.dir, self.server.log())  # who started the server sees it all


if __name__ == "__main__":
    unittest.main()
