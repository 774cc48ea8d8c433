"""The peer llama.cpp, through its Python binding: prefill and decode rates.

A request is {"model", "threads", "text", "tokens", "start", "stage"}. Stage "prefill" evaluates the text at once;
"decode" evaluates its first `start` tokens, then generates `tokens` more, greedily. The response has tokens per second.
"""
import time

import llama_cpp
import numpy

from peer import serve

BATCH = 512  # tokens evaluated at once
models = {}


def load(path, threads):
    key = path, threads
    if key not in models:
        models.clear()
        models[key] = llama_cpp.Llama(path, n_ctx=2 * BATCH, n_batch=BATCH, n_ubatch=BATCH, n_threads=threads,
                                      n_threads_batch=threads, verbose=False)
        evaluate(models[key], [1] * 8)  # warm-up
    return models[key]


def evaluate(llm, ids):
    """-> the most probable next token, seconds"""
    begin = time.perf_counter()
    llm.eval(ids)
    logits = llama_cpp.llama_get_logits_ith(llm.ctx, -1)
    best = int(numpy.ctypeslib.as_array(logits, (llm.n_vocab(),)).argmax())
    return best, time.perf_counter() - begin


def measure(model, threads, text, tokens, start, stage):
    llm = load(model, threads)
    ids = llm.tokenize(text.encode(), add_bos=False, special=True)
    llm.reset()
    best, seconds = evaluate(llm, ids if stage == "prefill" else ids[:start])
    count = len(ids)
    if stage == "decode":
        count, seconds = tokens, 0
        for _ in range(tokens):
            best, more = evaluate(llm, [best])
            seconds += more
    return {stage: count / seconds}, f"llama-cpp-python {llama_cpp.__version__}"


if __name__ == "__main__":
    serve(measure)
