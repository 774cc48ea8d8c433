"""Times zimage and its peers on the same shapes with the same threads, taking turns.

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
MOST_BUSY = 0.1  # processors that others may keep busy
LONG = 45  # seconds; a turn that takes longer is not repeated


class Results:
    def __init__(self):
        self.seconds = collections.defaultdict(list)  # (workload, stage, peer's name) -> of every turn
        self.notes = {}  # peer's name -> what is special about it
        self.missing = []  # sentences
        self.disturbed = self.turns = 0

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


def take_turn(peer, workload, results, quick):
    """-> whether the peer is fit for another"""
    if not quick and not idle.wait(MOST_BUSY):
        results.disturbed += 1
    try:
        stages, note = peer.measure(workload.threads, workload.width, workload.height)
    except peers.Failed as failure:
        results.miss(f"{peer.name}: {failure}")
        return False
    results.add(workload, peer, stages, note)
    times = ", ".join(f"{stage} {seconds[-1]:.3f} s" for stage, seconds in stages.items() if seconds)
    print(f"{report.title(*workload)}: {peer.name}: {times}", file=sys.stderr)
    return True


def due(peer, workload, turn, smallest, took):
    """A peer too slow to wait for twice is timed once."""
    if turn == 0:
        return not peer.once or workload[:2] == smallest
    return not peer.once and took[workload, peer.name] < LONG


def run(everyone, workloads, options, results):
    """Rounds of all peers over all workloads, so that drift hits all alike. The first round is always whole;
    later ones leave out what no longer fits into the time."""
    start, took, smallest = time.monotonic(), {}, workloads[0][:2]
    for turn in range(options.repeat):
        for workload in workloads:
            group = [peer for peer in everyone if due(peer, workload, turn, smallest, took)]
            end = time.monotonic() - start + sum(took.get((workload, peer.name), 0) for peer in group)
            if end > 60 * options.minutes and turn:
                continue
            for peer in group:
                begin = time.monotonic()
                if not take_turn(peer, workload, results, options.quick):
                    everyone.remove(peer)
                took[workload, peer.name] = time.monotonic() - begin


def started(everyone, threads, results):
    """One after the other: some make their weights now."""
    ready = []
    for peer in everyone:
        try:
            peer.start(threads)
            ready.append(peer)
        except peers.Failed as failure:
            results.miss(f"{peer.name}: {failure}")
    return ready


def size(text):
    width, height = map(int, text.split("x"))
    return width, height


def parse():
    names = [peer.name for peer in peers.everyone("", "")]
    parser = argparse.ArgumentParser(description="Times zimage and its peers on the same shapes, taking turns.")
    parser.add_argument("--zimage", default=peers.ZIMAGE, metavar="PROGRAM", help="build/zimage of this project")
    parser.add_argument("--only", nargs="+", default=peers.DEFAULT, choices=names, metavar="NAME",
                        help=", ".join(names))
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2], metavar="N", help="1 2")
    parser.add_argument("--sizes", nargs="+", type=size, default=[(256, 256), (512, 512)], metavar="WxH",
                        help="256x256 512x512")
    parser.add_argument("--repeat", type=int, default=5, metavar="N", help="turns of each peer at most (5)")
    parser.add_argument("--minutes", type=float, default=10, metavar="M",
                        help="begin nothing that would end later (10)")
    parser.add_argument("--weights", default=peers.WEIGHTS, metavar="FOLDER", help="for random weights, 1.4 GB")
    parser.add_argument("--json", metavar="FILE", help="write the results there as well")
    parser.add_argument("--quick", action="store_true",
                        help="one turn at 64x64, and never mind what else runs: to see that everything works")
    options = parser.parse_args()
    if options.quick:
        options.sizes, options.repeat = [(64, 64)], 1
    return options


def main():
    options = parse()
    if not options.quick and not idle.wait(MOST_BUSY):
        sys.exit("bench.py: other programs keep this machine busy; figures would mean nothing")
    results = Results()
    everyone = [peer for peer in peers.everyone(options.zimage, options.weights) if peer.name in options.only]
    workloads = [Workload(*picture, threads) for picture in sorted(options.sizes) for threads in options.threads]
    ready = started(everyone, max(options.threads), results)
    try:
        run(list(ready), workloads, options, results)
    finally:
        for peer in everyone:
            peer.stop()
    summary = report.summary(results, workloads, everyone)
    report.print_tables(summary)
    if options.json:
        report.write(summary, options.json)


if __name__ == "__main__":
    main()
