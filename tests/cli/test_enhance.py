"""zimage enhance, generate --enhance and --random-prompt.

Most models here know one answer: their embedding and head say which token follows which, and their
layers add nothing.
"""

import json
import os
import re
import shutil
import signal
import struct
import subprocess
import time
import unittest

from support import (MODEL, SENTINEL, ZIMAGE, Case, change_json, png_infotext, read_safetensors,
                     write_safetensors)

ENHANCER = os.path.join(os.path.dirname(MODEL), "enhancer")
HF = os.path.join(ENHANCER, "hf")
GGUF = os.path.join(ENHANCER, "gguf", "f16.gguf")
VOCAB, END = 320, 298  # <|im_end|>
ANSWER = "Big-cow,dusk."  # no byte twice: each token follows one other


def byte_tokens(text):
    """Ids of a text's bytes, by GPT-2's alphabet, as the golden vocabulary has them."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = {b: chr(b) for b in printable}
    for n, b in enumerate(b for b in range(256) if b not in letters):
        letters[b] = chr(256 + n)
    with open(os.path.join(HF, "vocab.json"), encoding="utf-8") as file:
        vocab = json.load(file)
    return [vocab[letters[b]] for b in text.encode()]


def chain_tensors(answer, ends=True):
    """Weights of a Qwen2 whose every answer is this text."""
    chain = [*byte_tokens("\n"), *byte_tokens(answer), *([END] if ends else [])]
    assert len(set(chain)) == len(chain), "no byte twice, please"
    one = struct.pack("<e", 1)

    def matrix(rows, columns, ones=()):
        data = bytearray(2 * rows * columns)
        for row, column in ones:
            at = 2 * (row * columns + column)
            data[at : at + 2] = one
        return ["F16", [rows, columns], bytes(data)]

    def vector(n, value):
        return ["F16", [n], struct.pack("<e", value) * n]

    tensors = {"model.embed_tokens.weight": matrix(VOCAB, VOCAB, [(i, i) for i in range(VOCAB)]),
               "lm_head.weight": matrix(VOCAB, VOCAB, list(zip(chain[1:], chain))),
               "model.norm.weight": vector(VOCAB, 1)}
    for layer in range(2):
        at = f"model.layers.{layer}."
        for name, n in ("q", 32), ("k", 16), ("v", 16):
            tensors[at + f"self_attn.{name}_proj.weight"] = matrix(n, VOCAB)
            tensors[at + f"self_attn.{name}_proj.bias"] = vector(n, 0)
        tensors[at + "self_attn.o_proj.weight"] = matrix(VOCAB, 32)
        for name in "gate", "up":
            tensors[at + f"mlp.{name}_proj.weight"] = matrix(16, VOCAB)
        tensors[at + "mlp.down_proj.weight"] = matrix(VOCAB, 16)
        tensors[at + "input_layernorm.weight"] = vector(VOCAB, 1)
        tensors[at + "post_attention_layernorm.weight"] = vector(VOCAB, 1)
    return tensors


def mlx_tensors(bits, group=32):
    """The golden model with its matrices in MLX's groups, and the same numbers as F32."""
    packed, plain = {}, {}
    for name, (dtype, shape, data) in read_safetensors(os.path.join(HF, "model.safetensors")).items():
        assert dtype == "BF16"
        values = [struct.unpack("<f", b"\0\0" + data[i : i + 2])[0] for i in range(0, len(data), 2)]
        if len(shape) == 1:
            packed[name] = plain[name] = ["F32", shape, struct.pack(f"<{len(values)}f", *values)]
            continue
        numbers, scales, biases, rounded = [], [], [], []
        for at in range(0, len(values), group):
            part = values[at : at + group]
            scale = (max(part) - min(part)) / (2**bits - 1) or 1.0
            # as they are stored
            scale, bias = struct.unpack("<2f", struct.pack("<2f", scale, min(part)))
            q = [min(max(round((x - bias) / scale), 0), 2**bits - 1) for x in part]
            numbers += q
            rounded += [x * scale + bias for x in q]
            scales.append(scale)
            biases.append(bias)
        words = bytes(numbers) if bits == 8 else bytes(
            a | b << 4 for a, b in zip(numbers[::2], numbers[1::2]))
        groups = [shape[0], shape[1] // group]
        module = name.removesuffix(".weight")
        packed[name] = ["U32", [shape[0], shape[1] * bits // 32], words]
        for suffix, list_ in (".scales", scales), (".biases", biases):
            packed[module + suffix] = ["F32", groups, struct.pack(f"<{len(list_)}f", *list_)]
        plain[name] = ["F32", shape, struct.pack(f"<{len(rounded)}f", *rounded)]
    return packed, plain


class Enhancing(Case):
    def copy_llm(self, name="llm"):
        shutil.copytree(HF, self.path(name), copy_function=shutil.copy)
        for file in os.listdir(self.path(name)):
            os.chmod(self.path(name, file), 0o644)
        return self.path(name)

    def chain(self, answer=ANSWER, name="llm", ends=True):
        folder = self.copy_llm(name)
        change_json(os.path.join(folder, "config.json"), hidden_size=VOCAB, head_dim=16,
                    num_attention_heads=2, num_key_value_heads=1, intermediate_size=16,
                    tie_word_embeddings=False)
        write_safetensors(os.path.join(folder, "model.safetensors"), chain_tensors(answer, ends))
        return folder

    def enhance(self, *args, llm=None, prompt="a cow"):
        words = ["--llm", llm] if llm else []
        return self.zimage("enhance", "-q", *words, "-p", prompt, *args)

    def answers(self, answer, *args, **options):
        self.assertEqual(self.good(self.enhance(*args, **options)).stdout.decode(), answer + "\n")

    def fails(self, code, words, *args, **options):
        self.refused(self.enhance(*args, **options), code, *words)

    def damaged_gguf(self, *replacements):
        with open(GGUF, "rb") as file:
            data = file.read()
        for old, new in replacements:
            assert old in data and len(old) == len(new)
            data = data.replace(old, new)
        return self.write("damaged.gguf", data)


class Golden(Enhancing):
    """Greedy continuations of the golden prompts."""

    def test_continuations(self):
        with open(os.path.join(ENHANCER, "expected.json"), encoding="utf-8") as file:
            expected = json.load(file)
        text = expected["prompts"][0]["text"]
        paths = {"hf": HF}
        for name in "f16", "q8_0", "q4_k_m":
            paths[f"gguf_{name}"] = os.path.join(ENHANCER, "gguf", f"{name}.gguf")
        for row in expected["models"]:
            result = self.good(self.enhance(
                "--raw", "--ids", "--max-tokens", str(expected["new_tokens"]), "--temperature",
                "0", llm=paths[row["model"]], prompt=text))
            self.assertEqual(json.loads(result.stdout), row["greedy_p0"], row["model"])

    def test_text_is_whole_characters(self):
        for seed in range(3):
            result = self.good(self.enhance("--raw", "--temperature", "2", "--seed", str(seed),
                                            llm=HF))
            result.stdout.decode()

    def test_seeds(self):
        def ids(seed, threads):
            return self.good(self.enhance("--raw", "--ids", "--temperature", "1", "--seed", seed,
                                          "--threads", threads, llm=HF)).stdout

        self.assertEqual(ids("7", "1"), ids("7", "3"))
        self.assertNotEqual(ids("7", "1"), ids("8", "1"))


class Groups(Enhancing):
    """MLX's folders."""

    def test_same_as_the_plain_numbers(self):
        def ids(tensors, name, **config):
            llm = self.copy_llm(name)
            change_json(os.path.join(llm, "config.json"), **config)
            write_safetensors(os.path.join(llm, "model.safetensors"), tensors)
            return self.good(self.enhance("--raw", "--ids", "--max-tokens", "30", llm=llm)).stdout

        for bits in 4, 8:
            packed, plain = mlx_tensors(bits)
            quantization = {"group_size": 32, "bits": bits}
            self.assertEqual(ids(packed, f"mlx{bits}", quantization=quantization),
                             ids(plain, f"plain{bits}"))


class Encoders(Enhancing):
    """Image models, whose text encoders are language models."""

    def ids(self, model, *args):
        words = ["--raw", "--ids", "--max-tokens", "6", "-m", model]
        return json.loads(self.good(self.enhance(*words, *args)).stdout)

    def test_layouts(self):
        golden = os.path.dirname(MODEL)
        ids = self.ids(MODEL)
        self.assertEqual(len(ids), 6)
        self.assertEqual(self.ids(os.path.join(golden, "mlx", "FP16")), ids)
        file = os.path.join(golden, "comfyui", "seed_single_file.safetensors")
        self.fails(1, ["no tokenizer", "--reference"], "-m", file)
        self.assertEqual(self.ids(file, "--reference", MODEL), ids)

    def test_drawing(self):
        self.refuses(1, ["did not finish"], "--enhance", "-q")

    def test_the_demo_model(self):
        """Its text encoder knows a few words; that is said, instead of what it would answer."""
        words = ["only 640 words", "too few to write prompts", "see `zimage download prompt-enhancer`"]
        self.fails(1, words)
        self.fails(1, words, "--temperature", "0")
        result = self.zimage("generate", "-p", "a red circle", "--enhance", "-q", "-o", "out.png")
        self.refused(result, 1, *words)
        self.good(self.enhance("--raw", "--max-tokens", "2"))


class Answers(Enhancing):
    def test_alone_on_standard_output(self):
        self.answers(ANSWER, llm=self.chain())

    def test_place_of_the_models_own(self):
        os.mkdir(self.path("models"))
        shutil.move(self.chain(), self.path("models", "prompt_enhancer"))
        self.answers(ANSWER)

    def test_lost_quotes_come_back(self):
        llm = self.chain()
        self.answers(ANSWER + ' It shows the text "MOO  o".', llm=llm, prompt='a cow with "MOO  o"')
        self.answers(ANSWER, llm=llm, prompt='a "cow" at "dusk"')
        self.answers(ANSWER + ' It shows the text "开".', llm=llm, prompt="a cow, 「开」を")

    def test_chinese(self):
        llm = self.chain("红雪")
        self.answers("红雪", llm=llm, prompt="雪")
        self.answers("红雪画面中写着“MOO”。", llm=llm, prompt="雪 “MOO”")
        self.fails(1, ["another language"], llm=self.chain(name="english"), prompt="雪")

    def test_lines_become_a_paragraph(self):
        self.answers("a b", llm=self.chain("\ta\r b"))

    def test_template(self):
        path = self.write("t.txt", "About {prompt}:")
        self.answers(ANSWER, "--template", path, llm=self.chain())

    def test_context(self):
        llm = self.chain()
        change_json(os.path.join(llm, "config.json"), max_position_embeddings=1000)
        long = "cow " * 300
        self.fails(2, ["the 1000 tokens that this language model can hold", "shorten"], llm=llm, prompt=long)


class Refusals(Enhancing):
    def test_no_end(self):
        self.fails(1, ["did not finish", "400 tokens"], "--temperature", "0", llm=self.chain(ends=False))
        self.fails(1, ["did not finish", "20 tokens"], "--max-tokens", "20", llm=GGUF)

    def test_nothing_said(self):
        self.fails(1, ["empty answer"], llm=self.chain(""))

    def test_architectures(self):
        gguf = self.damaged_gguf((b"qwen2", b"gemma"))
        self.fails(1, ["damaged.gguf", "architecture gemma", "qwen2", "llama"], llm=gguf)
        llm = self.copy_llm()
        change_json(os.path.join(llm, "config.json"), model_type="gpt2")
        self.fails(1, ["config.json", "architecture gpt2"], llm=llm)

    def test_what_is_not_computed(self):
        for i, (field, value, words) in enumerate((
                ("rope_scaling", {"rope_type": "llama3", "factor": 8}, ["llama3"]),
                ("rope_scaling", {"type": "yarn"}, ["yarn"]),
                ("use_sliding_window", True, ["use_sliding_window"]),
                ("hidden_act", "gelu", ["hidden_act", "gelu"]),
                ("attention_bias", True, ["attention_bias"]),
                ("tie_word_embeddings", False, ["lm_head.weight is missing, though \"tie_word_embeddings\" is false"]),
                ("vocab_size", 300, ["embed_tokens.weight", "shape", "config.json it must have"]))):
            llm = self.copy_llm(f"llm{i}")
            change_json(os.path.join(llm, "config.json"), **{field: value})
            self.fails(1, words, llm=llm)

    def test_tokenizers(self):
        llm = self.copy_llm()
        for name in "tokenizer.json", "vocab.json", "merges.txt", "tokenizer_config.json":
            os.remove(os.path.join(llm, name))
        self.fails(1, [llm, "tokenizer.json"], llm=llm)
        gguf = self.damaged_gguf((b"tokenizer.ggml.model", b"tokenizer.ggml.other"))
        self.fails(1, ["damaged.gguf", "no tokenizer"], llm=gguf)

    def test_chat_templates(self):
        llm = self.copy_llm()
        config = os.path.join(llm, "tokenizer_config.json")
        change_json(config, chat_template="{{ '[INST] ' + messages[0].content }}")
        self.fails(1, ["chat template", "ChatML"], llm=llm)
        self.good(self.enhance("--raw", "--max-tokens", "2", llm=llm))

    def test_templates(self):
        llm = self.chain()
        for name, data, words in (("none.txt", "Draw it.", ["none.txt", "{prompt}"]),
                                  ("bytes.txt", b"\xff {prompt}", ["bytes.txt", "UTF-8"])):
            self.fails(2, words, "--template", self.write(name, data), llm=llm)
        self.fails(1, ["absent.txt"], "--template", "absent.txt", llm=llm)

    def test_paths(self):
        self.fails(1, ["--llm", "no/such"], llm="no/such")
        os.mkdir(self.path("empty"))
        self.fails(1, ["empty", "holds no language model"], llm=self.path("empty"))
        self.fails(1, ["must be GGUF"], llm=os.path.join(HF, "model.safetensors"))
        two = self.path("two")
        os.mkdir(two)
        for name in "a.gguf", "b.gguf":
            shutil.copy(GGUF, two)
            os.rename(os.path.join(two, "f16.gguf"), os.path.join(two, name))
        self.fails(1, ["2 GGUF files"], llm=two)

    def test_calls(self):
        self.fails(2, ["--prompt"], llm=HF, prompt="")
        self.refused(self.zimage("enhance", "--llm", HF), 2, "--prompt")
        self.fails(2, ["UTF-8"], llm=HF, prompt=b"\xff")
        self.fails(2, ["--temperature", "out of range"], "--temperature", "-1", llm=HF)
        self.fails(2, ["501", "500"], "--max-tokens", "501", llm=HF)


class Interrupted(Enhancing):
    """Ctrl-C while a long prompt is read ends within a second."""

    def start(self, *args):
        folder = self.chain()
        change_json(os.path.join(folder, "config.json"), max_position_embeddings=1 << 20)
        process = subprocess.Popen(
            [ZIMAGE, *args, "--llm", folder, "--threads", "1", "-p", "a cow " * 20000],
            cwd=self.dir, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.addCleanup(process.kill)
        time.sleep(2)  # past loading, into minutes of reading
        self.assertIsNone(process.poll())
        return process

    def ends(self, process):
        begun = time.monotonic()
        process.send_signal(signal.SIGINT)
        answer, errors = process.communicate(timeout=30)
        self.assertLess(time.monotonic() - begun, 1)
        self.assertEqual(process.returncode, -signal.SIGINT)
        self.assertEqual(answer, b"")
        self.assertTrue(errors.endswith(b"zimage: cancelled\n"), errors)

    def test_enhance(self):
        self.ends(self.start("enhance"))

    def test_generate(self):
        self.write("out.png", SENTINEL)
        self.ends(self.start("generate", "--enhance", "-m", MODEL, "-o", "out.png"))
        self.assertEqual(self.read("out.png"), SENTINEL)
        kept = [name for name in self.files() if not name.startswith("llm")]
        self.assertEqual(kept, ["out.png"])


class Drawing(Enhancing):
    def recipe(self):
        return png_infotext(self.read("out.png"))

    def test_enhanced(self):
        result = self.good(self.generate("--enhance", "--llm", self.chain()))
        self.assertEqual(result.stdout, b"out.png\n")
        self.assertIn(f"prompt: {ANSWER}\n".encode(), result.stderr)
        self.assertTrue(self.recipe().startswith(ANSWER + "\n"))
        self.assertIn("Original prompt: a red circle,", self.recipe())
        drawn = self.read("out.png")
        self.good(self.generate("-p", ANSWER))
        self.assertNotIn("Original", self.recipe())
        self.assertEqual(len(drawn) - len(self.read("out.png")), len(", Original prompt: a red circle"))

    def test_events(self):
        result = self.good(self.generate("--enhance", "--json", "-q", "--llm", self.chain()))
        first = json.loads(result.stdout.splitlines()[0])
        self.assertEqual(first, {"event": "prompt", "prompt": ANSWER, "original": "a red circle"})

    def test_prompts_of_a_file(self):
        """The language model is loaded once for all lines, also where they name different image models."""
        shutil.copytree(MODEL, self.path("other"))
        self.write("lines", 'a\n{"prompt": "b", "model": "other"}\nc\n')
        args = ["--prompts", "lines", "-W64", "-H64", "-s1", "--seed", "1", "-o", "%04d.png", "-m", MODEL]
        template = self.write("t.txt", "Write: {prompt}")
        result = self.good(self.zimage("generate", "--enhance", "--llm", self.chain(), "--template", template, *args))
        told = result.stderr.decode()
        self.assertEqual(told.count("expanding the prompt with the language model in"), 1, told)
        self.assertEqual(told.count(f"prompt: {ANSWER}\n"), 3, told)
        for i, prompt in enumerate("abc", 1):
            infotext = png_infotext(self.read(f"{i:04}.png"))
            self.assertTrue(infotext.startswith(ANSWER + "\n"), infotext)
            self.assertIn(f"Original prompt: {prompt},", infotext)
            self.assertIn("Model: other," if prompt == "b" else "Model: model,", infotext)

    def test_text_encoders_of_a_file(self):
        """Without a language model that of each line's own image model is taken; again only when that is another one."""
        shutil.copytree(MODEL, self.path("other"))
        self.write("lines", 'a\nb\n{"prompt": "c", "model": "other"}\n')
        result = self.good(self.zimage("generate", "--enhance=try", "--prompts", "lines", "-W64", "-H64", "-s1", "--seed",
                                       "1", "-o", "%04d.png", "-m", MODEL))
        told = re.findall("expanding the prompt with the language model in (.*)", result.stderr.decode())
        self.assertEqual(told, [MODEL, "other"])
        self.assertEqual(result.stderr.count(b"did not finish"), 3)

    def test_failure_stops_before_drawing(self):
        llm = self.chain(ends=False)
        self.refuses(1, ["did not finish"], "--enhance", "-q", "--llm", llm)
        self.refuses(1, ["--llm", "absent"], "--enhance", "-q", "--llm", "absent")
        self.refuses(2, ["--template"], "--enhance", "-q", "--llm", llm, "--template",
                     self.write("t.txt", "no place"))

    def test_trying(self):
        self.write("out.png", SENTINEL)
        result = self.good(self.generate("--enhance=try", "--llm", self.chain(ends=False)))
        self.assertIn(b"did not finish", result.stderr)
        self.assertTrue(self.recipe().startswith("a red circle\n"))
        self.refuses(2, ["--enhance: 'often' is unknown; write --enhance alone, or --enhance=try"], "--enhance=often")

    def test_a_random_prompt_that_stays(self):
        """It is told, as nobody has written it."""
        words = ["generate", "-m", MODEL, "--random-prompt", "--enhance=try", "--llm", self.chain(ends=False),
                 "-W64", "-H64", "-s1", "--seed", "1", "-o", "out.png"]
        result = self.good(self.zimage(*words, "--json"))
        prompt = self.recipe().split("\n")[0]
        self.assertEqual(json.loads(result.stdout.splitlines()[0]), {"event": "prompt", "prompt": prompt})
        result = self.good(self.zimage(*words))
        self.assertIn(f"zimage: prompt: {prompt}\n", result.stderr.decode())

    def test_random_prompts(self):
        def draw(seed, *args):
            self.good(self.zimage("generate", "-m", MODEL, "--random-prompt", "-W", "64", "-H",
                                  "64", "-s", "1", "--seed", seed, "-o", "out.png", *args))
            return self.recipe().split("\n")[0]

        first = draw("1")
        self.assertGreater(len(first), 40)
        self.assertEqual(draw("1", "-p", ""), first)
        self.assertNotEqual(draw("2"), first)
        self.assertEqual(draw("1", "--enhance", "--llm", self.chain()), ANSWER)
        self.assertIn(first, self.recipe())
        self.refuses(2, ["--random-prompt", "--prompt"], "--random-prompt")


if __name__ == "__main__":
    unittest.main()
