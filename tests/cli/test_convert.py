"""zimage convert and quantize: output, refused calls, and no partial files after errors."""

import json
import os
import re
import resource
import shutil
import signal
import struct
import subprocess
import sys
import unittest

from support import MODEL, ZIMAGE, Case, change_json, png_infotext, read_safetensors, write_safetensors

GOLDEN = os.path.dirname(MODEL)
SINGLE = os.path.join(GOLDEN, "comfyui", "seed_single_file.safetensors")
SPLIT = os.path.join(GOLDEN, "comfyui", "split_diffusion_model_fp8_e4m3fn.safetensors")
VAE = os.path.join(GOLDEN, "comfyui", "split_ae.safetensors")
SHARD = "diffusion_pytorch_model-00002-of-00002.safetensors"


class Converted(Case):
    def convert(self, *args, **options):
        return self.zimage("convert", *args, **options)

    def refuses(self, code, words, *args, command="convert", **options):
        """It fails so and leaves no file or folder."""
        before = self.everything()
        self.refused(self.zimage(command, *args, **options), code, *words)
        self.assertEqual(self.everything(), before)

    def everything(self):
        found = []
        for folder, folders, names in os.walk(self.dir):
            found += [os.path.join(folder, name) for name in folders + names]
        return sorted(found)


def sparse_encoder(path, tokens):
    """A text encoder with this many tokens, whose numbers the disk need not hold."""
    folder, embed, tensors = os.path.join(MODEL, "text_encoder"), "model.embed_tokens.weight", {}
    for name in os.listdir(folder):
        if name.endswith(".safetensors"):
            tensors.update(read_safetensors(os.path.join(folder, name)))
    dtype, (_, width), _ = tensors.pop(embed)
    header, end = {}, 0
    for name, (kind, shape, data) in tensors.items():
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [end, end + len(data)]}
        end += len(data)
    size = end + tokens * width * 2
    header[embed] = {"dtype": dtype, "shape": [tokens, width], "data_offsets": [end, size]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(data for _, _, data in tensors.values()))
        file.write(struct.pack("<H", 0x3f80) * width)  # not all are zeros: that would be no encoder
        file.truncate(8 + len(text) + size)
    return size


