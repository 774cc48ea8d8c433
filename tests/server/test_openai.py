"""OpenAI's images API (tests/interop has OpenAI's own client talk to it)."""

import base64
import json
import threading
import time
import urllib.parse

from serving import LIMIT, PROMPT, Case, Stream, connect

SMALL = {"prompt": PROMPT, "size": "64x64", "steps": 2}
LONG = {"prompt": PROMPT, "size": "512x512", "steps": 100}
SIGNATURES = {"png": b"\x89PNG\r\n\x1a\n", "jpeg": b"\xff\xd8\xff", "webp": b"RIFF"}
GENERATIONS = "/v1/images/generations"


def size_of(png):
    return int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big")


class OpenAI(Case):
    def generate(self, **body):
        reply = self.server.request("POST", GENERATIONS, dict(SMALL, **body))
        self.assertEqual(reply.status, 200, reply.body[:500])
        return reply.json

    def refused_as_theirs(self, status, param, body=None, code=None, url=GENERATIONS, **options):
        method = "GET" if body is None else "POST"
        reply = self.server.request(method, url, body, **options)
        self.assertEqual(reply.status, status, reply.body[:500])
        error = reply.json["error"]
        self.assertEqual(sorted(error), ["code", "message", "param", "type"])
        self.assertEqual((error["param"], error["code"]), (param, code), error)
        self.assertEqual(error["type"], "invalid_request_error")
        return error["message"]

    def row(self, number=0):
        return self.server.get("/api/images").json["images"][number]

    # ---- models ----

    def test_models(self):
        models = self.server.get("/v1/models").json
        self.assertEqual(models["object"], "list")
        self.assertEqual([m["id"] for m in models["data"]], ["demo"])
        model = self.server.get("/v1/models/demo").json
        self.assertEqual(model, models["data"][0])
        self.assertEqual((model["object"], model["owned_by"]), ("model", "zimage"))
        self.assertLess(abs(model["created"] - time.time()), 1000)
        for name in "Default", "default", "sd-cpp-local", "dall-e-3", "gpt-image-1":
            self.assertEqual(self.server.get(f"/v1/models/{name}").json, model)
        self.refused_as_theirs(404, "model", url="/v1/models/none", code="model_not_found")
        self.refused_as_theirs(404, None, url="/v1/chat", code="not_found")

    # ---- images ----

    def test_base64(self):
        for form, signature in SIGNATURES.items():
            reply = self.generate(output_format=form, n=2, quality="high", user="x", style="vivid")
            self.assertEqual(reply["output_format"], form)
            self.assertEqual((reply["size"], reply["background"], reply["quality"]),
                             ("64x64", "opaque", "high"))
            self.assertLess(abs(reply["created"] - time.time()), 1000)
            self.assertIsInstance(reply["created"], int)
            self.assertEqual([list(one) for one in reply["data"]], [["b64_json"]] * 2)
            pictures = [base64.b64decode(one["b64_json"], validate=True) for one in reply["data"]]
            self.assertTrue(all(p.startswith(signature) for p in pictures))
            self.assertNotEqual(*pictures)
        self.assertEqual(size_of(base64.b64decode(self.generate()["data"][0]["b64_json"])), (64, 64))

    def test_compression(self):
        sizes = [len(self.generate(output_format="jpeg", output_compression=quality, seed=1)
                     ["data"][0]["b64_json"]) for quality in (0, 50, 100)]
        self.assertEqual(sizes, sorted(set(sizes)))
        # Links lead to the same files.
        for form in "jpeg", "webp":
            for quality in 1, 50, 100:
                fields = {"output_format": form, "output_compression": quality, "seed": 1}
                data = self.generate(**fields)["data"][0]["b64_json"]
                url = urllib.parse.urlsplit(self.generate(response_format="url", **fields)["data"][0]["url"])
                self.assertEqual(self.server.get(f"{url.path}?{url.query}").body, base64.b64decode(data), (form, quality))

    def test_url(self):
        for form, signature in SIGNATURES.items():
            reply = self.generate(response_format="url", output_format=form)
            url = urllib.parse.urlsplit(reply["data"][0]["url"])
            self.assertEqual(f"{url.scheme}://{url.netloc}", self.server.address)
            got = self.server.get(f"{url.path}?{url.query}")
            self.assertEqual((got.status, got.headers["Content-Type"]), (200, f"image/{form}"))
            self.assertTrue(got.body.startswith(signature))
        reply = self.server.request("POST", GENERATIONS, dict(SMALL, response_format="url"),
                                    headers={"Host": "localhost:7"})
        self.assertTrue(reply.json["data"][0]["url"].startswith("http://localhost:7/api/images/"))

    def test_what_is_drawn(self):
        for size in "auto", None, "":
            self.assertEqual(self.generate(size=size)["size"], "128x128")  # the demo model's own
        self.generate(model="gpt-image-1", seed=11, steps=3, cfg_scale=3, negative_prompt="blue",
                      shift=2)
        row = self.row()
        self.assertEqual([row[name] for name in ("seed", "steps", "guidance", "negative", "shift",
                                                 "prompt", "width", "height")],
                         ["11", 3, 2, "blue", 2, PROMPT, 64, 64])
        for name in "Default", "sd-cpp-local":
            self.generate(model=name)
            self.assertEqual(self.row()["model"], "demo-model")
        self.generate(seed=-1, cfg_scale=0)
        self.assertEqual(self.row()["guidance"], 0)

    def test_extra_arguments(self):
        extra = ('{"seed": 21, "width": 96, "batch_count": 2, "lora": [], "sample_params": {'
                 '"sample_steps": 3, "flow_shift": 4, "guidance": {"txt_cfg": 2}}}')
        reply = self.generate(prompt=f"{PROMPT} <sd_cpp_extra_args>{extra}</sd_cpp_extra_args>")
        self.assertEqual((len(reply["data"]), reply["size"]), (2, "96x64"))
        row = self.row(1)
        self.assertEqual([row[name] for name in ("prompt", "seed", "steps", "shift", "guidance")],
                         [PROMPT, "21", 3, 4, 1])
        self.generate(prompt=f"<sd_cpp_extra_args>{{}}</sd_cpp_extra_args>{PROMPT}")
        self.assertEqual(self.row()["prompt"], PROMPT)
        for extra, field in (("{", "prompt"), ("[]", "prompt"), ('{"seed": "a"}', "seed"),
                             ('{"sample_params": [{"a": 1}]}', "sample_params"),
                             ('{"sample_params": {"sample_steps": 0}}', "sample_steps")):
            self.refused_as_theirs(400, field, dict(
                SMALL, prompt=f"a <sd_cpp_extra_args>{extra}</sd_cpp_extra_args>"))
        self.refused_as_theirs(400, "prompt", dict(
            SMALL, prompt="<sd_cpp_extra_args>{}</sd_cpp_extra_args>"))

    def test_refusals(self):
        for field, values in {"prompt": (None, "", 1, "a" * 9000, "a cat <lora:mine:0.8>"),
                              "negative_prompt": ("<lora:mine:0.8>", 1), "n": (0, 11, 1.5, "1"),
                              "size": ("64", "64x", "64x64x64", "0x64", "64x15", "4112x64", "axb",
                                       "64x99999999999", "4294967360x64", "64x",
                                       "+64x64", "64x 64", "x64", 64), "output_format": ("gif", 1),
                              "response_format": ("json",), "output_compression": (-1, 101),
                              "background": ("transparent", "red"), "stream": ("yes", 1),
                              "partial_images": (1, 4, -1), "seed": (-2, 1e300),
                              "steps": (0, 151)}.items():
            for value in values:
                self.refused_as_theirs(400, field, dict(SMALL, **{field: value}))
        self.refused_as_theirs(400, "prompt", {"size": "64x64"})
        self.refused_as_theirs(400, "response_format",
                               dict(SMALL, stream=True, response_format="url"))
        self.refused_as_theirs(404, "model", dict(SMALL, model="none"), code="model_not_found")
        self.assertEqual(self.server.request("POST", GENERATIONS, raw="{").status, 415)
        self.assertEqual(self.server.request("POST", GENERATIONS, raw="{", headers={
            "Content-Type": "application/json"}).json["error"]["type"], "invalid_request_error")

    def test_multipart(self):
        """As for images to edit, whole and broken; others are served meanwhile."""
        kind = {"Content-Type": "multipart/form-data; boundary=x"}
        part = b'--x\r\nContent-Disposition: form-data; name="prompt"\r\n\r\na\r\n'
        for body in part + b"--x--\r\n", part, b"--x", b"\r\n--y--", b"":
            for url, status in (GENERATIONS, 415), ("/v1/images/edits", 404):
                reply = self.server.request("POST", url, raw=body, headers=kind)
                self.assertEqual(reply.status, status)
        with connect(self.server) as wire:  # says that there is more than there is
            wire.sendall(b"POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n"
                         b"Content-Type: application/json\r\n\r\n{" % GENERATIONS.encode())
            self.generate()

    # ---- streams ----

    def test_stream(self):
        """Partial images while it is generated, and whole ones."""
        for form, signature in SIGNATURES.items():
            stream = Stream(self.server, GENERATIONS, "POST",
                            dict(SMALL, steps=9, stream=True, partial_images=3, output_format=form,
                                 n=2, size="128x128"))
            self.assertEqual(stream.status, 200)
            self.assertEqual(stream.response.headers["Content-Type"], "text/event-stream")
            events = list(stream)
            stream.close()
            done = [e for e in events if e.name == "image_generation.completed"]
            partial = [e for e in events if e.name == "image_generation.partial_image"]
            self.assertEqual((len(done), len(done) + len(partial)), (2, len(events)), events)
            self.assertIs(events[-1], done[-1])
            for event in events:
                self.assertEqual(event.data["type"], event.name)
                self.assertEqual([event.data[name] for name in ("background", "quality",
                                                                "output_format")],
                                 ["opaque", "auto", form])
                picture = base64.b64decode(event.data["b64_json"], validate=True)
                self.assertTrue(picture.startswith(signature))
                if form == "png":
                    self.assertEqual(event.data["size"], "%dx%d" % size_of(picture))
            self.assertEqual([e.data["size"] for e in done], ["128x128"] * 2)
            self.assertEqual({e.data["size"] for e in partial}, {"16x16"})  # previews are smaller
            # How many of them there are depends on how fast they can be sent.
            first = events[:events.index(done[0])]
            self.assertLessEqual(len(first), 3)
            self.assertEqual([e.data["partial_image_index"] for e in first],
                             list(range(len(first))))
            self.assertGreater(len(partial), 0)

    def test_stream_without_partial_images(self):
        stream = Stream(self.server, GENERATIONS, "POST", dict(SMALL, stream=True))
        events = list(stream)
        stream.close()
        self.assertEqual([e.name for e in events], ["image_generation.completed"])
        picture = base64.b64decode(events[0].data["b64_json"])
        self.assertEqual(size_of(picture), (64, 64))

    def running(self):
        end = time.monotonic() + LIMIT
        while time.monotonic() < end:
            jobs = [j["id"] for j in self.server.get("/api/jobs").json["jobs"]
                    if j["state"] == "running" and j["progress"]]
            if jobs:
                return jobs[0]
            time.sleep(0.02)
        raise AssertionError("nothing runs")

    def test_stream_of_what_is_cancelled(self):
        stream = Stream(self.server, GENERATIONS, "POST", dict(LONG, stream=True))
        self.server.request("DELETE", f"/api/jobs/{self.running()}")
        events = list(stream)
        stream.close()
        self.assertEqual([e.name for e in events], ["error"])
        self.assertEqual(events[0].data["type"], "error")
        self.assertIn("cancelled", events[0].data["error"]["message"])

    # ---- waiting ----

    def test_cancelled_meanwhile(self):
        replies = []
        thread = threading.Thread(target=lambda: replies.append(
            self.server.request("POST", GENERATIONS, LONG)))
        thread.start()
        self.server.request("DELETE", f"/api/jobs/{self.running()}")
        thread.join()
        self.assertEqual(replies[0].status, 409)
        self.assertIn("cancelled", replies[0].json["error"]["message"])

    def test_waiting_takes_no_thread(self):
        """More requests wait than the server has threads, and others are served."""
        bodies = [dict(SMALL, seed=i) for i in range(12)]
        replies = []
        threads = [threading.Thread(target=lambda b=b: replies.append(
            self.server.request("POST", GENERATIONS, b).status)) for b in bodies]
        long = Stream(self.server, GENERATIONS, "POST", dict(LONG, stream=True))
        job = self.running()
        for thread in threads:
            thread.start()
        while self.server.get("/api/health").json["queued"] < 12:
            time.sleep(0.02)
        self.server.request("DELETE", f"/api/jobs/{job}")
        long.close()
        for thread in threads:
            thread.join()
        self.assertEqual(replies, [200] * 12)

    def test_a_client_that_leaves_ends_its_job(self):
        for options in {}, {"stream": True}:
            first = self.leave(**options)  # it runs
            self.assertEqual(self.server.wait(first)["state"], "cancelled")
        stream = Stream(self.server, GENERATIONS, "POST", dict(LONG, stream=True))
        running = self.running()
        queued = self.leave()  # it waits
        self.assertEqual(self.server.wait(queued)["state"], "cancelled")
        self.assertEqual(self.server.get(f"/api/jobs/{running}").json["state"], "running")
        stream.close()
        self.assertEqual(self.server.wait(running)["state"], "cancelled")

    def leave(self, **options):
        """Asks for an image and goes away; the job's id."""
        known = {j["id"] for j in self.server.get("/api/jobs").json["jobs"]}
        body = json.dumps(dict(LONG, **options)).encode()
        wire = connect(self.server)
        wire.sendall(b"POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
                     b"Content-Length: %d\r\n\r\n" % (GENERATIONS.encode(), len(body)) + body)
        new = []
        while not new:
            time.sleep(0.05)
            new = [j["id"] for j in self.server.get("/api/jobs").json["jobs"]
                   if j["id"] not in known]
        wire.close()
        return new[0]


class Keys(Case):
    args = ("--api-key", "the key")

    def test_key(self):
        for headers, status in (({}, 401), ({"Authorization": "Bearer wrong"}, 401),
                                ({"Authorization": "Bearer the key"}, 200),
                                ({"Authorization": "Bearer the key", "Host": "other:1"}, 200),
                                ({"Authorization": "Bearer wrong", "Host": "other:1"}, 403)):
            reply = self.server.get("/v1/models", headers=headers)
            self.assertEqual(reply.status, status)
        reply = self.server.get("/v1/models")
        self.assertEqual((reply.json["error"]["code"], reply.json["error"]["type"]),
                         ("invalid_api_key", "invalid_request_error"))

    def test_key_as_a_password(self):
        for said, status in (("user:the key", 200), (":the key", 200), ("the key", 401),
                             ("user:the", 401), ("the key:", 401), ("a:b:the key", 401)):
            basic = base64.b64encode(said.encode()).decode()
            reply = self.server.get("/sdapi/v1/options", headers={"Authorization": f"Basic {basic}"})
            self.assertEqual(reply.status, status, said)
        reply = self.server.get("/sdapi/v1/options", headers={"Authorization": "Basic !"})
        self.assertEqual(reply.status, 401)
