"""Compares zimage download with curl, both from one nginx: throughput and CPU time per GB. See README.md."""
import argparse
import hashlib
import os
import shutil
import ssl
import statistics
import subprocess
import sys
import time

TESTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tests", "cli")
sys.path.insert(0, TESTS)
from hub import Hub, Repo, git_sha1  # noqa: E402

PEM = os.path.join(TESTS, "localhost.pem")
PORT = 18080
NGINX = """daemon off; worker_processes 1; pid {base}/nginx.pid; error_log {base}/error.log;
events {{ worker_connections 256; }}
http {{ access_log off; sendfile on; server {{ listen 127.0.0.1:{port} {ssl}; root {base}; {keys} }} }}"""


class SizeOnly:
    """Stands for a file's data in the test hub, which only needs its size: nginx sends the data."""

    def __init__(self, size):
        self.size = size

    def __len__(self):
        return self.size


def make_files(base, count, size):
    """Writes random files, named by their SHA-256, for nginx to serve. -> [(name in the repository, digest)]"""
    os.makedirs(base + "/signed")
    made = []
    for i in range(count):
        path, digest = f"{base}/{i}", hashlib.sha256()
        with open(path, "wb") as file:
            for _ in range(size >> 20):
                block = os.urandom(1 << 20)
                digest.update(block)
                file.write(block)
        os.rename(path, f"{base}/signed/{digest.hexdigest()}")
        made.append((f"model-{i}.safetensors" if i else "model.safetensors", digest.hexdigest()))
    return made


def add_repo(hub, made, size):
    """Adds the repository a/b with the files of make_files()."""
    small = {"config.json": b"{}"}
    repo = hub.repos["a/b"] = Repo("a/b", small)
    for name, digest in made:
        repo.files[name], repo.etags[name], repo.blobs[name] = SizeOnly(size), digest, git_sha1(digest.encode())


def run(command, env, out):
    """-> wall-clock seconds, CPU seconds"""
    shutil.rmtree(out, ignore_errors=True)
    os.makedirs(out)
    began = time.monotonic()
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{command[0]} failed")
    return time.monotonic() - began, usage.ru_utime + usage.ru_stime


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("zimage")
    parser.add_argument("--scheme", choices=("http", "https"), default="http")
    parser.add_argument("--files", type=int, default=1)
    parser.add_argument("--megabytes", type=int, default=2048, help="total size of all files")
    parser.add_argument("--folder", default="/dev/shm/rate")
    parser.add_argument("--pairs", type=int, default=5)
    args = parser.parse_args()
    base, out, size = args.folder, args.folder + "/out", args.megabytes // args.files << 20
    secure = args.scheme == "https"
    context = None
    if secure:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(PEM)
    shutil.rmtree(base, ignore_errors=True)
    made = make_files(base, args.files, size)
    with Hub(context) as hub:
        hub.cdn_url = f"{args.scheme}://127.0.0.1:{PORT}"
        add_repo(hub, made, size)
        keys = f"ssl_certificate {PEM}; ssl_certificate_key {PEM};" if secure else ""
        with open(base + "/nginx.conf", "w", encoding="ascii") as file:
            file.write(NGINX.format(base=base, port=PORT, ssl="ssl" if secure else "", keys=keys))
        nginx = subprocess.Popen(["nginx", "-c", base + "/nginx.conf", "-e", base + "/error.log"])
        env = {**os.environ, "HF_HOME": out + "/hf", "HF_ENDPOINT": hub.url, "SSL_CERT_FILE": PEM}
        for name in "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE":  # they take precedence over SSL_CERT_FILE
            env.pop(name, None)
        curl = ["curl", "-sS", "--no-progress-meter", "--cacert", PEM] + ["--parallel"] * (args.files > 1)
        for i, (_, digest) in enumerate(made):
            curl += ["-o", f"{out}/{i}", f"{hub.cdn_url}/signed/{digest}"]
        calls = {"curl": curl, "zimage": [args.zimage, "download", "-q", "a/b"]}
        rows = {name: [] for name in calls}
        try:
            time.sleep(1)
            for i in range(args.pairs + 1):
                for name in sorted(calls, reverse=i % 2):
                    row = run(calls[name], env, out)
                    rows[name] += [row] if i else []  # the first pair warms up
        finally:
            nginx.terminate()
            nginx.wait()
            shutil.rmtree(base)
    gigabytes = size * args.files / 1e9
    for name, got in rows.items():
        clock, processor = (statistics.median(column) for column in zip(*got))
        print(f"{name:7} {gigabytes / clock:.2f} GB/s, {processor / gigabytes:.2f} s of CPU time per GB")
    ratio = statistics.median(c[0] / z[0] for c, z in zip(rows["curl"], rows["zimage"]))
    print(f"zimage at {100 * ratio:.0f} % of curl's throughput (median of {args.pairs} pairs)")


if __name__ == "__main__":
    main()
