"""Times zimage and its peers on the same shapes with the same number of threads, in interleaved runs.

usage: bench.py [--zimage PROGRAM] [--only NAME...] [--threads N...] [--sizes WxH...] [--repeat N] [--minutes M]
                [--weights FOLDER] [--json FILE] [--quick]
"""
import argparse
import collections
import sys
import time

import idle
import peers
import report

Workload = collections.namedtuple("Workload", "width height threads")
MAX_OTHER_LOAD = 0.1  # CPUs that other programs may keep busy
MAX_REPEATED_SECONDS = 45  # a turn that takes longer is not repeated


class Results:
    def __init__(self):
        self.seconds = collections.defaultdict(list)  # (workload, stage, peer's name) -> seconds of each turn
        self.notes = {}  # peer's name -> note
        self.missing = []  # messages about stages and peers without results
        self.disturbed = self.turns = 0  # disturbed: turns that began while other programs ran

    def add(self, workload, peer, stages, note):
        self.turns += 1
        self.notes[peer.name] = note
        for stage in report.STAGES:
            self.seconds[workload, stage, peer.name] += stages.get(stage, [])
            if stage not in stages and stage in report.expected(peer.name):
                self.miss(f"{peer.name}: no stage \"{stage}\" in its answer")

    def miss(self, sentence):
        if sentence not in self.missing:
            self.missing.append(sentence)


def run_turn(peer, workload, results, quick):
    """Times one peer on one workload. -> False if the peer failed and must not be run again"""
    if not quick and not idle.wait_until_idle(MAX_OTHER_LOAD):
        results.disturbed += 1
    try:
        stages, note = peer.measure(workload.threads, workload.width, workload.height)
    except peers.PeerError as failure:
        results.miss(f"{peer.name}: {failure}")
        return False
    results.add(workload, peer, stages, note)
    times = ", ".join(f"{stage} {seconds[-1]:.3f} s" for stage, seconds in stages.items() if seconds)
    print(f"{report.title(*workload)}: {peer.name}: {times}", file=sys.stderr)
    return True


def is_due(peer, workload, turn, smallest, took):
    """Whether to run the peer in this turn: slow ones run only in the first, some only at the smallest size."""
    if turn == 0:
        return not peer.once or workload[:2] == smallest
    return not peer.once and took[workload, peer.name] < MAX_REPEATED_SECONDS


def run(all_peers, workloads, options, results):
    """Runs all peers on all workloads, then again, so that slow drift of the machine affects all peers equally. The
    first round is always complete; later ones skip workloads that would not end in time."""
    start, took, smallest = time.monotonic(), {}, workloads[0][:2]
    for turn in range(options.repeat):
        for workload in workloads:
            group = [peer for peer in all_peers if is_due(peer, workload, turn, smallest, took)]
            end = time.monotonic() - start + sum(took.get((workload, peer.name), 0) for peer in group)
            if end > 60 * options.minutes and turn:
                continue
            for peer in group:
                begin = time.monotonic()
                if not run_turn(peer, workload, results, options.quick):
                    all_peers.remove(peer)
                took[workload, peer.name] = time.monotonic() - begin


def start_peers(all_peers, threads, results):
    """Starts peers one after the other (some write their weights first). -> those that started"""
    ready = []
    for peer in all_peers:
        try:
            peer.start(threads)
            ready.append(peer)
        except peers.PeerError as failure:
            results.miss(f"{peer.name}: {failure}")
    return ready


def size(text):
    width, height = map(int, text.split("x"))
    return width, height


def parse():
    names = [peer.name for peer in peers.all_peers("", "")]
    parser = argparse.ArgumentParser(description="Times zimage and its peers on the same shapes, in interleaved runs.")
    parser.add_argument("--zimage", default=peers.ZIMAGE, metavar="PROGRAM", help="build/zimage of this project")
    parser.add_argument("--only", nargs="+", default=peers.DEFAULT, choices=names, metavar="NAME",
                        help=", ".join(names))
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2], metavar="N", help="1 2")
    parser.add_argument("--sizes", nargs="+", type=size, default=[(256, 256), (512, 512)], metavar="WxH",
                        help="256x256 512x512")
    parser.add_argument("--repeat", type=int, default=5, metavar="N", help="max turns of each peer (5)")
    parser.add_argument("--minutes", type=float, default=10, metavar="M",
                        help="skip repetitions that would end later (10)")
    parser.add_argument("--weights", default=peers.WEIGHTS, metavar="FOLDER", help="for random weights, 1.4 GB")
    parser.add_argument("--json", metavar="FILE", help="also write the results to this file")
    parser.add_argument("--quick", action="store_true",
                        help="one turn at 64x64, on a busy machine too: a smoke test")
    options = parser.parse_args()
    if options.quick:
        options.sizes, options.repeat = [(64, 64)], 1
    return options


def main():
    options = parse()
    if not options.quick and not idle.wait_until_idle(MAX_OTHER_LOAD):
        sys.exit("bench.py: other programs are using the CPU; stop them first")
    results = Results()
    all_peers = [peer for peer in peers.all_peers(options.zimage, options.weights) if peer.name in options.only]
    workloads = [Workload(*size, threads) for size in sorted(options.sizes) for threads in options.threads]
    ready = start_peers(all_peers, max(options.threads), results)
    try:
        run(list(ready), workloads, options, results)
    finally:
        for peer in all_peers:
            peer.stop()
    summary = report.summary(results, workloads, all_peers)
    report.print_tables(summary)
    if options.json:
        report.write(summary, options.json)


if __name__ == "__main__":
    main()
