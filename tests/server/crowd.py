"""A crowd of clients as a process of its own: some poll once a second over connections that they keep,
some listen to all events. Ends when its standard input does, and prints what it saw as JSON.

It stands for clients on other machines, and so it takes as little as a program in Python can of the one that
generates: a loop that counts bytes as they come, all that have come in a fiftieth of a second at once.

    python3 crowd.py PORT POLLING LISTENING
"""

import collections
import json
import select
import socket
import sys
import time

PATHS = "/api/jobs", "/api/health", "/sdapi/v1/progress", "/api/images?limit=5"
MOST = 1 << 16  # bytes at once
PAUSE = 0.02  # seconds


class Client:
    def __init__(self, port, path):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setblocking(False)
        self.request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
        self.answer = b""

    def ask(self):
        self.asked = time.monotonic()
        self.socket.sendall(self.request)

    def read(self):
        data = self.socket.recv(MOST)
        if not data:
            raise ConnectionError("the connection has ended")
        return data


class Crowd:
    def __init__(self, port, polling, listening):
        self.requests = self.events = 0
        self.slowest = 0.0
        self.failures = []
        self.epoll = select.epoll()
        self.readers = {}  # by file: what to do when there is something to read
        now = time.monotonic()
        polls = [(now + i % 50 / 50, Client(port, PATHS[i % len(PATHS)])) for i in range(polling)]
        self.due = collections.deque(sorted(polls, key=lambda one: one[0]))  # not all in one moment
        for _, client in polls:
            self.add(client, self.take_answer)
        for _ in range(listening):
            client = Client(port, "/api/events")
            client.ask()
            self.add(client, self.take_events)

    def add(self, client, reader):
        self.readers[client.socket.fileno()] = lambda: reader(client)
        self.epoll.register(client.socket, select.EPOLLIN)

    def take_events(self, client):
        data = client.answer + client.read()
        self.events += data.count(b"\nevent: ")
        client.answer = data[-7:]  # it may be cut anywhere

    def take_answer(self, client):
        client.answer += client.read()
        head, end, body = client.answer.partition(b"\r\n\r\n")
        if not end or len(body) < int(head.lower().split(b"\r\ncontent-length:")[1].split(b"\r\n")[0]):
            return
        if not head.startswith(b"HTTP/1.1 200 "):
            self.failures.append(head.decode())
        if self.requests % 100 == 0:
            json.loads(body)
        client.answer = b""
        self.requests += 1
        now = time.monotonic()
        self.slowest = max(self.slowest, now - client.asked)
        self.due.append((now + 1, client))

    def guard(self, action):
        try:
            action()
        except (OSError, ValueError, IndexError) as error:
            self.failures.append(repr(error))

    def run(self):
        self.epoll.register(sys.stdin, select.EPOLLIN)
        while True:
            time.sleep(PAUSE)
            while self.due and self.due[0][0] <= time.monotonic():
                self.guard(self.due.popleft()[1].ask)
            for file, _ in self.epoll.poll(0):
                if file == sys.stdin.fileno():
                    return {"requests": self.requests, "events": self.events,
                            "failures": self.failures, "slowest": self.slowest}
                self.guard(self.readers[file])


if __name__ == "__main__":
    crowd = Crowd(*map(int, sys.argv[1:]))
    print(json.dumps(crowd.run()))
