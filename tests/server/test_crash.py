"""kill -9 at random moments: the history is consistent, and no image that was announced is lost."""

import os
import random
import signal
import threading
import time
import unittest

from serving import LONG_FORM, Server, Stream, path, temporary_folder

TIMES = 50 if LONG_FORM else 10


class Crash(unittest.TestCase):
    def setUp(self):
        self.dir = temporary_folder(self)
        self.told = set()  # images of which there was an event
        self.gone = set()  # images that were deleted
        self.doubtful = set()  # images whose deletion was not answered

    def listen(self, server):
        stream = None
        try:
            stream = Stream(server, "/api/events")
            for event in stream:
                if event.name == "image":
                    self.told.add(event.data["image"]["id"])
        except (OSError, ValueError, AssertionError):
            pass
        if stream:
            stream.close()

    def delete_some(self, server, chance):
        for image in server.get("/api/images?limit=4").json["images"]:
            if chance.random() < 0.2:
                self.doubtful.add(image["id"])
                if server.request("DELETE", "/api/images/" + image["id"]).status == 204:
                    self.gone.add(image["id"])

    def check(self, server):
        """What is listed is whole; what was told of is listed; nothing else lies about."""
        listed, cursor = {}, ""
        while cursor is not None:
            page = server.get("/api/images?limit=200" + (cursor and "&cursor=" + cursor)).json
            listed.update((image["id"], image) for image in page["images"])
            cursor = page["next"]
        self.assertEqual(len(listed), page["total"])
        for name, image in listed.items():
            file = server.get(f"/api/images/{name}/file").body
            self.assertEqual(len(file), image["bytes"])
            recipe = server.request("POST", "/api/recipe", raw=file)
            self.assertEqual(recipe.status, 200)
            self.assertEqual(recipe.json["recipe"], image["recipe"])
            self.assertEqual(recipe.json["width"], image["width"])
        self.assertEqual(self.told - set(listed) - self.doubtful, set())
        self.assertEqual(self.gone & set(listed), set())
        files = {name for name in os.listdir(path(self.dir, "output")) if name[0] == "2"}
        self.assertEqual(files, {name + ".png" for name in listed})
        return len(listed)

    def test_kill(self):
        seed = int.from_bytes(os.urandom(4), "big")
        chance, count = random.Random(seed), 0
        for i in range(TIMES):
            with self.subTest(seed=seed, i=i):
                server = Server(self.dir)
                if i % 5 == 0:
                    count = self.check(server)
                listener = threading.Thread(target=self.listen, args=(server,))
                listener.start()
                killer = threading.Timer(chance.random() * 1.5, server.process.kill)
                try:
                    server.submit(prompt=f"picture {i}", model="demo", count=16, steps=1, width=64,
                                  height=64)
                    killer.start()
                    time.sleep(chance.random() * 0.2)
                    self.delete_some(server, chance)
                    time.sleep(1.5)
                except OSError:
                    pass
                killer.join()
                self.assertEqual(server.stop(), -signal.SIGKILL)
                listener.join()
        server = Server(self.dir)
        count = self.check(server)
        self.assertEqual(server.stop(), 0)
        self.assertGreater(count + len(self.gone), TIMES // 5)  # otherwise nothing was tried


if __name__ == "__main__":
    unittest.main()
