"""A full disk, an output folder that is gone or read-only, a read-only database, a clock that is set back: the server
says what is wrong, nothing that was finished is lost, images can be deleted, and all is well again afterwards."""

import base64
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
import unittest
import urllib.parse

from serving import LIMIT, PROMPT, SCHEMAS, ZIMAGE, Server, Stream, errors_of, path, run, temporary_folder

PNG = b"\x89PNG\r\n\x1a\n"
MEGABYTE = 1 << 20


def mount_error(folder, size):
    """Mounts a tmpfs of that many bytes; what the system says if it cannot."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "needs root on Linux"
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder],
                          stderr=subprocess.PIPE, text=True)
    return done.stderr.strip()


class Disk(unittest.TestCase):
    def setUp(self):
        self.dir = temporary_folder(self)
        self.output = path(self.dir, "output")
        os.mkdir(self.output)
        self.server = None
        self.addCleanup(self.stop)

    def start(self, **options):
        self.server = Server(self.dir, **options)

    def stop(self, code=0):
        if self.server:
            server, self.server = self.server, None
            self.assertEqual(server.stop(), code)
            log = server.log()
            self.assertTrue("Sanitizer" not in log and "runtime error" not in log, log)

    def generate(self, **params):
        """The images of a job, as clients see them."""
        params = dict({"model": "demo", "steps": 1, "prompt": PROMPT}, **params)
        job = self.server.wait(self.server.submit(**params))
        self.assertEqual(job["state"], "done", job)
        return [self.image(name) for name in job["images"]]

    def image(self, name):
        image = self.server.get(f"/api/images/{name}").json
        self.assertEqual(errors_of(image, SCHEMAS["Image"]), [])
        return image

    def listed(self):
        return [image["id"] for image in self.server.get("/api/images?limit=200").json["images"]]

    def health(self):
        health = self.server.get("/api/health").json
        self.assertEqual(errors_of(health, SCHEMAS["Health"]), [])
        self.assertEqual(health["status"], "degraded" if health["problems"] else "ok")
        self.assertNotIn(self.dir, json.dumps(health))  # everyone may read it
        return [problem["kind"] for problem in health["problems"]], health["unsaved_images"]

    def health_becomes(self, problems, unsaved):
        end = time.monotonic() + LIMIT
        while self.health() != (problems, unsaved):
            self.assertLess(time.monotonic(), end, self.health())
            time.sleep(0.1)

    def whole(self, image):
        """The image can be shown and downloaded in every way."""
        file = self.server.get(f"/api/images/{image['id']}/file")
        self.assertTrue(file.body.startswith(PNG), file.body[:300])
        self.assertEqual(len(file.body), image["bytes"])
        self.assertEqual(self.server.request("POST", "/api/recipe", raw=file.body).json["recipe"], image["recipe"])
        self.assertEqual(self.server.get(f"/api/images/{image['id']}/file?format=jpeg").status, 200)
        thumbnail = self.server.get(f"/api/images/{image['id']}/thumbnail")
        self.assertEqual((thumbnail.status, thumbnail.headers["Content-Type"]), (200, "image/webp"))
        self.assertEqual(thumbnail.body, self.server.get(f"/api/images/{image['id']}/thumbnail").body)

    def delete(self, image):
        reply = self.server.request("DELETE", f"/api/images/{image['id']}")
        self.assertEqual(reply.status, 204, reply.body)
        self.assertEqual(self.server.get(f"/api/images/{image['id']}").status, 404)
        self.assertNotIn(image["id"], self.listed())
        self.assertFalse(os.path.exists(path(self.output, image["id"] + ".png")))

    def rows(self):
        database = sqlite3.connect(path(self.output, "history.db"))
        try:
            return [row[0] for row in database.execute("SELECT id FROM images ORDER BY id DESC")]
        finally:
            database.close()

    def sql(self, statement, *values):
        database = sqlite3.connect(path(self.output, "history.db"), isolation_level=None)
        database.execute(statement, values)
        database.close()

    def as_nobody(self):
        """Permissions mean nothing to root: options for a server that is another user's process, who owns its folders;
        none where the user is not root anyway."""
        if os.geteuid() != 0:
            return {}
        os.makedirs(path(self.dir, "own"), exist_ok=True)
        for folder, _, names in os.walk(self.dir):
            for name in [folder] + [path(folder, name) for name in names]:
                os.chown(name, 65534, 65534)

        def preexec():
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
        own = {name: path(self.dir, "own") for name in ("HOME", "HF_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME")}
        options = {"preexec": preexec, "env": dict(os.environ, **own)}
        try:
            subprocess.run([ZIMAGE, "--version"], preexec_fn=preexec, stdout=subprocess.DEVNULL, check=True)
        except (OSError, subprocess.SubprocessError) as error:
            self.skipTest(f"another user cannot run the program: {error}")
        return options


class Full(Disk):
    """On a disk of a few megabytes."""

    def setUp(self):
        super().setUp()
        why = mount_error(self.output, 4 * MEGABYTE)
        if why:
            self.skipTest("cannot mount a tmpfs: " + why)
        self.addCleanup(subprocess.run, ["umount", "-l", self.output], check=True)
        self.addCleanup(self.stop)  # before that

    def fill(self):
        """Not a byte is left."""
        file = os.open(path(self.output, "filler"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for size in MEGABYTE, 4096, 1:
            try:
                while True:
                    os.write(file, bytes(size))
            except OSError:
                pass
        os.close(file)

    def make_room(self):
        os.remove(path(self.output, "filler"))

    def test_images_of_a_full_disk(self):
        self.start()
        saved = self.generate(count=3)
        self.assertEqual([image["unsaved"] for image in saved], [None] * 3)
        self.assertEqual(self.health(), ([], 0))
        self.fill()
        self.health_becomes(["disk_full"], 0)
        new = self.generate(count=2, seed="7")
        self.assertEqual(self.health(), (["disk_full"], 2))
        names = [image["id"] for image in new[::-1] + saved[::-1]]
        self.assertEqual(self.listed(), names)
        for image in new:
            self.assertIn("disk with the output folder is full", image["unsaved"])
            self.assertFalse(os.path.exists(path(self.output, image["id"] + ".png")))
        for image in new + saved:  # these have no thumbnails yet
            self.whole(image)
        # Lists and searches know them.
        found = self.server.get("/api/images?q=circle&seed=8").json
        self.assertEqual(([image["id"] for image in found["images"]], found["total"]), ([new[1]["id"]], 1))
        page = self.server.get("/api/images?limit=1").json
        self.assertEqual((page["next"], page["total"]), (names[0], 5))
        page = self.server.get(f"/api/images?limit=4&cursor={page['next']}").json
        self.assertEqual(([image["id"] for image in page["images"]], page["next"]), (names[1:], None))
        # Both kinds can be deleted.
        self.delete(new[0])
        self.assertEqual(self.health(), (["disk_full"], 1))
        self.fill()
        self.delete(saved[1])
        self.assertEqual(self.listed(), [new[1]["id"], saved[2]["id"], saved[0]["id"]])
        # When there is room, all is saved, without being asked.
        stream = Stream(self.server, "/api/events")
        self.assertEqual(next(iter(stream)).name, "snapshot")
        self.make_room()
        self.health_becomes([], 0)
        event = stream.until("storage")[-1]
        while event.data["problems"]:
            event = stream.until("storage")[-1]
        self.assertEqual(errors_of(event.data, SCHEMAS["Event_storage"]), [])
        self.assertEqual(event.data["unsaved_images"], 0)
        stream.close()
        self.assertEqual(dict(self.image(new[1]["id"]), unsaved=""), dict(new[1], unsaved=""))
        self.assertIsNone(self.image(new[1]["id"])["unsaved"])
        self.whole(new[1])
        self.assertEqual(os.path.getsize(path(self.output, new[1]["id"] + ".png")), new[1]["bytes"])
        before = self.listed()
        self.assertEqual(self.rows(), before)
        self.stop()
        self.start()
        self.assertEqual(self.listed(), before)
        after = self.image(new[1]["id"])
        self.assertEqual(after, dict(new[1], unsaved=None, link=after["link"]))  # the port is another one

    def test_starting_on_a_full_disk(self):
        """Or nobody could delete an image there."""
        self.start()
        saved = self.generate(count=2)
        self.stop()
        self.fill()
        self.start()
        self.assertEqual(self.listed(), [saved[1]["id"], saved[0]["id"]])
        self.assertEqual(self.health(), (["disk_full"], 0))
        self.delete(saved[0])
        self.fill()
        new = self.generate()[0]
        self.whole(new)
        self.make_room()
        self.health_becomes([], 0)
        self.assertEqual(self.listed(), [new["id"], saved[1]["id"]])
        self.assertEqual(self.rows(), self.listed())  # the database is nobody's alone any more

    def test_starting_on_a_full_disk_without_a_row(self):
        """As after a crash when the file of an image had room, and its row had none."""
        self.start()
        saved = self.generate(count=2)
        self.stop()
        self.sql("DELETE FROM images WHERE id = ?", saved[0]["id"])
        self.fill()
        self.start()
        new = self.generate()[0]
        self.assertEqual(self.listed(), [new["id"], saved[1]["id"], saved[0]["id"]])
        self.assertEqual(self.health(), (["disk_full"], 1))
        self.whole(saved[0])
        self.make_room()
        self.health_becomes([], 0)
        self.assertEqual(self.rows(), [new["id"], saved[1]["id"], saved[0]["id"]])

    def test_secret_of_links(self):
        """Where it cannot be replaced, the log does not say that it was."""
        self.start()
        self.stop()
        secret = path(self.output, ".link-key")
        os.truncate(secret, 5)
        self.fill()
        self.start()
        log = self.server.log()
        self.assertRegex(log, r"warning output/\.link-key: cannot write[^\n]*; links to images will not work after a restart")
        self.assertIn("output/.link-key: has 5 bytes instead of 32: all earlier links", log)
        self.assertNotIn("was replaced", log)
        self.assertEqual([name for name in os.listdir(self.output) if "link-key" in name], [".link-key"])
        self.assertEqual(os.path.getsize(secret), 5)
        self.stop()
        self.make_room()
        self.start()
        self.assertIn("output/.link-key: had 5 bytes instead of 32, and was replaced", self.server.log())
        self.assertEqual((os.stat(secret).st_mode & 0o777, os.path.getsize(secret)), (0o600, 32))

    def test_links_on_a_full_disk(self):
        """There is no room for the secret that links outlive the server by: they work until it ends."""
        self.start()
        image = self.generate()[0]
        self.stop()
        os.remove(path(self.output, ".link-key"))
        self.fill()
        self.start()
        link = urllib.parse.urlsplit(self.image(image["id"])["link"]).path
        self.assertTrue(self.server.get(link).body.startswith(PNG))
        self.assertIn(".link-key: cannot write: No space left on device; free space, or write to another disk; links to images "
                      "will not work after a restart of the server", self.server.log())
        self.assertEqual([name for name in os.listdir(self.output) if name.startswith(".link-key")], [])

    def test_read_only_disk(self):
        self.start()
        saved = self.generate()[0]
        self.assertEqual(mount_error(self.output, "4k,ro"), "")  # over it, as the server writes to it
        try:
            new = self.generate(count=2)
            self.assertEqual(self.health()[1], 2)
            self.delete(new[0])
        finally:
            subprocess.run(["umount", self.output], check=True)
        self.health_becomes([], 0)
        self.assertEqual(self.listed(), [new[1]["id"], saved["id"]])
        self.assertEqual(self.rows(), self.listed())

    def test_another_disk_in_the_place_of_the_folder(self):
        """As when the folder's disk is not mounted and its mount point is an empty folder: nothing is saved there."""
        self.start()
        saved = self.generate()[0]
        self.assertEqual(mount_error(self.output, MEGABYTE), "")
        try:
            new = self.generate(count=2)
            self.assertEqual(self.health(), (["output_missing"], 2))
            for image in new:
                self.assertIn("disk of the server's output folder", image["unsaved"])
                self.whole(image)
            self.delete(new[0])
            time.sleep(1.5)  # it is tried again
            self.assertEqual(self.health(), (["output_missing"], 1))
            self.assertLessEqual(set(os.listdir(self.output)), {".encodings"})
        finally:
            subprocess.run(["umount", self.output], check=True)
        self.health_becomes([], 0)
        self.assertEqual(self.listed(), [new[1]["id"], saved["id"]])
        self.assertEqual(self.rows(), self.listed())
        self.whole(new[1])

    def test_gallery_removes_on_a_full_disk(self):
        for running in True, False:
            self.start()
            name = self.generate()[0]["id"]
            if not running:
                self.stop()
            self.fill()
            done = run("gallery", "--remove", name, folder=self.dir)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.assertFalse(os.path.exists(path(self.output, name + ".png")))
            self.make_room()
            if not running:
                self.start()
            self.assertNotIn(name, self.listed())
            self.stop()

    def test_other_apis_return_the_image(self):
        self.start()
        self.generate()
        self.fill()
        reply = self.server.request("POST", "/v1/images/generations", {"prompt": PROMPT, "n": 2, "steps": 1})
        self.assertEqual(reply.status, 200, reply.body[:500])
        for data in reply.json["data"]:
            self.assertTrue(base64.b64decode(data["b64_json"]).startswith(PNG))
        reply = self.server.request("POST", "/v1/images/generations",
                                    {"prompt": PROMPT, "steps": 1, "output_format": "jpeg"})
        self.assertTrue(base64.b64decode(reply.json["data"][0]["b64_json"]).startswith(b"\xff\xd8"))
        stream = Stream(self.server, "/v1/images/generations", "POST", {"prompt": PROMPT, "steps": 1, "stream": True})
        event = stream.until("image_generation.completed")[-1]
        self.assertTrue(base64.b64decode(event.data["b64_json"]).startswith(PNG))
        stream.close()
        reply = self.server.request("POST", "/sdapi/v1/txt2img",
                                    {"prompt": PROMPT, "steps": 1, "cfg_scale": 1, "batch_size": 2})
        self.assertEqual(reply.status, 200, reply.body[:500])
        self.assertEqual(len(reply.json["images"]), 2)
        for data in reply.json["images"]:
            self.assertTrue(base64.b64decode(data).startswith(PNG))
        self.assertEqual(self.health(), (["disk_full"], 6))

    def test_what_is_lost_at_the_end_is_said(self):
        self.start()
        self.fill()
        name = self.generate()[0]["id"]
        server = self.server
        self.stop()
        self.assertIn(f"image {name}: is lost, since it could not be saved", server.log())
        self.make_room()
        self.start()
        self.assertEqual((self.listed(), self.health()), ([], ([], 0)))


