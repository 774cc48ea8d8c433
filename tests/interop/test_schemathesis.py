"""Requests made up from the OpenAPI file: whatever they are, the server answers, as the file says, and
never with a 5xx. Needs the package schemathesis; ZIMAGE and ZI_TEST_DATA as in tests/server.
"""

import json
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.append(os.path.join(HERE, "..", "server"))

from serving import OPENAPI, Case

SECONDS = 40
EXAMPLES = 8  # random requests for each operation, besides those at the limits of each field
CHECKS = ("not_a_server_error", "status_code_conformance", "content_type_conformance",
          "response_schema_conformance")
ENDLESS = "/api/events"  # the stream does not end


def describe_events(described):
    """The description has the type of a whole stream, text; schemathesis holds each event of a stream against it."""
    if isinstance(described, dict) and "text/event-stream" in described:
        described["text/event-stream"] = {"schema": {"type": "object", "required": ["event", "data"]}}
    for item in described.values() if isinstance(described, dict) else described:
        if isinstance(item, (dict, list)):
            describe_events(item)


class Requests(Case):
    def test_requests(self):
        described, called = os.path.join(self.dir, "openapi.json"), os.path.join(self.dir, "called")
        openapi = self.server.get("/api/openapi.json").json
        describe_events(openapi)
        with open(described, "w", encoding="utf-8") as file:
            json.dump(openapi, file)
        program = os.path.join(os.path.dirname(sys.executable), "schemathesis")
        done = subprocess.run(
            [program, "run", described, "--url", self.server.address,
             "--phases", "fuzzing,coverage", "--checks", ",".join(CHECKS), "--no-color", "--workers", "1",
             "--max-examples", str(EXAMPLES), "--max-time", str(SECONDS), "--request-timeout", "60",
             "--exclude-path", ENDLESS],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=self.dir,
            env=dict(os.environ, CALLED=called, PYTHONPATH=HERE, SCHEMATHESIS_HOOKS="schemathesis_hooks"))
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertIn(" passed", done.stdout)
        self.assertEqual(self.server.get("/api/health").json["status"], "ok")
        with open(called, encoding="utf-8") as file:
            called = set(file.read().splitlines())
        every = {f"{method} {path}" for path, item in OPENAPI["paths"].items() for method in item
                 if method != "parameters" and path != ENDLESS}
        self.assertEqual(every - called, set(), done.stdout)
