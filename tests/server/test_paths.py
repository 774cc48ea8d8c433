"""Paths as clients make them up, and the character NUL in texts."""

import unittest

from serving import Case
from test_security import status_of, talk


class Paths(Case):
    def test_paths_that_clients_make(self):
        """Doubled slashes, one too many at the end, and OpenAI's paths without /v1."""
        for url, like in (("//", "/"), ("//api//jobs", "/api/jobs"), ("/api/jobs/", "/api/jobs"), ("/v1/models/", "/v1/models"),
                          ("//v1/models", "/v1/models"), ("/models", "/v1/models"), ("/models/demo/", "/v1/models/demo"),
                          ("/sdapi/v1//samplers", "/sdapi/v1/samplers"), ("/api/models//demo", "/api/models/demo")):
            for method in "GET", "HEAD", "OPTIONS", "PATCH":
                got, wanted = self.server.request(method, url), self.server.request(method, like)
                self.assertEqual((got.status, got.body), (wanted.status, wanted.body), url)
                self.assertLess(wanted.status, 406)
        reply = self.server.request("POST", "//images/generations/", {"prompt": "a", "model": "none"})
        self.assertEqual((reply.status, reply.json["error"]["code"]), (404, "model_not_found"))

    def test_the_right_path(self):
        """A 404 names the path that was meant."""
        for url, right in (("/v1/v1/models", "/v1/models"), ("/openai/v1/models", "/v1/models"), ("/api/v1/models", "/v1/models"),
                           ("/txt2img", "/sdapi/v1/txt2img"), ("/sdapi/txt2img", "/sdapi/v1/txt2img"), ("/sdapi/v2/progress", "/sdapi/v1/progress"),
                           ("/jobs", "/api/jobs"), ("/health", "/api/health"), ("/v1/images/generation", "/v1/images/generations"),
                           ("/v1/image/generations", "/v1/images/generations"), ("/generations", None), ("/v1/images/edits", None),
                           ("/v1/moxyls", "/v1/models"), ("/v1/moxyzs", None),
                           ("/favicon.ico", None), ("/" + "a" * 5000, None), ("/jobs/ab12", None)):
            reply = self.server.get(url)
            self.assertEqual(reply.status, 404)
            text = reply.body.decode()
            if right:
                self.assertIn(f"use {right}, or see", text, url)
            else:
                self.assertIn("no such path; GET /api/openapi.json describes", text, url)

    def test_no_path(self):
        """Targets that become an empty path, or one without a slash."""
        for target in "?x", "%00", "*", "x":
            for method in "OPTIONS", "GET":
                answer = talk(self.server, f"{method} {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
                self.assertEqual(status_of(answer), 404, (method, target, answer))

    def test_nul_in_a_text(self):
        """It would end the text there, and the rest would be ignored in silence."""
        for url, body, field in (
                ("/api/jobs", '{"kind": "generate", "params": {"prompt": "a\\u0000b"}}', "prompt"),
                ("/api/jobs", '{"kind": "generate", "params": {"prompt": "a", "negative" : "\\u0000"}}', "negative"),
                ("/api/enhance", '{"prompt": "\\\\\\u0000"}', "prompt"),
                ("/api/jobs", '{"kind": "generate", "params": {"pro\\u0000mpt": "a"}}', "pro\\u0000mpt"),
                ("/api/jobs", '{"x%s\\u0000": 1}' % (40 * "é"), "x" + 31 * "é")):
            message = self.refused(self.server.request("POST", url, raw=body.encode(), headers={"Content-Type": "application/json"}), 400, field)
            self.assertIn("NUL", message)
        for url in "/v1/images/generations", "/sdapi/v1/txt2img":
            reply = self.server.request("POST", url, raw='{"prompt": "a\\u0000b"}', headers={"Content-Type": "application/json"})
            self.assertEqual(reply.status, 400)
            self.assertIn("prompt: has the character NUL", reply.body.decode())
        # A backslash and u0000 is none.
        job = self.server.submit(prompt="a\\u0000b", model="demo", steps=1, width=32, height=32)
        self.assertEqual(self.server.wait(job)["params"]["prompt"], "a\\u0000b")


if __name__ == "__main__":
    unittest.main()
