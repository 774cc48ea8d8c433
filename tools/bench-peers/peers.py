"""The programs that are timed. Each has a name, start(threads), stop() and measure(threads, width, height) ->
(stages: name -> [seconds], note)."""
import json
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ZIMAGE = os.path.join(HERE, "..", "..", "build", "zimage")
WEIGHTS = os.path.join(tempfile.gettempdir(), "zimage-bench-peers")
PRECISIONS, COMPUTE = ("bf16", "fp16", "fp32", "fp8", "q4"), ("exact", "fast")  # of zimage bench
DEFAULT = ("zimage-bf16-exact", "zimage-fp8-fast", "torch-f32", "torch-int8", "torch-bf16", "sdcpp-q8")


class PeerError(Exception):
    """A peer failed; the message says why."""


class PersistentPeer:
    """A Python program that is started once and gets many requests (peer.py is its side of the protocol). once: it is
    so slow that it is timed only once."""

    def __init__(self, name, arguments, once=False):
        self.name, self.arguments, self.once = name, arguments, once
        self.process = None

    def start(self, threads):
        """threads: the maximum in later requests, which OpenMP must know at startup."""
        environment = dict(os.environ, OMP_NUM_THREADS=str(threads))
        self.messages = tempfile.TemporaryFile("w+", errors="replace")  # not a pipe, which would fill up unread
        self.process = subprocess.Popen([sys.executable, *self.arguments], cwd=HERE, env=environment, text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.messages)
        if self.process.stdout.readline() != "ready\n":
            raise PeerError(self.exit_message())

    def measure(self, threads, width, height):
        return self.request(threads=threads, width=width, height=height)

    def request(self, **parameters):
        try:
            print(json.dumps(parameters), file=self.process.stdin, flush=True)
            answer = json.loads(self.process.stdout.readline())
        except (OSError, ValueError) as error:  # the process ended
            raise PeerError(self.exit_message()) from error
        if "error" in answer:
            raise PeerError(answer["error"])
        return answer["stages"], answer["note"]

    def exit_message(self):
        """The last line on standard error of a process that has ended or is about to."""
        status = self.process.wait()
        self.messages.seek(0)
        lines = self.messages.read().strip().splitlines()
        return lines[-1] if lines else f"ended with status {status}"

    def stop(self):
        if self.process:
            self.process.stdin.close()
            self.process.wait()


class Zimage:
    """This project's program, started for each measurement."""

    once = False

    def __init__(self, name, program, precision, compute):
        self.name, self.program = name, program
        self.options = ["--precision", precision, "--compute", compute]
        self.about = {}  # reported by the program: kernel tier, measured peak rates

    def start(self, threads):
        pass

    def stop(self):
        pass

    def measure(self, threads, width, height):
        command = [self.program, "bench", "--size", f"{width}x{height}", "--layers", "1", "--threads", str(threads),
                   *self.options, "--json"]
        try:
            done = subprocess.run(command, capture_output=True, text=True)
        except OSError as error:
            raise PeerError(str(error)) from error
        if done.returncode:
            raise PeerError(done.stderr.strip() or f"ended with status {done.returncode}")
        answer = json.loads(done.stdout)
        self.remember(answer, threads)
        return {stage["name"]: [stage["seconds"]] for stage in answer.get("stages", [])}, ""

    def remember(self, answer, threads):
        self.about["tier"] = answer.get("tier")
        for peak in (key for key in answer if key.startswith("peak")):
            key = f"{peak}_{threads}_threads"
            self.about[key] = max(answer[peak], self.about.get(key, 0))


def all_peers(zimage, weights):
    """In the order in which they run in each round."""
    ours = [Zimage(f"zimage-{precision}-{compute}", zimage, precision, compute)
            for precision in PRECISIONS for compute in COMPUTE]
    return ours + [PersistentPeer("torch-f32", ["torch_peer.py", "f32"]),
                   PersistentPeer("torch-int8", ["torch_peer.py", "int8"]),
                   PersistentPeer("torch-bf16", ["torch_peer.py", "bf16"], once=True),
                   PersistentPeer("sdcpp-q8", ["sdcpp_peer.py", os.path.abspath(weights)])]
