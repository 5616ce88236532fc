"""A gateway and its clients on one machine, watched while the clients open, wait, receive and leave."""

import json
import os
import re
import signal
import subprocess
import threading
import time
import urllib.request

from . import memory
from .machine import CannotMeasure, cpu_ns, free_port

MEMORY_FLOOR = 384 << 20  # under this the machine is about to kill something
NAP = "3ms"               # of the clients, while little arrives: a wake-up for each frame would cost both sides more than the frame
LINE_SECONDS = 5
STALL_SECONDS = 60


class Stopped(Exception):
    """What stopped the run short of its goal; everything measured so far counts."""


class OutOfMemory(Stopped):
    """Any more connections would take what the machine needs to go on; those that are open can be measured."""


class HoldingGateway:
    """pushgate on its own choice of threads, as an operator would start it for so many connections."""

    def __init__(self, stage, connections, tls, settings):
        self.tls, self.port, self.publish, self.admin = tls, free_port(), free_port(), free_port()
        self.certificate, key = stage.certificate() if tls else (None, None)
        name = "wss" if tls else "ws"
        values = {f"listen.{name}": f"127.0.0.1:{self.port}", "listen.publish": f"127.0.0.1:{self.publish}",
                  "listen.admin": f"127.0.0.1:{self.admin}", "limits.connections": connections + 1000, "log.level": "warn",
                  "limits.handshake_timeout": "30s", "auth.anonymous": "on"}
        if tls:
            values |= {"tls.certificate": self.certificate, "tls.private_key": key}
        self.settings = values | settings
        self.arguments = [f"--{key}={value}" for key, value in self.settings.items()]
        self.binary = stage.binary("pushgate")
        self.program = None
        self.stage = stage

    def check(self):
        """What pushgate --check says of this machine and these settings: (good, text)."""
        done = subprocess.run([self.binary, "--check", *self.arguments], capture_output=True, text=True, timeout=20)
        if not done.stdout.startswith("settings: good"):
            raise CannotMeasure(f"pushgate --check: {(done.stdout + done.stderr).strip()}")
        return done.returncode == 0, done.stdout

    def start(self):
        self.program = self.stage.start(None, [self.binary, *self.arguments])
        self.pid = self.program.pid
        for port in (self.port, self.publish, self.admin):
            self.program.wait_for_port(port, 30)

    def target(self):
        return f"{'wss' if self.tls else 'ws'}://127.0.0.1:{self.port}/ws?topic=load"

    def metrics(self, *names):
        """Sums over the labels of each metric."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/metrics", timeout=20) as answer:
            text = answer.read().decode()
        return [sum(float(value) for value in re.findall(rf"^{name}(?:\{{.*\}})? (\S+)$", text, re.M)) for name in names]

    def stop(self, timeout):
        """SIGTERM, as an operator would; returns the seconds that the drain took."""
        began = time.monotonic()
        self.program.process.send_signal(signal.SIGTERM)
        try:
            status = self.program.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise Stopped(f"the gateway has not ended {timeout:.0f} s after SIGTERM") from None
        if status != 0:
            raise Stopped(f"the gateway ended with {status}: {self.program.said()}")
        return time.monotonic() - began


class HeldClients:
    """pushgate-load with a gateway's connections."""

    def __init__(self, stage, gateway, mode, connections, options):
        self.connections, self.gateway = connections, gateway
        self.json = os.path.join(stage.folder, f"{len(stage.programs)}-load.json")
        command = [stage.binary("pushgate-load"), mode, f"--target={gateway.target()}", f"--connections={connections}",
                   f"--json={self.json}", "--quiet", "--settle=20s", "--connect-timeout=30s", f"--nap={NAP}", *options]
        command += [f"--cafile={gateway.certificate}"] if gateway.certificate else []
        self.program = stage.start(None, command, stdout=subprocess.PIPE)
        self.pid = self.program.pid
        self.ready = threading.Event()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.program.process.stdout:
            if line.strip() == b"ready":
                self.ready_at = time.monotonic()
                self.ready.set()

    def open_no_more(self):
        """The opening ends, and the run goes on with those that are open."""
        self.program.process.send_signal(signal.SIGUSR1)

    def report(self):
        """What it counted, once it has ended."""
        try:
            with open(self.json, encoding="utf-8") as file:
                return json.load(file)
        except (OSError, ValueError):  # none, or half of one
            raise Stopped(f"pushgate-load ended ({self.program.process.returncode}) without a report: {self.program.said()}") from None

    def end(self, timeout):
        """Ctrl-C, then its report."""
        if self.program.process.poll() is None:
            self.program.process.send_signal(signal.SIGINT)
        try:
            self.program.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise Stopped(f"pushgate-load has not ended after {timeout:.0f} s") from None
        return self.report()