class Folder(Disk):
    def test_that_is_removed(self):
        self.start()
        saved = self.generate()[0]
        shutil.rmtree(self.output)
        self.health_becomes(["output_missing"], 0)
        new = self.generate(count=2)
        self.assertEqual(self.health(), (["output_missing"], 2))
        self.assertIn(b"\nzimage_unsaved_images 2\n", self.server.get("/api/metrics").body)
        self.assertIn(b"\nzimage_storage_problems 1\n", self.server.get("/api/metrics").body)
        self.assertFalse(os.path.exists(self.output))  # it may be the place of a disk that is not mounted
        for image in new:
            self.assertIn("is missing; create it again", image["unsaved"])
            self.whole(image)
        self.delete(saved)
        self.delete(new[0])
        self.assertEqual(self.listed(), [new[1]["id"]])
        os.mkdir(self.output)
        self.health_becomes([], 0)
        self.assertEqual(self.listed(), [new[1]["id"]])
        self.whole(new[1])
        later = self.generate()[0]
        self.assertEqual(self.rows(), [later["id"], new[1]["id"]])
        # The folder is this server's, as before.
        done = run("serve", "--port", "0", folder=self.dir)
        self.assertIn("another server uses this folder", done.stderr)
        self.stop()
        self.start()
        self.assertEqual(self.listed(), [later["id"], new[1]["id"]])

    def test_that_is_moved_away_and_back(self):
        """As a disk is unplugged."""
        self.start()
        saved = self.generate()[0]
        os.rename(self.output, self.output + "-away")
        new = self.generate()[0]
        self.assertEqual(self.health(), (["output_missing"], 1))
        os.rename(self.output + "-away", self.output)
        self.health_becomes([], 0)
        self.assertEqual(self.listed(), [new["id"], saved["id"]])
        self.assertEqual(self.rows(), self.listed())
        for image in saved, new:
            self.whole(image)
        log = self.server.log()
        self.assertEqual(log.count(" warning "), 2, log)  # the folder is missing; the image is in memory only
        self.assertEqual(log.count("images can be saved again"), 1, log)

    def test_one_image_that_cannot_be_written(self):
        """Though the folder can be written: health and the log say so until that is over, and others are saved."""
        self.start()
        os.rename(self.output, self.output + "-away")
        new, other = self.generate(count=2)
        place = path(self.output, new["id"] + ".png")
        os.mkdir(path(self.output + "-away", new["id"] + ".png"))  # in the place of the file
        os.rename(self.output + "-away", self.output)
        self.health_becomes(["output_not_writable"], 1)
        self.assertIsNone(self.image(other["id"])["unsaved"])
        self.assertEqual(os.path.getsize(path(self.output, other["id"] + ".png")), other["bytes"])
        self.assertEqual(self.rows(), [other["id"]])
        self.assertIn("the server's log says why", self.image(new["id"])["unsaved"])
        time.sleep(1.5)  # it is tried again, and said once
        self.assertEqual(self.health(), (["output_not_writable"], 1))
        log = self.server.log()
        self.assertEqual(log.count(" error "), 3, log)  # the other ones: the folder was missing
        self.assertRegex(log, f" error image {new['id']}: .*is a folder")
        self.assertEqual(log.count("an image cannot be written to the output folder"), 1, log)
        os.rmdir(place)
        self.health_becomes([], 0)
        self.whole(new)
        self.assertEqual(self.rows(), [other["id"], new["id"]])

    def test_that_is_replaced(self):
        """By one with images of its own, while nobody looks."""
        self.start()
        old = self.generate()[0]
        self.stop()
        os.rename(self.output, self.output + "-old")
        os.mkdir(self.output)
        self.start()
        self.generate()
        shutil.rmtree(self.output)
        os.rename(self.output + "-old", self.output)
        new = self.generate()[0]
        self.assertEqual((self.listed(), self.health()), ([new["id"], old["id"]], ([], 0)))
        self.assertEqual(self.rows(), self.listed())
        for image in old, new:
            self.whole(image)

    def test_that_is_read_only(self):
        self.start(**self.as_nobody())
        saved = self.generate()[0]
        os.chmod(self.output, 0o555)
        self.health_becomes(["output_not_writable"], 0)
        new = self.generate()[0]
        self.assertEqual(self.health(), (["output_not_writable"], 1))
        self.whole(new)
        self.whole(saved)
        # Its file cannot be removed: it stays, and the client learns why.
        reply = self.server.request("DELETE", f"/api/images/{saved['id']}")
        self.assertEqual(reply.status, 500)
        self.assertIn("cannot be removed: Permission denied", reply.json["error"]["message"])
        self.whole(saved)
        self.delete(new)
        new = self.generate()[0]
        os.chmod(self.output, 0o755)
        self.health_becomes([], 0)
        self.delete(saved)
        self.assertEqual(self.rows(), [new["id"]])

    def test_thumbnails_without_a_cache(self):
        self.start()
        image = self.generate()[0]
        folder = path(self.output, ".thumbnails")
        shutil.rmtree(folder)
        with open(folder, "wb"):
            pass  # where no folder can be
        self.whole(image)
        os.remove(folder)
        self.whole(image)
        self.assertEqual(os.listdir(folder), [image["id"] + ".webp"])


