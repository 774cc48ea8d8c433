"""zimage download against the mock hub."""

import glob
import hashlib
import json
import os
import random
import re
import resource
import shutil
import signal
import ssl
import subprocess
import time
import unittest

from hub import Hub, git_sha1
from support import (LONG_FORM, MODEL, ZIMAGE, Case, png_infotext, read_safetensors, read_safetensors_bytes,
                     safetensors_bytes)

REPO = "Tongyi-MAI/Z-Image-Turbo"
HERE = os.path.dirname(os.path.abspath(__file__))


def model_files(model=MODEL):
    files = {}
    for folder, _, names in os.walk(model):
        for name in names:
            path = os.path.join(folder, name)
            with open(path, "rb") as file:
                files[os.path.relpath(path, model)] = file.read()
    return files


class HubCase(Case):
    """A test with a hub of its own, which has the small model as Z-Image-Turbo."""

    context = None

    def setUp(self):
        super().setUp()
        self.hub = Hub(self.context)
        self.addCleanup(self.hub.close)
        self.cache = self.path("hf", "hub")
        self.env = {**os.environ, "HF_HOME": self.path("hf"), "HF_ENDPOINT": self.hub.url,
                    "HF_HUB_DOWNLOAD_TIMEOUT": "2"}
        for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
            self.env.pop(name, None)

    def add_model(self, **more):
        files = model_files()
        self.repo = self.hub.add(REPO, {**files, **more})
        return files

    def add_blob(self, size, name="a/b"):
        """A repository with one large file."""
        data = random.Random(size).randbytes(size)
        self.repo = self.hub.add(name, {"model.safetensors": data, "config.json": b"{}"})
        return data

    def download(self, *args, **env):
        return self.zimage("download", *args, env={**self.env, **env})

    def snapshot(self, repo=None):
        repo = repo or self.repo
        return os.path.join(self.cache, "models--" + repo.name.replace("/", "--"), "snapshots",
                            repo.commit)

    def fails(self, words, *args, **env):
        """Exit code 1, one line with these words, and no file under its own name."""
        self.refused(self.download(*args, **env), 1, *words)
        self.no_files()

    def no_files(self):
        """No file under a name but blobs that are what their names say."""
        for path in self.files():
            name = os.path.basename(path)
            if "/blobs/" in path and not path.endswith(".incomplete"):
                data = self.read(path)
                self.assertIn(name, (hashlib.sha256(data).hexdigest(), git_sha1(data)))
            else:
                self.assertTrue(path.endswith((".incomplete", ".lock")), path)

    def paths(self, what):
        return [row["path"] for row in self.hub.requests if what in row["path"]]