class Works(Converted):
    @unittest.skipUnless(sys.platform == "linux", "memory is counted in other units elsewhere")
    def test_memory(self):
        """What was read does not stay in memory, whether it is copied or computed with."""
        size = sparse_encoder(self.path("in.safetensors"), 2_000_000)
        # A child counts what its parent had before: one in between has little.
        between = ("import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True);"
                   "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)")
        for precision in "original", "fp16":
            with self.subTest(precision):
                command = [ZIMAGE, "convert", "in.safetensors", precision + ".safetensors", "-q", "--to", "comfyui",
                           "--precision", precision]
                done = subprocess.run([sys.executable, "-c", between, *command], cwd=self.dir, check=True,
                                      stdout=subprocess.PIPE)
                self.assertLess(int(done.stdout) * 1024, size / 3)
                os.remove(self.path(precision + ".safetensors"))

    def test_prints_the_destination(self):
        for layout, name in (("mlx", "m"), ("diffusers", "d/"), ("comfyui", "c.safetensors"),
                             ("gguf", "g.gguf")):
            with self.subTest(layout):
                result = self.good(self.convert(MODEL, name, "--to", layout))
                self.assertEqual(result.stdout.decode(), name + "\n")
                self.assertEqual(result.stderr, b"")
        self.assertEqual(self.good(self.convert(MODEL, "q", "--to", "mlx", "-q")).stdout, b"")

    def test_an_image_of_the_diffusers_folder(self):
        self.good(self.convert(SINGLE, "folder", "--to", "diffusers", "--reference", MODEL))
        self.good(self.generate(model=MODEL, output="a.png"))
        self.good(self.generate(model="folder", output="b.png"))
        pixels = [self.read(name).split(b"IDAT", 1)[1] for name in ("a.png", "b.png")]
        self.assertEqual(*pixels)

    def test_an_empty_folder_as_the_destination(self):
        os.mkdir(self.path("empty"))
        self.good(self.convert(MODEL, "empty", "--to", "mlx"))
        self.assertIn("empty/weights.safetensors", self.files())

    def test_split_files(self):
        self.good(self.convert(SPLIT, "whole.safetensors", "--to", "comfyui", "--vae", VAE,
                               "--text-encoder", os.path.join(MODEL, "text_encoder")))
        tensors = read_safetensors(self.path("whole.safetensors"))
        for prefix in ("model.diffusion_model.", "text_encoders.qwen3_4b.transformer.", "vae."):
            self.assertTrue(any(name.startswith(prefix) for name in tensors), prefix)

    def test_a_part_alone(self):
        self.good(self.convert(os.path.join(MODEL, "vae"), "vae.safetensors", "--to", "comfyui"))
        got, wanted = read_safetensors(self.path("vae.safetensors")), read_safetensors(VAE)
        self.assertEqual(got, wanted)
        self.good(self.convert(SPLIT, "t", "--to", "diffusers"))
        self.assertEqual(self.files(), ["t/config.json", "t/diffusion_pytorch_model.safetensors",
                                        "vae.safetensors"])
        with open(self.path("t", "config.json"), encoding="utf-8") as file:
            self.assertEqual(json.load(file)["n_layers"], 2)

    def test_quantize_keeps_the_layout(self):
        self.good(self.convert(MODEL, "mlx", "--to", "mlx"))
        self.good(self.zimage("quantize", "mlx", "q4", "--precision", "q4"))
        with open(self.path("q4", "config.json"), encoding="utf-8") as file:
            config = json.load(file)
        self.assertEqual(config["quantization"], {"group_size": 64, "bits": 4})
        self.assertEqual(config["precision"], "Q4")
        self.good(self.zimage("quantize", SINGLE, "s.safetensors", "--precision", "fp8"))
        types = {row[0] for row in read_safetensors(self.path("s.safetensors")).values()}
        self.assertIn("F8_E4M3", types)

    def test_the_extension_tells_the_layout(self):
        self.good(self.convert(MODEL, "a.safetensors"))
        self.good(self.convert(MODEL, "b.safetensors", "--to", "comfyui"))
        self.assertEqual(self.read("a.safetensors"), self.read("b.safetensors"))
        os.makedirs(self.path("models", "comfyui"))
        for name in "a.gguf", "B.GGUF":
            self.good(self.convert(MODEL, "models/comfyui/" + name))
            self.assertEqual(self.read("models/comfyui/" + name)[:4], b"GGUF")
            self.good(self.zimage("inspect", name))
            self.assertIn(name, self.good(self.zimage("models")).stdout.decode())
            self.good(self.generate("--reference", MODEL, model=name, output="out.png"))
            self.assertIn(f"Model: {name[0]}", png_infotext(self.read("out.png")))

    def test_every_type_of_block(self):
        """The golden model's rows of 128 are short: types with blocks of 256 get others there, with more bits."""
        for precision, types in (("q2_k", {"IQ4_NL", "Q2_K"}), ("q3_k", {"IQ4_NL", "Q3_K"}), ("q4_k", {"Q5_0", "Q4_K"}),
                                 ("q5_k", {"Q5_1", "Q5_K"}), ("q6_k", {"Q8_0", "Q6_K"}), ("q4_1", {"Q4_1"}),
                                 ("q5_0", {"Q5_0"}), ("q5_1", {"Q5_1"}), ("iq4_nl", {"IQ4_NL"}),
                                 ("iq4_xs", {"IQ4_NL", "IQ4_XS"})):
            with self.subTest(precision):
                name = precision + ".gguf"
                self.good(self.convert(MODEL, name, "--precision", precision))
                about = json.loads(self.good(self.zimage("inspect", "--json", name)).stdout)
                found = set(about["components"]["transformer"]["types"])
                self.assertEqual(found - types - {"Q8_0", "F32", "BF16", "F16"}, set())
                self.assertTrue(found & types)
                self.good(self.generate("--reference", MODEL, model=name, output="out.png"))

    def test_a_text_encoder_in_blocks(self):
        self.good(self.convert(os.path.join(MODEL, "text_encoder"), "te.gguf", "--precision", "q5_0", "--reference",
                               MODEL))
        self.good(self.generate("--text-encoder", "te.gguf", output="out.png"))

    def test_all_in_32_bits(self):
        self.good(self.convert(MODEL, "x.safetensors", "--precision", "fp32"))
        tensors = read_safetensors(self.path("x.safetensors"))
        self.assertEqual({row[0] for row in tensors.values()}, {"F32"})

    def test_fp8_without_scales(self):
        self.good(self.convert(MODEL, "x.safetensors", "--precision", "fp8_e4m3fn"))
        tensors = read_safetensors(self.path("x.safetensors"))
        self.assertIn("F8_E4M3", {row[0] for row in tensors.values()})
        self.assertEqual([name for name in tensors if "scale" in name or "comfy_quant" in name], [])

    def test_shards(self):
        self.good(self.convert(MODEL, "whole", "--to", "diffusers"))
        self.good(self.convert(MODEL, "shards", "--to", "diffusers", "--shard-size", "100KB"))
        names = os.listdir(self.path("shards", "transformer"))
        self.assertGreater(len(names), 3)
        for name in names:
            if name.endswith(".safetensors"):
                tensors = read_safetensors(self.path("shards", "transformer", name))
                size = sum(len(row[2]) for row in tensors.values())
                self.assertTrue(size <= 100_000 or len(tensors) == 1, name)
        for folder in "whole", "shards":
            self.good(self.generate(model=folder, output=folder + ".png"))
        pixels = [self.read(name).split(b"IDAT", 1)[1] for name in ("whole.png", "shards.png")]
        self.assertEqual(*pixels)

    def test_the_same_bytes_from_any_number_of_threads(self):
        for threads in ("1", "3"):
            self.good(self.convert(MODEL, threads, "--to", "mlx", "--precision", "fp8",
                                   "--threads", threads))
        for name in ("weights.safetensors", "vae.safetensors"):
            self.assertEqual(self.read("1/" + name), self.read("3/" + name))
        for threads in ("1", "3"):
            self.good(self.convert(MODEL, threads + ".gguf", "--precision", "q4_k", "--threads", threads))
        self.assertEqual(self.read("1.gguf"), self.read("3.gguf"))


