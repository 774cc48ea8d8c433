"""Waits until the machine is idle. Linux only: elsewhere the machine counts as idle."""
import os
import time

WINDOW, TIMEOUT = 0.5, 30  # seconds


def busy_time():
    """CPU seconds that all processes have used since the machine started."""
    with open("/proc/stat") as file:
        user, nice, system, _idle, _wait, irq, softirq = map(int, file.readline().split()[1:8])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def wait_until_idle(max_load):
    """-> True once fewer than max_load CPUs were busy, on average over WINDOW; False after TIMEOUT."""
    if not os.path.exists("/proc/stat"):
        return True
    for _ in range(int(TIMEOUT / WINDOW)):
        before = busy_time()
        time.sleep(WINDOW)
        if busy_time() - before < max_load * WINDOW:
            return True
    return False
