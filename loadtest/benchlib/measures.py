"""The measurements. Each takes sizes and returns results; budgets are those of the gateway's design, section 3."""

import time
from dataclasses import dataclass, field
from statistics import median
from typing import Optional

from .machine import CannotMeasure, free_port, need_tool, raise_descriptor_limit, settled_rss, wakeups
from .programs import BareFanout, Clients, Gateway, Publisher, Stage, parse_json, redis_benchmark

MESSAGE = b"m" * 128
BURST = 10


@dataclass
class Sizes:
    rounds: int = 5
    connections: int = 15000  # of a fan-out
    repeats: int = 3  # publishes of one round
    few: int = 4000  # of the two counts between which memory is measured
    many: int = 18000
    quiet: float = 0.7  # seconds without a change of RSS
    handshakes: int = 3000
    bare_handshakes: int = 500
    requests: int = 800000
    payload: int = 16
    trips: int = 3000
    idle: int = 100000
    idle_seconds: float = 5


SMOKE = Sizes(rounds=2, connections=60, repeats=1, few=40, many=160, quiet=0.1, handshakes=40, bare_handshakes=5, requests=2000,
              trips=50, idle=200, idle_seconds=0.4)


@dataclass
class Result:
    """One budget. `judged` says which of measured and ratio must be at least (or at most) the budget."""

    name: str
    what: str
    unit: str
    budget: float
    at_least: bool
    judged: str
    measured: Optional[float] = None
    bare: Optional[float] = None
    bare_what: str = ""
    ratio: Optional[float] = None
    rounds: list = field(default_factory=list)
    more: dict = field(default_factory=dict)
    note: str = ""
    error: str = ""

    @property
    def passed(self):
        value = getattr(self, self.judged)
        if self.error or value is None:
            return False
        return value >= self.budget if self.at_least else value <= self.budget


class Context:
    def __init__(self, build, cores, sizes, say):
        self.build, self.cores, self.sizes, self.say = build, cores, sizes, say

    def stage(self):
        return Stage(self.build, self.cores)


def ratio_of(pairs):
    """Median of the rounds' ratios: what disturbs the machine for a while disturbs both sides of a round."""
    return median(ours / bare for ours, bare in pairs)


# Memory


def memory(context, transport, centrifuge=False):
    """With `centrifuge`, clients of that protocol, which connect and subscribe by message."""
    kind = "centrifuge" if centrifuge else transport
    sizes = context.sizes
    raise_descriptor_limit(sizes.many + 500)
    slopes, handshakes_left = [], []
    for number in range(sizes.rounds):
        with context.stage() as stage:
            gateway = Gateway(stage, tls=transport == "wss")
            empty = settled_rss(gateway.pid, sizes.quiet)
            Clients(stage, gateway, sizes.few, centrifuge=centrifuge).wait_open()
            gateway.wait_subscribers("bench", sizes.few)
            before = settled_rss(gateway.pid, sizes.quiet)
            Clients(stage, gateway, sizes.many - sizes.few, centrifuge=centrifuge).wait_open()
            gateway.wait_subscribers("bench", sizes.many)
            after = settled_rss(gateway.pid, sizes.quiet)
            slopes.append((after - before) / (sizes.many - sizes.few))
            handshakes_left.append(before - empty - sizes.few * slopes[-1])
        context.say(f"memory-{kind} {number + 1}: {slopes[-1]:.0f} bytes")
    what = f"{transport} connection of the Centrifuge protocol" if centrifuge else f"{transport} connection"
    return [Result(f"memory-{kind}", f"user memory of an idle {what} with one topic", "bytes",
                   {"ws": 128, "wss": 256, "centrifuge": 320}[kind], False, "measured", measured=median(slopes), rounds=slopes,
                   more={"first_use_bytes": median(handshakes_left), "few": sizes.few, "many": sizes.many},
                   note=f"once: {median(handshakes_left) / 2**20:.1f} MiB")]


# Fan-out


