"""Requests as programs send them to the APIs of OpenAI and A1111, and what those programs expect. A row is a request
and its answer; sizes and steps are small. Every field that the programs know is used, has no effect on the image, or
is refused by name."""

import base64
import json
import struct
import time
import urllib.parse

from serving import PROMPT, Case, Stream

OPENAI, A1111 = "/v1/images/generations", "/sdapi/v1/txt2img"
SEEDS = ("18446744073709551615", "9223372036854775809", "9007199254740993", "1234567890123456789", "7", "0")

# The fields that each program sends to A1111.
WEBUIAPI = {
    "enable_hr": False, "hr_scale": 2, "hr_upscaler": "Latent", "hr_second_pass_steps": 0, "hr_resize_x": 0,
    "hr_resize_y": 0, "denoising_strength": 0.7, "firstphase_width": 0, "firstphase_height": 0, "prompt": PROMPT,
    "styles": [], "seed": -1, "subseed": -1, "subseed_strength": 0.0, "seed_resize_from_h": 0, "seed_resize_from_w": 0,
    "batch_size": 1, "n_iter": 1, "steps": 2, "cfg_scale": 7.0, "width": 64, "height": 64, "restore_faces": False,
    "tiling": False, "do_not_save_samples": False, "do_not_save_grid": False, "negative_prompt": "", "eta": 1.0,
    "s_churn": 0, "s_tmax": 0, "s_tmin": 0, "s_noise": 1, "override_settings": {},
    "override_settings_restore_afterwards": True, "sampler_name": "Euler a", "sampler_index": "Euler a",
    "script_name": None, "script_args": [], "send_images": True, "save_images": False, "alwayson_scripts": {}}
SILLY_TAVERN = {
    "prompt": PROMPT, "negative_prompt": "blurry", "sampler_name": "Euler", "scheduler": "Automatic", "steps": 2,
    "cfg_scale": 1, "width": 64, "height": 80, "restore_faces": False, "enable_hr": False, "hr_upscaler": "Latent",
    "hr_scale": 2, "hr_additional_modules": [], "denoising_strength": 0.7, "hr_second_pass_steps": 0, "seed": 12345,
    "override_settings": {"CLIP_stop_at_last_layers": 1}, "override_settings_restore_afterwards": True, "clip_skip": 1,
    "save_images": True, "send_images": True, "do_not_save_grid": False, "do_not_save_samples": False}
KOBOLD = {
    "prompt": PROMPT, "seed": 31337, "sampler_name": "Euler a", "batch_size": 1, "n_iter": 1, "steps": 2,
    "cfg_scale": 5, "width": 64, "height": 64, "negative_prompt": "ugly", "do_not_save_samples": True,
    "do_not_save_grid": True, "enable_hr": False, "eta": 0, "s_churn": 0, "s_tmax": 0, "s_tmin": 0, "s_noise": 1,
    "clip_skip": 2, "override_settings": {
        "sd_model_checkpoint": "demo", "eta_noise_seed_delta": 0.0, "CLIP_stop_at_last_layers": 1.0,
        "ddim_discretize": "uniform", "img2img_fix_steps": False, "sd_hypernetwork": "None",
        "inpainting_mask_weight": 1.0, "initial_noise_multiplier": 1.0, "comma_padding_backtrack": 20.0}}
KRITA = {  # fields of forms, which are text
    "prompt": PROMPT, "negative_prompt": "", "sampler_name": "Heun", "steps": "2", "cfg_scale": "1.0", "seed": "-1",
    "width": "100", "height": "72", "batch_size": "2", "n_iter": "1", "tiling": "false", "restore_faces": "False",
    "enable_hr": False, "denoising_strength": "0.6", "subseed": "-1", "subseed_strength": "0", "styles": [],
    "seed_resize_from_w": "0", "seed_resize_from_h": "0", "override_settings": {}}
# The example of stable-diffusion.cpp's own API: nothing in it is refused, and what it says is used.
SDCPP = {
    "negative_prompt": "", "clip_skip": -1, "width": 64, "height": 64, "strength": 0.75, "seed": -1, "batch_count": 1,
    "auto_resize_ref_image": True, "increase_ref_index": False, "control_strength": 0.9, "ip_adapter_strength": 1.0,
    "embed_image_metadata": True, "init_image": None, "ref_images": [], "mask_image": None, "control_image": None,
    "ip_adapter_image": None,
    "sample_params": {
        "scheduler": "discrete", "sample_method": "euler", "sample_steps": 2, "eta": 1.0, "shifted_timestep": 0,
        "custom_sigmas": [], "flow_shift": 0.0,
        "guidance": {"txt_cfg": 2.0, "img_cfg": 7.0, "distilled_guidance": 3.5,
                     "slg": {"layers": [7, 8, 9], "layer_start": 0.01, "layer_end": 0.2, "scale": 0.0}}},
    "lora": [],
    "hires": {"enabled": False, "upscaler": "Latent", "scale": 2.0, "target_width": 0, "target_height": 0, "steps": 0,
              "denoising_strength": 0.7, "custom_sigmas": [], "upscale_tile_size": 128},
    "vae_tiling_params": {"enabled": True, "tile_size_x": 0, "tile_size_y": 0, "target_overlap": 0.5},
    "cache_mode": "disabled", "cache_option": "", "scm_mask": "", "scm_policy_dynamic": True, "output_format": "png",
    "output_compression": 100}