class Refused(Converted):
    def test_calls(self):
        self.refuses(2, ["--to", "mlx|diffusers"], MODEL, "x")
        self.refuses(2, ["--precision"], MODEL, "x", command="quantize")
        self.refuses(2, ["DST"], MODEL, "--to", "mlx")
        self.refuses(2, ["SRC DST"], MODEL, "x", "y", "--to", "mlx")
        self.refuses(2, ["--to", "onnx"], MODEL, "x", "--to", "onnx")
        self.refuses(2, ["empty"], MODEL, "", "--to", "mlx")
        self.refuses(2, ["--to", "x.gguf", "ComfyUI"], MODEL, "x.gguf", "--to", "comfyui")
        self.refuses(2, ["--to", "x.safetensors", "MLX"], MODEL, "x.safetensors", "--to", "mlx")
        self.refuses(2, ["zimage: x.gguf has", "this model is written as diffusers"], MODEL, "x.gguf", "--precision", "fp16", command="quantize")
        self.refuses(2, ["--shard-size", "ComfyUI"], MODEL, "x.safetensors", "--shard-size", "1GB")
        for wrong in "much", "-1GB", "0", "1PB", "GB", "nan", "1e30":
            self.refuses(2, ["--shard-size", wrong, "5GB"], MODEL, "x", "--to", "diffusers", "--shard-size", wrong)

    def test_precisions(self):
        for layout, precision, can in (("diffusers", "q4", "fp8"), ("comfyui", "q8", "fp8"),
                                       ("gguf", "fp8", "q8, q4")):
            with self.subTest(layout):
                call = f", or another layout: `zimage convert SRC DST --to mlx --precision {precision}`"
                self.refuses(2, ["--precision: " + precision, can, call], MODEL, "x", "--to", layout,
                             "--precision", precision)
        self.refuses(2, ["--precision: ", VAE, "transformer"], VAE, "x", "--to", "mlx", "--precision", "q8")
        self.refuses(2, ["--precision: ", "has no transformer"], VAE, "x", "--precision", "q8", command="quantize")
        self.refuses(2, ["transformer"], os.path.join(MODEL, "text_encoder"), "x", "--to", "mlx",
                     "--precision", "q8")

    def test_precisions_of_what_is_quantized(self):
        call = ", or another layout: `zimage convert SRC DST --to mlx --precision q4`"
        self.refuses(2, [call], MODEL, "x", "--precision", "q4", command="quantize")
        result = self.zimage("quantize", VAE, "x", "--precision", "q4")
        self.assertNotIn(b"zimage convert", result.stderr)

    def test_sources(self):
        self.refuses(1, ["nowhere"], "nowhere", "x", "--to", "mlx")
        self.refuses(2, ["--to: ", "VAE", "GGUF"], VAE, "x", "--to", "gguf")
        self.refuses(1, [SPLIT, "no VAE", "--vae"], MODEL, "x", "--to", "mlx", "--vae", SPLIT)
        self.refuses(2, ["--vae: ", "a GGUF file holds one part of a model", VAE], MODEL, "x", "--to", "gguf", "--vae", VAE)
        lora = {"transformer.layers.0.attention.to_q.lora_A.weight": ["F16", [1, 2], bytes(4)]}
        write_safetensors(self.path("lora.safetensors"), lora)
        self.refuses(1, ["lora.safetensors", "LoRA"], "lora.safetensors", "x", "--to", "mlx")
        flux = {"double_blocks.0.a": ["F16", [1], bytes(2)], "single_blocks.0.a": ["F16", [1], bytes(2)]}
        write_safetensors(self.path("flux.safetensors"), flux)
        self.refuses(1, ["flux.safetensors", "Flux"], "flux.safetensors", "x", "--to", "mlx")

    def test_a_folder_without_weights(self):
        self.write("empty/model_index.json", b"{}")
        for layout in "mlx", "comfyui", "gguf", "diffusers":
            self.refuses(1, ["empty", "no weights"], "empty", "x", "--to", layout)

    def test_what_is_missing(self):
        self.refuses(1, ["tokenizer", "--reference"], SINGLE, "x", "--to", "diffusers")
        self.refuses(1, ["text encoder", "--text-encoder, --reference"], SPLIT, "x", "--to", "mlx", "--vae", VAE)
        tensors = read_safetensors(SPLIT)
        del tensors["x_embedder.weight"]
        write_safetensors(self.path("part.safetensors"), tensors)
        self.refuses(1, ["part.safetensors", "all_x_embedder.2-1.weight"], "part.safetensors", "x",
                     "--to", "mlx")

    def test_a_third_of_a_fused_tensor(self):
        self.copy_model()
        folder = self.path("model", "transformer")
        tensors = {}
        for name in os.listdir(folder):
            if name.endswith(".safetensors"):
                tensors.update(read_safetensors(os.path.join(folder, name)))
        del tensors["layers.0.attention.to_k.weight"]
        write_safetensors(self.path("part.safetensors"), tensors)
        self.refuses(1, ["part", "attention.to_k.weight is missing, which belongs to layers.0.attention.to_q.weight"],
                     "part.safetensors", "x", "--to", "comfyui")

    def test_truncated(self):
        self.copy_model()
        path = self.path("model", "transformer", SHARD)
        os.truncate(path, os.path.getsize(path) // 2)
        self.refuses(1, [SHARD, "cut off"], "model", "x", "--to", "mlx")

    def test_a_config_that_contradicts_the_tensors(self):
        self.copy_model()
        config = self.path("model", "transformer", "config.json")
        change_json(config, n_layers=7)
        self.refuses(1, ["config.json", "n_layers"], "model", "x", "--to", "mlx")
        self.write("model/transformer/config.json", "{")
        self.refuses(1, ["config.json"], "model", "x", "--to", "mlx")

    def test_places(self):
        self.copy_model()
        self.refuses(2, ["inside"], "model", "model/out", "--to", "mlx")
        self.refuses(2, ["inside"], "model", "model/vae/out", "--to", "mlx")
        self.refuses(2, ["same"], "model", "model", "--to", "mlx")
        self.refuses(2, ["inside"], "model/vae", "model", "--to", "mlx")
        os.symlink(self.path("model"), self.path("link"))
        self.refuses(2, ["inside"], "link", "model/out", "--to", "mlx")
        self.refuses(2, ["inside"], SINGLE, "model/out", "--to", "mlx", "--reference", "model")
        self.refuses(1, ["no/such"], "model", "no/such/place", "--to", "mlx")

    def test_what_is_there_stays(self):
        self.write("full/file", "x")
        self.write("file", "x")
        for name, layout in (("full", "mlx"), ("file", "diffusers"), ("file", "comfyui"),
                             ("full", "gguf")):
            with self.subTest(name=name, layout=layout):
                self.refuses(1, [name, "already"], MODEL, name, "--to", layout)
        self.assertEqual(self.read("file"), b"x")

    def test_a_read_only_place(self):
        if os.geteuid() == 0:
            self.skipTest("root may write everywhere")
        os.mkdir(self.path("locked"), 0o555)
        for layout in ("mlx", "comfyui"):
            self.refuses(1, ["locked", "cannot write"], MODEL, "locked/x", "--to", layout)

    def test_a_place_that_takes_no_files(self):
        if not os.path.isdir("/proc/self"):
            self.skipTest("no /proc")
        for layout in ("mlx", "comfyui"):
            self.refuses(1, ["/proc/x"], MODEL, "/proc/x", "--to", layout)


class Space(Converted):
    def test_a_disk_that_is_too_small(self):
        """A file of 4 TiB without contents: more than the disk has, less than a file may have."""
        rows = 2**31
        header = json.dumps({"cap_embedder.1.weight": {
            "dtype": "BF16", "shape": [rows, 1024], "data_offsets": [0, rows * 2048]}}).encode()
        self.write("huge.safetensors", struct.pack("<Q", len(header)) + header)
        free = shutil.disk_usage(self.dir).free
        if free >= rows * 2048:
            self.skipTest("the disk is too large")
        try:
            os.truncate(self.path("huge.safetensors"), 8 + len(header) + rows * 2048)
        except OSError:
            self.skipTest("no such large files here")
        result = self.convert("huge.safetensors", "x.safetensors", "--to", "comfyui")
        self.refused(result, 1, "x.safetensors", "the converted model takes 4.4 TB", "free")
        self.assertEqual(self.files(), ["huge.safetensors"])

    def test_a_disk_that_fills_up(self):
        def limit():
            resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))

        for layout, name in (("mlx", "x"), ("diffusers", "x"), ("comfyui", "x.safetensors"),
                             ("gguf", "x.gguf")):
            with self.subTest(layout):
                self.refuses(1, ["cannot write"], MODEL, name, "--to", layout, preexec_fn=limit)


