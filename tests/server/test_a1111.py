"""A1111's API, with bodies as real clients send them (tests/interop has a client talk to it)."""

import base64
import json
import os
import re
import shutil
import struct
import threading
import time
import zlib

from serving import LIMIT, MODEL, PROMPT, Case, path

# As webuiapi and the browser's own page send it.
WHOLE = {
    "enable_hr": False, "hr_scale": 2, "hr_upscaler": "Latent", "hr_second_pass_steps": 0,
    "hr_resize_x": 0, "hr_resize_y": 0, "hr_checkpoint_name": None, "hr_sampler_name": None,
    "hr_scheduler": None, "hr_prompt": "", "hr_negative_prompt": "", "denoising_strength": 0.7,
    "firstphase_width": 0, "firstphase_height": 0, "prompt": PROMPT, "styles": [], "seed": -1,
    "subseed": -1, "subseed_strength": 0.0, "seed_resize_from_h": 0, "seed_resize_from_w": 0,
    "batch_size": 1, "n_iter": 1, "steps": 3, "cfg_scale": 7.0, "width": 64, "height": 64,
    "restore_faces": False, "tiling": False, "do_not_save_samples": False,
    "do_not_save_grid": False, "negative_prompt": "", "eta": 1.0, "s_churn": 0, "s_tmax": 0,
    "s_tmin": 0, "s_noise": 1, "override_settings": {},
    "override_settings_restore_afterwards": True, "sampler_name": "Euler a",
    "scheduler": "automatic", "sampler_index": "Euler a", "script_name": None, "script_args": [],
    "send_images": True, "save_images": False, "alwayson_scripts": {}}
# As chat programs send it, with settings of their own.
CHAT = {"prompt": PROMPT, "negative_prompt": "blurry", "sampler_name": "DPM++ 2M Karras",
        "scheduler": "karras", "steps": 2, "cfg_scale": 1, "width": 70, "height": 81,
        "restore_faces": False, "enable_hr": False, "hr_upscaler": "Latent", "hr_scale": 2,
        "denoising_strength": 0.7, "hr_second_pass_steps": 0, "seed": 12345,
        "override_settings": {"CLIP_stop_at_last_layers": 1, "sd_vae": "Automatic"},
        "override_settings_restore_afterwards": True, "clip_skip": 1, "save_images": True,
        "send_images": True, "do_not_save_grid": False, "do_not_save_samples": False}
OPEN_WEBUI = {"prompt": PROMPT, "batch_size": 1, "width": 512, "height": 512, "steps": 1}

TXT2IMG = "/sdapi/v1/txt2img"
NUMBER, TEXT, NONE = (int, float), str, type(None)
INFO = {"prompt": TEXT, "all_prompts": list, "negative_prompt": TEXT, "all_negative_prompts": list,
        "seed": int, "all_seeds": list, "subseed": int, "all_subseeds": list,
        "subseed_strength": NUMBER, "width": int, "height": int, "sampler_name": TEXT,
        "cfg_scale": NUMBER, "steps": int, "batch_size": int, "restore_faces": bool,
        "face_restoration_model": NONE, "sd_model_name": TEXT, "sd_model_hash": (str, NONE),
        "sd_vae_name": NONE, "sd_vae_hash": NONE, "seed_resize_from_w": int,
        "seed_resize_from_h": int, "denoising_strength": NONE, "extra_generation_params": dict,
        "index_of_first_image": int, "infotexts": list, "styles": list, "job_timestamp": TEXT,
        "clip_skip": int, "is_using_inpainting_conditioning": bool, "version": TEXT}

METADATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "data", "metadata")


