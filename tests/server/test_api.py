"""Every operation of the OpenAPI description, and every kind of event."""

import base64
import glob
import gzip
import os
import re
import shutil
import time
import unittest
import urllib.parse

from serving import GOLDEN, HERE, LIMIT, MODEL, OPENAPI, PROMPT, SCHEMAS, Case, Stream, errors_of, path
import test_enhance

PNG = b"\x89PNG\r\n\x1a\n"


OPERATIONS = {(method, template) for template, item in OPENAPI["paths"].items()
              for method in item if method != "parameters"}


def resolve(described):
    """A response, or the one that a reference in its place names."""
    name = described.get("$ref", "").rsplit("/", 1)[-1]
    return OPENAPI["components"]["responses"][name] if name else described


def fill(template, **values):
    for name, value in values.items():
        template = template.replace("{" + name + "}", value)
    return template

# Precisions of GGUF alone.
BLOCKS = ["q2_k", "q3_k", "q4_k", "q5_k", "q6_k", "q4_1", "q5_0", "q5_1", "iq4_nl", "iq4_xs"]


class Api(Case):
    """With a model of the models folder beside the demo model, and a language model."""

    @classmethod
    def prepare(cls):
        os.makedirs(path(cls.dir, "models", "pytorch"))
        shutil.copytree(MODEL, path(cls.dir, "models", "pytorch", "golden"))
        os.makedirs(path(cls.dir, "models", "prompt_enhancer"))
        # A language model that knows one answer.
        maker = test_enhance.Enhancing()
        maker.dir = cls.dir
        folder = maker.chain()
        os.rmdir(path(cls.dir, "models", "prompt_enhancer"))
        shutil.move(folder, path(cls.dir, "models", "prompt_enhancer"))


