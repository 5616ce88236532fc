"""The programs that a measurement needs: started on a core of their own, watched, and stopped by their process id."""

import contextlib
import ctypes
import json
import os
import queue
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

from .machine import CannotMeasure, cpu_ns, free_port, need_tool

PR_SET_PDEATHSIG = 1
STOP_SECONDS = 10
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)
libc = ctypes.CDLL(None, use_errno=True)


@contextlib.contextmanager
def signals_later():
    """What their handlers raise must not come between a process and our knowing of it: it would be left."""
    came = []
    before = {number: signal.signal(number, lambda *arguments: came.append(arguments)) or signal.SIG_DFL for number in ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for number, _ in came[:1]:
            signal.raise_signal(number)


class Stage:
    """All that one measurement starts: everything is stopped and removed when the `with` block ends."""

    def __init__(self, build, cores):
        self.build = build
        self.server_core, self.client_core = cores
        self.programs = []

    def __enter__(self):
        self.folder = tempfile.mkdtemp(prefix="pushgate-bench-")
        return self

    def __exit__(self, *_):
        for program in self.programs:  # servers first: many clients that leave would be work for them
            program.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def binary(self, name):
        return os.path.join(self.build, name)

    def start(self, core, command, **options):
        with signals_later():
            program = Program(self, core, command, **options)
            self.programs.append(program)
        return program

    def certificate(self):
        """A P-256 certificate for 127.0.0.1: (certificate, key)."""
        certificate, key = os.path.join(self.folder, "server.pem"), os.path.join(self.folder, "server.key")
        if not os.path.exists(certificate):
            subprocess.run([need_tool("openssl", "openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                            "-nodes", "-days", "2", "-subj", "/CN=bench", "-addext", "subjectAltName=IP:127.0.0.1",
                            "-keyout", key, "-out", certificate], check=True, capture_output=True, timeout=20)
        return certificate, key

    def run(self, core, command, timeout):
        """Runs a program to its end and returns what it wrote."""
        program = self.start(core, command, stdout=subprocess.PIPE)
        try:
            out, _ = program.process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            raise CannotMeasure(f"{os.path.basename(command[0])} has not ended after {timeout} s") from None
        finally:
            program.stop()
            self.programs.remove(program)
        if program.process.returncode != 0:
            raise CannotMeasure(f"{os.path.basename(command[0])} failed ({program.process.returncode}): {program.said()}")
        return out.decode(errors="replace")


class Program:
    """`end_signal` is sent to stop it, also by the kernel when this process dies: SIGTERM for one that has children to stop."""

    def __init__(self, stage, core, command, stdout=subprocess.DEVNULL, end_signal=signal.SIGKILL):
        def set_up():
            if core is not None:
                os.sched_setaffinity(0, {core})
            libc.prctl(PR_SET_PDEATHSIG, end_signal)  # nothing outlives the benchmark, however that ends

        self.end_signal = end_signal
        self.name = os.path.basename(command[0])
        self.log = os.path.join(stage.folder, f"{len(stage.programs)}-{self.name}.log")
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stdout, stderr=log,
                                            preexec_fn=set_up, cwd=stage.folder)
        self.pid = self.process.pid

    def said(self):
        with open(self.log, encoding="utf-8", errors="replace") as log:
            return log.read()[-800:].strip()

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(self.end_signal)
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def cpu_ns(self):
        return cpu_ns(self.pid)

    def check_alive(self):
        if self.process.poll() is not None:
            raise CannotMeasure(f"{self.name} ended ({self.process.returncode}): {self.said()}")

    def wait_for_port(self, port, timeout=10):
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            self.check_alive()
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            except OSError:
                time.sleep(0.01)
        raise CannotMeasure(f"{self.name} does not listen on port {port} after {timeout} s: {self.said()}")


class Gateway:
    """One acceptor, one reactor unless `settings` say otherwise, all on the server core; nothing periodic."""

    def __init__(self, stage, settings=None, tls=False):
        self.ws, self.wss, self.publish = (free_port() for _ in range(3))
        values = {
            "listen.publish": f"127.0.0.1:{self.publish}", "threads.acceptors": 1, "threads.reactors": 1,
            "idle.timeout": "1h", "idle.ping_interval": 0, "log.level": "warn", "auth.anonymous": "on",
        }
        if tls:
            self.certificate, key = stage.certificate()
            values |= {"listen.wss": f"127.0.0.1:{self.wss}", "tls.certificate": self.certificate, "tls.private_key": key}
        else:
            self.certificate = None
            values["listen.ws"] = f"127.0.0.1:{self.ws}"
        values |= settings or {}
        self.program = stage.start(stage.server_core,
                                   [stage.binary("pushgate")] + [f"--{key}={value}" for key, value in values.items()])
        self.pid = self.program.pid
        for port in (self.wss if tls else self.ws, self.publish):
            self.program.wait_for_port(port)

    def address(self):
        return f"wss://127.0.0.1:{self.wss}" if self.certificate else f"ws://127.0.0.1:{self.ws}"

    def target(self, topic):
        return f"{self.address()}/ws?topic={topic}"

    def wait_subscribers(self, topic, count, timeout=60):
        """Until so many are subscribed, by the gateway's own word."""
        deadline, found = time.monotonic() + timeout, None
        with socket.create_connection(("127.0.0.1", self.publish), timeout=10) as connection:
            while time.monotonic() < deadline:
                connection.sendall(f"PUBSUB NUMSUB {topic}\r\n".encode())
                found = int(connection.recv(4096).rsplit(b":", 1)[1])
                if found == count:
                    return
                time.sleep(0.05)
        raise CannotMeasure(f"{found} instead of {count} are subscribed to {topic}")

    def cpu_ns(self):
        return self.program.cpu_ns()


class BareFanout:
    """The plain send() loop; looks like a gateway without TLS."""

    certificate = None

    def __init__(self, stage):
        self.ws, self.publish = free_port(), free_port()
        self.program = stage.start(stage.server_core, [stage.binary("pushgate-bare"), "fanout", f"127.0.0.1:{self.ws}",
                                                       f"127.0.0.1:{self.publish}"])
        self.pid = self.program.pid
        self.program.wait_for_port(self.ws)

    def target(self, topic):
        return f"ws://127.0.0.1:{self.ws}/ws?topic={topic}"

    def cpu_ns(self):
        return self.program.cpu_ns()


class Clients:
    """pushgate-load: connections that stay open, and what they receive."""

    def __init__(self, stage, server, connections, topics=1, resume=False, rate=0, centrifuge=False):
        target = f"{server.address()}/connection/websocket" if centrifuge else server.target("bench")
        command = [stage.binary("pushgate-load"), "idle", f"--target={target}", f"--connections={connections}",
                   f"--topics={topics}", f"--rate={rate}", "--hold=1h", "--quiet", "--watch", "--nap=1ms"]
        command += [f"--cafile={server.certificate}"] if server.certificate else []
        command += ["--resume"] if resume else []
        command += ['--send={"id":1,"connect":{}}\n{"id":2,"subscribe":{"channel":"bench"}}'] if centrifuge else []
        self.connections = connections
        self.program = stage.start(stage.client_core, command, stdout=subprocess.PIPE)
        self.lines = queue.Queue()
        self.total = 0
        self.ready_at = None
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.program.process.stdout:
            self.lines.put((time.monotonic_ns(), line.decode().split()))
        self.lines.put(None)

    def _next(self, deadline, what):
        try:
            line = self.lines.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            line = None
        if line is None:
            self.program.check_alive()
            raise CannotMeasure(f"{what}: {self.program.said() or 'nothing more from pushgate-load'}")
        return line

    def wait_open(self, timeout=120):
        """Returns when all were open, on the monotonic clock in ns."""
        deadline = time.monotonic() + timeout
        at, words = self._next(deadline, f"{self.connections} connections are not open after {timeout} s")
        if words != ["ready"]:
            raise CannotMeasure(f"pushgate-load says {words}")
        _, words = self._next(deadline, "no state from pushgate-load")
        if int(words[3]) != self.connections:
            raise CannotMeasure(f"only {words[3]} of {self.connections} connections opened (pushgate-load idle says why)")
        return at

    def wait_messages(self, more, timeout=30):
        """Waits until `more` messages have come since the last call; returns when the last one did."""
        self.total += more
        deadline = time.monotonic() + timeout
        last = 0
        while True:
            _, words = self._next(deadline, f"{self.total} messages expected, {last} came within {timeout} s")
            last = int(words[1])
            if last > self.total:
                raise CannotMeasure(f"{last} messages came, {self.total} were expected")
            if last == self.total:
                return int(words[5])

    def stop(self):
        self.program.stop()


class Publisher:
    """A connection to a publish socket. Replies are read to the end before anything else is sent."""

    def __init__(self, server):
        self.socket = socket.create_connection(("127.0.0.1", server.publish), 5)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)

    @staticmethod
    def command(topic, message):
        return b"*3\r\n$7\r\nPUBLISH\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n" % (len(topic), topic, len(message), message)

    def send(self, commands, count, receivers, timeout=30):
        """Pipelines `count` commands; every reply must be `receivers`. Returns when sending began (monotonic, ns)."""
        rest, reply, expected = memoryview(commands), bytearray(), b":%d\r\n" % receivers * count
        deadline = time.monotonic() + timeout
        began = time.monotonic_ns()
        while rest or len(reply) < len(expected):
            moved = False
            if rest:
                try:
                    rest = rest[self.socket.send(rest):]
                    moved = True
                except BlockingIOError:
                    pass
            try:
                got = self.socket.recv(65536)
                if not got:
                    raise CannotMeasure("the publish connection was closed")
                reply += got
                moved = True
            except BlockingIOError:
                pass
            if not moved:
                self._wait(bool(rest), deadline)
        if reply != expected:
            raise CannotMeasure(f"PUBLISH was answered with {bytes(reply[:60])!r}, not {bytes(expected[:60])!r}")
        return began

    def _wait(self, writing, deadline):
        import select
        if time.monotonic() > deadline:
            raise CannotMeasure("PUBLISH is not answered")
        select.select([self.socket], [self.socket] if writing else [], [], 1)


def redis_benchmark(stage, port, requests, payload, timeout):
    """PUBLISH per second to a topic that nobody has."""
    out = stage.run(stage.client_core, [need_tool("redis-benchmark", "redis-tools"), "-p", str(port), "-P", "16", "-c", "50", "-n",
                                        str(requests), "-q", "--csv", "PUBLISH", "nobody", "x" * payload], timeout)
    found = re.search(r'^"PUBLISH[^"]*","([0-9.]+)"', out, re.MULTILINE)
    if not found:
        raise CannotMeasure(f"redis-benchmark said {out[-300:]!r}")
    return float(found.group(1))


def parse_json(text):
    return json.loads(text[text.index("{"):])
