"""Trains the byte-level BPE tokenizer on captions and writes it in Qwen's format.

usage: tokenizer.py TEMPLATE_FOLDER OUT_FOLDER
TEMPLATE_FOLDER is the tokenizer folder of any Z-Image model (the chat template,
the 26 special tokens and the pre-tokenizer are taken from there).
"""
import json
import os
import random
import sys

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

import scenes

VOCABULARY = 700
EXTRA = """user assistant system red green blue yellow orange purple pink cyan white black gray grey brown
circle square triangle star heart ring cross diamond moon hexagon small large big tiny huge little
background picture left right above below centre center middle top bottom"""


def corpus(count=60000):
    """English captions, and Chinese words one by one, so that no token spans two words."""
    rng = random.Random(7)
    for _ in range(count):
        text, _ = scenes.caption(rng, scenes.random_scene(rng), chinese_share=0)
        yield f"user\n{text}\nassistant\n"
    chinese = [scenes.ZH_COLOURS, scenes.ZH_SHAPES, scenes.ZH_PLACES, scenes.ZH_SIZES, scenes.ZH_RELATIONS]
    words = [w for table in chinese for row in table.values() for w in row if w]
    words += ["背景", "背景上", "一个", "在", "的", "有", "，", "。", "个", "上", "色"]
    for word in [" " + w for w in EXTRA.split()] + words:
        for _ in range(800):
            yield word


def build(template):
    """template: the parsed tokenizer.json of a Z-Image model."""
    regex = template["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(regex), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)
    tokenizer.post_processor = processors.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    tokenizer.train_from_iterator(corpus(), trainer)
    return tokenizer


def main(template_folder, out):
    os.makedirs(out, exist_ok=True)
    template = json.load(open(os.path.join(template_folder, "tokenizer.json")))
    tokenizer = build(template)
    base = tokenizer.get_vocab_size()
    added = sorted(template["added_tokens"], key=lambda t: t["id"])
    tokenizer.add_special_tokens([AddedToken(t["content"], special=True, normalized=False)
                                  for t in added if t["special"]])
    tokenizer.add_tokens([AddedToken(t["content"], special=False, normalized=False)
                          for t in added if not t["special"]])
    tokenizer.save(os.path.join(out, "tokenizer.json"))
    tokenizer.model.save(out)
    config = json.load(open(os.path.join(template_folder, "tokenizer_config.json")))
    old = config.pop("added_tokens_decoder")
    first = min(int(i) for i in old)
    config["added_tokens_decoder"] = {str(int(i) - first + base): t for i, t in old.items()}
    for i, token in config["added_tokens_decoder"].items():
        assert tokenizer.token_to_id(token["content"]) == int(i), token
    with open(os.path.join(out, "tokenizer_config.json"), "w") as f:
        json.dump(config, f, indent=1, ensure_ascii=False)
    print("tokens:", base, "+", len(added))


if __name__ == "__main__":
    main(*sys.argv[1:])
