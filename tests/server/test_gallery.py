"""zimage gallery beside a running server, and zimage inspect of the server's images."""

import json
import os
import socket
import sys
import unittest

from serving import PROMPT, Case, path, run


class Gallery(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        for seed, prompt in (("1", PROMPT), ("2", "a white moon on a pink background")):
            cls.server.wait(cls.server.submit(model="demo", steps=1, seed=seed, prompt=prompt))

    def call(self, *args, folder=None):
        return run(*args, folder=folder or self.dir)

    def gallery(self, *args):
        done = self.call("gallery", "--json", *args)
        self.assertEqual(done.returncode, 0, done.stderr)
        return [json.loads(line) for line in done.stdout.splitlines()]

    def test_list_and_search(self):
        self.assertEqual([image["seed"] for image in self.gallery()], ["2", "1"])
        self.assertEqual([image["seed"] for image in self.gallery("-n", "1")], ["2"])
        self.assertEqual([image["prompt"] for image in self.gallery("circle red")], [PROMPT])
        self.assertEqual(self.gallery("harbour"), [])
        line = self.call("gallery", "moon").stdout
        name = line.split()[0]
        self.assertTrue(os.path.isfile(path(self.dir, name)), line)
        self.assertIn("a white moon on a pink background", line)

    def test_several_words(self):
        self.assertEqual([image["prompt"] for image in self.gallery("circle", "red")], [PROMPT])
        self.assertEqual(self.gallery("circle", "harbour"), [])
        line = self.call("gallery", "moon", "-n", "1").stdout
        self.assertEqual(line.split()[0], f"output/{line.split()[1]}.png")

    def test_remove_by_file(self):
        for form in "{}", "{}.png", "output/{}.png", self.dir + "/output/{}.png":
            name = self.server.wait(self.server.submit(model="demo", steps=1, prompt="a gray ring"))["images"][0]
            done = self.call("gallery", "--remove", form.format(name))
            self.assertEqual((done.returncode, done.stdout, done.stderr), (0, f"removed output/{name}.png\n", ""))
            self.assertFalse(os.path.exists(path(self.dir, "output", f"{name}.png")))

    def test_folders_without_images(self):
        os.mkdir(path(self.dir, "bare"))
        for args in [], ["--json"], ["moon"]:
            done = self.call("gallery", "-o", "bare", *args)
            self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))
        self.assertEqual(os.listdir(path(self.dir, "bare")), [])
        self.assertEqual(self.call("gallery", "-o", "bare", "--remove", "20260101-000000-00000000").returncode, 1)

    def test_inspect_tells_the_infotext(self):
        name = self.gallery("circle")[0]["id"]
        done = self.call("inspect", "--json", f"output/{name}.png")
        picture = json.loads(done.stdout)
        self.assertEqual(picture["fields"]["prompt"], PROMPT)
        self.assertEqual(picture["fields"]["seed"], "1")
        self.assertIn("Steps: 1", picture["recipe"])
        self.assertIn(PROMPT, self.call("inspect", f"output/{name}.png").stdout)

    def test_remove(self):
        job = self.server.wait(self.server.submit(model="demo", steps=1, prompt="a gray ring"))
        name = job["images"][0]
        done = self.call("gallery", "--remove", name, "ring")  # which of the two is meant?
        self.assertEqual(done.returncode, 2)
        self.assertIn("--remove: cannot be used with search words ('ring')", done.stderr)
        self.assertEqual(len(self.gallery("ring")), 1)
        self.assertEqual(self.call("gallery", "--remove", name).returncode, 0)
        self.assertEqual(self.gallery("ring"), [])
        self.assertEqual(self.server.get(f"/api/images/{name}").status, 404)
        self.assertFalse(os.path.exists(path(self.dir, "output", f"{name}.png")))

    @unittest.skipUnless(sys.platform == "linux", "binds a socket below /proc")
    def test_a_file_that_cannot_be_opened(self):
        """It is not taken for one that is not there."""
        name = self.server.wait(self.server.submit(model="demo", steps=1, prompt="a cone"))["images"][0]
        file = path(self.dir, "output", f"{name}.png")
        os.remove(file)
        with socket.socket(socket.AF_UNIX) as place:
            here = os.open(path(self.dir, "output"), os.O_RDONLY)
            place.bind(f"/proc/self/fd/{here}/{name}.png")  # a longer path is none of a socket
            os.close(here)
        for what in "/file", "/file?format=jpeg", "/thumbnail":
            message = self.refused(self.server.get(f"/api/images/{name}{what}"), 500)
            self.assertIn("cannot be opened", message)
        self.assertEqual(self.server.request("DELETE", f"/api/images/{name}").status, 204)

    def test_a_file_that_the_client_has_is_not_converted(self):
        """Shown by a file that cannot be converted any more."""
        name = self.server.wait(self.server.submit(model="demo", steps=1, prompt="a lamp"))["images"][0]
        place = f"/api/images/{name}/file?format=webp"
        whole = self.server.get(place)
        self.assertEqual(whole.status, 200)
        with open(path(self.dir, "output", f"{name}.png"), "wb") as file:
            file.write(b"damaged")
        for method in "GET", "HEAD":
            reply = self.server.request(method, place, headers={"If-None-Match": f'"other", {whole.headers["ETag"]}'})
            self.assertEqual((reply.status, reply.body), (304, b""))
            for header in "ETag", "Cache-Control", "Content-Disposition":
                self.assertEqual(reply.headers[header], whole.headers[header])
            reply = self.server.request(method, place, headers={"If-None-Match": '"other"'})
            self.assertEqual(reply.status, 500)
        self.assertEqual(self.server.request("DELETE", f"/api/images/{name}").status, 204)
        reply = self.server.get(place, headers={"If-None-Match": whole.headers["ETag"]})
        self.assertEqual(reply.status, 404)

    def test_pages_are_never_old(self):
        """The same question gets another answer when something has changed, whoever changed it."""
        def found(query):
            return [image["seed"] for image in self.server.get(f"/api/images?{query}").json["images"]]
        for _ in range(2):
            self.assertEqual(found("q=mast"), [])
        job = self.server.wait(self.server.submit(model="demo", steps=1, count=2, seed="3", prompt="a mast"))
        for _ in range(2):
            self.assertEqual(found("q=mast"), ["4", "3"])
        self.assertEqual(self.call("gallery", "--remove", job["images"][0]).returncode, 0)
        self.assertEqual(found("q=mast"), ["4"])
        self.assertEqual(self.server.request("DELETE", f"/api/images/{job['images'][1]}").status, 204)
        self.assertEqual(found("q=mast"), [])

    def test_pages_are_not_mixed_up(self):
        for query, seeds in (("seed=2", ["2"]), ("model=2", []), ("q=moon", ["2"]), ("q=circle", ["1"]),
                             ("limit=1&q=background", ["2"]), ("limit=2&q=background", ["2", "1"]),
                             ("seed=2&q=moon", ["2"]), ("q=moon%202:1:2", [])):
            reply = self.server.get(f"/api/images?{query}").json
            self.assertEqual([image["seed"] for image in reply["images"]], seeds, query)

    def test_search_knows_no_case(self):
        """In any writing, and however an accent is written."""
        prompt = "ÉCOLE in der Straße, МОРЕ, 100% \u0130 o_o"
        job = self.server.wait(self.server.submit(model="demo", steps=1, seed="7", prompt=prompt))
        for words in ("école", "e\u0301cole", "STRASSE straße", "море", "Море ÉCOLE", "100%", "O_O", "i"):
            self.assertIn("7", [image["seed"] for image in self.gallery(words)], words)
        for words in ("ecole", "10%", "o%o", "mope"):
            self.assertNotIn("7", [image["seed"] for image in self.gallery(words)], words)
        self.assertEqual(self.call("gallery", "--remove", job["images"][0]).returncode, 0)

    def test_what_is_not_there(self):
        for args, says in ((("--remove", "20260101-000000-00000000"), "has no image"),
                           (("--remove", "../../etc/passwd"), "has no image"),
                           (("--output", "nowhere"), "nowhere: there is no such folder; name the output folder")):
            done = self.call("gallery", *args)
            self.assertEqual(done.returncode, 1, args)
            self.assertEqual(len(done.stderr.splitlines()), 1)
            self.assertIn(says, done.stderr)