def changed(table, path, value):
    """A copy with another value at "a.b"."""
    name, _, rest = path.partition(".")
    return dict(table, **{name: changed(table[name], rest, value) if rest else value})


def in_prompt(fields):
    return f"{PROMPT}<sd_cpp_extra_args>{json.dumps(fields)}</sd_cpp_extra_args>"


# name; body; what is expected: how the images come, how many, their size, and what the history says of the last one
OPENAI_ROWS = (
    ("openai, dall-e-2", {"model": "dall-e-2", "prompt": PROMPT, "n": 2, "size": "64x64"}, "url", 2, (64, 64), {}),
    ("openai, gpt-image-1", {"model": "gpt-image-1", "prompt": PROMPT, "size": "64x64", "quality": "low", "n": 1,
                             "background": "opaque", "moderation": "low", "output_format": "png", "user": "me"},
     "b64_json", 1, (64, 64), {}),
    ("openai, no model", {"prompt": PROMPT, "size": "64x64"}, "b64_json", 1, (64, 64), {}),
    ("openai, extra_body", {"model": "demo", "prompt": PROMPT, "size": "64x64", "seed": 5, "steps": 3, "cfg_scale": 2,
                            "negative_prompt": "dogs", "shift": 4}, "b64_json", 1, (64, 64),
     {"seed": "5", "steps": 3, "guidance": 1, "negative": "dogs", "shift": 4}),
    ("openai, extra_body as in diffusers", {"prompt": PROMPT, "width": 64, "height": 80, "num_inference_steps": 3,
                                            "guidance_scale": 1.5, "seed": 6, "max_sequence_length": 512},
     "b64_json", 1, (64, 80), {"seed": "6", "steps": 3, "guidance": 1.5}),
    ("Open WebUI, dall-e-3", {"model": "dall-e-3", "prompt": PROMPT, "n": 1, "size": "64x64",
                              "response_format": "b64_json"}, "b64_json", 1, (64, 64), {}),
    ("Open WebUI, gpt-image-1", {"model": "gpt-image-1", "prompt": PROMPT, "n": 1, "size": "auto"},
     "b64_json", 1, (128, 128), {}),
    ("Open WebUI, parameters", {"model": "demo", "prompt": PROMPT, "n": 1, "size": "64x64", "steps": 2,
                                "response_format": "b64_json", "quality": "hd"}, "b64_json", 1, (64, 64), {"steps": 2}),
    ("LibreChat, DALL-E", {"model": "dall-e-3", "quality": "standard", "style": "vivid", "size": "64x64", "n": 1,
                           "prompt": PROMPT}, "url", 1, (64, 64), {}),
    ("LibreChat, image tools", {"model": "gpt-image-1", "prompt": PROMPT, "n": 1, "background": "auto",
                                "quality": "auto", "size": "64x64", "user": "1"}, "b64_json", 1, (64, 64), {}),
    ("SillyTavern", {"prompt": PROMPT, "model": "dall-e-3", "size": "64x64", "n": 1, "quality": "standard",
                     "style": "vivid", "response_format": "b64_json"}, "b64_json", 1, (64, 64), {}),
    ("SillyTavern, gpt-image-1", {"prompt": PROMPT, "model": "gpt-image-1", "size": "64x64", "n": 1, "quality": "low",
                                  "moderation": "low"}, "b64_json", 1, (64, 64), {}),
    ("Nextcloud", {"prompt": PROMPT, "size": "64x64", "n": 2, "model": "dall-e-2"}, "url", 2, (64, 64), {}),
    ("Nextcloud, a model of the server", {"prompt": PROMPT, "size": "64x64", "n": 1, "model": "demo"},
     "b64_json", 1, (64, 64), {}),
    ("koboldcpp", {"model": "dall-e-3", "prompt": PROMPT, "n": 1, "size": "64x64", "response_format": "b64_json"},
     "b64_json", 1, (64, 64), {}),
    ("stable-diffusion.cpp", {"prompt": in_prompt(SDCPP), "n": 2, "size": "512x512", "output_format": "png",
                              "output_compression": 100}, "b64_json", 1, (64, 64),
     {"prompt": PROMPT, "steps": 2, "guidance": 1, "sampler": "euler"}),
    ("stable-diffusion.cpp, as a field", {"prompt": PROMPT, "sd_cpp_extra_args": SDCPP}, "b64_json", 1, (64, 64),
     {"steps": 2, "guidance": 1}),
    ("stable-diffusion.cpp, schedule", {"prompt": in_prompt({"sample_params": {
        "scheduler": "karras", "sample_method": "heun", "flow_shift": 4}, "seed": 3}), "size": "64x64"},
     "b64_json", 1, (64, 64), {"schedule": "karras", "sampler": "heun", "shift": 4, "seed": "3"}),
    ("additional fields in the prompt", {"prompt": in_prompt({
        "seed": 3, "steps": 2, "cfg_scale": 2, "negative_prompt": "a", "shift": 2, "width": 64, "height": 64,
        "sampler": "heun", "schedule": "beta"})}, "b64_json", 1, (64, 64),
     {"seed": "3", "steps": 2, "guidance": 1, "negative": "a", "shift": 2, "sampler": "heun", "schedule": "beta"}),
    ("a size that is rounded", {"prompt": PROMPT, "size": "100x65"}, "b64_json", 1, (96, 64), {}),
    ("SiliconFlow's clients", {"prompt": PROMPT, "size": "64x64", "batch_size": 2, "num_inference_steps": 2,
                               "guidance_scale": 0}, "b64_json", 2, (64, 64), {"steps": 2, "guidance": 0}),
)