class Operations(Api):
    def setUp(self):
        self.tried = []

    def call(self, method, template, status, body=None, raw=None, headers=None, query="", **values):
        """Calls an operation and holds the answer against its description."""
        operation = OPENAPI["paths"][template][method.lower()]
        values = {name: urllib.parse.quote(value) for name, value in values.items()}
        reply = self.server.request(method, fill(template, **values) + query, body=body, raw=raw,
                                    headers=headers)
        self.assertEqual(reply.status, status, reply.body[:500])
        described = resolve(operation["responses"][str(status)]).get("content")
        if described:
            kind = reply.headers["Content-Type"].split(";")[0]
            self.assertIn(kind, described)
            if kind == "application/json":
                self.conforms(reply.json, described[kind]["schema"])
        else:
            self.assertEqual(reply.body, b"")
        self.tried.append((method.lower(), template))
        return reply

    def test_every_operation(self):
        call = self.call
        self.assertEqual(call("GET", "/api/openapi.json", 200).json["paths"], OPENAPI["paths"])
        self.assertEqual(call("GET", "/api/config", 200).json["native_size"], 1024)
        self.assertEqual(call("GET", "/api/health", 200).json["loaded"], None)
        models = call("GET", "/api/models", 200).json
        self.assertEqual([m["name"] for m in models["models"]],
                         ["pytorch/golden", "prompt_enhancer", "demo"])
        self.assertEqual(models["default"], "pytorch/golden")
        call("GET", "/api/models/{name}", 200, name="pytorch/golden")
        call("GET", "/api/models/{name}", 404, name="pytorch/none")
        params = {"prompt": PROMPT, "seed": "18446744073709551615", "model": "demo", "count": 2,
                  "steps": 2, "width": 64, "height": 48, "negative": "green", "guidance": 1.5,
                  "original": "a circle"}
        job = call("POST", "/api/jobs", 202, {"kind": "generate", "params": params}).json
        self.assertEqual(job["params"]["seed"], "18446744073709551615")
        stream = call("GET", "/api/jobs/{id}/events", 200, id=job["id"])
        self.assertIn(b"event: snapshot", stream.body)
        call("GET", "/api/jobs", 200)
        job = call("GET", "/api/jobs/{id}", 200, id=job["id"]).json
        self.assertEqual((job["state"], len(job["images"])), ("done", 2))
        call("DELETE", "/api/jobs/{id}", 409, id=job["id"])
        call("DELETE", "/api/jobs/{id}", 404, id="ffff")
        self.images(call, job["images"])
        call("GET", "/api/random-prompt", 200, query="?seed=7")
        call("GET", "/api/log", 200)
        self.assertIn(b'zimage_jobs_total{state="done"} 1\n', call("GET", "/api/metrics", 200).body)
        call("POST", "/api/login", 204, {"key": "none is needed"})
        self.import_file(call)
        stream = Stream(self.server, "/api/events")
        self.assertEqual(next(iter(stream)).name, "snapshot")
        stream.close()
        self.tried.append(("get", "/api/events"))
        reply = call("POST", "/api/enhance", 200, {"prompt": "a cow"})
        self.assertIn(b"event: done", reply.body)
        described = {(method, template) for method, template in OPERATIONS if template.startswith("/api/")}
        self.assertEqual(described - set(self.tried), set())

    def test_every_operation_of_other_apis(self):
        bodies = {"/v1/images/generations": {"prompt": PROMPT, "model": "demo", "steps": 1, "size": "64x64"},
                  "/sdapi/v1/txt2img": {"prompt": PROMPT, "steps": 1, "width": 64, "height": 64,
                                        "override_settings": {"sd_model_checkpoint": "demo"}},
                  "/sdapi/v1/options": {"samples_format": "png"}}
        with open(path(GOLDEN, "..", "metadata", "comfyui.png"), "rb") as file:
            bodies["/sdapi/v1/png-info"] = {"image": base64.b64encode(file.read()).decode()}
        others = {(method, template) for method, template in OPERATIONS if not template.startswith("/api/")}
        for method, template in sorted(others):
            self.call(method.upper(), template, 200, body=bodies.get(template) if method == "post" else None,
                      name="demo")
        self.assertEqual(others, set(self.tried))
        for template, status, body in (("/v1/images/generations", 400, {}), ("/sdapi/v1/txt2img", 422, {"steps": "x"}),
                                       ("/sdapi/v1/options", 404, {"sd_model_checkpoint": "none"})):
            self.call("POST", template, status, body=body)
        self.call("GET", "/v1/models/{name}", 404, name="none")

    def images(self, call, ids):
        listed = call("GET", "/api/images", 200, query="?limit=1&q=circle+red").json
        self.assertEqual((listed["total"], listed["images"][0]["id"]), (2, ids[1]))
        self.assertEqual(listed["images"][0]["seed"], "0")  # counted on, as 64 bits do
        older = call("GET", "/api/images", 200, query=f"?limit=1&cursor={listed['next']}").json
        self.assertEqual((older["images"][0]["id"], older["next"]), (ids[0], None))
        for query in "?q=yellow", "?model=other", "?seed=12", "?q=100%25":
            self.assertEqual(call("GET", "/api/images", 200, query=query).json["total"], 0)
        image = call("GET", "/api/images/{id}", 200, id=ids[0]).json
        self.assertEqual([image[name] for name in ("width", "height", "steps", "original",
                                                   "negative", "guidance")],
                         [64, 48, 2, "a circle", "green", 1.5])
        file = call("GET", "/api/images/{id}/file", 200, id=ids[0], query="?download=1")
        self.assertTrue(file.headers["Content-Disposition"].startswith("attachment"))
        self.assertTrue(file.body.startswith(PNG))
        self.assertEqual(len(file.body), image["bytes"])
        for query in "?format=png", "?format=jpeg&quality=80", "?format=webp":
            file = call("GET", "/api/images/{id}/file", 200, id=ids[0], query=query)
            recipe = call("POST", "/api/recipe", 200, raw=file.body).json
            self.assertEqual(recipe["recipe"], image["recipe"])
            self.assertEqual(recipe["fields"]["seed"], image["seed"])
            self.assertEqual(recipe["fields"]["guidance"], 1.5)
        for name in "comfyui.png", "odd.png", "comfyui-workflow.png", "jis.png":  # all members by schema
            with open(path(GOLDEN, "..", "metadata", name), "rb") as file:
                recipe = call("POST", "/api/recipe", 200, raw=file.read()).json
            self.assertEqual(recipe["fields"] is None, name in ("comfyui-workflow.png", "jis.png"))
        link = image["link"].rsplit("/", 1)[1]
        linked = call("GET", "/api/images/{id}/link/{token}", 200, id=ids[0], token=link)
        self.assertEqual(linked.body, call("GET", "/api/images/{id}/file", 200, id=ids[0]).body)
        call("GET", "/api/images/{id}/link/{token}", 404, id=ids[0], token="0" * 32 + ".png")
        self.parts(call, ids[0])
        thumbnail = call("GET", "/api/images/{id}/thumbnail", 200, id=ids[0])
        stored = call("GET", "/api/images/{id}/thumbnail", 200, id=ids[0])
        self.assertEqual((stored.body, stored.headers["ETag"]), (thumbnail.body, thumbnail.headers["ETag"]))
        part = call("GET", "/api/images/{id}/thumbnail", 206, id=ids[0], headers={"Range": "bytes=5-9"})
        self.assertEqual(part.body, thumbnail.body[5:10])
        call("GET", "/api/images/{id}/thumbnail", 416, id=ids[0], headers={"Range": "bytes=99999999-"})
        call("GET", "/api/images/{id}/thumbnail", 304, id=ids[0], headers={"If-None-Match": thumbnail.headers["ETag"]})
        call("DELETE", "/api/images/{id}", 204, id=ids[0])
        call("DELETE", "/api/images/{id}", 404, id=ids[0])
        for what in "", "/file", "/file?format=webp", "/thumbnail":
            self.refused(self.server.get(f"/api/images/{ids[0]}{what}"), 404)
        self.assertEqual([name for name in os.listdir(path(self.dir, "output"))
                          if name.endswith(".png")], [ids[1] + ".png"])

    def parts(self, call, image):
        """A download that was interrupted goes on where it stopped."""
        queries = ("", "?format=jpeg&quality=80", "?format=jpeg&quality=81", "?format=webp&quality=80")
        etags = {call("GET", "/api/images/{id}/file", 200, id=image, query=query).headers["ETag"] for query in queries}
        self.assertEqual(len(etags), len(queries), etags)
        for query in "", "?format=jpeg&quality=80":
            whole = call("GET", "/api/images/{id}/file", 200, id=image, query=query)
            size, etag = len(whole.body), whole.headers["ETag"]
            self.assertEqual(whole.headers["Accept-Ranges"], "bytes")
            self.assertIn(f'filename="zimage-{image}.', whole.headers["Content-Disposition"])
            for wanted, begin, end in (("0-", 0, size), ("100-", 100, size), ("7-99", 7, 100), ("-10", size - 10, size),
                                       (f"{size - 1}-", size - 1, size), ("5-999999999", 5, size), (f"-{size + 1}", 0, size)):
                part = call("GET", "/api/images/{id}/file", 206, id=image, query=query,
                            headers={"Range": f"bytes={wanted}", "If-Range": etag})
                self.assertEqual(part.body, whole.body[begin:end], wanted)
                self.assertEqual(part.headers["Content-Range"], f"bytes {begin}-{end - 1}/{size}")
                self.assertEqual(part.headers["Content-Disposition"], whole.headers["Content-Disposition"])
            for wanted in f"{size}-", "-0", "99999999999-":
                part = call("GET", "/api/images/{id}/file", 416, id=image, query=query,
                            headers={"Range": f"bytes={wanted}"})
                self.assertEqual(part.headers["Content-Range"], f"bytes */{size}")
            for headers in ({"Range": "bytes=5-", "If-Range": '"other"'}, {"Range": "bytes=9-5"}, {"Range": "lines=1-"},
                            {"Range": "bytes=1-2,4-5"}, {"Range": "bytes=" + "9" * 30 + "-"}, {"Range": "bytes=-"}):
                got = call("GET", "/api/images/{id}/file", 200, id=image, query=query, headers=headers)
                self.assertEqual(got.body, whole.body, headers)
            for known in etag, f'"other", {etag}', "*":
                call("GET", "/api/images/{id}/file", 304, id=image, query=query, headers={"If-None-Match": known})
        # To a client that has it, nothing is converted: there is nothing that could be.
        file = path(self.dir, "output", image + ".png")
        os.rename(file, file + ".aside")
        try:
            call("GET", "/api/images/{id}/file", 404, id=image, query=query)
            call("GET", "/api/images/{id}/file", 304, id=image, query=query, headers={"If-None-Match": etag})
            os.mkdir(file)
            for what in "", "?format=jpeg":
                self.refused(self.server.get(f"/api/images/{image}/file{what}"), 500)
            os.rmdir(file)
        finally:
            os.rename(file + ".aside", file)

    def import_file(self, call):
        source = path(GOLDEN, "comfyui", "split_diffusion_model_fp8_e4m3fn.safetensors")
        with open(source, "rb") as file:
            data = file.read()
        name = "comfyui/in.safetensors"
        reply = call("PUT", "/api/models/{name}", 400, raw=b"no such thing", name=name)
        # Where it lies meanwhile is nobody's business.
        self.assertRegex(reply.json["error"]["message"], "^not a model file: [^/]*$")
        call("PUT", "/api/models/{name}", 201, raw=data, name=name)
        call("PUT", "/api/models/{name}", 409, raw=data, name=name)
        for wrong in "mlx/a.gguf", "comfyui/a.pickle", "comfyui/../a.gguf", "comfyui/.a.gguf":
            self.refused(self.server.request("PUT", "/api/models/" + wrong, raw=data), 400, "name")
        self.wait_for_uploads_to_go()
        os.rename(path(self.dir, "output"), path(self.dir, "aside"))
        reply = call("PUT", "/api/models/{name}", 500, raw=data, name="comfyui/not.safetensors")
        os.rename(path(self.dir, "aside"), path(self.dir, "output"))
        self.assertIn("nothing was stored, since the uploaded file cannot be written", reply.json["error"]["message"])
        self.assertIn("nothing was stored", self.server.log())
        with open(path(self.dir, "models", name), "rb") as file:
            self.assertEqual(file.read(), data)
        self.wait_for_uploads_to_go()

    def wait_for_uploads_to_go(self):
        end = time.monotonic() + LIMIT  # an uploaded file goes with its call, which is just after the reply
        while any("upload" in n for n in os.listdir(path(self.dir, "output"))):
            self.assertLess(time.monotonic(), end)
            time.sleep(0.02)


