"""The protocol of peer programs: requests on standard input and responses on standard output, one JSON object a line.

A request is {"threads", "width", "height"} (llm_peer.py has its own); the response is
{"stages": {name: [seconds, ...]}, "note"} or {"error"}. The first line of output is "ready", when the peer has loaded:
no peer is timed while another one loads. Between its turns a peer stays loaded and waits for input.
"""
import json
import os
import sys

TEXT_TOKENS = 64  # a prompt of 33 to 64 tokens: captions are padded to multiples of 32


def tokens(width, height):
    """The sequence length of a transformer layer: image tokens, padded to a multiple of 32, and caption tokens."""
    image = (width // 16) * (height // 16)
    return (image + 31) // 32 * 32 + TEXT_TOKENS


def serve(measure):
    """Responds to requests by measure(**request) -> (stages, note), until the input ends."""
    # What libraries print goes to standard error, so that it does not mix with the responses.
    responses = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    print("ready", file=responses, flush=True)
    for line in sys.stdin:
        try:
            stages, note = measure(**json.loads(line))
            response = {"stages": stages, "note": note}
        except Exception as error:  # reported to bench.py, which continues with the other peers
            response = {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
        print(json.dumps(response), file=responses, flush=True)
