"""The programs that are timed. Each has a name and measure(threads, width, height) -> (stages, note)."""
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


class Failed(Exception):
    pass


class Kept:
    """A Python peer, started once and asked again and again (peer.py is its side of the talk)."""

    def __init__(self, name, arguments, once=False):
        self.name, self.arguments, self.once = name, arguments, once
        self.process = None

    def start(self, threads):
        """threads: the most it will be asked for, which OpenMP wants to know from the start."""
        environment = dict(os.environ, OMP_NUM_THREADS=str(threads))
        self.messages = tempfile.TemporaryFile("w+", errors="replace")  # a pipe that nobody reads would fill up
        self.process = subprocess.Popen([sys.executable, *self.arguments], cwd=HERE, env=environment, text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.messages)
        if self.process.stdout.readline() != "ready\n":
            raise Failed(self.last_words())

    def measure(self, threads, width, height):
        return self.ask(threads=threads, width=width, height=height)

    def ask(self, **request):
        try:
            print(json.dumps(request), file=self.process.stdin, flush=True)
            answer = json.loads(self.process.stdout.readline())
        except (OSError, ValueError) as error:  # it died
            raise Failed(self.last_words()) from error
        if "error" in answer:
            raise Failed(answer["error"])
        return answer["stages"], answer["note"]

    def last_words(self):
        status = self.process.wait()
        self.messages.seek(0)
        lines = self.messages.read().strip().splitlines()
        return lines[-1] if lines else f"ended with status {status}"

    def stop(self):
        if self.process:
            self.process.stdin.close()
            self.process.wait()


class Zimage:
    """This project's program, started for every measurement."""

    once = False

    def __init__(self, name, program, precision, compute):
        self.name, self.program = name, program
        self.options = ["--precision", precision, "--compute", compute]
        self.about = {}  # what it says of the machine: its kernels' tier, the peaks it found

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
            raise Failed(str(error)) from error
        if done.returncode:
            raise Failed(done.stderr.strip() or f"ended with status {done.returncode}")
        answer = json.loads(done.stdout)
        self.remember(answer, threads)
        return {stage["name"]: [stage["seconds"]] for stage in answer.get("stages", [])}, ""

    def remember(self, answer, threads):
        self.about["tier"] = answer.get("tier")
        for peak in (key for key in answer if key.startswith("peak")):
            key = f"{peak}_{threads}_threads"
            self.about[key] = max(answer[peak], self.about.get(key, 0))


def everyone(zimage, weights):
    """In the order in which they take turns."""
    ours = [Zimage(f"zimage-{precision}-{compute}", zimage, precision, compute)
            for precision in PRECISIONS for compute in COMPUTE]
    return ours + [Kept("torch-f32", ["torch_peer.py", "f32"]), Kept("torch-int8", ["torch_peer.py", "int8"]),
                   Kept("torch-bf16", ["torch_peer.py", "bf16"], once=True),
                   Kept("sdcpp-q8", ["sdcpp_peer.py", os.path.abspath(weights)])]