class Description(Api):
    """What the server adds to its OpenAPI file."""

    def setUp(self):
        self.openapi = self.server.get("/api/openapi.json").json
        self.schemas = self.openapi["components"]["schemas"]

    def refs(self, value):
        if isinstance(value, list):
            return [ref for item in value for ref in self.refs(item)]
        if not isinstance(value, dict):
            return []
        return [item for name, item in value.items() if name == "$ref"] + self.refs(list(value.values()))

    def test_the_rest_is_the_file(self):
        added = {name for name in self.schemas if name.endswith("Params")}
        self.assertEqual(set(self.schemas), set(SCHEMAS))
        for name in set(SCHEMAS) - added:
            self.assertEqual(self.schemas[name], SCHEMAS[name], name)
        for ref in self.refs(self.openapi):
            self.assertIn(ref.replace("#/components/schemas/", ""), self.schemas)
        for name in added:
            for field, item in SCHEMAS[name]["properties"].items():  # what the file says of fields is kept
                self.assertEqual(self.schemas[name]["properties"][field].get("description"),
                                 item.get("description"), (name, field))

    def test_params_are_described(self):
        schema = self.schemas["GenerateParams"]
        good = {"prompt": PROMPT, "seed": "18446744073709551615", "width": 64, "steps": None, "shift": 0.01,
                "schedule": "mlx", "count": 16}
        self.conforms(good, schema)
        for field, value in (("prompt", ""), ("prompt", None), ("seed", "x"), ("width", 15), ("width", 4112),
                             ("steps", 1.5), ("shift", 0), ("schedule", "euler"), ("colour", 1), ("count", 17)):
            self.assertNotEqual(errors_of(dict(good, **{field: value}), schema), [], (field, value))
        for field in schema["properties"].values():
            self.assertTrue(field["description"].endswith("."), field)
        layouts, precisions = (self.schemas["ConvertParams"]["properties"][name]["enum"]
                               for name in ("layout", "precision"))
        self.assertEqual(layouts, ["same", "mlx", "diffusers", "comfyui", "gguf", None])
        self.assertEqual(precisions, ["original", "fp16", "bf16", "fp8", "q8", "q4", "fp32", "fp8_e4m3fn", *BLOCKS, None])
        self.assertEqual(self.schemas["DownloadParams"]["properties"]["to"]["enum"], layouts)
        self.assertEqual(self.schemas["ConvertParams"]["required"], ["source", "destination"])
        self.assertNotIn("required", self.schemas["VerifyParams"])

    def test_ranges_are_those_of_the_checks(self):
        """Of every number the bounds are taken and what is beyond them is refused."""
        for name, field in self.schemas["GenerateParams"]["properties"].items():
            if "maximum" not in field:
                continue
            step = field.get("multipleOf", 1)
            for value in field["minimum"], field["maximum"]:
                params = {"width": 16, "height": 16, name: value}
                self.server.request("DELETE", f"/api/jobs/{self.server.submit(model='demo', **params)}")
            for value in field["minimum"] - step, field["maximum"] + step:
                reply = self.server.request("POST", "/api/jobs", {
                    "kind": "generate", "params": {"prompt": PROMPT, name: value}})
                message = self.refused(reply, 400, name)
                self.assertIn(f"{name}: {value:g} is out of range; it must be from {field['minimum']:g}", message)
                self.assertIn(f"to {field['maximum']:g}", message)

    def test_config_says_the_same(self):
        config = self.server.get("/api/config").json
        rows = {row["name"]: row for row in config["parameters"]}
        self.assertEqual(list(rows), list(self.schemas["GenerateParams"]["properties"]))
        for name in "steps", "shift", "guidance", "count":
            self.assertEqual(config[name], {key: rows[name][key] for key in config[name]})
        self.assertEqual(config["sizes"], {key: rows["width"][key] for key in ("min", "max", "multiple")})
        self.assertEqual(config["schedules"], rows["schedule"]["choices"])
        self.assertEqual(config["computes"], rows["compute"]["choices"])
        self.assertEqual(config["limits"]["prompt_bytes"], rows["prompt"]["max"])
        self.assertEqual({layout["name"]: layout["precisions"][3:] for layout in config["layouts"]},
                         {"mlx": ["fp8", "q8", "q4", "fp32"], "diffusers": ["fp8", "fp32", "fp8_e4m3fn"],
                          "comfyui": ["fp8", "fp32", "fp8_e4m3fn"], "gguf": ["q8", "q4", "fp32", *BLOCKS]})


