"""Models that are missing, damaged or of another architecture: the error names what is wrong."""

import json
import os
import struct
import unittest

from support import (Case, change_json, change_tensor, read_safetensors, shard_of,
                     write_safetensors)

QUERY = "layers.0.attention.to_q.weight"
SHARD = "diffusion_pytorch_model-00002-of-00002.safetensors"

# What tells the families apart: class names of a diffusers folder, tensors of a single file.
FAMILIES = {
    "StableDiffusionPipeline": (
        "Stable Diffusion",
        "unet", "UNet2DConditionModel",
        {"model.diffusion_model.input_blocks.0.0.weight": [320, 4, 3, 3],
         "cond_stage_model.transformer.text_model.final_layer_norm.weight": [768]}),
    "StableDiffusionXLPipeline": (
        "Stable Diffusion XL",
        "unet", "UNet2DConditionModel",
        {"model.diffusion_model.input_blocks.0.0.weight": [320, 4, 3, 3],
         "model.diffusion_model.label_emb.0.0.weight": [1280, 2816],
         "conditioner.embedders.1.model.ln_final.weight": [1280]}),
    "FluxPipeline": (
        "Flux",
        "transformer", "FluxTransformer2DModel",
        {"double_blocks.0.img_attn.norm.query_norm.scale": [128],
         "single_blocks.0.norm.query_norm.scale": [128]}),
    "Lumina2Pipeline": (
        "Lumina 2 transformer",
        "transformer", "Lumina2Transformer2DModel",
        {"cap_embedder.0.weight": [2304], "noise_refiner.0.attention.k_norm.weight": [96],
         "context_refiner.0.attention.q_norm.weight": [96]}),
}


def zeros(shape):
    count = 1
    for side in shape:
        count *= side
    return ["F16", shape, bytes(2 * count)]


class Missing(Case):
    def test_folder(self):
        self.refuses(1, ["no/such/model"], model="no/such/model")

    def test_empty_folder(self):
        os.mkdir(self.path("empty"))
        self.refuses(1, ["empty", "model_index.json"], model="empty")

    def test_parts(self):
        parts = ["model_index.json", "transformer/config.json", "text_encoder/config.json",
                 "vae/config.json", "transformer/" + SHARD,
                 "vae/diffusion_pytorch_model.safetensors",
                 "text_encoder/model-00001-of-00002.safetensors"]
        self.copy_model()
        for part in parts:
            with self.subTest(part):
                os.rename(self.path("model", part), self.path("kept"))
                # Of a component's single weight file the name without its extension is enough.
                stem = os.path.splitext(os.path.basename(part))[0]
                self.refuses(1, [os.path.dirname(part), stem], model="model")
                os.rename(self.path("kept"), self.path("model", part))

    def test_tokenizer(self):
        self.copy_model()
        for name in ("tokenizer.json", "vocab.json"):
            os.remove(self.path("model", "tokenizer", name))
        self.refuses(1, ["tokenizer"], model="model")

    def test_unreadable_shard(self):
        if os.geteuid() == 0:
            self.skipTest("root may read everything")
        self.copy_model()
        os.chmod(self.path("model", "transformer", SHARD), 0)
        self.refuses(1, [SHARD], model="model")

    def test_a_folder_in_place_of_a_shard(self):
        self.copy_model()
        os.remove(self.path("model", "transformer", SHARD))
        os.mkdir(self.path("model", "transformer", SHARD))
        self.refuses(1, [SHARD], model="model")


