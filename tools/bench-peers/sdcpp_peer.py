"""The peer stable-diffusion.cpp, q8_0 weights, through its Python package built by build-sdcpp.sh.

usage: sdcpp_peer.py FOLDER    (of the weights, made there if missing; then requests on standard input, see peer.py)

The library only generates whole images. It generates one in two steps with a transformer of one layer; timed are the
second step (the first one allocates), by the progress callback, and the decoder, by a line of the log.
"""
import os
import re
import subprocess
import sys
import time

# The patched library reads these when it loads a model. An unpatched one fails: it expects 34 layers and finds one.
os.environ.update(BENCH_LAYERS="1", BENCH_REFINERS="0")

import stable_diffusion_cpp as sd
from stable_diffusion_cpp import StableDiffusion

from peer import serve

PROMPT = "cat " * 48  # 33 to 64 tokens in the chat template, which are padded to 64
STEPS = 2
DECODED = re.compile(r"latent 1 decoded, taking ([\d.]+)s")


class Callbacks:
    """Receives the library's log and progress. The library keeps the callbacks, so that they must never be freed."""

    def __init__(self):
        self.lines, self.step_ends = [], {}
        self.log = sd.sd_log_callback(lambda level, text, data: self.lines.append(text.decode(errors="replace")))
        self.progress = sd.sd_progress_callback(self.on_progress)
        sd.sd_set_log_callback(self.log, None)
        sd.sd_set_progress_callback(self.progress, None)

    def on_progress(self, step, steps, mean, data):
        if steps == STEPS:  # loading a model calls this too, with another number of steps
            self.step_ends[step] = time.perf_counter()

    def clear(self):
        self.lines.clear()
        self.step_ends.clear()

    def errors(self):
        return "; ".join(line.strip() for line in self.lines if "ERROR" in line or "not in model file" in line)

    def last_step(self):
        return self.step_ends[STEPS] - self.step_ends[STEPS - 1]

    def decode(self):
        return next(float(match.group(1)) for match in map(DECODED.search, self.lines) if match)


class Peer:
    def __init__(self, folder):
        self.folder = folder
        self.callbacks = Callbacks()
        self.models = {}

    def model(self, threads):
        """A model is loaded for a fixed number of threads."""
        if threads not in self.models:
            self.models[threads] = StableDiffusion(
                diffusion_model_path=os.path.join(self.folder, "transformer.safetensors"),
                llm_path=os.path.join(self.folder, "text.safetensors"),
                vae_path=os.path.join(self.folder, "decoder.safetensors"), vae_decode_only=True,
                wtype="q8_0", n_threads=threads)
        return self.models[threads]

    def measure(self, threads, width, height):
        self.callbacks.clear()
        try:
            self.model(threads).generate_image(PROMPT, width=width, height=height, sample_steps=STEPS, cfg_scale=1.0,
                                               seed=1, sample_method="euler")
            return {"block": [self.callbacks.last_step()], "decode": [self.callbacks.decode()]}, ""
        except Exception as error:
            raise RuntimeError(self.callbacks.errors() or str(error)) from error


if __name__ == "__main__":
    subprocess.run([sys.executable, "weights.py", sys.argv[1]], check=True)
    serve(Peer(sys.argv[1]).measure)