# name; body; number and size of the images; what the history says of the last one; A1111's name of its sampler
A1111_ROWS = (
    ("webuiapi", WEBUIAPI, 1, (64, 64), {"guidance": 6, "steps": 2}, "Euler"),
    ("Open WebUI", {"prompt": PROMPT, "batch_size": 1, "width": 64, "height": 64}, 1, (64, 64), {"steps": 9}, "Euler"),
    ("Open WebUI, parameters", {"prompt": PROMPT, "batch_size": 2, "width": 64, "height": 64, "steps": 2,
                                "negative_prompt": "a", "cfg_scale": 1.5, "sampler_name": "Heun",
                                "scheduler": "Karras"}, 2, (64, 64), {"guidance": 0.5, "schedule": "karras"}, "Heun"),
    ("LibreChat", {"prompt": PROMPT, "negative_prompt": "bad", "cfg_scale": 4.5, "steps": 22, "width": 64,
                   "height": 64}, 1, (64, 64), {"guidance": 3.5, "steps": 22, "negative": "bad"}, "Euler"),
    ("SillyTavern", SILLY_TAVERN, 1, (64, 80), {"seed": "12345", "guidance": 0, "negative": "blurry"}, "Euler"),
    ("SillyTavern, Forge", changed(SILLY_TAVERN, "override_settings", {
        "CLIP_stop_at_last_layers": 2, "sd_vae": "Automatic", "forge_additional_modules": []}),
     1, (64, 80), {}, "Euler"),
    ("koboldcpp", KOBOLD, 1, (64, 64), {"seed": "31337", "guidance": 4, "negative": "ugly"}, "Euler"),
    ("Krita", KRITA, 2, (96, 64), {"steps": 2, "guidance": 0}, "Heun"),
    ("Forge", {"prompt": PROMPT, "steps": 2, "width": 64, "height": 64, "distilled_cfg_scale": 3.5, "cfg_scale": 1,
               "hr_cfg": 1, "hr_distilled_cfg": 3.5, "hr_additional_modules": None, "sampler_index": "k_heun"},
     1, (64, 64), {"guidance": 0}, "Heun"),
    ("an old name", {"prompt": PROMPT, "steps": 2, "width": 64, "height": 64, "sampler_name": "Heun Karras"},
     1, (64, 64), {"schedule": "karras"}, "Heun"),
    ("an old name and a scheduler", {"prompt": PROMPT, "steps": 2, "width": 64, "height": 64, "sampler_name": "Heun Karras",
                                     "scheduler": "Beta"}, 1, (64, 64), {"schedule": "beta"}, "Heun"),
    ("text with blanks", {"prompt": PROMPT, "steps": " 2", "width": "\t64", "height": "80 ", "seed": " 8\r\n"}, 1, (64, 80),
     {"steps": 2, "seed": "8"}, "Euler"),
    ("words for false and true", {"prompt": PROMPT, "steps": 2, "width": 64, "height": 64, "enable_hr": "no", "tiling": "Off",
                                  "restore_faces": "f", "circular": "N", "send_images": "ON",
                                  "override_settings_restore_afterwards": "y", "override_settings": {"tiling": "0"}},
     1, (64, 64), {"steps": 2}, "Euler"),
    ("other words for them", {"prompt": PROMPT, "steps": 2, "width": 64, "height": 64, "enable_hr": "FALSE", "send_images": "t",
                              "override_settings": {"enable_pnginfo": "yes"}}, 1, (64, 64), {"steps": 2}, "Euler"),
    ("two names of samplers", {"prompt": PROMPT, "steps": 2, "width": 64, "height": 64, "sampler_name": "Heun",
                               "sampler_index": "LCM"}, 1, (64, 64), {"steps": 2}, "Heun"),
    ("another sampler of a known name", {"prompt": PROMPT, "steps": 2, "width": 64, "height": 64, "sampler_name": "Heun x"},
     1, (64, 64), {"schedule": "diffusers"}, "Euler"),
    ("no model in the settings", {"prompt": PROMPT, "steps": 2, "width": 64, "height": 64, "override_settings": {
        "sd_model_checkpoint": ""}}, 1, (64, 64), {"steps": 2}, "Euler"),
    ("stable-diffusion.cpp", {"prompt": in_prompt(SDCPP), "width": 512, "height": 512, "steps": 9, "batch_size": 2,
                              "lora": [], "extra_images": [], "hr_steps": 0}, 1, (64, 64),
     {"prompt": PROMPT, "steps": 2, "guidance": 1}, "Euler"),
    ("stable-diffusion.cpp, text for numbers", {"prompt": in_prompt({"seed": "8", "sample_params": {
        "sample_steps": "3"}}), "width": "64", "height": "64"}, 1, (64, 64), {"seed": "8", "steps": 3}, "Euler"),
    ("koboldcpp's server", dict(KOBOLD, flow_shift=5, distilled_guidance=3, cache_mode="", frames=1,
                                scheduler="default", extra_images=[], init_images=[]),
     1, (64, 64), {"shift": 5}, "Euler"),
    ("150 steps", {"prompt": PROMPT, "width": 16, "height": 16, "steps": 150}, 1, (16, 16), {"steps": 150}, "Euler"),
)

