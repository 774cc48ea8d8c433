"""Clients of others talk to the server: OpenAI's own package, and webuiapi for A1111's API. Needs the
packages openai and webuiapi (which brings Pillow); ZIMAGE and ZI_TEST_DATA as in tests/server.
"""

import base64
import io
import os
import sys
import threading
import time
import urllib.request

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "server"))

import openai
import webuiapi
from PIL import Image

from serving import PROMPT, Case


def picture(text):
    image = Image.open(io.BytesIO(base64.b64decode(text)))
    image.load()
    return image


class OpenAI(Case):
    args = ("--api-key", "secret")

    def setUp(self):
        self.client = openai.OpenAI(base_url=f"{self.server.address}/v1", api_key="secret",
                                    max_retries=0)

    def generate(self, **options):
        return self.client.images.generate(prompt=PROMPT, size="64x64", **options)

    def test_models(self):
        models = self.client.models.list().data
        self.assertEqual([m.id for m in models], ["demo"])
        self.assertEqual(self.client.models.retrieve("demo"), models[0])

    def test_base64(self):
        for form in "png", "jpeg", "webp":
            reply = self.generate(model="gpt-image-1", n=2, output_format=form, quality="low",
                                  background="opaque", moderation="low", user="me")
            self.assertEqual([picture(one.b64_json).format.lower() for one in reply.data],
                             [form] * 2)
            self.assertEqual((reply.output_format, reply.size, reply.quality),
                             (form, "64x64", "low"))
        recipe = picture(self.generate(extra_body={"seed": 5, "steps": 2}).data[0].b64_json).info
        self.assertIn("Steps: 2", recipe["parameters"])
        self.assertIn("Seed: 5,", recipe["parameters"])

    def test_url(self):
        reply = self.generate(model="dall-e-3", style="natural", quality="hd")
        request = urllib.request.Request(reply.data[0].url,
                                         headers={"Authorization": "Bearer secret"})
        with urllib.request.urlopen(request) as got:
            self.assertEqual(Image.open(got).size, (64, 64))

    def test_stream(self):
        events = list(self.generate(stream=True, partial_images=2, output_format="webp"))
        done = events[-1]
        self.assertIsInstance(done, openai.types.ImageGenCompletedEvent)
        self.assertEqual((picture(done.b64_json).size, done.size, done.output_format),
                         ((64, 64), "64x64", "webp"))
        for index, event in enumerate(events[:-1]):
            self.assertIsInstance(event, openai.types.ImageGenPartialImageEvent)
            self.assertEqual(event.partial_image_index, index)
            self.assertEqual(picture(event.b64_json).format, "WEBP")

    def test_leaving_a_stream(self):
        with self.client.images.generate(prompt=PROMPT, size="512x512", stream=True,
                                         partial_images=3, extra_body={"steps": 100}) as stream:
            next(iter(stream))
        while self.server.get("/api/health", headers={"X-API-Key": "secret"}).json["running"]:
            time.sleep(0.1)

    def test_errors(self):
        with self.assertRaises(openai.NotFoundError) as caught:
            self.generate(model="none")
        self.assertEqual((caught.exception.code, caught.exception.param),
                         ("model_not_found", "model"))
        with self.assertRaises(openai.BadRequestError) as caught:
            self.client.images.generate(prompt=PROMPT, size="8x64")
        self.assertEqual((caught.exception.type, caught.exception.param),
                         ("invalid_request_error", "size"))
        stranger = openai.OpenAI(base_url=f"{self.server.address}/v1", api_key="no", max_retries=0)
        with self.assertRaises(openai.AuthenticationError) as caught:
            stranger.models.list()
        self.assertEqual(caught.exception.code, "invalid_api_key")


class A1111(Case):
    args = ("--api-key", "secret")

    def setUp(self):
        self.api = webuiapi.WebUIApi(port=self.server.port, username="any", password="secret")

    def test_txt2img(self):
        result = self.api.txt2img(prompt=PROMPT, negative_prompt="dogs", seed=7, steps=3,
                                  width=64, height=64, cfg_scale=1, batch_size=2)
        self.assertEqual([image.size for image in result.images], [(64, 64)] * 2)
        self.assertEqual(result.info["all_seeds"], [7, 8])
        self.assertEqual(result.parameters["negative_prompt"], "dogs")
        self.assertEqual(result.images[0].info["parameters"], result.info["infotexts"][0])
        info = self.api.png_info(result.image)
        self.assertEqual((info.info, info.parameters["Seed"]), (result.info["infotexts"][0], "7"))
        with self.assertRaises(RuntimeError):
            self.api.txt2img(prompt=PROMPT, enable_hr=True)

    def test_all_else(self):
        self.assertEqual(self.api.util_get_model_names(), ["demo"])
        self.api.util_set_model("demo")
        self.assertEqual(self.api.util_get_current_model(), "demo")
        self.assertEqual(self.api.util_get_sampler_names(), ["Euler", "Heun", "LCM"])
        self.assertIn("automatic", self.api.util_get_scheduler_names())
        for name in ("cmd_flags", "sd_vae", "upscalers", "latent_upscale_modes", "loras",
                     "hypernetworks", "face_restorers", "realesrgan_models", "prompt_styles",
                     "scripts", "embeddings", "memory"):
            self.assertNotIn("detail", getattr(self.api, f"get_{name}")(), name)
        self.api.refresh_checkpoints()

    def test_progress_and_interrupt(self):
        results = []
        thread = threading.Thread(target=lambda: results.append(self.api.txt2img(
            prompt=PROMPT, width=512, height=512, steps=100, cfg_scale=1)))
        thread.start()
        while not (progress := self.api.get_progress())["current_image"]:
            time.sleep(0.05)
        self.assertEqual(picture(progress["current_image"]).format, "PNG")
        self.api.interrupt()
        thread.join()
        self.assertEqual([image.size for image in results[0].images], [(512, 512)])  # the image so far
        self.api.util_wait_for_ready()