class Database(Disk):
    def test_that_is_read_only(self):
        as_user = self.as_nobody()
        self.start(**as_user)
        saved = self.generate(count=2)
        self.stop()
        os.chmod(path(self.output, "history.db"), 0o444)
        os.chmod(self.output, 0o755)
        self.start(**as_user)
        self.assertEqual(self.health(), (["database_not_writable"], 0))
        new = self.generate()[0]
        self.assertIsNone(new["unsaved"])  # its file is written
        self.assertEqual(self.health(), (["database_not_writable"], 0))
        self.whole(new)
        self.delete(saved[0])
        self.assertEqual(self.listed(), [new["id"], saved[1]["id"]])
        # Nothing is lost when the server ends now.
        self.stop()
        self.start(**as_user)
        self.assertEqual(self.listed(), [new["id"], saved[1]["id"]])
        self.delete(saved[1])
        other = self.generate()[0]
        for name in "history.db", "history.db-wal", "history.db-shm":
            if os.path.exists(path(self.output, name)):
                os.chmod(path(self.output, name), 0o644)
        self.health_becomes([], 0)
        self.assertEqual(self.listed(), [other["id"], new["id"]])
        self.assertEqual(self.rows(), self.listed())

    def test_that_is_read_only_without_rows(self):
        """As many images may have none, the log has one line for all but the first."""
        as_user = self.as_nobody()
        self.start(**as_user)
        names = [image["id"] for image in self.generate(count=4)[::-1]]
        self.stop()
        self.sql("DELETE FROM images")
        os.chmod(path(self.output, "history.db"), 0o444)
        self.start(**as_user)
        self.assertEqual((self.listed(), self.health()), (names, (["database_not_writable"], 0)))
        self.assertEqual([self.image(name)["unsaved"] for name in names], [None] * 4)
        log = self.server.log()
        self.assertRegex(log, r" error image .*/history\.db: .*\n(.*\n)*.* error 3 more images: their rows cannot be")
        self.assertEqual((log.count(" error "), log.count(" warning ")), (2, 1), log)
        self.delete({"id": names.pop()})
        self.delete({"id": names.pop(0)})
        names.insert(0, self.generate()[0]["id"])
        self.assertEqual(self.listed(), names)
        for name in "history.db", "history.db-wal", "history.db-shm":
            if os.path.exists(path(self.output, name)):
                os.chmod(path(self.output, name), 0o644)
        self.health_becomes([], 0)
        self.assertEqual(self.rows(), names)

    def test_that_another_program_locks(self):
        """Longer than the server waits."""
        self.start()
        saved = self.generate(count=2)
        database = sqlite3.connect(path(self.output, "history.db"), isolation_level=None)
        database.execute("BEGIN IMMEDIATE")
        new = self.generate()[0]
        self.assertEqual(self.health(), (["database_not_writable"], 0))
        self.assertEqual(self.listed(), [new["id"], saved[1]["id"], saved[0]["id"]])
        self.delete(saved[0])
        # The command removes nothing later: it fails, and can be called again.
        done = run("gallery", "--remove", saved[1]["id"], folder=self.dir)
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn(f"the file of image {saved[1]['id']} is removed, but its row in history.db cannot be: database is "
                      "locked; remove the image once more", done.stderr)
        self.assertFalse(os.path.exists(path(self.output, saved[1]["id"] + ".png")))
        database.execute("ROLLBACK")
        database.close()
        self.health_becomes([], 0)
        self.assertEqual(self.rows(), [new["id"], saved[1]["id"]])
        done = run("gallery", "--remove", saved[1]["id"], folder=self.dir)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual((self.rows(), self.listed()), ([new["id"]], [new["id"]]))

    def test_that_is_locked_while_images_are_in_memory(self):
        """Their files need no database."""
        self.start()
        saved = self.generate()[0]
        os.rename(self.output, self.output + "-away")
        new = self.generate(count=2)
        database = sqlite3.connect(path(self.output + "-away", "history.db"), isolation_level=None)
        database.execute("BEGIN IMMEDIATE")
        os.rename(self.output + "-away", self.output)
        self.health_becomes(["database_not_writable"], 0)
        for image in new:
            self.assertEqual(os.path.getsize(path(self.output, image["id"] + ".png")), image["bytes"])
            self.assertIsNone(self.image(image["id"])["unsaved"])
        self.assertEqual(self.listed(), [new[1]["id"], new[0]["id"], saved["id"]])
        database.execute("ROLLBACK")
        database.close()
        self.health_becomes([], 0)
        self.assertEqual(self.rows(), [new[1]["id"], new[0]["id"], saved["id"]])