# Refused by name: the field, and values that ask for something.
IMAGE = "data:image/png;base64,iVBORw0KGgo="
LORA = [{"path": "a.safetensors", "multiplier": 0.5}]
INPUTS = (("image", IMAGE), ("image", [IMAGE]), ("images", [IMAGE]), ("init_image", IMAGE), ("mask", IMAGE),
          ("mask_image", IMAGE), ("ref_images", [IMAGE]), ("extra_images", [IMAGE]), ("control_image", IMAGE),
          ("init_images", [IMAGE]), ("lora", LORA), ("custom_sigmas", [1, 0.5]), ("shifted_timestep", 2),
          ("prompt", "a <lora:mine:0.8>"), ("negative_prompt", "a <LoRA:mine>"), ("prompt", "a <lyco:b:1>"),
          ("num_inference_steps", 0), ("num_inference_steps", 151), ("guidance_scale", 101), ("guidance_scale", "a"),
          ("width", 8), ("height", 5000), ("seed", 18446744073709551616), ("seed", -2), ("colour", "red"))
IN_SDCPP = (("lora", LORA), ("init_image", IMAGE), ("image", IMAGE), ("hires.enabled", True),
            ("cache_mode", "easycache"), ("embed_image_metadata", False), ("sample_params.guidance.slg.scale", 2.5),
            ("video_frames", 5), ("sample_params.custom_sigmas", [1]), ("sample_params.sample_method", "euler_a"),
            ("sample_params.scheduler", "gits"), ("sample_params.sample_steps", 0), ("colour", 1),
            ("sample_params.colour", 1), ("sample_params.guidance.colour", 1), ("sample_params", 3), ("seed", -7),
            ("prompt", "a <lora:mine:1>"))
IN_A1111 = (("enable_hr", True), ("enable_hr", "true"), ("tiling", 1), ("restore_faces", True),
            ("subseed_strength", 0.1), ("seed_resize_from_w", 512), ("refiner_checkpoint", "sd"),
            ("script_name", "X/Y/Z plot"), ("alwayson_scripts", {"ADetailer": {"args": [True]}}), ("styles", ["film"]),
            ("infotext", "a\nSteps: 3"), ("s_churn", 0.5), ("s_min_uncond", 1), ("firstpass_image", IMAGE),
            ("frames", 9), ("steps", "2.5"), ("width", "wide"), ("batch_size", "0"), ("seed", "1.5"),
            ("sampler", "euler"), ("send_images", "maybe"))
IN_SETTINGS = (("sd_vae", "other.safetensors"), ("forge_additional_modules", ["ae.safetensors"]),
               ("randn_source", "NV"), ("forge_try_reproduce", "WebUI 1.5"), ("sd_hypernetwork", "anime"),
               ("token_merging_ratio", 0.3),
               ("eta_noise_seed_delta", 31337), ("samples_format", "jpg"), ("colour", "red"),
               ("sd_model_checkpoint", 1))
IN_OPENAI = (("background", "transparent"), ("response_format", "base64"), ("sampler", "euler_a"), ("n", "1"),
             ("aspect_ratio", "16:9"), ("steps", "3"), ("sd_cpp_extra_args", 1))