class Subject:
    """A server, its clients, and a publisher with something to say to them."""

    def __init__(self, context, stage, server, topics=1):
        self.context, self.server = context, server
        self.clients = Clients(stage, server, context.sizes.connections, topics=topics)
        self.topics = topics

    def open(self):
        self.clients.wait_open()
        self.publisher = Publisher(self.server)
        return self

    def commands(self, count):
        """(bytes, how many commands, receivers of each)"""
        connections = self.context.sizes.connections
        if self.topics == 1:
            return Publisher.command(b"bench", MESSAGE) * count, count, connections
        return b"".join(Publisher.command(b"bench-%d" % topic, MESSAGE) for topic in range(self.topics)), self.topics, 1

    def rates(self, commands):
        """Deliveries per second, by the clock (first byte published to last frame read) and by the server's CPU."""
        data, count, receivers = commands
        elapsed = cpu = 0
        for _ in range(self.context.sizes.repeats):
            cpu_before = self.server.cpu_ns()
            began = self.publisher.send(data, count, receivers)
            elapsed += self.clients.wait_messages(count * receivers) - began
            cpu += self.server.cpu_ns() - cpu_before
        deliveries = count * receivers * self.context.sizes.repeats * 1e9
        return deliveries / elapsed, deliveries / cpu


FANOUT = {  # name: transport, messages at once, topics, budget, what
    "fanout-ws": ("ws", 1, False, 0.90, "fan-out of one message over ws"),
    "fanout-wss": ("wss", 1, False, 0.80, "fan-out of one message over wss"),
    "burst-ws": ("ws", BURST, False, 6, f"{BURST} messages in one burst over ws"),
    "burst-wss": ("wss", BURST, False, 5, f"{BURST} messages in one burst over wss"),
    "unicast": ("ws", 1, True, 0.75, "one subscriber a topic, publishes in turn and pipelined, ws"),
}


def fanout(context, names):
    sizes = context.sizes
    raise_descriptor_limit(sizes.connections + 500)
    with context.stage() as stage:
        subjects = {"bare": Subject(context, stage, BareFanout(stage)).open()}
        for name in names:
            transport, _, many_topics, _, _ = FANOUT[name]
            key = (transport, many_topics)
            if key not in subjects:
                gateway = Gateway(stage, tls=transport == "wss")
                subjects[key] = Subject(context, stage, gateway, sizes.connections if many_topics else 1).open()
        context.say(f"{len(subjects)} times {sizes.connections} connections are open")
        bare, once = subjects["bare"], subjects["bare"].commands(1)
        work = {name: (subjects[FANOUT[name][0], FANOUT[name][2]], FANOUT[name][1]) for name in names}
        work = {name: (subject, subject.commands(count)) for name, (subject, count) in work.items()}
        pairs = {name: [] for name in names}
        for number in range(-1, sizes.rounds):
            for name, (subject, commands) in work.items():
                base, ours = bare.rates(once), subject.rates(commands)
                if number >= 0:  # the first round is for caches and the kernel's buffers
                    pairs[name].append((ours, base))
        return [fanout_result(context, name, pairs[name]) for name in names]


def fanout_result(context, name, pairs):
    _, _, _, budget, what = FANOUT[name]
    by_clock = [(ours[0], base[0]) for ours, base in pairs]
    by_cpu = [(ours[1], base[1]) for ours, base in pairs]
    result = Result(name, f"{what}, {context.sizes.connections:,} connections", "deliveries/s", budget, True, "ratio",
                    measured=median(ours for ours, _ in by_clock), bare=median(base for _, base in by_clock),
                    bare_what="a loop of send(), one message", ratio=ratio_of(by_clock),
                    rounds=[ours / base for ours, base in by_clock],
                    more={"ratio_by_cpu": ratio_of(by_cpu), "per_cpu_second": median(ours for ours, _ in by_cpu),
                          "bare_per_cpu_second": median(base for _, base in by_cpu)})
    result.note = f"by CPU of the server {result.more['ratio_by_cpu']:.2f}"
    context.say(f"{name}: {result.ratio:.2f}")
    return result


# Handshakes


def open_and_leave(stage, gateway, count, resume):
    """Connections per second of the gateway's CPU time, and by the clock."""
    cpu_before, began = gateway.cpu_ns(), time.monotonic_ns()
    clients = Clients(stage, gateway, count, resume=resume)
    elapsed = clients.wait_open() - began
    cpu = gateway.cpu_ns() - cpu_before
    clients.stop()
    stage.programs.remove(clients.program)
    last, deadline = None, time.monotonic() + 10
    while last != gateway.cpu_ns() and time.monotonic() < deadline:  # until it has closed them all
        last = gateway.cpu_ns()
        time.sleep(0.1)
    return count * 1e9 / cpu, count * 1e9 / elapsed