class Tensors(Case):
    def setUp(self):
        super().setUp()
        self.copy_model()
        self.folder = self.path("model", "transformer")

    def refuses_tensor(self, tensor, change, *words, component="transformer"):
        change_tensor(self.path("model", component), tensor, change)
        self.refuses(1, [tensor, component, *words], model="model")

    def test_absent(self):
        file = shard_of(self.folder, QUERY)
        self.refuses_tensor(QUERY, lambda tensor: None)
        # The same, with the index agreeing that it is absent.
        index = os.path.join(self.folder, "diffusion_pytorch_model.safetensors.index.json")
        with open(index, encoding="utf-8") as stream:
            weight_map = json.load(stream)["weight_map"]
        del weight_map[QUERY]
        change_json(index, weight_map=weight_map)
        self.assertNotIn(QUERY, read_safetensors(file))
        self.refuses(1, [QUERY, "transformer"], model="model")

    def test_absent_from_the_other_parts(self):
        self.refuses_tensor("model.layers.0.self_attn.q_norm.weight", lambda tensor: None,
                            component="text_encoder")

    def test_absent_from_the_vae(self):
        self.refuses_tensor("decoder.conv_in.weight", lambda tensor: None, "vae", component="vae")

    def test_shape(self):
        self.refuses_tensor(QUERY, lambda t: [t[0], [*t[1], 1], t[2]], "[128, 128, 1]")

    def test_shape_of_other_size(self):
        self.refuses_tensor(QUERY, lambda t: [t[0], [64, 128], t[2][: len(t[2]) // 2]],
                            "[64, 128]", "[128, 128]")

    def test_shape_of_the_vae(self):
        self.refuses_tensor("decoder.conv_in.weight",
                            lambda t: [t[0], [t[1][0] * 9, t[1][1], 1, 1], t[2]], component="vae")

    def test_dtype(self):
        self.refuses_tensor(QUERY, lambda t: ["I16", t[1], t[2]], "I16")

    def test_dtype_that_does_not_exist(self):
        self.refuses_tensor(QUERY, lambda t: ["BF17", t[1], t[2]], "BF17")

    def test_weights_that_are_not_finite(self):
        name = "layers.0.feed_forward.w1.weight"
        change_tensor(self.folder, name, lambda t: [t[0], t[1], b"\xc0\x7f" * (len(t[2]) // 2)])
        self.refuses(1, ["finite"], model="model")


class Shards(Case):
    """Files that are damaged: each is refused in the name of the file."""

    def setUp(self):
        super().setUp()
        self.copy_model()
        self.shard = self.path("model", "transformer", SHARD)
        with open(self.shard, "rb") as file:
            self.data = file.read()

    def refuses_bytes(self, data, *words):
        with open(self.shard, "wb") as file:
            file.write(data)
        self.refuses(1, [SHARD, *words], model="model")

    def with_header(self, change):
        (size,) = struct.unpack("<Q", self.data[:8])
        header = json.loads(self.data[8 : 8 + size])
        change(header)
        text = json.dumps(header).encode()
        return struct.pack("<Q", len(text)) + text + self.data[8 + size :]

    def test_truncated(self):
        (size,) = struct.unpack("<Q", self.data[:8])
        for length in (0, 1, 7, 8, 9, 8 + size // 2, 8 + size, len(self.data) // 2,
                       len(self.data) - 1):
            with self.subTest(length):
                self.refuses_bytes(self.data[:length])

    def test_appended(self):
        self.refuses_bytes(self.data + b"x")

    def test_header_size(self):
        for size in (2**64 - 1, 2**63, 2**31, 100_000_001, len(self.data), 0, 1):
            with self.subTest(size):
                self.refuses_bytes(struct.pack("<Q", size) + self.data[8:])

    def test_header_that_is_no_json(self):
        self.refuses_bytes(self.data[:8] + b"x" + self.data[9:])

    def test_offsets(self):
        for offsets in ([-2, 0], [0, 2**64], [2**63, 2**63 + 2], [4, 2], [0], [0, 2, 4], ["0", 2],
                        [0.5, 2.5], None):
            def change(header, offsets=offsets):
                header[next(n for n in header if n != "__metadata__")]["data_offsets"] = offsets
            with self.subTest(offsets):
                self.refuses_bytes(self.with_header(change))

    def test_shapes(self):
        for shape in ([2**62, 4], [2**32, 2**32], [-1, -1], [1.5], ["1"], "x", None, [1] * 99):
            def change(header, shape=shape):
                header[next(n for n in header if n != "__metadata__")]["shape"] = shape
            with self.subTest(shape):
                self.refuses_bytes(self.with_header(change))

    def test_overlap(self):
        def change(header):
            rows = [row for name, row in header.items() if name != "__metadata__"]
            same = [row for row in rows if row["shape"] == rows[0]["shape"]
                    and row["dtype"] == rows[0]["dtype"]]
            same[1]["data_offsets"] = same[0]["data_offsets"]
        self.refuses_bytes(self.with_header(change))

    def test_other_model_s_shard(self):
        write_safetensors(self.shard, {"something.else": zeros([4])})
        self.refuses(1, ["transformer"], model="model")


class Configs(Case):
    def test_not_json(self):
        self.copy_model()
        for part in ("model_index.json", "transformer/config.json", "vae/config.json",
                     "text_encoder/config.json", "scheduler/scheduler_config.json",
                     "tokenizer/tokenizer.json",
                     "transformer/diffusion_pytorch_model.safetensors.index.json"):
            kept = self.read("model/" + part)
            for damage in (b"", b"{", b"[]", b"null", kept[: len(kept) // 2], b"\xff\xfe" + kept):
                with self.subTest(part=part, damage=damage[:8]):
                    self.write("model/" + part, damage)
                    self.refuses(1, [os.path.basename(part)], model="model")
            self.write("model/" + part, kept)

    def test_absurd_numbers(self):
        self.copy_model()
        for part, fields in (
            ("transformer/config.json", ("dim", "n_heads", "n_layers", "in_channels",
                                         "cap_feat_dim", "n_refiner_layers")),
            ("text_encoder/config.json", ("hidden_size", "num_attention_heads", "vocab_size",
                                          "num_hidden_layers", "head_dim", "num_key_value_heads",
                                          "intermediate_size")),
            ("vae/config.json", ("latent_channels", "norm_num_groups", "layers_per_block")),
        ):
            kept = self.read("model/" + part)
            for field in fields:
                for value in (-1, 2**31, 1e300, "many", None, 2.5, []):
                    with self.subTest(field=field, value=value):
                        change_json(self.path("model", part), **{field: value})
                        self.refuses(1, [], model="model")
                self.write("model/" + part, kept)

    def test_shapes_that_do_not_fit_their_config(self):
        self.copy_model()
        change_json(self.path("model", "transformer", "config.json"), dim=256, n_heads=4,
                    n_kv_heads=4)
        self.refuses(1, ["transformer", "[128"], model="model")


class Families(Case):
    def test_folders(self):
        for pipeline, (_, part, kind, _) in FAMILIES.items():
            with self.subTest(pipeline):
                index = {"_class_name": pipeline, part: ["diffusers", kind],
                         "vae": ["diffusers", "AutoencoderKL"]}
                self.write(f"{pipeline}/model_index.json", json.dumps(index))
                self.write(f"{pipeline}/{part}/config.json", json.dumps({"_class_name": kind}))
                self.refuses(1, [pipeline, "ZImagePipeline"], model=pipeline)

    def test_a_component_of_another_family(self):
        self.copy_model()
        config = self.path("model", "transformer", "config.json")
        change_json(config, _class_name="Lumina2Transformer2DModel")
        self.refuses(1, ["Lumina2Transformer2DModel", "config.json"], model="model")

    def test_single_files(self):
        for pipeline, (family, _, _, tensors) in FAMILIES.items():
            with self.subTest(pipeline):
                name = pipeline + ".safetensors"
                rows = {tensor: zeros(shape) for tensor, shape in tensors.items()}
                write_safetensors(self.path(name), rows)
                self.refuses(1, [name, f": is a {family}"], model=name)


if __name__ == "__main__":
    unittest.main()