class Download(HubCase):
    def test_a_model_and_an_image(self):
        files = self.add_model(**{"README.md": b"x", "assets/picture.png": b"y", "extra.bin": b"z",
                                  "vae/diffusion_pytorch_model.fp16.safetensors": b"w"})
        result = self.good(self.download())
        folder = result.stdout.decode().strip()
        self.assertEqual(folder, self.snapshot())
        found = {os.path.relpath(os.path.join(at, name), folder): os.path.join(at, name)
                 for at, _, names in os.walk(folder) for name in names}
        self.assertEqual(sorted(found), sorted(files))
        for name, path in found.items():
            self.assertTrue(os.path.islink(path) and not os.path.isabs(os.readlink(path)))
            self.assertEqual(os.path.basename(os.readlink(path)), self.repo.etags[name])
            with open(path, "rb") as file:
                self.assertEqual(file.read(), files[name])
        self.assertEqual(self.hub.sent(), sum(map(len, files.values())))
        words = ["-p", "a", "-s1", "-W64", "-H64", "--seed", "1"]
        for args in ([], ["-m", REPO]):
            self.good(self.zimage("generate", *words, *args, "-o", "out.png", env=self.env))
            self.assertIn("Model: Z-Image-Turbo", png_infotext(self.read("out.png")))

    def test_variants(self):
        """Where a component has no plain weights, the best variant comes, and only that."""
        files = model_files()
        for stem in "vae/diffusion_pytorch_model", "transformer/diffusion_pytorch_model":
            for name in [name for name in files if name.startswith(stem) and name.endswith(".safetensors")]:
                data = files[name] if stem.startswith("transformer") else files.pop(name)
                files[name.replace(".safetensors", ".bf16.safetensors")] = data
                files[name.replace(".safetensors", ".fp16.safetensors")] = data
                files[name.replace(".safetensors", ".non_ema.safetensors")] = data
        self.repo = self.hub.add(REPO, files)
        self.good(self.download(REPO))
        got = {os.path.join(os.path.relpath(folder, self.snapshot()), name)
               for folder, _, names in os.walk(self.snapshot()) for name in names}
        self.assertIn("vae/diffusion_pytorch_model.bf16.safetensors", got)
        self.assertEqual([name for name in got if "fp16" in name or "non_ema" in name], [])
        self.assertEqual([name for name in got if "transformer" in name and "bf16" in name], [])
        self.good(self.zimage("generate", "-q", "-m", REPO, "-p", "a", "-s1", "-W64", "-H64", "-o", "out.png",
                              env=self.env))

    def test_what_is_there_is_not_fetched_again(self):
        self.add_model()
        self.good(self.download())
        sent = self.hub.sent()
        self.good(self.download(REPO + "@main"))
        self.good(self.download(REPO + "@" + self.repo.commit))
        self.assertEqual(self.hub.sent(), sent)
        # A new commit: what did not change is linked.
        files = model_files()
        files["vae/config.json"] += b" "
        self.repo = self.hub.add(REPO, files)
        self.good(self.download())
        self.assertEqual(self.hub.sent(), sent + len(files["vae/config.json"]))

    def test_offline(self):
        self.add_model()
        self.fails(["HF_HUB_OFFLINE", REPO], HF_HUB_OFFLINE="1")
        self.fails(["HF_HUB_OFFLINE", REPO, "to here"], "--local-dir", "here", HF_HUB_OFFLINE="1")
        self.assertEqual(self.hub.requests, [])
        first = self.good(self.download())
        asked = len(self.hub.requests)
        again = self.good(self.download(HF_HUB_OFFLINE="1"))
        self.assertEqual(again.stdout, first.stdout)
        self.assertIn(b"Hugging Face was not reached, or HF_HUB_OFFLINE is set", again.stderr)
        self.assertEqual(len(self.hub.requests), asked)
        self.good(self.download(HF_ENDPOINT="http://127.0.0.1:9"))  # no one is there
        os.remove(glob.glob(self.snapshot() + "/vae/*.safetensors")[0])
        self.refused(self.download(HF_HUB_OFFLINE="1"), 1, "not complete in the cache", "the environment variable HF_HUB_OFFLINE is set")
        self.refused(self.zimage("generate", "-m", REPO, "-p", "x", env=self.env), 1,
                     "zimage download " + REPO)

    def test_places_of_the_cache(self):
        self.add_blob(1000)
        env = {**self.env, "HF_HUB_CACHE": self.path("elsewhere")}
        self.good(self.zimage("download", "a/b", env=env))
        self.assertTrue(os.path.isdir(self.path("elsewhere", "models--a--b", "blobs")))
        del env["HF_HUB_CACHE"], env["HF_HOME"]
        env["HOME"] = self.path("home")
        env.pop("XDG_CACHE_HOME", None)
        self.good(self.zimage("download", "a/b", env=env))
        self.assertTrue(os.path.isdir(self.path("home/.cache/huggingface/hub/models--a--b")))

    def test_a_local_folder(self):
        files = self.add_model()
        result = self.good(self.download("--local-dir", "here"))
        self.assertEqual(result.stdout, b"here\n")
        for name, data in files.items():
            self.assertEqual(self.read("here/" + name), data)
        record = self.read("here/.cache/huggingface/download/vae/config.json.metadata").decode()
        self.assertEqual(record.split("\n")[:2],
                         [self.repo.commit, self.repo.etags["vae/config.json"]])
        sent = self.hub.sent()
        self.write("here/vae/config.json", b"x" * len(files["vae/config.json"]))
        self.good(self.download("--local-dir", "here"))
        self.assertEqual(self.read("here/vae/config.json"), files["vae/config.json"])
        self.assertEqual(self.hub.sent(), sent + len(files["vae/config.json"]))

    def test_one_file(self):
        self.hub.add("x/gguf", {"z-Q4_0.gguf": b"4" * 100, "z-Q8_0.gguf": b"8" * 100})
        self.refused(self.download("x/gguf"), 1, "--file", "z-Q4_0.gguf, z-Q8_0.gguf")
        path = self.good(self.download("x/gguf", "--file", "z-Q8_0.gguf")).stdout.decode().strip()
        with open(path, "rb") as file:
            self.assertEqual(file.read(), b"8" * 100)
        self.assertEqual(self.hub.sent(), 100)
        self.refused(self.download("x/gguf", "--file", "none"), 1, "no file none")

    def test_converted_on_arrival(self):
        self.add_model()
        words = ["--to", "mlx", "--precision", "q8"]
        result = self.good(self.download(*words))
        self.assertEqual(result.stdout, b"models/mlx/Z-Image-Turbo-q8\n")
        left = [path for path in self.files() if not path.startswith("models/mlx/")]
        self.assertEqual([path for path in left if path.startswith("models")], [])
        self.assertFalse(os.path.exists(self.path("hf")))
        self.good(self.generate(model="Z-Image-Turbo-q8"))
        sent = self.hub.sent()
        self.refused(self.download(*words), 1, "is there already", "Z-Image-Turbo-q8-2")
        self.assertEqual(self.hub.sent(), sent)
        # From the cache, if it is there: nothing is fetched, and it stays.
        self.good(self.download())
        sent = self.hub.sent()
        self.good(self.download(*words, "--name", "other"))
        self.assertEqual(self.hub.sent(), sent)
        self.assertTrue(os.path.isdir(self.snapshot()))

    def test_names_with_dots(self):
        """A file of the repository's name in the current folder does not change the model's."""
        self.hub.add("x/Model-v1.5", model_files())
        self.write("Model-v1.5", "x")
        result = self.good(self.download("x/Model-v1.5", "--to", "mlx", "--precision", "q8"))
        self.assertEqual(result.stdout, b"models/mlx/Model-v1.5-q8\n")

    def test_a_failure_leaves_no_folders(self):
        for words in ([], ["none/such"]):
            self.refused(self.download(*words, "--to", "mlx", HF_ENDPOINT=self.hub.url if words else
                                       "http://127.0.0.1:9"), 1)
            self.assertFalse(os.path.exists(self.path("models")))

    def test_what_gguf_lacks_is_said_before(self):
        self.add_model()
        result = self.good(self.download("--to", "gguf"))
        self.assertIn(b"holds only the transformer", result.stderr)
        self.assertIn(b"gguf: only the transformer", self.good(self.zimage("download", "--help")).stdout)
        self.assertEqual(self.good(self.download("--to", "gguf", "-q", "--name", "b")).stderr, b"")

    def test_events(self):
        files = self.add_model()
        lines = self.good(self.download("--json")).stdout.decode().splitlines()
        events = [json.loads(line) for line in lines]
        self.assertEqual({event["event"] for event in events[:-1]}, {"progress"})
        total = sum(map(len, files.values()))
        self.assertEqual(events[-1]["event"], "done")
        self.assertEqual(events[-1]["fetched"], total)
        last = events[-2]
        self.assertEqual((last["done"], last["size"], last["finished"]), (total, total, len(files)))
        self.assertEqual(sum(file["size"] for file in last["files"]), total)

    @unittest.skipUnless(LONG_FORM, "takes long: make check-all runs it")
    def test_processor_time_beside_curl(self):
        """Processor time without the digest is at most curl's."""
        curl = shutil.which("curl")
        with open(ZIMAGE, "rb") as file:
            if not curl or re.search(b"__[at]san_init", file.read()):
                self.skipTest("no curl, or a sanitizer at work")
        data = self.add_blob(200_000_000)
        url = f"{self.hub.cdn_url}/signed/{self.repo.etags['model.safetensors']}"
        ours, curls, digest = [], [], []
        for _ in range(5):
            begun = time.process_time()
            hashlib.sha256(data).digest()
            digest.append(time.process_time() - begun)
            shutil.rmtree(self.path("hf"), ignore_errors=True)
            ours.append(self.processor_time(ZIMAGE, "download", "-q", "a/b"))
            curls.append(self.processor_time(curl, "-sSo", self.path("x"), url))
            os.remove(self.path("x"))
        self.assertLess(min(ours) - min(digest), 1.15 * min(curls), (ours, curls, digest))

    def processor_time(self, *words):
        run = subprocess.Popen(words, cwd=self.dir, env=self.env, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(run.pid, 0)
        run.returncode = os.waitstatus_to_exitcode(status)
        self.assertEqual(run.returncode, 0)
        return usage.ru_utime + usage.ru_stime

    def test_several_at_a_time(self):
        files = {f"model-{i}-of-4.safetensors": bytes([i]) * 400_000 for i in range(1, 5)}
        shards = {"weight_map": {str(i): name for i, name in enumerate(files)}}
        files["model.safetensors.index.json"] = json.dumps(shards).encode()
        self.hub.add("a/b", files)
        self.hub.rate = 400_000
        begun = time.monotonic()
        self.good(self.download("a/b"))
        starts = [row["time"] - begun for row in self.hub.requests if row["cdn"]]
        self.assertEqual(len(starts), 4)
        self.assertLess(max(starts) - min(starts), 0.8)  # each of them takes a second

    def test_a_renamed_repository(self):
        self.add_model()
        self.hub.renamed["old/name"] = REPO
        self.hub.repos["old/name"] = self.repo  # resolve works under both names
        self.good(self.download("old/name"))

    def test_calls_that_are_wrong(self):
        for words in (["nothing"], ["a/b/c"], ["../x"], ["a/.."], ["a/b@"], ["a/b@x..y/.."],
                      ["a/b", "c"], ["a--b/c"]):
            self.refused(self.download(*words), 2)
        self.refused(self.download("--local-dir", "x", "--to", "mlx"), 2, "--local-dir")
        for option in "--models", "--name":
            self.refused(self.download(option, "x"), 2, option + ": applies only to converted models")
        self.assertEqual(self.hub.requests, [])


class Refusals(HubCase):
    def test_no_network(self):
        self.fails(["cannot be reached", "127.0.0.1"], HF_ENDPOINT="http://127.0.0.1:9")
        self.fails(["cannot be reached", "nowhere.invalid"], HF_ENDPOINT="http://nowhere.invalid")
        self.fails(["neither with https://"], HF_ENDPOINT="ftp://127.0.0.1")

    def test_tokens(self):
        self.add_model()
        self.hub.token, self.hub.private = "secret", True
        self.fails([REPO, "or it is private", "set the environment variable HF_TOKEN to a token"])
        self.fails([REPO, "the hub does not accept your token"], HF_TOKEN="wrong")
        self.fails(["token (from HF_TOKEN, or the token file of huggingface_hub) has a space"], HF_TOKEN="a b")
        self.write("hf/token", "secret\n")
        self.good(self.download())  # from huggingface_hub's file

    def test_gated(self):
        self.add_model()
        self.hub.token, self.hub.gated = "secret", True
        self.fails([REPO, "gated", "accept its terms", "HF_TOKEN"])
        self.fails([REPO, "gated", "account of your token"], HF_TOKEN="wrong")
        self.good(self.download(HF_TOKEN="secret"))

    def test_the_token_goes_to_the_hub_alone(self):
        self.add_model()
        self.hub.token, self.hub.private = "secret", True
        self.good(self.download(HF_TOKEN="secret"))
        self.assertTrue(any(row["cdn"] for row in self.hub.requests))
        for row in self.hub.requests:
            self.assertEqual(row["token"], None if row["cdn"] else "Bearer secret")

    def test_not_there(self):
        self.add_model()
        self.fails(["no/body", "no such repository"], "no/body")
        self.fails([REPO, "no such revision as v9"], REPO + "@v9")
        self.hub.absent = {"vae/config.json"}
        self.fails(["vae/config.json", "does not have it"])

    def test_redirects(self):
        self.add_blob(1000)
        for url, word in (("ftp://127.0.0.1/x", "https://"), ("file:///etc/passwd", "https://"),
                          ("http://user:word@127.0.0.1/", "user"), ("http://", "URL")):
            self.hub.location = url
            self.fails([word], "a/b")
        self.hub.location = self.hub.url + "/a/b/resolve/main/model.safetensors"
        self.fails(["too many redirects"], "a/b")

    def test_private_addresses(self):
        """The double is the proxy of a hub with a public address."""
        self.add_blob(1000)
        env = {"HF_ENDPOINT": "http://hub.example", "http_proxy": self.hub.url, "no_proxy": ""}
        self.hub.cdn_url = "http://cdn.example"
        for url in ("http://127.0.0.1/x", "http://localhost/", "http://[::1]/", "http://10.0.0.1/",
                    "http://169.254.169.254/latest", "http://192.168.0.1:8080/",
                    "http://[::ffff:127.0.0.1]/", "http://[fd00::1]/", "http://2130706433/",
                    "http://0x7f.1/"):
            self.hub.location = url
            self.fails(["whose address is one of a local network"], "a/b", **env)
        self.assertFalse(any("latest" in row["path"] for row in self.hub.requests))

    def test_hosts_without_a_proxy(self):
        self.add_blob(1000)
        proxy = {"http_proxy": "http://127.0.0.1:9", "no_proxy": ""}
        self.fails(["cannot be reached"], "a/b", **proxy)
        self.fails(["cannot be reached"], "a/b", **proxy, NO_PROXY="hub.example")
        for name in "no_proxy", "NO_PROXY":
            env = {key: value for key, value in {**self.env, **proxy}.items() if key.lower() != "no_proxy"}
            self.good(self.zimage("download", "a/b", env={**env, name: "example.org,127.0.0.1"}))
            shutil.rmtree(self.path("hf"))

    def test_names_that_lead_out(self):
        self.add_model()
        for name in ("../x.json", "a/../../x", "/etc/x", "a//b", "a/./b", "..", "a\\b", "c:x", "",
                     "a\nb", "x" * 500):
            def change(listing, name=name):
                listing["siblings"][0]["rfilename"] = name
            self.hub.change_listing = change
            self.fails(["which may lead out of the folder, has special characters or is too long"])
        self.assertEqual(self.paths("resolve"), [])

    def test_listings_that_lie(self):
        self.add_model()
        def digest(listing):
            for row in listing["siblings"]:
                if "lfs" in row:
                    row["lfs"]["sha256"] = "../../" + row["lfs"]["sha256"][6:]
        def commit(listing):
            listing["sha"] = "../" + listing["sha"][3:]
        def twice(listing):
            listing["siblings"].append(listing["siblings"][0])
        def size(listing):
            listing["siblings"][0]["size"] = -1
            listing["siblings"][0].get("lfs", {})["size"] = 1.5
        def nothing(listing):
            listing.clear()
        for change, word in ((digest, "checksum"), (commit, "not a hub"), (twice, "twice"),
                             (size, "size"), (nothing, "not a hub")):
            self.hub.change_listing = change
            self.fails([word])
        self.hub.change_listing, self.hub.endless_listing = None, True
        self.fails(["is larger than"])

    def test_no_room(self):
        self.add_blob(1000)
        def change(listing):
            for row in listing["siblings"]:
                if "lfs" in row:
                    row["lfs"]["size"] = 10**15
        self.hub.change_listing = change
        self.fails(["takes 1.0 PB", "are free on this disk"], "a/b")
        self.assertEqual(self.paths("resolve"), [])

    def test_equal_files_take_room_once(self):
        """Two files of one content are one blob: they fit where only one does. Then the lie about the size shows."""
        self.repo = self.hub.add("a/b", {"model.safetensors": bytes(1000), "other.safetensors": bytes(1000)})
        room = shutil.disk_usage(self.dir).free * 6 // 10
        def change(listing):
            for row in listing["siblings"]:
                row["lfs"]["size"] = row["size"] = room
        self.hub.change_listing = change
        self.fails(["1000 bytes of it"], "a/b")

    def test_a_disk_that_is_full_meanwhile(self):
        data = self.add_blob(3_000_000)
        limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
        result = self.zimage("download", "a/b", env=self.env, preexec_fn=limit)
        self.refused(result, 1, "cannot write", "what has arrived is kept", "start the download again")
        self.no_files()
        sent = self.hub.sent()
        self.hub.requests.clear()
        self.good(self.download("a/b"))
        self.assertLessEqual(self.hub.sent(), len(data) - 1_000_000 + 10)
        self.assertGreater(sent, 900_000)

    def test_lies_about_files(self):
        data = self.add_blob(100_000)
        bad = bytes([data[0] ^ 1]) + data[1:]
        for instead, words in ((bad, ["digest", "removed"]), (data[:-1], ["99999 bytes"]),
                               (data + b"x", ["100001 bytes"])):
            self.hub.instead["model.safetensors"] = instead
            self.fails(words, "a/b")
            if "removed" in words:  # nothing of it is left to go on with
                self.assertEqual(self.paths_of_parts(), [])
        self.hub.instead.clear()
        for claims, words in (({"X-Linked-Etag": '"' + "0" * 64 + '"'}, ["lists the checksum"]),
                              ({"X-Repo-Commit": "0" * 40}, ["from commit"])):
            self.hub.claims = claims
            self.fails(words, "a/b")
        self.hub.claims = {}
        for text in ("bytes 1-100000/100000", "bytes 0-200000/100000", "bytes 5-4/100000", "x"):
            self.hub.content_range = {"model.safetensors": text}
            self.fails(["model.safetensors"], "a/b")
        self.hub.content_range = {}
        self.hub.endless = {"model.safetensors"}
        self.fails(["more bytes than it announced"], "a/b")
        self.assertLess(self.hub.sent(), 50_000_000)

    def paths_of_parts(self):
        etag = self.repo.etags["model.safetensors"]
        return [path for path in self.files() if path.endswith(etag + ".incomplete")]

    def test_silence(self):
        self.add_blob(100_000)
        self.hub.stall = {"model.safetensors"}
        self.fails(["timed out"], "a/b", HF_HUB_DOWNLOAD_TIMEOUT="1")

    def test_a_disk_that_cannot_be_written(self):
        self.add_blob(1000)
        self.write("hf", b"a file where the folder is to be")
        self.refused(self.download("a/b"), 1, "hf/hub: cannot write here: a folder in this path is a file")


class Resumption(HubCase):
    def test_servers_that_are_busy(self):
        self.add_blob(100_000)
        self.hub.busy_path = "/signed/"
        self.hub.busy = [(429, {"Retry-After": "1"}), (503, {}), (500, {})]
        begun = time.monotonic()
        self.good(self.download("a/b"))
        self.assertGreater(time.monotonic() - begun, 1)
        self.hub.busy_path = "/api/"
        self.hub.busy = [(502, {}), (429, {})]
        self.good(self.download("a/b"))
        self.hub.busy = [(503, {"X-Error-Message": "sorry"})] * 20
        self.add_blob(1000, "c/d")
        self.fails_only(["503", "sorry"], "c/d")
        self.hub.busy = [(429, {"Retry-After": "100000"})]
        self.fails_only(["429"], "c/d")

    def fails_only(self, words, *args):
        self.refused(self.download(*args), 1, *words)

    def test_addresses_that_expire(self):
        """The CDN's URLs hold for an hour; after that the hub is asked for another one."""
        self.add_blob(100_000)
        self.hub.busy_path, self.hub.busy = "/signed/", [(403, {})]
        self.hub.cuts = [30_000]
        self.good(self.download("a/b"))
        self.assertEqual(len(self.paths("/resolve/")), 4)  # of both files, and twice anew

    def test_a_server_without_ranges(self):
        data = self.add_blob(100_000)
        self.hub.ranges, self.hub.cuts = False, [60_000]
        path = self.good(self.download("a/b")).stdout.decode().strip()
        with open(path + "/model.safetensors", "rb") as file:
            self.assertEqual(file.read(), data)
        self.assertEqual(self.hub.sent(cdn=True), 160_000)

    def test_what_was_left_is_wrong(self):
        """Bytes of a partial file that are not the file's: it is begun anew, once."""
        data = self.add_blob(100_000)
        blob = os.path.join(self.cache, "models--a--b", "blobs",
                            self.repo.etags["model.safetensors"])
        for left in (b"x" * 5000, b"x" * 200_000):
            self.write(os.path.relpath(blob + ".incomplete", self.dir), left)
            self.good(self.download("a/b"))
            with open(blob, "rb") as file:
                self.assertEqual(file.read(), data)
            os.remove(blob)

    def test_two_at_once(self):
        data = self.add_blob(2_000_000)
        self.hub.rate = 2_000_000
        runs = [subprocess.Popen([ZIMAGE, "download", "a/b"], cwd=self.dir, env=self.env,
                                 stdout=subprocess.DEVNULL) for _ in range(3)]
        self.assertEqual([run.wait(60) for run in runs], [0, 0, 0])
        self.assertEqual(self.hub.sent(cdn=True), len(data))

    def test_ctrl_c(self):
        self.add_blob(2_000_000)
        self.hub.rate = 500_000
        run = subprocess.Popen([ZIMAGE, "download", "a/b"], cwd=self.dir, env=self.env,
                               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self.wait_for(300_000)
        run.send_signal(signal.SIGINT)
        _, text = run.communicate(timeout=30)
        self.assertEqual((run.returncode, text), (-signal.SIGINT, b"zimage: cancelled\n"))
        self.hub.rate = None
        sent = self.hub.sent()
        self.good(self.download("a/b"))
        self.assertLess(self.hub.sent(), 2_000_000 + sent / 2)

    def wait_for(self, bytes_sent):
        until = time.monotonic() + 30
        while self.hub.sent(cdn=True) < bytes_sent and time.monotonic() < until:
            time.sleep(0.002)

    def test_many_interruptions(self):
        """Killed and then cut off many times, at random places."""
        kills, cuts = (60, 40) if LONG_FORM else (12, 8)
        chance = random.Random(8)
        data = self.add_blob(24_000_000)
        self.hub.rate = 20_000_000

        def rows():
            return [row for row in self.hub.requests if row["cdn"]]

        for _ in range(kills):
            run = subprocess.Popen([ZIMAGE, "download", "-q", "a/b"], cwd=self.dir, env=self.env)
            before, wanted = rows(), chance.randint(1, 300_000)
            while len(rows()) == len(before) or rows()[-1]["sent"] < wanted:
                self.assertIsNone(run.poll())
                time.sleep(0.002)
            run.kill()
            run.wait()
        self.hub.cuts = [chance.randint(0, 100_000) for _ in range(cuts)]
        path = self.good(self.download("-q", "a/b")).stdout.decode().strip()
        self.assertEqual(self.hub.cuts, [])
        with open(path + "/model.safetensors", "rb") as file:
            self.assertEqual(hashlib.sha256(file.read()).hexdigest(),
                             hashlib.sha256(data).hexdigest())
        self.assertGreaterEqual(len(rows()), kills + cuts + 1)
        begins = [int(row["range"].split("=")[1].split("-")[0]) for row in rows()]
        ends = [begin + row["sent"] for begin, row in zip(begins, rows())]
        twice = [end - begin for end, begin in zip(ends, begins[1:])]
        # What was under way in sockets and in one read; far below a part, 64 MB.
        self.assertLess(max(twice), 8_000_000)
        self.assertEqual(sum(twice) + len(data), self.hub.sent(cdn=True))
        # Beginning anew each time would send all that was there before.
        self.assertLess(sum(twice), sum(ends[:-1]) / 2)


DEMO = os.path.join(HERE, "..", "..", "share", "demo-model")
SHARD = "diffusion_pytorch_model-%05d-of-%05d.safetensors"


def in_shards(count):
    """The files of the demo model, its transformer in so many shards in which names are mixed."""
    files = model_files(DEMO)
    tensors = read_safetensors(os.path.join(DEMO, "transformer", "diffusion_pytorch_model.safetensors"))
    del files["transformer/diffusion_pytorch_model.safetensors"]
    names, weight_map = sorted(tensors, key=lambda name: hashlib.sha1(name.encode()).digest()), {}
    for i in range(count):
        shard = SHARD % (i + 1, count)
        own = names[i * len(names) // count : (i + 1) * len(names) // count]
        weight_map.update({name: shard for name in own})
        files["transformer/" + shard] = safetensors_bytes({name: tensors[name] for name in own})
    index = {"metadata": {}, "weight_map": weight_map}
    files["transformer/diffusion_pytorch_model.safetensors.index.json"] = json.dumps(index).encode()
    return files


class Arriving(HubCase):
    """Weights are converted while others come, and do not stay."""

    def setUp(self):
        super().setUp()
        self.source = in_shards(5)
        self.repo = self.hub.add(REPO, self.source)
        self.weights = [name for name in self.source if name.endswith(".safetensors")]
        for name, data in self.source.items():
            self.write("source/" + name, data)
        self.work = self.path("models", ".incoming", "Z-Image-Turbo")

    def tree(self, name):
        return {path[len(name) :]: self.read(path) for path in self.files() if path.startswith(name)}

    def same(self, path, want="want"):
        got, wanted = self.tree(path), self.tree(want)
        self.assertEqual(sorted(got), sorted(wanted))
        self.assertEqual([name for name in got if got[name] != wanted[name]], [])

    def on_disk(self):
        """The weights of which more than a header takes room."""
        heavy = []
        for name in self.weights:
            try:
                taken = os.stat(os.path.join(self.work, name)).st_blocks * 512
            except FileNotFoundError:
                continue
            if taken > len(self.source[name]) / 2:
                heavy.append(name)
        return heavy

    def start(self, *args):
        return subprocess.Popen([ZIMAGE, "download", "-q", *args], cwd=self.dir, env=self.env,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def test_the_same_as_afterwards(self):
        for words in (["--to", "mlx", "--precision", "q8"], ["--to", "comfyui", "--precision", "fp8"],
                      ["--to", "diffusers", "--precision", "fp16"], ["--to", "mlx"],
                      ["--to", "gguf", "--precision", "q8"], ["--precision", "bf16"]):
            layout = words[1] if words[0] == "--to" else "diffusers"
            want = "want" + {"comfyui": ".safetensors", "gguf": ".gguf"}.get(layout, "")
            self.hub.requests.clear()
            path = self.good(self.download(*words)).stdout.decode().strip()
            self.good(self.zimage("convert", "source", want, "--to", layout, *words[-2:]))
            self.same(path, want)
            whole = sum(map(len, self.source.values()))
            self.assertEqual(self.hub.sent(), whole)
            self.assertEqual([name for name in os.listdir(self.path("models")) if name[0] == "."], [])
            for name in path, want:
                subprocess.run(["rm", "-rf", self.path(name)], check=True)

    def test_few_at_a_time(self):
        """The hub waits, with more than a third of all sent, until something was converted."""
        self.hub.rate, self.hub.limit = 4_000_000, 8_000_000
        run, most, early = self.start("--to", "mlx", "--precision", "q8"), 0, False
        made = os.path.join(self.work, ".cache", "zimage", "converted", "weights.safetensors")
        until = time.monotonic() + 50
        while run.poll() is None:
            most = max(most, len(self.on_disk()))
            if self.hub.limit and (os.path.exists(made) or time.monotonic() > until):
                early, self.hub.limit = os.path.exists(made), None
            time.sleep(0.005)
        self.assertEqual(run.communicate()[1], b"")
        self.assertEqual(run.returncode, 0)
        self.assertIn(most, (1, 2))
        self.assertTrue(early)

    def test_interruptions(self):
        """Killed at random places; what was converted is neither lost nor fetched again."""
        chance, rounds = random.Random(5), 12 if LONG_FORM else 4
        self.hub.rate = 6_000_000
        whole = sum(len(self.source[name]) for name in self.weights)
        for round in range(rounds):
            before = self.hub.sent(cdn=True)
            run = self.start("--to", "mlx", "--precision", "q8")
            self.hub.limit = until = before + chance.randint(0, 1_500_000)
            while self.hub.sent(cdn=True) < until:
                self.assertIsNone(run.poll(), (round, run.stderr.read() if run.poll() else ""))
                time.sleep(0.002)
            run.kill()
            run.communicate()
            self.hub.limit = None
            self.assertFalse(os.path.exists(self.path("models", "mlx", "Z-Image-Turbo-q8")))
        self.hub.rate = None
        path = self.good(self.download("--to", "mlx", "--precision", "q8")).stdout.decode().strip()
        self.good(self.zimage("convert", "source", "want", "--to", "mlx", "--precision", "q8"))
        self.same(path)
        self.assertLess(self.hub.sent(cdn=True), whole + rounds * 1_200_000)

    def used(self):
        try:
            with open(os.path.join(self.work, ".cache", "zimage", "journal"), encoding="ascii") as file:
                return len(file.read().splitlines()) - 1
        except FileNotFoundError:
            return 0

    def stop_when_some_are_used(self, *words, count=2):
        self.hub.rate = 6_000_000
        run = self.start(*words)
        while self.used() < count:
            self.assertIsNone(run.poll())
            time.sleep(0.002)
        run.send_signal(signal.SIGINT)
        self.assertEqual(run.communicate(timeout=30)[1], b"zimage: cancelled\n")
        self.hub.rate = None

    def test_used_files_are_not_fetched_again(self):
        words = ["--to", "mlx", "--precision", "q8"]
        self.stop_when_some_are_used(*words)
        self.hub.requests.clear()
        self.good(self.download(*words))
        asked = {row["path"] for row in self.hub.requests if row["cdn"]}
        self.assertLessEqual(len(asked), len(self.weights) - 2)

    def test_incomplete_ones_are_listed_and_removed(self):
        self.stop_when_some_are_used("--to", "mlx")
        name = ".incoming/Z-Image-Turbo"
        result = self.good(self.zimage("models", env=self.env))
        self.assertIn(name + ": ", result.stdout.decode())
        rows = json.loads(self.good(self.zimage("models", "--json", env=self.env)).stdout)["incomplete"]
        self.assertEqual([row["name"] for row in rows], [name])
        taken = int(subprocess.run(["du", "-s", "-B1", self.work], capture_output=True, check=True)
                    .stdout.split()[0])
        self.assertEqual(rows[0]["bytes"], taken)
        self.refused(self.zimage("models", "remove", "-y", ".incoming/../mlx", env=self.env), 1,
                     "there is no unfinished download of this name")
        self.good(self.zimage("models", "remove", "-y", name, env=self.env))
        self.assertFalse(os.path.exists(self.path("models", ".incoming")))
        self.refused(self.zimage("models", "remove", "-y", name, env=self.env), 1,
                     "there is no unfinished download of this name")

    def test_another_wish(self):
        """What was made for another one is of no use, and is not mixed up with it."""
        self.stop_when_some_are_used("--to", "mlx", "--precision", "q8")
        path = self.good(self.download("--to", "mlx", "--precision", "q4")).stdout.decode().strip()
        self.good(self.zimage("convert", "source", "want", "--to", "mlx", "--precision", "q4"))
        self.same(path)

    def test_what_was_made_is_gone(self):
        words = ["--to", "mlx", "--precision", "q8"]
        self.stop_when_some_are_used(*words)
        subprocess.run(["rm", "-rf", self.path(self.work, ".cache", "zimage", "converted")], check=True)
        path = self.good(self.download(*words)).stdout.decode().strip()
        self.good(self.zimage("convert", "source", "want", *words))
        self.same(path)

    def test_foreign_ones_are_not_fetched(self):
        """Their headers tell."""
        self.source = {name: data for name, data in self.source.items() if "transformer" not in name}
        foreign = {"double_blocks.0.img_attn.qkv.weight": ["BF16", [3 << 10, 1 << 10], bytes(6 << 20)]}
        self.source["transformer/diffusion_pytorch_model.safetensors"] = safetensors_bytes(foreign)
        self.source["transformer/config.json"] = b'{"_class_name": "FluxTransformer2DModel"}'
        self.hub.add(REPO, self.source)
        result = self.download("--to", "mlx", "--precision", "q8")
        self.refused(result, 1, "Flux")
        self.assertLess(self.hub.sent(cdn=True), 4_500_000)
        self.assertFalse(os.path.exists(self.work))

    def test_what_cannot_be_made_is_not_fetched(self):
        self.refused(self.download("--precision", "q8"), 2, "--precision: q8", "diffusers")
        self.assertLess(self.hub.sent(cdn=True), 8_000_000)

    def test_a_conversion_that_fails(self):
        """It says why, at once; another wish goes on with what is there."""
        name = next(name for name in self.weights if "transformer" in name)
        tensors = read_safetensors_bytes(self.source[name])
        first = next(iter(tensors))
        tensors[first][2] = b"\x80\x47" * (len(tensors[first][2]) // 2)  # 65536, in BF16
        self.source[name] = safetensors_bytes(tensors)
        self.hub.add(REPO, self.source)
        self.refused(self.download("--to", "diffusers", "--precision", "fp16"), 1, first, "65504")
        self.good(self.download("--to", "diffusers", "--precision", "bf16"))

    def test_long_headers(self):
        tensors = read_safetensors_bytes(self.source[self.weights[0]])
        self.source[self.weights[0]] = safetensors_bytes(tensors, padding=3 << 20)
        self.hub.add(REPO, self.source)
        self.good(self.download("--to", "mlx"))
        bad = {**self.source, self.weights[0]: b"\xff" * 3_000_000}
        self.hub.add("a/b", bad)
        self.refused(self.download("a/b", "--to", "mlx", "--name", "other"), 1, "not a safetensors file")

    def test_a_server_without_ranges(self):
        self.hub.ranges = False
        self.good(self.download("--to", "mlx", "--precision", "q8"))

    def test_two_at_once(self):
        self.hub.rate = 3_000_000
        run = self.start("--to", "mlx", "--precision", "q8")
        while not self.on_disk():
            time.sleep(0.005)
        self.refused(self.download("--to", "mlx", "--precision", "q4"), 1, "another zimage")
        self.hub.rate = None
        self.assertEqual(run.wait(60), 0)
        run.communicate()

    def test_no_room(self):
        """A disk that is too small for a download with its conversion (16 MB)."""
        def on_small_disk(*words):
            return subprocess.run(["unshare", "-rm", "sh", "-c",
                                   'mount -t tmpfs -o size=16m none models && exec "$0" "$@"', *words],
                                  cwd=self.dir, env=self.env, capture_output=True, timeout=60)
        os.mkdir(self.path("models"))
        try:
            if on_small_disk("true").returncode:
                self.skipTest("no small disk to be had")
        except FileNotFoundError:
            self.skipTest("no small disk to be had")
        self.refused(on_small_disk(ZIMAGE, "download", "--to", "mlx"), 1, "with its conversion")
        self.assertLessEqual(self.hub.sent(cdn=True), len(self.weights) << 20)


class Secure(HubCase):
    @classmethod
    def setUpClass(cls):
        cls.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        cls.context.load_cert_chain(os.path.join(HERE, "localhost.pem"))

    def test_certificates(self):
        self.add_blob(1000)
        self.fails(["no secure connection", "certificate", "127.0.0.1"], "a/b")
        trusted = {"SSL_CERT_FILE": os.path.join(HERE, "localhost.pem")}
        self.good(self.download("a/b", **trusted))
        self.add_blob(2000, "c/d")
        self.hub.location = self.hub.url.replace("https", "http") + "/x"
        self.refused(self.download("c/d", **trusted), 1, "redirects from https to this address without encryption")


if __name__ == "__main__":
    unittest.main()