def unfilter(data, width):
    """The pixels' bytes of a PNG file's rows, each with its filter's number before it."""
    above, out = bytes(width), []
    for at in range(0, len(data), width + 1):
        kind, row = data[at], bytearray(data[at + 1:at + 1 + width])
        for i in range(width):
            left, corner = (row[i - 3], above[i - 3]) if i >= 3 else (0, 0)
            up = above[i]
            guess = left + up - corner
            paeth = min((left, up, corner), key=lambda value: abs(guess - value))
            row[i] = (row[i] + (0, left, up, (left + up) // 2, paeth)[kind]) & 255
        above = bytes(row)
        out += row
    return out


class A1111(Case):
    @classmethod
    def prepare(cls):
        os.makedirs(path(cls.dir, "models", "pytorch"))
        shutil.copytree(MODEL, path(cls.dir, "models", "pytorch", "golden.v1"))

    def setUp(self):
        self.choose("demo")

    def post(self, name, body=None, status=200):
        reply = self.server.request("POST", f"/sdapi/v1/{name}", body)
        self.assertEqual(reply.status, status, reply.body[:500])
        return reply.json

    def get(self, name):
        reply = self.server.get(f"/sdapi/v1/{name}")
        self.assertEqual(reply.status, 200, reply.body[:500])
        return reply.json

    def choose(self, name):
        self.assertIsNone(self.post("options", {"sd_model_checkpoint": name}))

    def draw(self, body, **fields):
        """The images' bytes, what info says, and the whole answer."""
        reply = self.post("txt2img", dict(body, **fields))
        self.assertEqual(sorted(reply), ["images", "info", "parameters"])
        pictures = [base64.b64decode(image, validate=True) for image in reply["images"]]
        return pictures, json.loads(reply["info"]), reply

    # ---- txt2img ----

    def test_whole_body(self):
        pictures, info, reply = self.draw(WHOLE, batch_size=2, n_iter=2, seed=9)
        self.assertEqual(len(pictures), 4)
        self.assertTrue(all(p.startswith(b"\x89PNG\r\n\x1a\n") for p in pictures))
        self.assertEqual(sorted(info), sorted(INFO))
        for name, kind in INFO.items():
            self.assertIsInstance(info[name], kind, name)
        self.assertEqual(info["all_seeds"], [9, 10, 11, 12])
        self.assertEqual((info["seed"], info["prompt"], info["cfg_scale"], info["batch_size"]),
                         (9, PROMPT, 7, 2))
        self.assertEqual(info["all_prompts"], [PROMPT] * 4)
        self.assertEqual(info["sampler_name"], "Euler")
        self.assertRegex(info["job_timestamp"], "^20[0-9]{12}$")
        for picture, text, seed in zip(pictures, info["infotexts"], info["all_seeds"]):
            self.assertIn(f"Seed: {seed}, Size: 64x64", text)
            self.assertIn(text.encode(), picture)
        # What was sent comes back, field by field.
        for name, value in WHOLE.items():
            sent = {"batch_size": 2, "n_iter": 2, "seed": 9}.get(name, value)
            self.assertEqual(reply["parameters"][name], sent, name)

    def test_bodies_of_clients(self):
        pictures, info, reply = self.draw(CHAT)
        self.assertEqual(len(pictures), 1)
        # Sizes are rounded down, as A1111 does with its multiples of 8.
        self.assertEqual([info[name] for name in ("width", "height", "seed", "steps", "cfg_scale")],
                         [64, 80, 12345, 2, 1])
        self.assertEqual(info["negative_prompt"], "blurry")
        self.assertEqual(reply["parameters"]["width"], 70)
        self.assertNotIn("clip_skip", reply["parameters"])
        pictures, info, _ = self.draw(OPEN_WEBUI)
        self.assertEqual((info["width"], info["steps"], len(pictures)), (512, 1, 1))

    def test_the_least_body(self):
        _, info, reply = self.draw({"prompt": PROMPT})
        self.assertEqual([info[name] for name in ("width", "height", "steps", "cfg_scale")],
                         [128, 128, 9, 1])
        self.assertEqual([reply["parameters"][name] for name in ("width", "steps", "seed")],
                         [128, 9, -1])
        self.assertEqual(info["negative_prompt"], "")

    def test_no_images(self):
        pictures, info, _ = self.draw(WHOLE, send_images=False)
        self.assertEqual((pictures, len(info["infotexts"])), ([], 1))

    def test_scheduler(self):
        for name, used in (("mlx", "mlx"), ("Karras", "Karras"), ("exponential", "Exponential"), ("Beta", "Beta"),
                           ("Automatic", "diffusers"), ("SGM Uniform", "diffusers"), (None, "diffusers")):
            self.assertIn(f"Schedule type: {used},",
                          self.draw(WHOLE, scheduler=name)[1]["infotexts"][0])

    def test_sampler(self):
        for name, used in (("Euler", "Euler"), ("Heun", "Heun"), ("lcm", "LCM"), ("DPM++ 2M", "Euler"), (None, "Euler")):
            _, info, _ = self.draw(WHOLE, sampler_name=name)
            self.assertEqual(info["sampler_name"], used)
            self.assertIn(f"Sampler: {used},", info["infotexts"][0])
        for name, index, used in ("", "Heun", "Heun"), (None, "lcm", "LCM"), ("Heun", "LCM", "Heun"), ("", "", "Euler"):
            _, info, _ = self.draw(WHOLE, sampler_name=name, sampler_index=index)
            self.assertEqual(info["sampler_name"], used)

    def test_refused(self):
        for field, values in {
                "prompt": ("", None, 1, "a cat <lora:mine:0.8>"), "negative_prompt": ("<lora:mine:0.8>",), "steps": (0, 151, "a"), "width": (8, 4112, "a"),
                "seed": (-2, 1.5, "a"), "cfg_scale": (-1, 101), "batch_size": (0, 17),
                "n_iter": (0, 17), "enable_hr": (True, "yes"), "tiling": (True,),
                "restore_faces": (True,), "subseed_strength": (0.5,),
                "script_name": ("x/y/z plot",), "refiner_checkpoint": ("other",),
                "alwayson_scripts": ({"ControlNet": {"args": []}},)}.items():
            for value in values:
                detail = self.post("txt2img", dict(WHOLE, **{field: value}), 422)["detail"]
                self.assertEqual(detail[0]["loc"], ["body", field], (field, value, detail))
                self.assertTrue(detail[0]["msg"])
        detail = self.post("txt2img", dict(WHOLE, batch_size=8, n_iter=3), 422)["detail"]
        self.assertEqual(detail[0]["loc"], ["body", "n_iter"])
        self.post("txt2img", {}, 422)
        error = self.server.get("/sdapi/v1/none")
        self.assertEqual((error.status, sorted(error.json)),
                         (404, ["body", "detail", "error", "errors"]))
        for name in "img2img", "extra-single-image", "interrogate":
            self.post(name, {}, 404)

    # ---- models ----

    def test_models(self):
        models = self.get("sd-models")
        self.assertEqual([(m["title"], m["model_name"]) for m in models],
                         [("pytorch/golden.v1", "golden.v1"), ("demo", "demo")])
        for model in models:
            self.assertEqual(sorted(model), ["config", "filename", "hash", "model_name", "sha256",
                                             "title"])
        for said in "golden.v1", "pytorch/golden.v1", "golden.v1 [0123abcd]":
            self.choose("demo")
            self.choose(said)
            self.assertEqual(self.get("options")["sd_model_checkpoint"], "pytorch/golden.v1")
        self.assertEqual(self.server.get("/api/config").json["default_model"], "pytorch/golden.v1")
        self.assertEqual(self.draw(WHOLE)[1]["sd_model_name"], "golden.v1")
        self.assertIsNone(self.post("options", {"CLIP_stop_at_last_layers": 2, "sd_vae": "None"}))
        self.assertEqual(self.get("options")["sd_model_checkpoint"], "pytorch/golden.v1")
        for said, status in (("none", 404), ("../demo", 404), (" [x]", 404), (1, 422), ("[", 404)):
            self.post("options", {"sd_model_checkpoint": said}, status)
        for said in "", None:  # GET options has "" if there is no model
            self.assertIsNone(self.post("options", {"sd_model_checkpoint": said}))
            self.assertEqual(self.get("options")["sd_model_checkpoint"], "pytorch/golden.v1")
            self.assertEqual(self.draw(WHOLE, override_settings={"sd_model_checkpoint": said})[1]["sd_model_name"],
                             "golden.v1")

    def test_model_for_one_image(self):
        override = {"sd_model_checkpoint": "golden.v1"}
        self.assertEqual(self.draw(WHOLE, override_settings=override)[1]["sd_model_name"],
                         "golden.v1")
        self.assertEqual(self.get("options")["sd_model_checkpoint"], "demo")
        self.draw(WHOLE, override_settings=override, override_settings_restore_afterwards=False)
        self.assertEqual(self.get("options")["sd_model_checkpoint"], "pytorch/golden.v1")
        self.post("txt2img", dict(WHOLE, override_settings={"sd_model_checkpoint": "none"}), 404)

    def test_refused_without_a_trace(self):
        """A request that is refused does not change the default model."""
        for fields in {"width": 4096, "height": 4096}, {"width": 8}, {"n_iter": 17}:
            self.post("txt2img", dict(WHOLE, override_settings={"sd_model_checkpoint": "golden.v1"},
                                      override_settings_restore_afterwards=False, **fields), 422)
            self.assertEqual(self.get("options")["sd_model_checkpoint"], "demo")

    def test_load_and_unload(self):
        self.assertEqual(self.post("reload-checkpoint"), {})
        self.assertEqual(self.server.get("/api/health").json["loaded"], "demo")
        self.assertEqual(self.post("unload-checkpoint"), {})
        self.assertIsNone(self.server.get("/api/health").json["loaded"])
        self.assertIsNone(self.post("refresh-checkpoints"))
        self.assertEqual(len(self.draw(WHOLE)[0]), 1)

    # ---- lists and the like ----

    def test_lists(self):
        self.assertEqual(self.get("samplers"),
                         [{"name": name, "aliases": [f"k_{name.lower()}", name.lower()], "options": {}}
                          for name in ("Euler", "Heun", "LCM")])
        self.assertEqual([s["name"] for s in self.get("schedulers")],
                         ["automatic", "mlx", "diffusers", "karras", "exponential", "beta"])
        self.assertEqual(sorted(self.get("schedulers")[0]), ["aliases", "default_rho", "label",
                                                             "name", "need_inner_model"])
        self.assertEqual(sorted(self.get("upscalers")[0]), ["model_name", "model_path", "model_url",
                                                            "name", "scale"])
        for name in ("sd-vae", "loras", "hypernetworks", "face-restorers", "realesrgan-models",
                     "prompt-styles", "latent-upscale-modes", "script-info", "extensions"):
            self.assertEqual(self.get(name), [], name)
        self.assertEqual(self.get("embeddings"), {"loaded": {}, "skipped": {}})
        self.assertEqual(self.get("scripts"), {"txt2img": [], "img2img": []})
        flags = self.get("cmd-flags")
        self.assertEqual((flags["api"], flags["port"], flags["listen"]),
                         (True, self.server.port, False))
        for name in "refresh-vae", "refresh-loras":
            self.assertIsNone(self.post(name))

    def test_memory(self):
        memory = self.get("memory")
        ram = memory["ram"]
        self.assertEqual(sorted(ram), ["free", "total", "used"])
        self.assertEqual(memory["cuda"], {"error": "unavailable"})
        self.assertEqual(ram["free"] + ram["used"], ram["total"])
        self.assertGreater(ram["used"], 1 << 20)

    def test_png_info(self):
        pictures, info, reply = self.draw(WHOLE, seed=3, negative_prompt="dogs: two, cats")
        image_of_one = reply["images"][0]
        for prefix in "", "data:image/png;base64,":
            got = self.post("png-info", {"image": prefix + reply["images"][0]})
            self.assertEqual(sorted(got), ["info", "items", "parameters"])
            self.assertEqual(got["info"], info["infotexts"][0])
            said = got["parameters"]
            self.assertEqual([said[name] for name in ("Prompt", "Negative prompt", "Steps", "Seed",
                                                      "Size-1", "Size-2", "Sampler")],
                             [PROMPT, "dogs: two, cats", "3", "3", "64", "64", "Euler"])
        plain = self.server.get(f"/api/images/{self.server.get('/api/images').json['images'][0]['id']}"
                                "/thumbnail").body  # a WebP file without an infotext
        got = self.post("png-info", {"image": base64.b64encode(plain).decode()})
        self.assertEqual(got, {"info": "", "items": {}, "parameters": {}})
        for name, parameters, items in (
                ("a1111.png", {"Seed": "42", "Size-1": "512", "Size-2": "768", "Model hash": "0123456789",
                               "Lora hashes": "a: 1234abcd, b: 5678"}, set()),
                ("odd.png", {"Seed": "-1", "CFG scale": "None", "Steps": "8"}, set()),
                ("sdcpp.jpg", {"Seed": "42", "Version": "stable-diffusion.cpp"}, set()),
                ("comfyui.png", {"Seed": "18446744073709551615", "Steps": "8", "Source": "ComfyUI graph"},
                 {"prompt", "workflow"})):
            with open(os.path.join(METADATA, name), "rb") as file:
                got = self.post("png-info", {"image": base64.b64encode(file.read()).decode()})
            self.assertEqual({key: got["parameters"].get(key) for key in parameters}, parameters, name)
            self.assertEqual(set(got["items"]), items, name)
            self.assertEqual(got["parameters"]["Prompt"], "a cat, 猫 é", name)
        for image in ("", "a", "!!!!", "AAAA", "data:image/png;base64", pictures[0][:100].hex(), 1):
            self.post("png-info", {"image": image}, 422)
        for raw, says in (("{}", "is missing"), ('{"image": null, "a": 1}', "is missing"),
                          ('{"image": "a", "image": "a"}', "appears twice")):
            reply = self.server.request("POST", "/sdapi/v1/png-info", raw=raw,
                                        headers={"Content-Type": "application/json"})
            detail = reply.json["detail"][0]
            self.assertEqual((reply.status, detail["loc"]), (422, ["body", "image"]))
            self.assertIn(says, detail["msg"])
        self.assertEqual(self.post("png-info", {"image": image_of_one, "colour": 1})["info"], info["infotexts"][0])

    # ---- progress, interrupt, skip ----

    def in_the_background(self, **fields):
        replies = []
        body = dict(WHOLE, **dict({"width": 256, "height": 256, "steps": 100, "cfg_scale": 1},
                                  **fields))
        thread = threading.Thread(target=lambda: replies.append(
            self.server.request("POST", TXT2IMG, body)))
        thread.start()
        return thread, replies

    def until(self, condition):
        end = time.monotonic() + LIMIT
        while time.monotonic() < end:
            progress = self.get("progress")
            if condition(progress):
                return progress
            time.sleep(0.02)
        raise AssertionError(f"it does not come: {progress}")

    def test_progress_and_interrupt(self):
        idle = self.get("progress")
        self.assertEqual(sorted(idle), ["current_image", "eta_relative", "progress", "state",
                                        "textinfo"])
        self.assertEqual(idle["state"], {
            "skipped": False, "interrupted": False, "stopping_generation": False, "job": "",
            "job_count": 0, "job_timestamp": "0", "job_no": 0, "sampling_step": 0,
            "sampling_steps": 0})
        self.assertEqual((idle["progress"], idle["eta_relative"]), (0, 0))
        thread, replies = self.in_the_background(batch_size=2)
        progress = self.until(lambda p: p["current_image"])
        self.assertEqual(progress["state"]["sampling_steps"], 100)
        self.assertEqual(progress["state"]["job_count"], 2)
        self.assertEqual(progress["state"]["job"], "scripts_txt2img")
        self.assertRegex(progress["state"]["job_timestamp"], "^20[0-9]{12}$")
        self.assertTrue(0 < progress["progress"] < 1)
        self.assertTrue(base64.b64decode(progress["current_image"]).startswith(b"\x89PNG"))
        self.assertIsNone(self.get("progress?skip_current_image=true")["current_image"])
        self.assertEqual(self.post("interrupt"), {})
        thread.join()
        # The image so far comes back, and says that it is not the one of its parameters.
        self.assertEqual((replies[0].status, len(replies[0].json["images"])), (200, 1))
        infotext = json.loads(replies[0].json["info"])["infotexts"][0]
        step = re.search(r", Interrupted: step ([0-9]+) of 100$", infotext)
        self.assertTrue(step and int(step[1]) < 100, infotext)
        image = base64.b64decode(replies[0].json["images"][0])
        self.assertIn(infotext.encode(), image)
        self.assertEqual(struct.unpack(">II", image[16:24]), (256, 256))
        self.assertEqual(self.get("progress"), idle)

    def test_the_image_so_far(self):
        """It is what the latents were heading for: nearer to the image than to noise."""
        body = dict(WHOLE, width=128, height=128, seed=3, cfg_scale=1)
        whole = self.pixels(self.post("txt2img", dict(body, steps=40))["images"][0])
        thread, replies = self.in_the_background(**dict(body, steps=40, n_iter=8))
        self.until(lambda p: p["state"]["sampling_step"] >= 16)
        self.post("interrupt")
        thread.join()
        so_far = self.pixels(replies[0].json["images"][0])
        self.assertEqual(len(so_far), len(whole))
        self.assertLess(sum(abs(a - b) for a, b in zip(so_far, whole)) / len(whole), 25)

    def pixels(self, image):
        """The bytes of the pixels of a PNG file in base64, 128 pixels wide."""
        data, at, packed = base64.b64decode(image), 8, b""
        while at < len(data):
            size, kind = struct.unpack(">I4s", data[at:at + 8])
            packed += data[at + 8:at + 8 + size] if kind == b"IDAT" else b""
            at += size + 12
        return unfilter(zlib.decompress(packed), 128 * 3)

    def test_other_apis_jobs(self):
        """Interrupt, skip and progress are about this API's jobs alone."""
        job = self.server.submit(model="demo", width=192, height=192, steps=12)
        while not self.server.get(f"/api/jobs/{job}").json["progress"]:
            time.sleep(0.02)
        idle = self.get("progress")
        self.assertEqual((idle["progress"], idle["state"]["job"], idle["current_image"]), (0, "", None))
        thread, replies = self.in_the_background(width=64, height=64, steps=2)  # waits for the other one
        self.assertEqual(self.post("interrupt"), {})
        self.assertIsNone(self.post("skip"))
        ended = self.server.wait(job)
        self.assertEqual((ended["state"], len(ended["images"])), ("done", 1))
        self.assertNotIn("Interrupted", self.server.get(f"/api/images/{ended['images'][0]}").json["recipe"])
        thread.join()
        self.assertEqual(len(replies[0].json["images"]), 1)

    def test_interrupt_keeps_what_is_ready(self):
        thread, replies = self.in_the_background(n_iter=16, width=128, height=128, steps=20)
        self.until(lambda p: p["state"]["job_no"] == 1)
        self.post("interrupt")
        thread.join()
        count = len(replies[0].json["images"])
        self.assertTrue(1 <= count < 16, count)
        self.assertEqual(len(json.loads(replies[0].json["info"])["all_seeds"]), count)

    def test_skip(self):
        thread, replies = self.in_the_background(n_iter=2)
        self.until(lambda p: p["state"]["sampling_step"] > 0)
        self.assertIsNone(self.post("skip"))
        self.until(lambda p: p["state"]["job_no"] == 1)
        self.until(lambda p: p["state"]["sampling_step"] > 0)
        self.post("interrupt")
        thread.join()
        self.assertEqual(len(replies[0].json["images"]), 2)
        thread, replies = self.in_the_background(n_iter=2, width=192, height=192, steps=12, seed=5)
        self.until(lambda p: p["state"]["sampling_step"] > 0)
        self.post("skip")
        thread.join()
        info = json.loads(replies[0].json["info"])
        self.assertEqual(info["all_seeds"], [5, 6])
        self.assertEqual(["Interrupted" in text for text in info["infotexts"]], [True, False])

    def test_progress_says_what_was_asked(self):
        """While the current step goes on, and no longer."""
        thread, _ = self.in_the_background(n_iter=2, width=512, height=512)
        for asked, flags in ("skip", (True, False)), ("interrupt", (False, True)):
            state = self.until(lambda p: p["state"]["sampling_step"] > 0)["state"]
            self.assertEqual((state["skipped"], state["interrupted"]), (False, False))
            self.post(asked)
            state = self.get("progress")["state"]
            self.assertEqual((state["skipped"], state["interrupted"]), flags)
            if asked == "skip":
                self.until(lambda p: p["state"]["job_no"] == 1)
        thread.join()
        # Though each image that was asked for is there, the job was cut short.
        job = max(self.server.get("/api/jobs").json["jobs"], key=lambda job: job["created"])
        self.assertEqual((job["state"], len(job["images"])), ("cancelled", 2))

    def test_nothing_to_interrupt(self):
        self.assertEqual(self.post("interrupt"), {})
        self.assertIsNone(self.post("skip"))
        self.assertEqual(len(self.draw(WHOLE)[0]), 1)
