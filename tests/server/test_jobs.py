"""The job queues: order, cancelling, resumed event streams, restarts."""

import contextlib
import os
import random
import shutil
import sqlite3
import threading
import time

from serving import LIMIT, MODEL, PROMPT, SCHEMAS, ZIMAGE, Case, Server, Stream, path, run, temporary_folder

LONG = {"model": "demo", "width": 512, "height": 512, "steps": 100}  # minutes, if left alone


class Jobs(Case):
    @classmethod
    def prepare(cls):
        os.makedirs(path(cls.dir, "models", "pytorch"))
        shutil.copytree(MODEL, path(cls.dir, "models", "pytorch", "golden"))

    def tearDown(self):
        for job in self.server.get("/api/jobs").json["jobs"]:
            if job["state"] in ("queued", "running"):
                self.server.request("DELETE", f"/api/jobs/{job['id']}")
                self.server.wait(job["id"])

    def running(self, **params):
        """A job that has reached its steps."""
        job = self.server.submit(**dict(LONG, **params))
        stream = Stream(self.server, f"/api/jobs/{job}/events")
        stream.until("encoded")
        return job, stream

    def test_order_and_position(self):
        first, stream = self.running()
        rest = [self.server.submit(model="demo", steps=1) for _ in range(3)]
        self.assertEqual([self.server.get(f"/api/jobs/{job}").json["position"] for job in rest],
                         [1, 2, 3])
        cancelled = self.server.request("DELETE", f"/api/jobs/{rest[0]}").json
        self.assertEqual((cancelled["state"], cancelled["position"]), ("cancelled", None))
        self.assertEqual(self.server.get(f"/api/jobs/{rest[2]}").json["position"], 2)
        jobs = self.server.get("/api/jobs").json["jobs"]
        self.assertEqual([j["id"] for j in jobs][:3], [first, rest[1], rest[2]])
        self.server.request("DELETE", f"/api/jobs/{first}")
        self.assertEqual(stream.until("cancelled")[-1].data["images"], [])
        stream.close()
        ended = [self.server.wait(job) for job in rest[1:]]
        self.assertEqual([job["state"] for job in ended], ["done", "done"])
        self.assertLessEqual(ended[0]["finished"], ended[1]["started"])

    def test_cancel_at_any_time(self):
        for delay in [0, 0.001] + [random.random() for _ in range(6)]:
            job = self.server.submit(**LONG)
            time.sleep(delay)
            began = time.monotonic()
            self.server.request("DELETE", f"/api/jobs/{job}")
            self.assertEqual(self.server.wait(job)["state"], "cancelled")
            # One layer of the demo model at this size takes some hundredths of a second.
            self.assertLess(time.monotonic() - began, 10 if "san" in ZIMAGE else 2)
        for kind, params in ("convert", {"source": "demo", "destination": "x", "layout": "mlx"}), (
                "verify", {"model": "demo"}):
            job = self.server.submit(kind, **params)
            self.server.request("DELETE", f"/api/jobs/{job}")
            self.assertIn(self.server.wait(job)["state"], ("cancelled", "done"))

    def test_cancel_keeps_finished_images(self):
        job = self.server.submit(model="demo", count=16)
        stream = Stream(self.server, f"/api/jobs/{job}/events")
        stream.until("image")
        self.server.request("DELETE", f"/api/jobs/{job}")
        images = stream.until("cancelled")[-1].data["images"]
        stream.close()
        self.assertGreaterEqual(len(images), 1)
        for image in images:
            self.assertEqual(self.server.get(f"/api/images/{image}/file").status, 200)

    def test_list_says_what_each_job_is(self):
        self.server.wait(self.server.submit(model="demo", steps=1, width=64, height=64))
        self.server.wait(self.server.submit("verify", model="demo"))
        broken = path(self.dir, "models", "pytorch", "broken")
        shutil.copytree(MODEL, broken)
        shutil.rmtree(path(broken, "vae"))
        self.server.wait(self.server.submit(model="pytorch/broken", steps=1, width=64, height=64))
        first, stream = self.running()
        self.server.request("DELETE", f"/api/jobs/{self.server.submit(model='demo')}")
        self.server.request("DELETE", f"/api/jobs/{first}")
        stream.until("cancelled")
        stream.close()
        jobs = self.server.get("/api/jobs").json["jobs"]
        self.assertEqual({job["state"] for job in jobs}, {"done", "failed", "cancelled"})
        for job in jobs:
            alone = self.server.get(f"/api/jobs/{job['id']}").json
            self.assertIsNone(alone.pop("preview"))
            self.assertEqual(job, alone)
        for nobody in "0", "0000", "ffff", "x":
            self.refused(self.server.get(f"/api/jobs/{nobody}"), 404)
            self.refused(self.server.request("DELETE", f"/api/jobs/{nobody}"), 404)
            self.refused(self.server.get(f"/api/jobs/{nobody}/events"), 404)

    def test_queue_full(self):
        first, stream = self.running()
        body = {"kind": "generate", "params": {"prompt": "a", "model": "demo"}}
        replies = [self.server.request("POST", "/api/jobs", body) for _ in range(65)]
        self.assertEqual([r.status for r in replies], [202] * 64 + [429])
        self.assertIn("Retry-After", replies[-1].headers)
        for reply in replies[:64]:
            self.server.request("DELETE", f"/api/jobs/{reply.json['id']}")
        self.server.request("DELETE", f"/api/jobs/{first}")
        stream.close()
        self.server.wait(first)
        # 100 ended ones are remembered, the others are gone.
        for _ in range(60):
            job = self.server.submit(model="demo", steps=1, width=16,
                                     height=16)
            self.server.request("DELETE", f"/api/jobs/{job}")
            self.server.wait(job)
        self.assertEqual(len(self.server.get("/api/jobs").json["jobs"]), 100)
        self.refused(self.server.get(f"/api/jobs/{replies[0].json['id']}"), 404)

    def test_catching_up(self):
        """A stream that is cut at any event goes on with the next one."""
        job = self.server.submit(model="demo", count=2)
        stream = Stream(self.server, f"/api/jobs/{job}/events")
        whole = stream.until("done")
        stream.close()
        lasting = [e for e in whole if e.name not in ("snapshot", "progress", "preview")]
        for cut in range(len(whole) - 1):
            again = Stream(self.server, f"/api/jobs/{job}/events",
                           headers={"Last-Event-ID": whole[cut].id})
            events = [e for e in again if e.name not in ("progress", "preview")]
            again.close()
            self.assertEqual([(e.id, e.data) for e in events],
                             [(e.id, e.data) for e in lasting if int(e.id) > int(whole[cut].id)])
        last = f"/api/jobs/{job}/events?last_event_id={whole[-1].id}"
        self.assertEqual(self.server.get(last).status, 204)
        for unknown in "1", "99999999999999999", "x", "":
            stream = Stream(self.server, f"/api/jobs/{job}/events",
                            headers={"Last-Event-ID": unknown})
            events = list(stream)
            stream.close()
            self.assertEqual([e.name for e in events], ["snapshot"])
            self.assertEqual(events[0].data["jobs"][0]["state"], "done")

    def test_reload_while_it_runs(self):
        job, stream = self.running()
        stream.until("preview")
        stream.close()
        again = Stream(self.server, "/api/events")
        snapshot = next(iter(again))
        self.conforms(snapshot.data, SCHEMAS["Event_snapshot"])
        known = [j for j in snapshot.data["jobs"] if j["id"] == job][0]
        self.assertEqual(known["state"], "running")
        self.assertEqual(known["preview"]["width"], 64)
        self.assertLessEqual(snapshot.data["began"], known["created"])
        again.until("step")
        again.close()

    def test_a_client_that_leaves_ends_its_enhancing(self):
        first, running = self.running()
        stream = Stream(self.server, "/api/enhance", "POST", {"prompt": "a cow", "llm": "demo"})
        job = stream.until("queued")[0].data["job"]
        stream.close()
        self.server.request("DELETE", f"/api/jobs/{first}")
        running.close()
        self.assertIn(self.server.wait(job)["state"], ("cancelled", "failed"))

    def test_model_switch_and_known_prompts(self):
        loaded = lambda: self.server.get("/api/health").json["loaded"]
        cached = []
        for model in "demo", "pytorch/golden", "demo":
            job = self.server.submit(prompt="one prompt, two models", model=model, steps=1, width=32,
                                     height=32)
            stream = Stream(self.server, f"/api/jobs/{job}/events")
            events = list(stream)
            stream.close()
            self.assertEqual(self.server.wait(job)["state"], "done")
            cached += [e.data["cached"] for e in events if e.name == "encoded"]
            self.assertEqual(loaded(), model)
        self.assertEqual(cached, [False, False, True])

    def test_the_same_image_as_the_command_line(self):
        """Whatever is kept of prompts, and with previews."""
        name = path(self.dir, "cli.png")
        run("generate", "-m", path(self.dir, "models", "pytorch", "golden"), "-p", PROMPT, "--seed", "7", "-W",
            "64", "-H", "32", "-o", name, folder=self.dir, check=True)
        with open(name, "rb") as file:
            expected = file.read()
        for _ in range(2):
            job = self.server.wait(self.server.submit(seed=7, width=64, height=32,
                                                      model="pytorch/golden"))
            got = self.server.get(f"/api/images/{job['images'][0]}/file").body
            self.assertEqual(got, expected)

    def test_many_clients(self):
        """Polling and listening clients while images are generated: no request fails."""
        streams = [Stream(self.server, "/api/events") for _ in range(50)]
        job = self.server.submit(model="demo", count=3)
        failures = []

        def poll():
            for _ in range(20):
                try:
                    for url in f"/api/jobs/{job}", "/api/jobs", "/api/health":
                        reply = self.server.get(url)
                        if reply.status != 200:
                            failures.append((url, reply.status))
                except OSError as error:
                    failures.append(repr(error))
        threads = [threading.Thread(target=poll) for _ in range(20)]
        for thread in threads:
            thread.start()
        for stream in streams:
            names = [e.name for e in stream.until("done")]
            self.assertEqual(names.count("image"), 3)
            stream.close()
        for thread in threads:
            thread.join()
        self.assertEqual(failures, [])