def handshakes(context, names):
    sizes = context.sizes
    raise_descriptor_limit(sizes.handshakes + 500)
    full, resumed, alone = [], [], []
    with context.stage() as stage:
        gateway = Gateway(stage, tls=True)
        open_and_leave(stage, gateway, max(1, sizes.handshakes // 10), False)
        for number in range(sizes.rounds):
            alone.append(parse_json(stage.run(stage.server_core, [stage.binary("pushgate-bare"), "handshakes",
                                                                  *stage.certificate(), str(sizes.bare_handshakes)], 60)))
            full.append(open_and_leave(stage, gateway, sizes.handshakes, False))
            if "resumption" in names:
                resumed.append(open_and_leave(stage, gateway, sizes.handshakes, True))
            context.say(f"handshakes {number + 1}: {full[-1][0]:.0f} full"
                        + (f", {resumed[-1][0]:.0f} resumed" if resumed else "") + " per CPU second")
    results = []
    if "handshakes" in names:
        bare = [one["full_per_second"] for one in alone]
        results.append(Result(
            "handshakes", "new wss connections, full handshakes (P-256)", "per CPU second", 2200, True, "measured",
            measured=median(cpu for cpu, _ in full), bare=median(bare), bare_what="OpenSSL's server half through memory",
            ratio=median(ours / base for (ours, _), base in zip(full, bare)), rounds=[cpu for cpu, _ in full],
            more={"per_second": median(clock for _, clock in full)},
            note=f"{median(clock for _, clock in full):.0f}/s by the clock, one core of clients"))
    if "resumption" in names:
        bare_ratio = median(one["resumed_per_second"] / one["full_per_second"] for one in alone)
        pairs = [(ours, base) for (ours, _), (base, _) in zip(resumed, full)]
        # The budget is 1.6 x that of full handshakes. Beside it stands what resumption saves us, and what it saves OpenSSL alone: a
        # P-256 signature is so cheap that no server can save much with X25519 kept for forward secrecy.
        results.append(Result(
            "resumption", "the same with a session resumed", "per CPU second", 1.6 * 2200, True, "measured",
            measured=median(ours for ours, _ in pairs), bare=median(base for _, base in pairs), bare_what="full handshakes",
            ratio=ratio_of(pairs), rounds=[ours for ours, _ in pairs],
            more={"per_second": median(clock for _, clock in resumed), "openssl_ratio": bare_ratio},
            note=f"{median(clock for _, clock in resumed):.0f}/s by the clock; OpenSSL alone: {bare_ratio:.2f} x"))
    return results


# Publishing


def publish(context, _names):
    sizes = context.sizes
    redis_server = need_tool("redis-server", "redis-server")
    need_tool("redis-benchmark", "redis-tools")
    pairs, cpu_pairs = [], []
    with context.stage() as stage:
        gateway = Gateway(stage)
        port = free_port()
        redis = stage.start(stage.server_core, [redis_server, "--port", str(port), "--bind", "127.0.0.1", "--save", "",
                                                "--appendonly", "no", "--dir", stage.folder])
        redis.wait_for_port(port)

        def one(server, at):
            before = server.cpu_ns()
            rate = redis_benchmark(stage, at, sizes.requests, sizes.payload, 60)
            return rate, sizes.requests * 1e9 / (server.cpu_ns() - before)

        for number in range(sizes.rounds):
            base, ours = one(redis, port), one(gateway, gateway.publish)
            pairs.append((ours[0], base[0]))
            cpu_pairs.append((ours[1], base[1]))
            context.say(f"publish {number + 1}: {ours[0]:,.0f}/s, Redis {base[0]:,.0f}/s")
    by_cpu = ratio_of(cpu_pairs)
    return [Result("publish", "PUBLISH to a topic that nobody has, redis-benchmark -P 16 -c 50", "per second", 1.0, True, "ratio",
                   measured=median(ours for ours, _ in pairs), bare=median(base for _, base in pairs), bare_what="Redis",
                   ratio=ratio_of(pairs), rounds=[ours / base for ours, base in pairs],
                   more={"ratio_by_cpu": by_cpu, "per_cpu_second": median(ours for ours, _ in cpu_pairs),
                         "bare_per_cpu_second": median(base for _, base in cpu_pairs)},
                   note=f"by CPU of the server {by_cpu:.2f}")]


def latency(context, _names):
    sizes = context.sizes
    pairs, tails = [], []
    with context.stage() as stage:
        gateway, echo = Gateway(stage), f"127.0.0.1:{free_port()}"
        server = stage.start(stage.server_core, [stage.binary("pushgate-bare"), "echo", echo])
        server.wait_for_port(int(echo.split(":")[1]))
        for number in range(sizes.rounds):
            times = parse_json(stage.run(stage.client_core, [
                stage.binary("pushgate-bare"), "trip", echo, f"127.0.0.1:{gateway.ws}", f"127.0.0.1:{gateway.publish}",
                str(sizes.trips), str(len(MESSAGE))], 60))
            pairs.append((times["publish_us"]["p50"], times["bare_us"]["p50"]))
            tails.append(times["publish_us"]["p99"])
            context.say(f"latency {number + 1}: {pairs[-1][0]:.1f} us, bare {pairs[-1][1]:.1f} us")
    return [Result("latency", "one publish to one subscriber over ws, p50", "us", 2, False, "ratio",
                   measured=median(ours for ours, _ in pairs), bare=median(base for _, base in pairs), bare_what="TCP round trip",
                   ratio=ratio_of(pairs), rounds=[ours / base for ours, base in pairs], more={"p99_us": median(tails)},
                   note=f"p99 {median(tails):.0f} us")]


# Idle


def idle(context, _names):
    sizes = context.sizes
    raise_descriptor_limit(20000 if sizes.idle > 18000 else sizes.idle + 500)
    settings = {"limits.connections": sizes.idle + sizes.idle // 10, "threads.reactors": 0}

    def count(gateway, seconds):
        before, cpu_before, began = wakeups(gateway.pid), gateway.cpu_ns(), time.monotonic()
        time.sleep(seconds)
        elapsed = time.monotonic() - began
        return (wakeups(gateway.pid) - before) / elapsed, (gateway.cpu_ns() - cpu_before) / 1e6 / elapsed

    with context.stage() as stage:
        gateway = Gateway(stage, settings)
        time.sleep(0.2)
        empty, _ = count(gateway, sizes.idle_seconds / 2)
        Clients(stage, gateway, sizes.idle).wait_open()
        settled_rss(gateway.pid, sizes.quiet)
        full, cpu_ms = count(gateway, sizes.idle_seconds)
    context.say(f"idle: {full:.1f} wake-ups a second")
    return [Result("idle", f"{sizes.idle:,} idle connections, wheel armed: wake-ups of the whole process", "per second", 5, False,
                   "measured", measured=full, bare=empty, bare_what="the gateway with no connection", rounds=[full],
                   more={"cpu_ms_per_second": cpu_ms}, note=f"CPU {cpu_ms:.2f} ms/s")]


# All of them, in groups that share what they start: (names, function)
GROUPS = [
    (["memory-ws"], lambda context, names: memory(context, "ws")),
    (["memory-wss"], lambda context, names: memory(context, "wss")),
    (["memory-centrifuge"], lambda context, names: memory(context, "wss", centrifuge=True)),
    (list(FANOUT), fanout),
    (["handshakes", "resumption"], handshakes),
    (["publish"], publish),
    (["latency"], latency),
    (["idle"], idle),
]
NAMES = [name for names, _ in GROUPS for name in names]


def chosen(words):
    """Names that the words pick: a name, or the beginning of some (fanout: fanout-ws and fanout-wss)."""
    picked = []
    for word in words:
        found = [name for name in NAMES if name == word] or [name for name in NAMES if name.startswith(word + "-")]
        if not found:
            raise CannotMeasure(f"there is no measurement '{word}'; there are {', '.join(NAMES)}")
        picked += found
    return [name for name in NAMES if name in picked] if words else NAMES


def measure(context, names):
    """Results in order. A group that cannot be measured yields results with an error."""
    for group, function in GROUPS:
        wanted = [name for name in group if name in names]
        if not wanted:
            continue
        try:
            yield from function(context, wanted)
        except (CannotMeasure, OSError) as error:
            for name in wanted:
                yield Result(name, "", "", 0, True, "ratio", error=str(error))
