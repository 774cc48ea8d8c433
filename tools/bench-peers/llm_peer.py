"""llama.cpp, by its Python binding, as it reads a text or continues it.

A request is {"model", "threads", "text", "tokens", "start", "stage"}: either the text is read at once, or so many
tokens are added to the first `start` of it, always the likeliest. Answered is how many tokens a second.
"""
import time

import llama_cpp
import numpy

from peer import serve

BATCH = 512  # tokens that are read at once
models = {}


def load(path, threads):
    key = path, threads
    if key not in models:
        models.clear()
        models[key] = llama_cpp.Llama(path, n_ctx=2 * BATCH, n_batch=BATCH, n_ubatch=BATCH, n_threads=threads,
                                      n_threads_batch=threads, verbose=False)
        read(models[key], [1] * 8)  # the first call prepares things
    return models[key]


def read(llm, ids):
    """-> the likeliest token, and the seconds that it took"""
    begin = time.perf_counter()
    llm.eval(ids)
    logits = llama_cpp.llama_get_logits_ith(llm.ctx, -1)
    best = int(numpy.ctypeslib.as_array(logits, (llm.n_vocab(),)).argmax())
    return best, time.perf_counter() - begin


def measure(model, threads, text, tokens, start, stage):
    llm = load(model, threads)
    ids = llm.tokenize(text.encode(), add_bos=False, special=True)
    llm.reset()
    best, seconds = read(llm, ids if stage == "prefill" else ids[:start])
    count = len(ids)
    if stage == "decode":
        count, seconds = tokens, 0
        for _ in range(tokens):
            best, more = read(llm, [best])
            seconds += more
    return {stage: count / seconds}, f"llama-cpp-python {llama_cpp.__version__}"


if __name__ == "__main__":
    serve(measure)