class Watch:
    """Samples once a second, a line now and then, and an eye on what would end the run."""

    def __init__(self, gateway, clients, say, deadline):
        self.gateway, self.clients, self.say, self.deadline = gateway, clients, say, deadline
        self.began, self.line_at = time.monotonic(), time.monotonic()
        self.samples = []
        self.connections = 0  # what the gateway said last

    def _sample(self, ask_gateway):
        sample = {"seconds": time.monotonic() - self.began, "available_bytes": memory.available(),
                  "gateway": memory.user(self.gateway.pid), "clients": memory.user(self.clients.pid),
                  "gateway_cpu_seconds": cpu_ns(self.gateway.pid) / 1e9, "clients_cpu_seconds": cpu_ns(self.clients.pid) / 1e9}
        if ask_gateway:
            self.connections = int(self.gateway.metrics("pushgate_connections")[0])
        sample["connections"] = self.connections
        self.samples.append(sample)
        return sample

    def _line(self, doing, sample):
        if time.monotonic() - self.line_at < LINE_SECONDS:
            return
        self.line_at = time.monotonic()
        count, seconds = sample["connections"], sample["seconds"]
        more = ""
        if doing == "opening" and count:
            left = (self.clients.connections - count) * seconds / count
            more = f"  {count / seconds:,.0f}/s  eta {left:.0f} s"
        self.say(f"{seconds:6.0f} s  {doing:<11} {count:>9,} of {self.clients.connections:,}{more}  gateway "
                 f"{sample['gateway']['rss'] >> 20:,} MiB, clients {sample['clients']['rss'] >> 20:,} MiB, "
                 f"available {sample['available_bytes'] >> 20:,} MiB")

    def until(self, doing, done, ask_gateway=False, seconds=None, spare=0):
        """Until done() or, with `seconds`, so long. An idle gateway is not asked: answering would cost it CPU. `spare`: bytes of
        memory that must stay available for each connection."""
        end = None if seconds is None else time.monotonic() + seconds
        moved_at, last = time.monotonic(), -1
        while not done():
            now = time.monotonic()
            if end is not None and now >= end:
                return
            if now > self.deadline:
                raise Stopped(f"out of time while {doing} (--timeout)")
            if self.gateway.program.process.poll() is not None:
                raise Stopped(f"the gateway ended ({self.gateway.program.process.returncode}): {self.gateway.program.said()}")
            if self.clients.program.process.poll() is not None:
                if done():
                    return
                raise Stopped(f"pushgate-load ended ({self.clients.program.process.returncode}): {self.clients.program.said()}")
            if not self.samples or now - self.began - self.samples[-1]["seconds"] >= 1:
                sample = self._sample(ask_gateway)
                self._line(doing, sample)
                if sample["available_bytes"] < MEMORY_FLOOR + spare * sample["connections"]:
                    raise OutOfMemory(f"memory: {sample['available_bytes'] >> 20:,} MiB were left at {sample['connections']:,} connections "
                                      f"while {doing}")
                if ask_gateway:
                    if sample["connections"] != last:
                        moved_at, last = now, sample["connections"]
                    if now - moved_at > STALL_SECONDS:
                        raise Stopped(f"no connection opened for {STALL_SECONDS} s, at {last:,}")
            time.sleep(0.05 if end is None else min(0.05, max(0.0, end - now)))

    def idle_cpu(self, doing, seconds):
        """Share of a core that each side takes while nothing but time passes: (gateway, clients)."""
        began, gateway, clients = time.monotonic_ns(), cpu_ns(self.gateway.pid), cpu_ns(self.clients.pid)
        self.until(doing, lambda: False, seconds=seconds)
        passed = time.monotonic_ns() - began
        return (cpu_ns(self.gateway.pid) - gateway) / passed, (cpu_ns(self.clients.pid) - clients) / passed