class Params(Api):
    def test_they_come_back(self):
        """As submitted, with null and what is the default anyway, and with what was settled."""
        small = {"prompt": PROMPT, "model": "demo", "width": 64, "height": 64, "steps": 1}
        only = {"model": "pytorch/golden"}  # and so the default
        for kind, params, settled in (
                ("verify", {}, only),
                ("load", {"model": None}, only),
                ("unload", {}, {}),
                ("generate", {"prompt": PROMPT, "model": None, "steps": None, "seed": 1, "width": 16, "height": 16},
                 dict(only, seed="1")),
                ("generate", dict(small, seed=7), {"seed": "7"}),
                ("generate", dict(small, seed="007", negative=None, original="", guidance=0, shift=3.25,
                                  schedule="diffusers", compute="exact", count=1), {"seed": "7"}),
                ("enhance", {"prompt": "a cow", "temperature": 0, "max_tokens": None, "seed": 3}, {"seed": "3"}),
                ("convert", {"source": "demo", "destination": "p", "layout": "same", "precision": None}, {}),
                ("import", {"source": "pytorch/golden", "name": "p2", "mode": "copy"}, {})):
            with self.subTest(kind=kind, params=params):
                job = self.server.wait(self.server.submit(kind, **params))
                self.assertEqual(job["params"], dict(params, **settled))
                self.assertEqual(job["state"], "done", job["error"])
        job = self.server.wait(self.server.submit(**small))
        seed = job["params"].pop("seed")
        self.assertRegex(seed, "^[0-9]+$")
        self.assertEqual(job["params"], small)


