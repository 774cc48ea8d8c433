"""What zimage convert writes, read by the programs that it is written for: MLX, diffusers (which
takes transformers along) and gguf-py. Needs what requirements.txt lists, and ZIMAGE and
ZI_TEST_DATA as the tests of the command line do:

    ZIMAGE=build/zimage ZI_TEST_DATA=tests/data python3 -m unittest discover -s tests/interop
"""

import os
import pathlib
import subprocess
import tempfile
import unittest

import gguf
import mlx.core as mx
import numpy as np
import torch
from diffusers import AutoencoderKL, ZImagePipeline, ZImageTransformer2DModel
from diffusers.loaders.single_file_utils import (
    convert_ldm_vae_checkpoint, convert_z_image_transformer_checkpoint_to_diffusers)
from diffusers.utils import logging as diffusers_logging
from safetensors.torch import load_file
from transformers.utils import logging as transformers_logging

GOLDEN = pathlib.Path(os.environ["ZI_TEST_DATA"]).resolve() / "golden"
MODEL = GOLDEN / "model"
mx.set_default_device(mx.cpu)
for logging in (diffusers_logging, transformers_logging):
    logging.disable_progress_bar()


def state_of(folder):
    """The tensors of a diffusers component."""
    tensors = {}
    for path in sorted(folder.glob("*.safetensors")):
        tensors.update(load_file(path))
    return tensors