class Interrupted(Converted):
    def big(self):
        """A transformer that takes a while to convert."""
        tensors, wide = read_safetensors(SPLIT), 100_000
        for name, (_, shape, _) in list(tensors.items()):
            if ".feed_forward." in name:
                del tensors[name]  # to stand last
                tensors[name] = ["F8_E4M3", [wide if side == 341 else side for side in shape], bytes(wide * 128)]
        write_safetensors(self.path("big.safetensors"), tensors)

    def test_signals(self):
        self.big()
        for layout in ("comfyui", "gguf", "mlx"):
            for number, times in ((signal.SIGINT, 1), (signal.SIGTERM, 1), (signal.SIGINT, 2)):
                with self.subTest(layout=layout, number=number, times=times):
                    self.interrupt(layout, number, times)

    def interrupt(self, layout, number, times):
        before = self.everything()
        process = subprocess.Popen(
            [ZIMAGE, "convert", "big.safetensors", "out", "--to", layout, "--precision", "bf16",
             "--threads", "1"],
            cwd=self.dir, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.addCleanup(process.kill)
        while self.everything() == before:
            self.assertIsNone(process.poll(), process.stderr)
        for _ in range(times):
            process.send_signal(number)
        _, errors = process.communicate(timeout=30)
        self.assertEqual(process.returncode, -number)
        self.assertTrue(re.fullmatch(rb"zimage: cancelled\n", errors), errors)
        self.assertEqual(self.everything(), before)


if __name__ == "__main__":
    unittest.main()
