"""Tiny language models with random weights, as transformers writes them to a folder, here and there: each
architecture, in one file and in shards, continued as text and asked in the form of its chat template.
"""

import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

import torch
import transformers

TOKENS = 48
CLEAR = 0.05  # where the two best logits differ by less, either token is right
TOKENIZER = pathlib.Path(os.environ["ZI_TEST_DATA"], "golden", "enhancer", "hf")
SHAPES = {"vocab_size": 320, "hidden_size": 96, "intermediate_size": 160, "num_hidden_layers": 3,
          "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512,
          "initializer_range": 0.15, "bos_token_id": None, "eos_token_id": 298}
MODELS = {
    "qwen3": transformers.Qwen3Config(**SHAPES, head_dim=32, tie_word_embeddings=False),
    "qwen3_tied": transformers.Qwen3Config(**SHAPES, head_dim=16, tie_word_embeddings=True),
    "qwen2": transformers.Qwen2Config(**SHAPES, tie_word_embeddings=False),
    "llama": transformers.LlamaConfig(**SHAPES, tie_word_embeddings=False, rope_theta=5e5),
}
TEXTS = ["The sea is", "a b c d", "Zwei Katzen, drei Hunde.", "1, 2, 3", "x"]
CHATML = """{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content']
 + '<|im_end|>' + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"""
# As Meta-Llama-3-8B-Instruct has it.
LLAMA3 = """{% set loop_messages = messages %}{% for message in loop_messages %}{% set content =
 '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' %}
{%- if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}
{%- if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"""
LLAMA3_TOKENS = {"<|endoftext|>": "<|begin_of_text|>", "<|im_start|>": "<|start_header_id|>",
                 "<|im_end|>": "<|eot_id|>", "<|object_ref_start|>": "<|end_header_id|>"}


class LanguageModels(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)

    def make(self, config, renamed=(), shard="1GB", stops=()):
        """A folder with a model, and the golden tokenizer with added tokens renamed."""
        torch.manual_seed(1)
        self.model = transformers.AutoModelForCausalLM.from_config(config).float().eval()
        for name, weight in self.model.named_parameters():
            if name.endswith("norm.weight") or name.endswith("bias"):  # ones and zeros would hide mistakes
                torch.nn.init.normal_(weight, 1 if name.endswith("norm.weight") else 0, 0.3)
        self.model.save_pretrained(self.folder, max_shard_size=shard)
        for name in "tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt":
            text = (TOKENIZER / name).read_text()
            for old, new in dict(renamed).items():
                text = text.replace(old, new)
            (self.folder / name).write_text(text)
        if stops:
            (self.folder / "generation_config.json").write_text(json.dumps({"eos_token_id": list(stops)}))
        self.tokenizer = transformers.PreTrainedTokenizerFast(
            tokenizer_file=str(self.folder / "tokenizer.json"), bos_token=dict(renamed).get("<|endoftext|>"))

    def set_template(self, text, jinja):
        """Into tokenizer_config.json, or into a file of its own, which counts more."""
        path = self.folder / "tokenizer_config.json"
        config = json.loads(path.read_text())
        config["chat_template"] = "[INST] {{ messages }} [/INST]" if jinja else text
        path.write_text(json.dumps(config))
        if jinja:
            (self.folder / "chat_template.jinja").write_text(text)

    def ours(self, text, *options):
        done = subprocess.run(
            [os.environ["ZIMAGE"], "enhance", "-q", "--llm", self.folder, "--ids", "--temperature", "0",
             "--max-tokens", str(TOKENS), "-p", text, *options], capture_output=True)
        return json.loads(done.stdout) if done.returncode == 0 else done.stderr

    def check(self, prompt_ids, ids, stops):
        """ids are what transformers finds likeliest, up to the first stop. Returns how many were clear."""
        with torch.no_grad():
            every = self.model(torch.tensor([prompt_ids + ids])).logits[0, len(prompt_ids) - 1 :]
        clear = 0
        for step, row in enumerate(every[:TOKENS]):
            best = row.topk(2)
            likeliest = best.indices[0].item()
            if best.values[0] - best.values[1] <= CLEAR:
                if step == len(ids):
                    self.assertTrue(set(best.indices.tolist()) & set(stops))
                else:
                    self.assertIn(ids[step], best.indices.tolist())
                continue
            clear += 1
            if step == len(ids):
                self.assertIn(likeliest, stops)
            else:
                self.assertEqual(ids[step], likeliest, f"token {step}")
        return clear

    def check_texts(self, stops=(296, 298)):
        for text in TEXTS:
            with self.subTest(text=text):
                ids = self.ours(text, "--raw")
                prompt = self.tokenizer(text, add_special_tokens=False).input_ids
                self.assertGreater(self.check(prompt, ids, stops), len(ids) // 2)

    def test_continuations(self):
        for name, config in MODELS.items():
            with self.subTest(model=name):
                self.make(config)
                self.check_texts()

    def test_shards(self):
        self.make(MODELS["qwen3"], shard="200KB")
        self.assertGreater(len(list(self.folder.glob("model-*-of-*.safetensors"))), 2)
        self.assertFalse((self.folder / "model.safetensors").exists())
        self.check_texts()

    def check_chat(self, config, template, jinja, renamed=()):
        stops = [*range(0, 256, 8), 298]  # so many that an answer comes to its end
        self.make(config, renamed, stops=stops)
        self.set_template(template, jinja)
        plain = self.folder / "plain.txt"
        plain.write_text("{prompt}")
        answers = 0
        for text in TEXTS:
            ids = self.ours(text, "--template", plain)
            if isinstance(ids, bytes):  # an answer of nothing, or none that ends, is refused
                self.assertTrue(b"empty answer" in ids or b"did not finish" in ids, ids)
                continue
            form = self.tokenizer.apply_chat_template([{"role": "user", "content": text}], tokenize=False,
                                                      add_generation_prompt=True, chat_template=template)
            prompt = self.tokenizer(form, add_special_tokens=False).input_ids
            self.check(prompt, ids, stops)
            answers += 1
        self.assertGreater(answers, 1)

    def test_chatml(self):
        self.check_chat(MODELS["qwen2"], CHATML, jinja=False)

    def test_template_in_a_file_of_its_own(self):
        self.check_chat(MODELS["qwen3"], CHATML, jinja=True)

    def test_llama_3(self):
        self.check_chat(MODELS["llama"], LLAMA3, jinja=True, renamed=LLAMA3_TOKENS)


if __name__ == "__main__":
    unittest.main()