def draw(folder):
    pipeline = ZImagePipeline.from_pretrained(folder, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline("a red fox", height=64, width=48, num_inference_steps=2, guidance_scale=0.0,
                    generator=torch.Generator().manual_seed(1), output_type="np",
                    max_sequence_length=64).images


class Converted(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)

    def convert(self, source, name, *args):
        path = pathlib.Path(self.folder.name) / name
        if not path.exists():
            subprocess.run([os.environ["ZIMAGE"], "convert", source, path, *args, "-q"], check=True)
        return path

    def same(self, got, wanted):
        self.assertEqual(set(got), set(wanted))
        for name, tensor in got.items():
            self.assertEqual(tensor.dtype, wanted[name].dtype, name)
            self.assertEqual(tensor.shape, wanted[name].shape, name)
            self.assertTrue(torch.equal(tensor, wanted[name]), name)


class Diffusers(Converted):
    def test_the_same_image(self):
        mlx_folder = self.convert(MODEL, "mlx", "--to", "mlx")
        back = self.convert(mlx_folder, "back", "--to", "diffusers")
        wanted = draw(MODEL)
        got = draw(back)
        self.assertGreater(wanted.std(), 0.01)
        self.assertTrue(np.array_equal(got, wanted))

    def test_configs_from_shapes(self):
        """All in one, its configs gone: three loaders take what is made of the shapes."""
        single = self.convert(MODEL, "all.safetensors", "--to", "comfyui")
        reference = pathlib.Path(self.folder.name) / "reference"
        reference.mkdir()
        for name in ("tokenizer", "transformer"):
            (reference / name).symlink_to(MODEL / name)
        (reference / "model_index.json").symlink_to(MODEL / "model_index.json")
        bare = self.convert(single, "bare", "--to", "diffusers", "--reference", reference)
        got = draw(bare)
        wanted = draw(MODEL)
        self.assertTrue(np.array_equal(got, wanted))

    def test_fp8(self):
        folder = self.convert(MODEL, "fp8", "--to", "diffusers", "--precision", "fp8")
        got = ZImageTransformer2DModel.from_pretrained(folder / "transformer",
                                                       dtype=torch.float32).state_dict()
        wanted = state_of(MODEL / "transformer")
        cast = 0
        for name, tensor in wanted.items():
            if tensor.dim() == 2 and tensor.shape[1] % 64 == 0 and "pad_token" not in name:
                tensor = tensor.to(torch.float8_e4m3fn)
                cast += 1
            self.assertTrue(torch.equal(got[name], tensor.float()), name)
        self.assertGreater(cast, 20)

    def test_single_file(self):
        """Through diffusers' own converters for files of ComfyUI."""
        tensors = load_file(self.convert(MODEL, "all.safetensors", "--to", "comfyui"))
        transformer = {n: t for n, t in tensors.items() if n.startswith("model.diffusion_model.")}
        self.same(convert_z_image_transformer_checkpoint_to_diffusers(dict(transformer)),
                  state_of(MODEL / "transformer"))
        vae = {"first_stage_model." + n.removeprefix("vae."): t for n, t in tensors.items()
               if n.startswith("vae.")}
        config = AutoencoderKL.load_config(MODEL / "vae")
        got = convert_ldm_vae_checkpoint(vae, config)
        self.same(got, state_of(MODEL / "vae"))

    def test_fp8_in_one_file(self):
        """diffusers' loader of single files takes fp8 that has no scales."""
        path = self.convert(MODEL, "plain.safetensors", "--precision", "fp8_e4m3fn")
        got = ZImageTransformer2DModel.from_single_file(str(path), config=str(MODEL), subfolder="transformer",
                                                        torch_dtype=torch.float32).state_dict()
        for name, wanted in state_of(MODEL / "transformer").items():
            if wanted.dim() == 2 and wanted.shape[1] % 64 == 0 and "pad_token" not in name:
                wanted = wanted.to(torch.float8_e4m3fn)
            self.assertTrue(torch.equal(got[name], wanted.float()), name)

    def test_scaled_fp8(self):
        """As ComfyUI reads it: numbers times weight_scale."""
        tensors = load_file(self.convert(MODEL, "f.safetensors", "--to", "comfyui", "--precision", "fp8"))
        prefix = "model.diffusion_model."
        plain = {}
        for name, tensor in tensors.items():
            if not name.startswith(prefix) or name.endswith((".weight_scale", ".comfy_quant")):
                continue
            module = name.removesuffix(".weight")
            if tensor.dtype == torch.float8_e4m3fn:
                note = bytes(tensors[module + ".comfy_quant"].tolist())
                self.assertEqual(note, b'{"format": "float8_e4m3fn"}')
                tensor = tensor.float() * tensors[module + ".weight_scale"]
            plain[name] = tensor
        got = convert_z_image_transformer_checkpoint_to_diffusers(plain)
        for name, wanted in state_of(MODEL / "transformer").items():
            error = (got[name].float() - wanted.float()).norm() / wanted.float().norm()
            self.assertLess(error, 0.04, name)


class Mlx(Converted):
    def test_as_the_seed_s_loader_expects(self):
        folder = self.convert(MODEL, "q8", "--to", "mlx", "--precision", "fp8")
        for name in ("weights", "vae", "text_encoder"):
            got = mx.load(str(folder / f"{name}.safetensors"))
            wanted = mx.load(str(GOLDEN / "mlx" / "FP8" / f"{name}.safetensors"))
            pads = {"x_pad_token", "cap_pad_token"} if name == "weights" else set()
            self.assertEqual(set(got) - pads, set(wanted))
            for key, array in wanted.items():
                self.assertEqual(got[key].dtype, array.dtype, key)
                self.assertTrue(mx.array_equal(got[key], array), key)

    def test_dequantized(self):
        """To fp16 again: the numbers that mx.dequantize gives."""
        for precision, bits in ("fp8", 8), ("q4", 4):
            folder = self.convert(MODEL, precision, "--to", "mlx", "--precision", precision)
            plain = self.convert(folder, precision + "-16", "--to", "mlx", "--precision", "fp16")
            packed = mx.load(str(folder / "weights.safetensors"))
            got = mx.load(str(plain / "weights.safetensors"))
            modules = [name.removesuffix(".scales") for name in packed if name.endswith(".scales")]
            self.assertGreater(len(modules), 20)
            for module in modules:
                wanted = mx.dequantize(*(packed[f"{module}.{n}"] for n in ("weight", "scales", "biases")),
                                       group_size=64, bits=bits)
                self.assertTrue(mx.array_equal(got[module + ".weight"], wanted), module)


class Gguf(Converted):
    def test_transformer(self):
        wanted = load_file(self.convert(MODEL, "all.safetensors", "--to", "comfyui"))
        for precision, kind in ("q8", "Q8_0"), ("q4", "Q4_0"):
            reader = gguf.GGUFReader(self.convert(MODEL, precision + ".gguf", "--to", "gguf",
                                                  "--precision", precision))
            self.assertEqual(reader.get_field("general.architecture").contents(), "lumina2")
            quantized = 0
            for tensor in reader.tensors:
                source = wanted["model.diffusion_model." + tensor.name]
                self.assertEqual(tensor.shape.tolist()[::-1], list(source.shape), tensor.name)
                if tensor.tensor_type.name != kind:
                    continue
                blocks = gguf.quants.quantize(source.float().numpy(), tensor.tensor_type)
                self.assertEqual(tensor.data.tobytes(), blocks.tobytes(), tensor.name)
                quantized += 1
            self.assertGreater(quantized, 20)

    def test_every_type(self):
        """gguf-py reads all block types that are written, as numbers close to those of the source."""
        wanted = load_file(self.convert(MODEL, "types.safetensors", "--to", "comfyui"))
        limits = {"Q2_K": 0.35, "Q3_K": 0.2, "Q4_K": 0.1, "Q5_K": 0.05, "Q6_K": 0.03, "Q4_1": 0.11, "Q5_0": 0.07,
                  "Q5_1": 0.05, "IQ4_NL": 0.1, "IQ4_XS": 0.1, "Q8_0": 0.01}
        for precision in "q2_k", "q3_k", "q4_k", "q5_k", "q6_k", "q4_1", "q5_0", "q5_1", "iq4_nl", "iq4_xs":
            reader = gguf.GGUFReader(self.convert(MODEL, precision + ".gguf", "--precision", precision))
            kinds = set()
            for tensor in reader.tensors:
                kind = tensor.tensor_type.name
                if kind not in limits:
                    continue
                source = wanted["model.diffusion_model." + tensor.name].float().numpy()
                got = gguf.quants.dequantize(tensor.data, tensor.tensor_type).reshape(source.shape)
                error = np.linalg.norm(got - source) / np.linalg.norm(source)
                self.assertLess(error, limits[kind], f"{precision} {tensor.name} {kind}")
                kinds.add(kind)
            self.assertIn(precision.upper(), kinds)

    def test_text_encoder(self):
        reader = gguf.GGUFReader(self.convert(MODEL / "text_encoder", "text.gguf", "--to", "gguf",
                                              "--reference", MODEL))
        value = lambda key: reader.get_field(key).contents()
        self.assertEqual(value("general.architecture"), "qwen3")
        self.assertEqual(value("qwen3.attention.head_count_kv"), 2)
        self.assertEqual(value("qwen3.rope.freq_base"), 1e6)
        self.assertEqual(len(value("tokenizer.ggml.tokens")), 1300)
        names = {tensor.name for tensor in reader.tensors}
        self.assertIn("blk.3.ffn_down.weight", names)
        self.assertIn("token_embd.weight", names)


if __name__ == "__main__":
    unittest.main()