class Clock(Disk):
    def setUp(self):
        super().setUp()
        if not os.environ.get("TEST_CLOCK"):
            self.skipTest("no library that shifts the clock here")
        self.shift = path(self.dir, "shift")
        self.set(0)
        self.env = dict(os.environ, LD_PRELOAD=os.environ["TEST_CLOCK"], TEST_CLOCK_SHIFT=self.shift,
                        ASAN_OPTIONS="verify_asan_link_order=0")

    def set(self, seconds):
        with open(self.shift + ".new", "w", encoding="ascii") as file:
            file.write(str(seconds))
        os.rename(self.shift + ".new", self.shift)

    def test_that_is_set_back(self):
        self.start(env=self.env)
        first = self.generate(count=2)
        self.assertLess(abs(first[0]["created"] - time.time()), 60)
        uptime = self.server.get("/api/health").json["uptime"]
        self.set(-86400)
        second = self.generate(count=2)
        for image in second:
            self.assertLess(abs(image["created"] - (time.time() - 86400)), 60)
            self.whole(image)
        names = [image["id"] for image in (second[::-1] + first[::-1])]
        self.assertEqual(self.listed(), names)  # the newest first
        self.assertEqual(len(set(names)), 4)
        self.assertGreaterEqual(self.server.get("/api/health").json["uptime"], uptime)
        page = self.server.get("/api/images?limit=2").json
        self.assertEqual([image["id"] for image in page["images"]], names[:2])
        page = self.server.get(f"/api/images?limit=2&cursor={page['next']}").json
        self.assertEqual([image["id"] for image in page["images"]], names[2:])
        # After a restart, too; and clients that resume get a new snapshot.
        stream = Stream(self.server, "/api/events")
        cursor = next(iter(stream)).id
        stream.close()
        self.stop()
        self.set(-2 * 86400)
        self.start(env=self.env)
        self.assertEqual(self.listed(), names)
        stream = Stream(self.server, "/api/events", headers={"Last-Event-ID": cursor})
        self.assertEqual(next(iter(stream)).name, "snapshot")
        stream.close()
        third = self.generate()[0]
        self.assertEqual(self.listed(), [third["id"]] + names)
        self.delete(first[0])
        self.set(0)
        fourth = self.generate()[0]
        self.assertEqual(self.listed(), [fourth["id"], third["id"]] + names[:3])

    def test_that_is_set_back_in_mid_job(self):
        self.start(env=self.env)
        job = self.server.submit(model="demo", steps=100)
        while self.server.get(f"/api/jobs/{job}").json["state"] == "queued":
            time.sleep(0.01)
        self.set(-3600)
        job = self.server.wait(job)
        self.assertEqual(job["state"], "done")
        self.assertLessEqual(job["created"], job["started"])
        self.assertLessEqual(job["started"], job["finished"])
        self.assertLess(job["finished"] - job["started"], LIMIT)
        self.assertNotIn("-3", self.server.log().split("generate")[-1].split(" in ")[-1])


if __name__ == "__main__":
    unittest.main()