class Events(Api):
    def follow(self, kind, **params):
        """A job's events, of the stream of all, held against their schemas."""
        stream = Stream(self.server, "/api/events")
        self.assertEqual(next(iter(stream)).name, "snapshot")
        job = self.server.submit(kind, **params)
        events = [event for event in stream.until("done", "failed") if event.data.get("job") == job]
        stream.close()
        for event in events:
            self.conforms(event.data, SCHEMAS["Event_" + event.name])
        return events

    def test_events_of_each_kind(self):
        events = self.follow("generate", steps=3, model="demo", count=2)
        seen = {e.name for e in events}
        self.assertEqual([e.name for e in events][:2], ["queued", "started"])
        self.assertEqual([(e.data["picture"], e.data["step"]) for e in events if e.name == "step"],
                         [(p, s) for p in (1, 2) for s in (1, 2, 3)])
        self.assertEqual([e.data["picture"] for e in events if e.name == "image"], [1, 2])
        self.assertEqual([e.data["cached"] for e in events if e.name == "encoded"][1], True)
        for kind, params, state in (
                ("convert", {"source": "demo", "destination": "b", "layout": "mlx"}, "done"),
                ("quantize", {"source": "demo", "destination": "c", "precision": "fp8"}, "done"),
                ("import", {"source": "pytorch/c", "name": "d"}, "done"),
                ("verify", {"model": "demo"}, "done"),
                ("enhance", {"prompt": "a cow", "temperature": 0}, "done"),
                ("generate", {"model": "prompt_enhancer"}, "failed")):
            events = self.follow(kind, **params)
            seen |= {e.name for e in events}
            self.assertEqual(events[-1].name, state, (kind, events))
            self.seen_result(kind, events[-1])
        models = [m["name"] for m in self.server.get("/api/models").json["models"]]
        self.assertIn("mlx/b", models)
        self.assertIn("pytorch/c", models)
        self.assertEqual({"queued", "started", "progress", "encoded", "step", "preview", "image",
                          "text", "done", "failed"}, seen)

    def seen_result(self, kind, event):
        if event.name != "done":
            return
        if kind == "verify":
            self.assertTrue(event.data["result"]["passed"], event.data)
        if kind == "enhance":
            self.assertEqual(event.data["text"], "Big-cow,dusk.")
        made = {"convert": "mlx/b", "quantize": "pytorch/c", "import": "pytorch/d"}
        if kind in made:
            self.assertEqual(event.data["result"]["model"], made[kind])

    def test_stream_of_all(self):
        stream = Stream(self.server, "/api/events")
        events = iter(stream)
        self.assertEqual(next(events).name, "snapshot")
        job = self.server.submit(model="demo", steps=1)
        found = stream.until("done")
        self.assertEqual(found[0].name, "queued")
        self.assertEqual(found[0].data["job"], job)
        image = self.server.get(f"/api/jobs/{job}").json["images"][0]
        self.server.request("DELETE", f"/api/images/{image}")
        found += stream.until("deleted")
        stream.close()
        self.assertIn("log", [e.name for e in found])
        for event in found:
            self.conforms(event.data, SCHEMAS["Event_" + event.name])


