"""Waits until nothing else runs. Knows Linux only; elsewhere it trusts its user."""
import os
import time

WINDOW, PATIENCE = 0.5, 30  # seconds


def busy_time():
    """Seconds that all processors together have worked so far."""
    with open("/proc/stat") as file:
        user, nice, system, _idle, _wait, irq, softirq = map(int, file.readline().split()[1:8])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def wait(most):
    """-> whether, before patience ran out, less than `most` processors were busy for a moment."""
    if not os.path.exists("/proc/stat"):
        return True
    for _ in range(int(PATIENCE / WINDOW)):
        before = busy_time()
        time.sleep(WINDOW)
        if busy_time() - before < most * WINDOW:
            return True
    return False
