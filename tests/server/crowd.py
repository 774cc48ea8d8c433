"""A crowd of clients as a process of its own: some poll once a second over connections that they keep,
some listen to all events. Ends when its standard input does, and prints what it saw as JSON.

    python3 crowd.py PORT POLLING LISTENING
"""

import asyncio
import json
import sys
import time


async def get(port, path):
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 24)
    ask = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
    return reader, writer, ask


class Crowd:
    def __init__(self, port):
        self.port = port
        self.requests = self.events = 0
        self.slowest = 0.0
        self.failures = []

    async def poll(self, number):
        paths = "/api/jobs", "/api/health", "/sdapi/v1/progress", "/api/images?limit=5"
        reader, writer, ask = await get(self.port, paths[number % len(paths)])
        await asyncio.sleep(number % 50 / 50)  # not all in the same moment
        while True:
            began = time.monotonic()
            writer.write(ask)
            head = await reader.readuntil(b"\r\n\r\n")
            length = [line for line in head.lower().split(b"\r\n")
                      if line.startswith(b"content-length:")]
            body = await reader.readexactly(int(length[0].split(b":")[1]))
            json.loads(body)
            self.requests += 1
            self.slowest = max(self.slowest, time.monotonic() - began)
            if not head.startswith(b"HTTP/1.1 200 "):
                self.failures.append(head.decode())
            await asyncio.sleep(1)

    async def listen(self, _):
        reader, writer, ask = await get(self.port, "/api/events")
        writer.write(ask)
        while line := await reader.readline():
            self.events += line.startswith(b"event: ")
        raise ConnectionError("the stream has ended")

    async def run(self, polling, listening):
        async def guard(client, number):
            try:
                await client(number)
            except (OSError, EOFError, ValueError, IndexError) as error:
                self.failures.append(repr(error))
        tasks = [asyncio.create_task(guard(self.poll, i)) for i in range(polling)]
        tasks += [asyncio.create_task(guard(self.listen, i)) for i in range(listening)]
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return {"requests": self.requests, "events": self.events, "failures": self.failures,
                "slowest": self.slowest}


if __name__ == "__main__":
    crowd = Crowd(int(sys.argv[1]))
    print(json.dumps(asyncio.run(crowd.run(int(sys.argv[2]), int(sys.argv[3])))))
