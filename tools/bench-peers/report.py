"""Medians and ratios, as tables and as JSON."""
import json
import platform
import statistics
from importlib import metadata

from peer import tokens

STAGES = ("block", "decode")
PACKAGES = ("torch", "diffusers", "stable_diffusion_cpp_python")
NOTES = {  # what to know when comparing
    "torch-bf16": "once, at the smallest size only: without hardware for bf16 it is very slow",
    "torch-int8": "int8 weights per tensor, inputs quantized at every call",
    "sdcpp-q8": "block: q8_0 weights; decode: f16 convolutions",
}


def expected(name):
    """The stages that the peer of this name measures: of torch, only f32 decodes."""
    return ("block",) if name in ("torch-int8", "torch-bf16") else STAGES


def title(width, height, threads):
    return f"{width}x{height}, {threads} thread{'s' * (threads > 1)}"


def processor():
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.split(":")[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def versions():
    found = {}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            pass
    return found


def table(results, workload, stage, names):
    """One workload and stage: each peer's median and its ratio to the median of each zimage variant."""
    times = {name: results.seconds[workload, stage, name] for name in names}
    medians = {name: statistics.median(seconds) for name, seconds in times.items() if seconds}
    ours = [name for name in medians if name.startswith("zimage")]
    return {"stage": stage, "width": workload.width, "height": workload.height, "threads": workload.threads,
            "tokens": tokens(workload.width, workload.height), "rows": [
                {"peer": name, "seconds": median, "runs": times[name],
                 "ratios": {our: round(median / medians[our], 3) for our in ours}}
                for name, median in medians.items()]}


def summary(results, workloads, all_peers):
    names = [peer.name for peer in all_peers]
    tables = [table(results, workload, stage, names) for stage in STAGES for workload in workloads]
    notes = {name: "; ".join(filter(None, (NOTES.get(name), results.notes.get(name)))) for name in names}
    return {"processor": processor(), "versions": versions(),
            "zimage": {peer.name: peer.about for peer in all_peers if getattr(peer, "about", None)},
            "tables": [t for t in tables if t["rows"]], "notes": {name: note for name, note in notes.items() if note},
            "missing": results.missing, "turns": results.turns, "disturbed_turns": results.disturbed}


def print_table(t):
    ours = list(t["rows"][0]["ratios"])
    tokens_text = f", {t['tokens']} tokens" if t["stage"] == "block" else ""
    print(f"\n{t['stage']}, {title(t['width'], t['height'], t['threads'])}{tokens_text}")
    print(f"  {'':24}{'seconds':>9}{'runs':>6}" + "".join(f"{'/ ' + our:>26}" for our in ours))
    for row in t["rows"]:
        ratios = "".join(f"{row['ratios'][our]:>26.2f}" for our in ours)
        print(f"  {row['peer']:24}{row['seconds']:>9.3f}{len(row['runs']):>6}" + ratios)


def print_tables(summary):
    print(summary["processor"] + ": " + ", ".join(f"{name} {version}" for name, version in summary["versions"].items()))
    for name, about in summary["zimage"].items():
        print(f"{name}: " + "; ".join(f"{key}: {value}" for key, value in about.items()))
    print("seconds: medians; ratios: time divided by that of zimage (above 1: zimage is faster)")
    for t in summary["tables"]:
        print_table(t)
    print()
    for name, note in summary["notes"].items():
        print(f"{name}: {note}")
    for sentence in summary["missing"]:
        print(f"missing: {sentence}")
    if summary["disturbed_turns"]:
        print(f"{summary['disturbed_turns']} of {summary['turns']} turns began while other programs ran: measure again")


def write(summary, path):
    with open(path, "w") as file:
        json.dump(summary, file, indent=1)
        file.write("\n")
