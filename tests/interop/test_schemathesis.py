"""Requests made up from the OpenAPI file: whatever they are, the server answers, as the file says, and
never with a 5xx. Needs the package schemathesis; ZIMAGE and ZI_TEST_DATA as in tests/server.
"""

import os
import subprocess
import sys

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "server"))

from serving import Case

SECONDS = 60
CHECKS = ("not_a_server_error", "status_code_conformance", "content_type_conformance",
          "response_schema_conformance")
# Streams, which end when their jobs do.
STREAMS = ["--exclude-path-regex", "/events$", "--exclude-operation-id", "enhance"]


class Requests(Case):
    def test_requests(self):
        described = os.path.join(self.dir, "openapi.json")
        with open(described, "wb") as file:
            file.write(self.server.get("/api/openapi.json").body)
        program = os.path.join(os.path.dirname(sys.executable), "schemathesis")
        done = subprocess.run(
            [program, "run", described, "--url", self.server.address,
             "--phases", "coverage,fuzzing", "--checks", ",".join(CHECKS), "--no-color",
             "--max-time", str(SECONDS), "--request-timeout", "60", *STREAMS],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=self.dir)
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertIn(" passed", done.stdout)
        self.assertEqual(self.server.get("/api/health").status, 200)