# Two names of one value that differ: the second is refused.
CONTRADICTIONS = ({"steps": 3, "num_inference_steps": 4}, {"cfg_scale": 2, "guidance_scale": 3},
                  {"shift": 2, "flow_shift": 3})
# The same on different levels of sd_cpp_extra_args: both names, the one that is refused first.
CONTRADICTING_LEVELS = (
    ({"steps": 9, "sample_params": {"sample_steps": 4}}, "steps", "sample_params.sample_steps"),
    ({"seed": 1, "sample_params": {"seed": 2}}, "seed", "sample_params.seed"),
    ({"sampler": "euler", "sample_params": {"sample_method": "heun"}}, "sampler", "sample_params.sample_method"),
    ({"schedule": "beta", "sample_params": {"scheduler": "karras"}}, "schedule", "sample_params.scheduler"),
    ({"cfg_scale": 2, "sample_params": {"guidance": {"txt_cfg": 3}}}, "cfg_scale", "sample_params.guidance.txt_cfg"),
    ({"sample_params": {"txt_cfg": 2, "guidance": {"txt_cfg": 3}}}, "sample_params.txt_cfg",
     "sample_params.guidance.txt_cfg"),
    ({"shift": 3, "sample_params": {"flow_shift": 4}}, "shift", "sample_params.flow_shift"),
    ({"negative_prompt": "a", "sample_params": {"negative_prompt": "A"}}, "negative_prompt",
     "sample_params.negative_prompt"))


def png_size(data):
    assert data[:8] == b"\x89PNG\r\n\x1a\n", data[:20]
    return struct.unpack(">II", data[16:24])


