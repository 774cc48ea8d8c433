"""A mock of Hugging Face's hub: its protocol as far as downloads need it, and the ways in which servers fail.

    with Hub() as hub:
        hub.add("owner/name", {"config.json": b"{}", "model.safetensors": bytes(1000)})
        ... hub.url ...

Large files (LFS: what ends in .safetensors or .gguf) are redirected to a second server that stands for the CDN.
Attributes make it fail; `requests` tells what was asked and how many bytes of bodies went out.
"""

import hashlib
import json
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def git_sha1(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def is_large(name):
    return name.endswith((".safetensors", ".gguf"))


class Repo:
    def __init__(self, name, files):
        self.name = name
        self.files = files
        self.etags = {
            file: hashlib.sha256(data).hexdigest() if is_large(file) else git_sha1(data)
            for file, data in files.items()
        }
        self.blobs = {file: git_sha1(data) for file, data in files.items()}
        self.commit = hashlib.sha1(json.dumps(sorted(self.etags.items())).encode()).hexdigest()

    def sibling(self, name):
        data, etag = self.files[name], self.etags[name]
        row = {"rfilename": name, "size": len(data), "blobId": self.blobs[name]}
        if is_large(name):
            row["lfs"] = {"sha256": etag, "size": len(data), "pointerSize": 134}
        return row

    def tree(self):
        rows = []
        for name, data in self.files.items():
            row = {"type": "file", "oid": self.blobs[name], "size": len(data), "path": name}
            if is_large(name):
                row["lfs"] = {"oid": self.etags[name], "size": len(data), "pointerSize": 134}
            rows.append(row)
        return rows


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16

    def log_message(self, *args):
        pass

    def handle(self):
        try:
            super().handle()
        except OSError:
            pass  # the client went away

    def finish(self):
        try:
            super().finish()
        except OSError:
            pass

    def do_HEAD(self):
        self.answer()

    def do_GET(self):
        self.answer()

    @property
    def hub(self):
        return self.server.hub

    def answer(self):
        url = urllib.parse.urlsplit(self.path)  # of a proxy's request the whole URL
        path = urllib.parse.unquote(url.path)
        self.row = {"path": path, "range": self.headers.get("Range"), "sent": 0,
                    "token": self.headers.get("Authorization"), "cdn": self.server.is_cdn,
                    "time": time.monotonic()}
        self.hub.requests.append(self.row)
        if self.hub.busy and (self.hub.busy_path in path):
            status, headers = self.hub.busy.pop(0)
            return self.error(status, headers)
        if self.server.is_cdn:
            return self.answer_cdn(path.rsplit("/", 1)[-1])
        if path.startswith("/api/models/"):
            return self.answer_api(path[len("/api/models/"):])
        if path.startswith("/api/resolve-cache/models/"):
            owner, name, _, file = path[len("/api/resolve-cache/models/"):].split("/", 3)
            return self.answer_file(f"{owner}/{name}", file, cached=True)
        if "/resolve/" in path:
            repo, rest = path[1:].split("/resolve/", 1)
            return self.answer_file(repo, rest.split("/", 1)[1])
        return self.error(404, {})

    def error(self, status, headers):
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        body = json.dumps({"error": headers.get("X-Error-Message", "no")}).encode()
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        return None

    def allowed(self, repo, listing):
        """Whether the token will do; answers if not. A gated repository's list is open to all."""
        token = self.headers.get("Authorization")
        good = self.hub.token is None or token == "Bearer " + self.hub.token
        if repo not in self.hub.repos or (self.hub.private and not good):
            self.error(401 if not good or token is None else 404,
                       {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"})
            return False
        if self.hub.gated and not good and not listing:
            self.error(403 if token else 401, {"X-Error-Code": "GatedRepo",
                                               "X-Error-Message": "Access is restricted"})
            return False
        return True

    def answer_api(self, rest):
        repo, _, what = rest.partition("/revision/")
        tree = "/tree/" in rest
        if tree:
            repo, _, what = rest.partition("/tree/")
        if repo in self.hub.renamed:
            new = self.path.replace(repo, self.hub.renamed[repo])
            self.send_response(307)
            self.send_header("Location", new)
            self.send_header("Content-Length", "0")
            return self.end_headers()
        if not self.allowed(repo, listing=True):
            return None
        it = self.hub.repos[repo]
        if what and what not in self.hub.revisions and what != it.commit:
            return self.error(404, {"X-Error-Code": "RevisionNotFound"})
        if self.hub.endless_listing:
            self.send_response(200)
            self.end_headers()
            while True:
                self.wfile.write(b" " * 65536)
        listing = {"id": repo, "sha": it.commit, "private": False, "gated": False,
                   "siblings": [it.sibling(name) for name in it.files]}
        if self.hub.change_listing:
            self.hub.change_listing(listing)
        body = json.dumps(it.tree() if tree else listing).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        return None

    def answer_file(self, repo, file, cached=False):
        if not self.allowed(repo, listing=False):
            return None
        it = self.hub.repos[repo]
        if file not in it.files or file in self.hub.absent:
            return self.error(404, {"X-Error-Code": "EntryNotFound"})
        data, etag = it.files[file], it.etags[file]
        if cached:
            return self.send_data(file, data, {"ETag": f'"{etag}"', "X-Repo-Commit": it.commit})
        headers = {"X-Repo-Commit": it.commit}
        if is_large(file):
            headers["X-Linked-Etag"] = f'"{etag}"'
            headers["X-Linked-Size"] = str(len(data))
            location = f"{self.hub.cdn_url}/signed/{etag}?Signature=abc&file={repo}"
        else:
            headers["ETag"] = f'"{etag}"'
            location = f"/api/resolve-cache/models/{repo}/{it.commit}/{urllib.parse.quote(file)}"
        headers.update(self.hub.claims)
        self.send_response(302 if is_large(file) else 307)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Location", is_large(file) and self.hub.location or location)
        self.send_header("Content-Length", "0")
        self.end_headers()
        return None

    def answer_cdn(self, etag):
        for repo in self.hub.repos.values():
            for name, known in repo.etags.items():
                if known == etag:
                    return self.send_data(name, repo.files[name], {"ETag": f'"{etag[:8]}-cdn"'})
        return self.error(404, {})

    def send_data(self, name, data, headers):
        """The file or its range, as well as the hub's mood allows."""
        hub = self.hub
        data = hub.instead.get(name, data)
        first, last = 0, len(data) - 1
        ranged = hub.ranges and self.headers.get("Range")
        if ranged:
            begin, _, end = self.headers["Range"][len("bytes="):].partition("-")
            first, last = int(begin), min(int(end), last) if end else last
            if first > last:
                return self.error(416, {"Content-Range": f"bytes */{len(data)}"})
        self.send_response(206 if ranged else 200)
        for key, value in headers.items():
            self.send_header(key, value)
        if ranged:
            self.send_header("Content-Range", hub.content_range.get(name) or
                             f"bytes {first}-{last}/{len(data)}")
        endless = hub.endless and name in hub.endless
        if not endless:
            self.send_header("Content-Length", str(last + 1 - first))
            self.send_header("Accept-Ranges", "bytes")
        else:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        if self.command == "HEAD":
            return None
        self.wfile.flush()
        if hub.stall and name in hub.stall:
            time.sleep(hub.stall_seconds)
        return self.send_body(memoryview(data)[first : last + 1], name, endless)

    def send_body(self, body, name, endless):
        hub, block = self.hub, 1 << 20
        limit = hub.cuts.pop(0) if hub.cuts and self.server.is_cdn else None
        if hub.rate:
            block = max(1024, int(hub.rate / 100))
        for at in range(0, len(body), block):
            piece = body[at : at + block]
            if limit is not None and self.row["sent"] + len(piece) > limit:
                rest = piece[: limit - self.row["sent"]]
                self.connection.sendall(rest)
                self.row["sent"] += len(rest)
                self.close_connection = True
                return None
            while self.server.is_cdn and hub.limit is not None and hub.sent(cdn=True) >= hub.limit:
                time.sleep(0.005)
            self.connection.sendall(piece)
            self.row["sent"] += len(piece)
            if hub.rate:
                time.sleep(len(piece) / hub.rate)
        while endless:
            self.connection.sendall(bytes(65536))
            self.row["sent"] += 65536
        return None


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request, client_address):
        pass  # clients of these tests go away in all ways


class Hub:
    def __init__(self, context=None):
        """context: of ssl, for https."""
        self.repos, self.renamed, self.requests = {}, {}, []
        self.revisions = {"main"}
        self.token, self.private, self.gated = None, False, False
        self.busy, self.busy_path = [], ""  # [(status, headers)] for the next requests of that path
        self.ranges, self.content_range = True, {}  # by file, instead of the right one
        self.rate, self.cuts = None, []  # bytes a second; after how many to break off, once each
        self.limit = None  # how many bytes of files the CDN sends in all before it waits for more
        self.instead, self.absent = {}, set()  # other data than announced; files that are gone
        self.endless, self.stall, self.stall_seconds = set(), set(), 30  # names of files
        self.endless_listing = False
        self.change_listing, self.claims, self.location = None, {}, None
        self.servers = []
        for is_cdn in (False, True):
            server = Server(("127.0.0.1", 0), Handler)
            server.hub, server.is_cdn = self, is_cdn
            if context:
                server.socket = context.wrap_socket(server.socket, server_side=True)
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05},
                             daemon=True).start()
            self.servers.append(server)
        scheme = "https" if context else "http"
        self.url, self.cdn_url = (f"{scheme}://127.0.0.1:{s.server_address[1]}" for s in self.servers)

    def add(self, name, files):
        self.repos[name] = Repo(name, files)
        return self.repos[name]

    def sent(self, cdn=None):
        """Bytes of files that went out."""
        return sum(row["sent"] for row in self.requests if cdn in (None, row["cdn"]))

    def close(self):
        for server in self.servers:
            server.shutdown()
            server.server_close()

    def __enter__(self):
        return self

    def __exit__(self, *args):
        self.close()