class Description(unittest.TestCase):
    def test_every_route_is_described(self):
        """The tables of routes in the sources, against the paths of the description."""
        routes = set()
        for name in glob.glob(path(HERE, "..", "..", "server", "*.c")):
            with open(name, encoding="utf-8") as file:
                source = file.read()
            routes |= {(method.lower(), route.replace("*}", "}"))
                       for method, route in re.findall(r'\{"([A-Z]+)",\s*"(/[^"]+)",', source)}
            routes |= {("get", "/sdapi/v1/" + route) for route in re.findall(r'CONSTANT_ROUTE\("([^"]+)"\)', source)}
        self.assertGreater(len(routes), 50)  # the tables were found
        self.assertEqual(routes, OPERATIONS)


class Requests(Api):
    def test_compressed_page(self):
        """The page is compressed for who takes that."""
        for accepted, coding in (
                ("gzip", "gzip"), ("gzip;q=0.5", "gzip"), ("br, GZip ; q=0.001", "gzip"),
                ("deflate;q=0,gzip", "gzip"), ("*", "gzip"), ("identity;q=0, *;q=0.1", "gzip"),
                ("identity", None), ("", None), ("gzip;q=0", None), ("gzip; q=0", None),
                ("gzip ;q=0.000, br", None), ("*;q=0", None), ("gzip;q=0, *", None),
                ("not-gzip, gzip2", None)):
            reply = self.server.get("/", headers={"Accept-Encoding": accepted})
            self.assertEqual(reply.headers["Content-Encoding"], coding, accepted)
            page = gzip.decompress(reply.body) if coding else reply.body
            self.assertIn(b"<title>", page)

    def test_methods(self):
        for template, item in OPENAPI["paths"].items():
            url = fill(template, id="0", name="demo", token="0")
            allowed = {m.upper() for m in item if m != "parameters"}
            reply = self.server.request("PATCH", url)
            self.assertEqual(reply.status, 405, template)
            self.conforms(reply.json, SCHEMAS["OpenAiError" if url.startswith("/v1/") else
                                              "A1111Error" if url.startswith("/sdapi/") else "Error"])
            self.assertEqual(set(reply.headers["Allow"].split(", ")), allowed, template)
            reply = self.server.request("OPTIONS", url)
            self.assertEqual((reply.status, reply.body), (204, b""))
            more = {"OPTIONS", "HEAD"} if "GET" in allowed else {"OPTIONS"}
            self.assertEqual(set(reply.headers["Allow"].split(", ")), allowed | more, template)
        self.refused(self.server.get("/api/none"), 404)
        self.refused(self.server.request("OPTIONS", "/api/none"), 404)
        for url in "/api/health", "/", "/v1/models", "/models", "//sdapi//v1//options/":
            head = self.server.request("HEAD", url)
            self.assertEqual((head.status, head.body), (200, b""), url)

    def test_wrong_fields(self):
        for field, params in (
                ("prompt", {}), ("prompt", {"prompt": ""}), ("prompt", {"prompt": 7}),
                ("prompt", {"prompt": "x" * 8001}), ("prompt", {"prompt": "a cat <lora:mine:0.8>"}),
                ("negative", {"prompt": "a", "negative": "<lyco:mine>"}), ("max_tokens", {"prompt": "a", "max_tokens": 0}),
                ("width", {"prompt": "a", "width": 15}), ("prompt", {"prompt": "a <sd_cpp_extra_args>{}</sd_cpp_extra_args>"}),
                ("width", {"prompt": "a", "width": 4112}),
                ("width", {"prompt": "a", "width": 4096, "height": 1040}), ("steps", {"prompt": "a", "steps": 0}),
                ("steps", {"prompt": "a", "steps": 1.5}), ("shift", {"prompt": "a", "shift": "3"}),
                ("seed", {"prompt": "a", "seed": -1}), ("seed", {"prompt": "a", "seed": "1e3"}),
                ("seed", {"prompt": "a", "seed": "18446744073709551616"}),
                ("count", {"prompt": "a", "count": 17}), ("colour", {"prompt": "a", "colour": 1}),
                ("x" + "é" * 31, {"prompt": "a", "x" + "é" * 40: 1}),
                ("schedule", {"prompt": "a", "schedule": "euler"})):
            reply = self.server.request("POST", "/api/jobs", {"kind": "generate", "params": params})
            self.refused(reply, 400, field)
        for field, status, body in (
                ("kind", 400, {"params": {}}), ("kind", 400, {"kind": "dance", "params": {}}),
                ("params", 400, {"kind": "generate"}), ("params", 400, {"kind": "verify", "params": 1}),
                ("more", 400, {"kind": "verify", "params": {}, "more": 1}),
                ("model", 404, {"kind": "generate", "params": {"prompt": "a", "model": "x"}}),
                ("source", 404, {"kind": "convert", "params": {"source": "x", "destination": "y"}}),
                ("destination", 409, {"kind": "convert", "params": {
                    "source": "demo", "destination": "golden", "layout": "diffusers"}}),
                ("destination", 400, {"kind": "convert", "params": {
                    "source": "demo", "destination": "../x", "layout": "mlx"}}),
                ("layout", 400, {"kind": "quantize", "params": {
                    "source": "demo", "destination": "x", "precision": "q8", "layout": "mlx"}})):
            self.refused(self.server.request("POST", "/api/jobs", body), status, field)
        for raw in b"", b"{", b"[]", b"{} x", b'{"kind":"\xff"}', b"{\0}", b"[" * 100000:
            reply = self.server.request("POST", "/api/jobs", raw=raw,
                                        headers={"Content-Type": "application/json"})
            self.refused(reply, 400)
        twice = b'{"kind":"generate","params":{"prompt":"a","prompt":"b"}}'
        self.refused(self.server.request("POST", "/api/jobs", raw=twice,
                                         headers={"Content-Type": "application/json"}), 400, "prompt")
        self.refused(self.server.request("POST", "/api/jobs", raw=b"{}"), 415)
        for query, field in ("limit=0", "limit"), ("limit=x", "limit"), ("cursor=..", "cursor"):
            self.refused(self.server.get("/api/images?" + query), 400, field)
        self.assertEqual(self.refused(self.server.request("POST", "/api/recipe", raw=b"GIF89a"), 400),
                         "the image: is not a PNG, JPEG or WebP image; use the file that the image "
                         "generator wrote")

    def test_messages(self):
        """What is wrong, with what was sent and what is wanted."""
        for says, kind, params in (
                ("kind: 'dance' is unknown; it can be generate, convert,", "dance", {}),
                ("colour: unknown field; remove it, or check its name: the fields are prompt, ", "generate", {"colour": 1}),
                ("colour: unknown field; remove it", "unload", {"colour": 1}),
                ("prompt: must be text, not a number", "generate", {"prompt": 7}),
                ("steps: must be a whole number from 1 to 150, not text", "generate", {"steps": "3"}),
                ("schedule: '7' is unknown; choose one of auto, mlx, diffusers, karras, exponential, beta", "generate", {"schedule": 7}),
                ("seed: '1e3' is not a whole number from 0 to 18446744073709551615", "generate", {"seed": "1e3"}),
                ("seed: 1.5 is not a whole number", "generate", {"seed": 1.5}),
                ("seed: must be a whole number from 0 to 18446744073709551615, not a list", "generate", {"seed": []}),
                ("name: '.x' begins with a dot", "import", {"source": "x", "name": ".x"}),
                ("name: 'a/b' has a slash", "import", {"source": "x", "name": "a/b"}),
                ("source: there is no file or folder of this path that the server may read", "import", {"source": "nowhere"}),
                ("prompt: contains <lora:mine:1>: LoRAs are not supported yet; remove it", "generate",
                 {"prompt": "a <lora:mine:1>"}),
                ("prompt: is missing", "generate", {})):
            with self.subTest(says=says):
                reply = self.server.request("POST", "/api/jobs", {"kind": kind, "params": params})
                self.assertEqual(reply.status, 400)
                self.assertTrue(reply.json["error"]["message"].startswith(says), reply.body)
        for raw, says in ((b"", "the body is empty"), (b"{\"a\":}", "the body is not valid JSON: the first error is at byte 5, counted from 0"),
                          (b"[]", "the body is JSON, but not an object")):
            reply = self.server.request("POST", "/api/jobs", raw=raw, headers={"Content-Type": "application/json"})
            self.assertIn(says, self.refused(reply, 400))

    def test_fields_of_jobs_that_fail(self):
        """What the library finds wrong is said of the request's field, where it has that; else of the server."""
        os.makedirs(path(self.dir, "models", "comfyui"), exist_ok=True)
        for name in "split_diffusion_model_fp8_e4m3fn", "split_ae":
            shutil.copy(path(GOLDEN, "comfyui", name + ".safetensors"), path(self.dir, "models", "comfyui"))
        split, vae = "comfyui/split_diffusion_model_fp8_e4m3fn.safetensors", "comfyui/split_ae.safetensors"
        golden = "pytorch/golden"
        for field, says, kind, params in (
                ("vae", "no VAE in it", "convert", {"source": golden, "destination": "x", "layout": "mlx",
                                                    "vae": split}),
                ("text_encoder", "has no text encoder, which the new model needs", "convert", {
                    "source": split, "destination": "x", "layout": "mlx", "vae": vae}),
                ("precision", "has no transformer", "quantize", {"source": vae, "destination": "x",
                                                                 "precision": "fp8"}),
                ("name", "is there already; choose another name, such as golden-2", "import", {
                    "source": golden, "name": "golden"}),
                (None, "no text encoder in it; name a text encoder, or a reference model (a complete Z-Image "
                       "model): start the server with --reference DIR", "generate", {
                           "prompt": "x", "model": split})):
            with self.subTest(kind=kind, field=field):
                job = self.server.wait(self.server.submit(kind, **params))
                self.assertEqual(job["state"], "failed")
                self.assertEqual(job["error"]["field"], field, job["error"])
                self.assertIn(says, job["error"]["message"])


if __name__ == "__main__":
    import unittest

    unittest.main()
