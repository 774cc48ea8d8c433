"""What every peer program shares: it reads one request a line and answers each with one line.

A request is {"threads", "width", "height"} (llm_peer.py has its own), the answer
{"stages": {name: [seconds, ...]}, "note"} or {"error"}.
A line "ready" comes first, so that nobody is timed while another still loads. A peer stays loaded between
its turns and sleeps on its input meanwhile.
"""
import json
import os
import sys

TEXT_TOKENS = 64  # a prompt of 33 to 64 tokens: captions are padded to multiples of 32


def tokens(width, height):
    """Of a transformer layer: the picture's, padded to a multiple of 32, and the caption's."""
    image = (width // 16) * (height // 16)
    return (image + 31) // 32 * 32 + TEXT_TOKENS


def serve(measure):
    """Answers requests by measure(**request) -> (stages, note), until the input ends."""
    # The libraries may print; what they print must not mix with the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        try:
            stages, note = measure(**json.loads(line))
            answer = {"stages": stages, "note": note}
        except Exception as error:  # whatever goes wrong in one peer, the others go on
            answer = {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
        print(json.dumps(answer), file=answers, flush=True)
