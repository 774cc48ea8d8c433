"""The peer stable-diffusion.cpp, q8_0 weights, through its Python package built by build-sdcpp.sh.

usage: sdcpp_peer.py FOLDER    (weights as weights.py writes them; then requests on standard input, see peer.py)

It only knows how to make whole pictures, so it makes one, of two steps by one layer, and its own clocks are read:
the second step (the first one allocates) and the line of its log that says how long the decoder took.
"""
import os
import re
import sys

# Read by the patched source whenever a model is loaded; an unpatched library wants all 34 layers and finds one.
os.environ.update(BENCH_LAYERS="1", BENCH_REFINERS="0")

import stable_diffusion_cpp as sd
from stable_diffusion_cpp import StableDiffusion

from peer import serve

PROMPT = "cat " * 48  # with the chat form around it between 33 and 64 tokens, which are padded to 64
DECODED = re.compile(r"latent 1 decoded, taking ([\d.]+)s")


class Log:
    """The library's messages since the last call of clear."""

    def __init__(self):
        self.lines = []
        self.callback = sd.sd_log_callback(lambda level, text, data: self.lines.append(text.decode(errors="replace")))
        sd.sd_set_log_callback(self.callback, None)  # self.callback must live as long as the library may call it

    def clear(self):
        self.lines.clear()

    def errors(self):
        return "; ".join(line.strip() for line in self.lines if "ERROR" in line)

    def decode_seconds(self):
        return [float(match.group(1)) for match in map(DECODED.search, self.lines) if match]


class Peer:
    def __init__(self, folder):
        self.folder = folder
        self.log = Log()
        self.models = {}

    def model(self, threads):
        """The number of threads belongs to a loaded model."""
        if threads not in self.models:
            path = lambda name: os.path.join(self.folder, name)
            self.models[threads] = StableDiffusion(
                diffusion_model_path=path("transformer.safetensors"), llm_path=path("text.safetensors"),
                vae_path=path("decoder.safetensors"), vae_decode_only=True, wtype="q8_0", n_threads=threads)
        return self.models[threads]

    def measure(self, threads, width, height):
        self.log.clear()
        try:
            model = self.model(threads)
            ends = [0.0, 0.0, 0.0]  # the library tells the mean of the steps so far

            def progress(step, steps, mean):
                ends[step] = step * mean

            model.generate_image(PROMPT, width=width, height=height, sample_steps=2, cfg_scale=1.0, seed=1,
                                 sample_method="euler", progress_callback=progress)
        except Exception as error:
            raise RuntimeError(self.log.errors() or str(error)) from error
        return {"block": [ends[2] - ends[1]], "decode": self.log.decode_seconds()}, ""


if __name__ == "__main__":
    serve(Peer(sys.argv[1]).measure)