class Clients(Case):
    def row(self):
        return self.server.get("/api/images").json["images"][0]

    def post(self, path, body, status=200):
        raw = body if isinstance(body, str) else json.dumps(body)
        reply = self.server.request("POST", path, raw=raw, headers={"Content-Type": "application/json"})
        self.assertEqual(reply.status, status, reply.body[:600])
        return reply.json

    def openai(self, body):
        """The answer and the bytes of its images."""
        reply = self.post(OPENAI, body)
        images = []
        for one in reply["data"]:
            self.assertEqual(len(one), 1, one)
            if "url" in one:
                url = urllib.parse.urlsplit(one["url"])
                images.append(self.server.get(f"{url.path}?{url.query}").body)
            else:
                images.append(base64.b64decode(one["b64_json"], validate=True))
        return reply, images

    def a1111(self, body):
        reply = self.post(A1111, body)
        return reply, [base64.b64decode(one, validate=True) for one in reply["images"]]

    def check_history(self, expected):
        row = self.row()
        self.assertEqual({name: row[name] for name in expected}, expected)

    def test_openai(self):
        for name, body, form, count, size, expected in OPENAI_ROWS:
            with self.subTest(client=name):
                reply, images = self.openai(body)
                self.assertEqual([list(one) for one in reply["data"]], [[form]] * count)
                self.assertEqual([png_size(one) for one in images], [size] * count)
                self.assertEqual(reply["size"], "%dx%d" % size)
                self.assertIsInstance(reply["created"], int)
                self.check_history(expected)

    def test_a1111(self):
        for name, body, count, size, expected, sampler in A1111_ROWS:
            with self.subTest(client=name):
                reply, images = self.a1111(body)
                info = json.loads(reply["info"])
                self.assertEqual([png_size(one) for one in images], [size] * count)
                self.assertEqual((info["width"], info["height"], info["sampler_name"], len(info["all_seeds"]),
                                  len(info["infotexts"])), (*size, sampler, count, count))
                self.assertIn("Size: %dx%d" % size, info["infotexts"][0])
                self.assertEqual(info["seed"], info["all_seeds"][0])
                self.check_history(expected)

    def test_two_names_of_one_value(self):
        """As text and as a number, in both orders, on different levels, and sizes that are rounded to the same."""
        for fields in ({"steps": "2", "num_inference_steps": 2}, {"num_inference_steps": 2, "steps": "2.0"},
                       {"steps": 2, "num_inference_steps": "2"}, {"steps": 2, "sample_steps": None}):
            with self.subTest(fields=fields):
                self.a1111(dict(fields, prompt=PROMPT, width=64, height=64, seed=5))
                self.check_history({"steps": 2, "seed": "5"})
        same = {"seed": 5, "steps": 2, "width": 100, "height": 64, "schedule": "beta", "sample_params": {
            "seed": "5", "sample_steps": 2.0, "width": 96, "height": -1, "scheduler": "beta", "flow_shift": 0}, "shift": 4}
        for both in same, dict(reversed(same.items())):
            self.openai({"prompt": in_prompt(both)})
            self.check_history({"seed": "5", "steps": 2, "width": 96, "schedule": "beta", "shift": 4})

    def test_stream(self):
        """The size in an event is that of the image in it."""
        for model in "gpt-image-1", "dall-e-3":
            stream = Stream(self.server, OPENAI, "POST", {"model": model, "prompt": PROMPT, "size": "130x128",
                                                          "stream": True, "partial_images": 2})
            events = list(stream)
            stream.close()
            self.assertEqual(events[-1].data["size"], "128x128")
            for event in events:
                size = png_size(base64.b64decode(event.data["b64_json"]))
                self.assertEqual(event.data["size"], "%dx%d" % size)

    def test_parameters_are_sent_back(self):
        """What an answer says of the request is a request for the same image."""
        reply, images = self.a1111(dict(WEBUIAPI, seed=SEEDS[0]))
        self.assertEqual(self.a1111(reply["parameters"])[1], images)
        reply, _ = self.a1111({"prompt": PROMPT, "steps": 2, "width": 64, "height": 64})
        self.a1111(reply["parameters"])

    def test_options_as_open_webui_sends_them(self):
        options = self.server.get("/sdapi/v1/options").json
        options["sd_model_checkpoint"] = "demo"
        self.assertIsNone(self.post("/sdapi/v1/options", options))

    # ---- what is refused ----

    def refused(self, path, body, field):
        """Answered as the API does, with the name of the field, and nothing is generated."""
        if path == OPENAI:
            error = self.post(path, body, 400)["error"]
            self.assertEqual((error["param"], error["type"]), (field, "invalid_request_error"), error)
            return error["message"]
        detail = self.post(path, body, 422)["detail"][0]
        self.assertEqual((detail["loc"], detail["type"]), (["body", field], "value_error"), detail)
        return detail["msg"]

    def test_refused(self):
        openai, a1111 = {"prompt": PROMPT}, {"prompt": PROMPT, "steps": 2, "width": 64, "height": 64}
        before = self.server.get("/api/images").json["total"]
        for field, value in INPUTS:
            for path, body in (OPENAI, openai), (A1111, a1111):
                with self.subTest(path=path, field=field):
                    self.assertIn(field, self.refused(path, dict(body, **{field: value}), field))
        for field, value in IN_OPENAI:
            self.refused(OPENAI, dict(openai, **{field: value}), field)
        for field, value in IN_A1111:
            self.refused(A1111, dict(a1111, **{field: value}), field)
        for field, value in IN_SETTINGS:
            self.refused(A1111, dict(a1111, override_settings={field: value}), field)
            self.refused("/sdapi/v1/options", {field: value}, field)
        for field, value in IN_SDCPP:
            fields = changed(SDCPP, field, value)
            for path, body in (OPENAI, {}), (A1111, {"steps": 3}):
                with self.subTest(path=path, field=field):
                    self.refused(path, dict(body, prompt=in_prompt(fields)), field.rpartition(".")[2])
                    self.refused(path, dict(body, prompt=PROMPT, sd_cpp_extra_args=fields), field.rpartition(".")[2])
        for fields in CONTRADICTIONS:
            for path in OPENAI, A1111:
                self.refused(path, dict(fields, prompt=PROMPT), list(fields)[1])
                self.refused(path, dict(reversed(fields.items()), prompt=PROMPT), list(fields)[1])
        for fields, name, other in CONTRADICTING_LEVELS:
            for path in OPENAI, A1111:
                for both in fields, dict(reversed(fields.items())):
                    with self.subTest(path=path, fields=both):
                        message = self.refused(path, {"prompt": in_prompt(both)}, name.rpartition(".")[2])
                        self.assertIn(f"{name}: has another value than {other}, but both", message)
        self.refused(OPENAI, dict(openai, size="64x64", width=128), "width")
        self.assertEqual(self.server.get("/api/images").json["total"], before)

    def test_a_field_twice(self):
        """Refused, also where both have one value, and in the objects within."""
        for steps in 2, 3:
            for text in ('"steps": 2, "steps": %d', '"eta": 2, "eta": %d',
                         '"sd_cpp_extra_args": {"sample_params": {"sample_steps": 2, "sample_steps": %d}}'):
                name = text.split('"')[-2]
                for path in (OPENAI, A1111) if name != "eta" else (A1111,):
                    with self.subTest(path=path, text=text):
                        self.refused(path, '{"prompt": "a", %s}' % (text % steps), name)
        self.refused(A1111, '{"prompt": "a", "override_settings": {"sd_vae": "None", "sd_vae": "None"}}', "sd_vae")

    def test_tags(self):
        tag = in_prompt({"steps": 2})
        for path in OPENAI, A1111:
            self.refused(path, {"prompt": f"{tag} {tag}"}, "prompt")
            self.refused(path, {"prompt": f"{PROMPT} <sd_cpp_extra_args>{{}}"}, "prompt")
            self.refused(path, {"prompt": PROMPT, "negative_prompt": tag}, "negative_prompt")
            self.refused(path, {"prompt": in_prompt([])}, "prompt")
            self.refused(path, {"prompt": in_prompt({"negative_prompt": "a\0b"})}, "prompt")
            self.refused(path, {"prompt": "<sd_cpp_extra_args>{}</sd_cpp_extra_args>"}, "prompt")
        self.refused(A1111, {"prompt": in_prompt({"output_format": "webp"})}, "output_format")
        self.openai({"prompt": in_prompt({"steps": 2, "cfg_scale": 2}), "sd_cpp_extra_args": {"steps": 3, "seed": 8},
                     "steps": 4, "guidance_scale": 3, "size": "64x64"})  # the prompt goes first, then the field
        self.check_history({"steps": 2, "seed": "8", "guidance": 1})
        reply, _ = self.openai({"prompt": in_prompt(dict(SDCPP, output_format="webp", prompt="a blue square"))})
        self.assertEqual(reply["output_format"], "webp")
        self.check_history({"prompt": "a blue square"})

    def test_the_messages_say_what_to_do(self):
        for path, body, says in (
                (OPENAI, {"lora": LORA}, "lora: is not supported, so it cannot be "
                                         '[{"path":"a.safetensors","multiplier":0.5}]; omit it'),
                (OPENAI, {"image": IMAGE * 9}, "image: is not supported, so it cannot be "
                                               '"data:image/png;base64,iVBORw0KGgo=data:...; omit it'),
                (OPENAI, {"image": "é" * 99}, f'image: is not supported, so it cannot be "{"é" * 19}...; omit it'),
                (A1111, {"enable_hr": True}, "enable_hr: is not supported, so it cannot be true; omit it, or send false"),
                (A1111, {"override_settings": {"sd_vae": "x"}},
                 'override_settings.sd_vae: is not supported, so it cannot be "x"; omit it, or send "Automatic" or "None"'),
                (OPENAI, {"prompt": in_prompt({"hires": {"enabled": True}})},
                 "hires.enabled: is not supported, so it cannot be true; omit it, or send false"),
                (OPENAI, {"prompt": in_prompt({"sample_params": {"guidance": {"slg": {"x": 1}}}})},
                 "sample_params.guidance.slg.x: unknown field; remove it"),
                (OPENAI, {"colour": 1}, "colour: unknown field; remove it, or check its name: the fields are "
                                        "prompt, model, n,"),
                (OPENAI, {"steps": 3, "num_inference_steps": 4},
                 "num_inference_steps: has another value than steps, but both are names of one parameter; send one of them"),
                (OPENAI, {"cfg_scale": 3, "guidance_scale": 4}, "guidance_scale: cfg_scale is given, too;"),
                (OPENAI, {"size": "64x64", "height": 80}, "height: is 80, but size asks for 64; send either")):
            error = self.post(path, dict({"prompt": PROMPT}, **body), 400 if path == OPENAI else 422)
            message = error["error"]["message"] if path == OPENAI else error["detail"][0]["msg"]
            self.assertTrue(message.startswith(says), message)

    def test_many_members(self):
        """A request with tens of thousands of members, which rows for many names have, takes no longer than others."""
        for pattern, value in ("hr_%d", "0"), ("override_settings.eta_%d", "0"), ("sd_cpp_extra_args.hires.%d", "0"), (
                "override_settings.token_merging_ratio%d", "0"):
            *outer, name = pattern.split(".")
            count = 1000000 // (len(name) + 8)
            body = ",".join(f'"{name % i}":{value}' for i in range(count))
            for one in reversed(outer):
                body = f'"{one}":{{{body}}}'
            with self.subTest(pattern=pattern):
                begin = time.monotonic()
                self.refused(A1111, f'{{"prompt":"a",{body},"negative_prompt":"<lora:a:1>"}}', "negative_prompt")
                self.assertLess(time.monotonic() - begin, 2)
        self.a1111('{"prompt":"a","steps":1,"width":16,"height":16,"hr_scale":1,"hr_scale":2}')
        for name, values in ("steps", "1,1"), ("seed", "-1,5"), ("tiling", "false,false"), ("eta", "1,1"), (
                "sampler_name", '"",""'), ("override_settings", "{},{}"):
            first, second = values.split(",")
            message = self.refused(A1111, f'{{"prompt":"a","{name}":{first},"{name}":{second}}}', name)
            self.assertIn("appears twice", message)

    # ---- what has no effect ----

    def test_without_effect(self):
        """The same image with odd values in all fields that have none."""
        base = {"prompt": PROMPT, "seed": 4, "steps": 2, "width": 64, "height": 64}
        odd = {"denoising_strength": 0.1, "hr_scale": 9, "hr_upscaler": "x", "firstphase_width": 7, "subseed": 99,
               "refiner_switch_at": 0.8, "script_args": [1], "inpainting_fill": 2, "mask_blur": 9, "resize_mode": 2,
               "image_cfg_scale": 9, "eta": 0.5, "s_tmax": 9, "s_tmin": 1, "s_noise": 2, "clip_skip": 5,
               "distilled_cfg_scale": 9, "disable_extra_networks": True, "do_not_save_samples": True,
               "comments": {"a": 1}, "save_images": True, "force_task_id": "t", "sampler_name": "Euler", "lora": [],
               "enable_hr": 0,
               "override_settings": {"CLIP_stop_at_last_layers": 12, "eta_ddim": 1, "sd_vae_checkpoint_cache": 9,
                                     "save_images_add_number": False, "forge_inference_memory": 1, "emphasis": "None",
                                     "forge_try_reproduce": "None",
                                     "sd_vae": "none", "samples_format": "PNG"}}
        plain = self.a1111(base)[1]
        self.assertEqual(self.a1111(dict(base, **odd))[1], plain)
        odd = {"quality": "hd", "style": "natural", "moderation": "low", "user": "u", "clip_skip": 5, "strength": 0.1,
               "input_fidelity": "high", "safety_identifier": "s", "metadata": {"a": "b"}, "image": "", "mask": None,
               "lora": [], "sd_cpp_extra_args": {
                   "strength": 0.1, "clip_skip": 9, "control_strength": 2, "fps": 3, "moe_boundary": 1,
                   "vae_tiling_params": {"enabled": True}, "hires": {"enabled": False, "scale": 9},
                   "high_noise_sample_params": {"sample_steps": 1}, "sample_params": {
                       "eta": 5, "guidance": {"distilled_guidance": 9, "img_cfg": 4, "slg": {"layers": [1]}}}}}
        self.assertEqual(self.openai(base)[1], plain)
        self.assertEqual(self.openai(dict(base, **odd))[1], plain)

    # ---- seeds and sizes ----

    def test_seeds_of_64_bits(self):
        """As a number and as text, in all APIs and in sd_cpp_extra_args: no digit is lost."""
        a1111 = '{"prompt": "a", "steps": 1, "width": 16, "height": 16, "seed": %s}'
        openai = '{"prompt": "a", "steps": 1, "size": "16x16", "seed": %s}'
        inside = ('{"prompt": "a<sd_cpp_extra_args>{\\"seed\\": %s}</sd_cpp_extra_args>", "steps": 1, "width": 16, '
                  '"height": 16}')
        own = '{"kind": "generate", "params": {"prompt": "a", "steps": 1, "width": 16, "height": 16, "seed": %s}}'
        for seed in SEEDS:
            for value in seed, f'"{seed}"':
                reply = self.post(A1111, a1111 % value)
                self.assertEqual(json.loads(reply["info"])["seed"], int(seed))
                self.assertEqual(str(reply["parameters"]["seed"]), seed)
                self.check_history({"seed": seed})
                self.post(OPENAI, openai % value)
                self.check_history({"seed": seed})
                job = self.server.wait(self.post("/api/jobs", own % value, 202)["id"])
                self.assertEqual((job["state"], job["params"]["seed"]), ("done", seed))
                self.check_history({"seed": seed})
            for path in OPENAI, A1111:
                self.post(path, inside % seed)
                self.check_history({"seed": seed})
        for value in "00000000000000000007", "7.", "0000000000000000007.":  # no numbers in JSON, but in its parser
            self.assertEqual(self.post(A1111, a1111 % value)["parameters"]["seed"], 7)
        for value in "18446744073709551616", "-1234567890123456789", "1.00000000000000000001", "1e300", "1e18":
            self.post(A1111, a1111 % value, 422)
            self.post(OPENAI, openai % value, 400)
            self.post("/api/jobs", own % value, 400)
        for path, body in (A1111, a1111), (OPENAI, openai):
            for value in "-1", "-1.0", "null", '"-1"':
                self.post(path, body % value)

    def test_sizes_are_rounded(self):
        """By one rule, and the answer has the real size."""
        for width, height, size in (17, 79, (16, 64)), (100, 96, (96, 96)), (65, 16, (64, 16)):
            reply, images = self.openai({"prompt": "a", "steps": 1, "size": f"{width}x{height}"})
            self.assertEqual((reply["size"], png_size(images[0])), ("%dx%d" % size, size))
            reply, images = self.openai({"prompt": "a", "steps": 1, "width": width, "height": height})
            self.assertEqual((reply["size"], png_size(images[0])), ("%dx%d" % size, size))
            reply, images = self.a1111({"prompt": "a", "steps": 1, "width": width, "height": str(height)})
            info = json.loads(reply["info"])
            self.assertEqual(((info["width"], info["height"]), png_size(images[0])), (size, size))
            job = self.server.wait(self.server.submit(steps=1, width=width, height=height))
            self.assertEqual((job["params"]["width"], job["params"]["height"]), size)
            self.check_history({"width": size[0], "height": size[1]})
        for path, body in (OPENAI, {"size": "64x15"}), (OPENAI, {"size": "4112x64"}):
            self.refused(path, dict(body, prompt="a"), "size")


if __name__ == "__main__":
    import unittest

    unittest.main()
