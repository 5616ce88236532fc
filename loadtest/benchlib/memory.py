"""Where the memory goes: user space by process, kernel space by slab cache."""

from .machine import status_values

PAGE = 4096
MEMINFO = ("MemAvailable", "MemFree", "Slab", "KernelStack", "PageTables", "Percpu")


def _kib(path, keys):
    values = dict.fromkeys(keys, 0)
    with open(path, encoding="ascii", errors="replace") as file:
        for line in file:
            key, _, rest = line.partition(":")
            if key in values:
                values[key] = int(rest.split()[0]) * 1024
    return values


def available():
    return status_values("/proc/meminfo", "MemAvailable") * 1024


def user(pid):
    """Resident bytes of a process: all, and those that are no file's (code and libraries do not grow with connections)."""
    values = _kib(f"/proc/{pid}/status", ("VmRSS", "RssAnon"))
    return {"rss": values["VmRSS"], "anonymous": values["RssAnon"]}


def slabs():
    """Bytes by slab cache; None without the right to read them."""
    try:
        with open("/proc/slabinfo", encoding="ascii") as file:
            lines = file.read().splitlines()[2:]
    except OSError:
        return None
    caches = {}
    for line in lines:
        fields = line.split()
        pages_per_slab, slab_count = int(fields[5]), int(fields[14])
        caches[fields[0]] = slab_count * pages_per_slab * PAGE
    return caches


def snapshot():
    return {**_kib("/proc/meminfo", MEMINFO), "slabs": slabs()}


def growth(before, after, connections):
    """What the kernel took between two snapshots, in bytes per connection (of which both ends are on this machine)."""
    result = {"largest_caches": {}}
    if before["slabs"] and after["slabs"]:
        grown = {name: size - before["slabs"].get(name, 0) for name, size in after["slabs"].items()}
        largest = sorted(grown.items(), key=lambda item: -item[1])[:8]
        result["largest_caches"] = {name: size / connections for name, size in largest if size > 0}
    for key in MEMINFO:
        result[key] = (after[key] - before[key]) / connections
    return result