class Restarts(Case):
    """Servers of their own, one after the other on one folder."""

    def test_ends_cleanly_and_remembers(self):
        folder, starts = temporary_folder(self), []
        for cached in False, True:
            server = Server(folder)
            job = server.submit(steps=2, seed=1)
            stream = Stream(server, f"/api/jobs/{job}/events")
            events = list(stream)
            stream.close()
            self.assertEqual([e.data["cached"] for e in events if e.name == "encoded"], [cached])
            server.wait(job)
            lost = server.submit(**LONG)
            listener = Stream(server, "/api/events")
            starts.append(next(iter(listener)).data["began"])
            began = time.monotonic()
            self.assertEqual(server.stop(), 0, server.log())
            self.assertLess(time.monotonic() - began, LIMIT / 4)
            # Clients get the end of the job, after the reason.
            ends = [e for e in listener if e.name in ("stopping", "cancelled")]
            self.assertEqual([(e.name, e.data.get("job")) for e in ends],
                             [("stopping", None), ("cancelled", lost)])
            self.conforms(ends[0].data, SCHEMAS["Event_stopping"])
            listener.close()
        self.assertLess(starts[0], starts[1])
        server = Server(folder)
        listed = server.get("/api/images").json
        self.assertEqual(listed["total"], 2)
        one, two = (server.get(f"/api/images/{i['id']}/file").body for i in listed["images"])
        self.assertEqual(one, two)
        # Nobody else may use the folder.
        second = run("serve", "--port", "0", folder=folder)
        self.assertEqual(second.returncode, 1)
        self.assertIn("another server uses this folder", second.stderr)
        self.assertEqual(server.stop(), 0)

    def test_what_an_end_left_behind(self):
        folder = temporary_folder(self)
        server = Server(folder)
        kept, removed = server.wait(server.submit(model="demo", steps=1, count=2))["images"]
        self.assertEqual(server.get(f"/api/images/{kept}/thumbnail").status, 200)
        self.assertEqual(server.stop(), 0)

        def output(*names):
            return path(folder, "output", *names)
        with open(output(kept + ".png"), "rb") as file:
            picture = file.read()
        orphan, half, foreign = "20200101-000000-00000000", "20200101-000000-00000001", "mine.png"
        gone = [kept + ".png.part-1-0", ".upload.part-1-0", path(".thumbnails", "a.webp.part-1-0"),
                path(".encodings", "a.part-1-0")]
        for name, data in [(orphan + ".png", picture), (half + ".png", picture[:-20]),
                           (foreign, picture)] + [(name, picture) for name in gone]:
            with open(output(name), "wb") as file:
                file.write(data)
        os.remove(output(removed + ".png"))
        os.makedirs(path(folder, "models", "mlx", "x.part-1-0"))
        server = Server(folder)
        listed = server.get("/api/images").json
        self.assertEqual([i["id"] for i in listed["images"]], [kept, orphan])
        first, second = listed["images"]
        self.assertEqual((second["recipe"], second["seconds"]), (first["recipe"], None))
        self.assertEqual(second["created"], 1577836800)
        self.refused(server.get(f"/api/images/{removed}"), 404)
        self.assertEqual([m["name"] for m in server.get("/api/models").json["models"]], ["demo"])
        self.assertIn(half, server.log())
        self.assertEqual(server.stop(), 0)
        for name in gone:
            self.assertFalse(os.path.exists(output(name)), name)
        for name in half + ".png", foreign:
            self.assertTrue(os.path.exists(output(name)), name)

    def test_a_history_that_cannot_be_read(self):
        """An error in the middle of the rows is not their end."""
        folder = temporary_folder(self)
        os.makedirs(path(folder, "output"))
        with contextlib.closing(sqlite3.connect(path(folder, "output", "history.db"))) as db:
            # Its second row is an error: this number has no absolute value in 64 bits.
            db.execute("CREATE VIEW images AS SELECT '' AS id, 0 AS deleted UNION ALL "
                       "SELECT abs(-9223372036854775807 - 1), 0")
        with self.assertRaisesRegex(AssertionError, "history.db: .*integer overflow"):
            Server(folder).stop()


if __name__ == "__main__":
    import unittest

    unittest.main()
