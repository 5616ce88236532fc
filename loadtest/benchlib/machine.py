"""The machine: what it must have before anything can be measured, and what the kernel says about processes."""

import os
import resource
import shutil
import socket
import random
import time


class CannotMeasure(Exception):
    """A sentence that says what is missing and what to do about it."""


def two_cores():
    """The gateway's core and the clients' core."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise CannotMeasure(
            f"only {len(cores)} core may be used, and the gateway and its clients need one each: ratios taken on one "
            "core say nothing (more cores, or a wider taskset or cpuset)")
    return cores[0], cores[1]


def raise_descriptor_limit(needed):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise CannotMeasure(
            f"RLIMIT_NOFILE is {hard} and {needed} descriptors are needed: as root `ulimit -n {needed}`, or LimitNOFILE= "
            "of the service that this runs in, or limits.conf(5)")
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed if soft == resource.RLIM_INFINITY else max(soft, needed), hard))


def need_tool(name, package):
    path = shutil.which(name)
    if not path:
        raise CannotMeasure(f"{name} is missing: deploy/packages.sh {package}")
    return path


def free_port():
    """A loopback port that nobody listens on, outside the range from which clients get theirs."""
    with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as file:
        first, last = map(int, file.read().split())
    candidates = [port for port in range(10000, 65000) if not first <= port <= last]
    for port in random.sample(candidates, len(candidates)):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise CannotMeasure("no free loopback port outside net.ipv4.ip_local_port_range")


def cpu_ns(pid):
    """CPU time of all threads that the process has now; 0 when it has ended."""
    total = 0
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            try:
                with open(f"/proc/{pid}/task/{task}/schedstat", encoding="ascii") as file:
                    total += int(file.read().split()[0])
            except (FileNotFoundError, ProcessLookupError):  # a thread that has ended meanwhile
                pass
    except (FileNotFoundError, ProcessLookupError):
        pass
    return total


def status_values(path, key):
    with open(path, encoding="ascii", errors="replace") as file:
        for line in file:
            if line.startswith(key + ":"):
                return int(line.split()[1])
    return 0


def rss_bytes(pid):
    return status_values(f"/proc/{pid}/status", "VmRSS") * 1024


def settled_rss(pid, quiet_seconds, timeout_seconds=10):
    """RSS once it has not changed for `quiet_seconds`: memory of handshakes has been given back by then."""
    deadline = time.monotonic() + timeout_seconds
    rss, since = rss_bytes(pid), time.monotonic()
    while time.monotonic() - since < quiet_seconds and time.monotonic() < deadline:
        time.sleep(0.05)
        now = rss_bytes(pid)
        if now != rss:
            rss, since = now, time.monotonic()
    return rss


def wakeups(pid):
    """How often the process's threads have gone to sleep so far."""
    return sum(status_values(f"/proc/{pid}/task/{task}/status", "voluntary_ctxt_switches")
               for task in os.listdir(f"/proc/{pid}/task"))


class Foreigners:
    """How much of the two cores goes to processes that are not ours, since it was made."""

    def __init__(self, cores):
        self.cores = cores
        self.began = self._look()

    def _look(self):
        busy = total = 0
        with open("/proc/stat", encoding="ascii") as file:
            for line in file:
                fields = line.split()
                if fields[0] in [f"cpu{core}" for core in self.cores]:
                    ticks = [int(field) for field in fields[1:9]]
                    total += sum(ticks)
                    busy += sum(ticks) - ticks[3] - ticks[4]
        times = os.times()
        ours = (times.user + times.system + times.children_user + times.children_system) * os.sysconf("SC_CLK_TCK")
        return busy, total, ours

    def share(self):
        """Only exact once all our children have been waited for."""
        now = self._look()
        busy, total, ours = (after - before for after, before in zip(now, self.began))
        return max(0.0, (busy - ours) / total) if total else 0.0
