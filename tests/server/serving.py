"""What the server's tests share: a server of their own on a free port, requests, event streams, and
a check of JSON against the OpenAPI file."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path += [os.path.join(HERE, "..", "support"), os.path.join(HERE, "..", "cli")]
import program  # noqa: E402
from program import GOLDEN, LONG_FORM, MODEL, ZIMAGE, temporary_folder  # noqa: E402, F401: for the suites

LIMIT = 300  # seconds that anything may take: a sanitizer may be at work
PROMPT = "a red circle on a blue background"

# The file has all but what `params` of jobs are: that the server adds, from its tables.
with open(os.path.join(HERE, "..", "..", "server", "openapi.json"), encoding="utf-8") as _file:
    OPENAPI = json.load(_file)
SCHEMAS = OPENAPI["components"]["schemas"]


# ---- JSON by schema: the part of JSON Schema that the file uses ----

TYPES = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None),
         "integer": int, "number": (int, float)}
KNOWN = {"type", "properties", "required", "additionalProperties", "enum", "const", "pattern",
         "oneOf", "items", "minimum", "maximum", "minLength", "maxLength", "multipleOf",
         "description", "contentEncoding", "contentMediaType", "default"}


def is_type(value, name):
    if isinstance(value, bool) and name in ("integer", "number"):
        return False
    if name == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, TYPES[name])


def errors_of(value, schema, at="$"):
    """What is wrong with value, as a list of lines."""
    if "$ref" in schema:
        return errors_of(value, SCHEMAS[schema["$ref"].rsplit("/", 1)[1]], at)
    assert set(schema) <= KNOWN, set(schema) - KNOWN
    if "oneOf" in schema:
        found = [errors_of(value, one, at) for one in schema["oneOf"]]
        good = sum(not errors for errors in found)
        return [] if good == 1 else [f"{at}: {good} of oneOf fit: {found}"]
    names = schema.get("type", [])
    names = [names] if isinstance(names, str) else names
    if names and not any(is_type(value, name) for name in names):
        return [f"{at}: {value!r} is no {names}"]
    errors = []
    if "enum" in schema and value not in schema["enum"]:
        errors.append(f"{at}: {value!r} is none of {schema['enum']}")
    if "const" in schema and value != schema["const"]:
        errors.append(f"{at}: {value!r} is not {schema['const']!r}")
    if isinstance(value, str) and "pattern" in schema and not re.search(schema["pattern"], value):
        errors.append(f"{at}: {value!r} does not match {schema['pattern']}")
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if value < schema.get("minimum", value) or value > schema.get("maximum", value):
            errors.append(f"{at}: {value} is out of range")
        if "multipleOf" in schema and value % schema["multipleOf"]:
            errors.append(f"{at}: {value} is no multiple")
    if isinstance(value, str) and not (schema.get("minLength", 0) <= len(value)
                                       <= schema.get("maxLength", len(value))):
        errors.append(f"{at}: the length of {value[:40]!r}")
    if isinstance(value, list):
        for i, item in enumerate(value):
            errors += errors_of(item, schema.get("items", {}), f"{at}[{i}]")
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        errors += [f"{at}.{name} is missing" for name in schema.get("required", [])
                   if name not in value]
        for name, item in value.items():
            if name in properties:
                errors += errors_of(item, properties[name], f"{at}.{name}")
            elif schema.get("additionalProperties", True) is False:
                errors.append(f"{at}.{name} is not described")
    return errors


# ---- a server ----


class Reply:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self):
        return json.loads(self.body)


class Event:
    def __init__(self, id_, name, data):
        self.id, self.name, self.data = id_, name, data

    def __repr__(self):
        return f"{self.name} {str(self.data)[:200]}"


class Stream:
    """An event stream that is read as it comes."""

    def __init__(self, server, path, method="GET", body=None, headers=None):
        self.connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=LIMIT)
        data = None if body is None else json.dumps(body)
        headers = dict(headers or {}, **({"Content-Type": "application/json"} if data else {}))
        self.connection.request(method, path, data, headers)
        self.response = self.connection.getresponse()
        self.status = self.response.status

    def __iter__(self):
        id_ = name = None
        while True:
            line = self.response.readline().decode()
            if not line:
                return
            line = line.rstrip("\n")
            if line.startswith("id: "):
                id_ = line[4:]
            elif line.startswith("event: "):
                name = line[7:]
            elif line.startswith("data: "):
                yield Event(id_, name, json.loads(line[6:]))

    def until(self, *names):
        """Events up to the first of these names."""
        found = []
        for event in self:
            found.append(event)
            if event.name in names:
                return found
        raise AssertionError(f"the stream ended without {names}: {found}")

    def close(self):
        self.response.close()
        self.connection.close()


class Server:
    def __init__(self, folder, *args, env=None, preexec=None):
        self.folder = folder
        # Not at once read: a full pipe would stop the server.
        self.log_path = os.path.join(folder, "server.log")
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen([ZIMAGE, "serve", "--port", "0", *args], cwd=folder,
                                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                            stderr=log, env=env, preexec_fn=preexec)
        self.address = self.process.stdout.readline().decode().strip()
        if not self.address:
            self.process.wait()
            raise AssertionError(f"no server: {self.log()}")
        self.port = int(self.address.rsplit(":", 1)[1])

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as file:
            return file.read()

    def request(self, method, path, body=None, headers=None, raw=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=LIMIT)
        headers = dict(headers or {})
        if body is not None:
            raw = json.dumps(body)
            headers.setdefault("Content-Type", "application/json")
        try:
            connection.request(method, path, raw, headers)
            response = connection.getresponse()
            return Reply(response.status, response.headers, response.read())
        finally:
            connection.close()

    def get(self, path, **options):
        return self.request("GET", path, **options)

    def submit(self, kind="generate", **params):
        if kind == "generate":
            params.setdefault("prompt", PROMPT)
        reply = self.request("POST", "/api/jobs", {"kind": kind, "params": params})
        assert reply.status == 202, (reply.status, reply.body[:500])
        return reply.json["id"]

    def wait(self, job):
        """The job when it has ended."""
        end = time.monotonic() + LIMIT
        while time.monotonic() < end:
            state = self.get(f"/api/jobs/{job}").json
            if state["state"] not in ("queued", "running"):
                return state
            time.sleep(0.02)
        raise AssertionError("the job does not end")

    def stop(self, number=signal.SIGTERM):
        """Its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(LIMIT)
        self.process.stdout.close()
        return code


class Case(unittest.TestCase):
    """Tests with one server for the class, in an empty folder."""

    args = ()

    @classmethod
    def setUpClass(cls):
        cls.dir = temporary_folder(cls)
        cls.prepare()
        cls.server = Server(cls.dir, *cls.args)

    @classmethod
    def prepare(cls):
        """For models and the like."""

    @classmethod
    def tearDownClass(cls):
        code, log = cls.server.stop(), cls.server.log()
        assert code == 0, (code, log)
        assert "Sanitizer" not in log and "runtime error" not in log, log

    def conforms(self, value, schema):
        self.assertEqual(errors_of(value, schema), [])

    def refused(self, reply, status, field=None):
        self.assertEqual(reply.status, status, reply.body[:500])
        self.conforms(reply.json, SCHEMAS["Error"])
        self.assertEqual(reply.json["error"]["field"], field, reply.body[:500])
        return reply.json["error"]["message"]


def run(*args, folder, **options):
    """Runs the program in a folder; output as text."""
    return program.run(*args, cwd=folder, timeout=LIMIT, text=True, **options)


def path(*names):
    return os.path.join(*names)


def connect(server):
    return socket.create_connection(("127.0.0.1", server.port), timeout=LIMIT)
