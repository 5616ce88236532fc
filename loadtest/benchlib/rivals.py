"""Push servers that pushgate-load can be a client of, each with a configuration that is fair to it, and one way to publish."""

import glob
import http.client
import os
import re
import shutil
import signal
import socket
import subprocess
import threading

from . import memory
from .machine import CannotMeasure, cpu_ns, free_port, status_values
from .programs import Gateway

NCHAN_CONFIG = """\
# One worker, because the server has one core; TLS as the gateway has it; nothing logged, kept or compressed that need not be.
load_module {module};
{user}daemon off;
worker_processes 1;
worker_rlimit_nofile {descriptors};
pid {folder}/nginx.pid;
error_log stderr warn;
events {{
    worker_connections {descriptors};
    use epoll;
    multi_accept on;
}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    nchan_shared_memory_size 256M;
    nchan_message_buffer_length 1;
    server {{
        listen 127.0.0.1:{ws} backlog=4096;
        listen 127.0.0.1:{wss} ssl backlog=4096;
        ssl_certificate {certificate};
        ssl_certificate_key {key};
        ssl_protocols TLSv1.3;
        ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256;
        ssl_ecdh_curve X25519:prime256v1;
        ssl_session_cache off;
        ssl_buffer_size 4k;
        location = /ws {{
            nchan_subscriber websocket;
            nchan_channel_id $arg_topic;
            nchan_subscriber_first_message newest;
        }}
        location = /pub {{
            nchan_publisher http;
            nchan_channel_id $arg_topic;
        }}
    }}
}}
"""


def family(pid):
    """The process and its descendants."""
    found = [pid]
    for task in glob.glob(f"/proc/{pid}/task/*/children"):
        with open(task, encoding="ascii") as file:
            for child in file.read().split():
                found += family(int(child))
    return found


class Server:
    """What is asked of every system: a target, an address to POST to, CPU and memory of all its processes."""

    def cpu_ns(self):
        return sum(cpu_ns(pid) for pid in family(self.pid))

    def bytes(self):
        """Memory that is no file's: private to each process, and shared between them once."""
        pids = family(self.pid)
        shared = max(status_values(f"/proc/{pid}/status", "RssShmem") * 1024 for pid in pids)
        return sum(memory.user(pid)["anonymous"] for pid in pids) + shared


class PushgateServer(Server):
    name = "pushgate"

    def __init__(self, stage, connections, tls):
        admin = free_port()
        self.gateway = Gateway(stage, {"listen.admin": f"127.0.0.1:{admin}", "limits.connections": connections + 100}, tls)
        self.gateway.program.wait_for_port(admin)
        self.pid, self.program, self.certificate = self.gateway.pid, self.gateway.program, self.gateway.certificate
        self.target = self.gateway.target("load")
        self.post = ("127.0.0.1", admin, "/publish?topic=load")
        self.shown = "\n".join(self.program.process.args[1:])

    @staticmethod
    def missing():
        return None

    @staticmethod
    def version(build):
        return subprocess.run([os.path.join(build, "pushgate"), "--version"], capture_output=True, text=True, timeout=20).stdout.strip()


class NchanServer(Server):
    """nginx begins to reset connections that wait for their request when a sixteenth of worker_connections is left: it gets a
    fifth more than it needs."""

    name = "nginx + nchan"
    MODULES = ("/usr/lib/nginx/modules/ngx_nchan_module.so", "/usr/lib64/nginx/modules/ngx_nchan_module.so",
               "/usr/share/nginx/modules/ngx_nchan_module.so")

    def __init__(self, stage, connections, tls):
        ws, wss = free_port(), free_port()
        certificate, key = stage.certificate()
        self.certificate = certificate if tls else None
        self.shown = NCHAN_CONFIG.format(
            module=self.module(), user="user root;\n" if os.geteuid() == 0 else "", folder=stage.folder, ws=ws, wss=wss,
            descriptors=connections * 5 // 4 + 1024, certificate=certificate, key=key)
        path = os.path.join(stage.folder, "nginx.conf")
        with open(path, "w", encoding="utf-8") as file:
            file.write(self.shown)
        self.program = stage.start(stage.server_core, [self.nginx(), "-p", stage.folder, "-c", path], end_signal=signal.SIGTERM)
        self.pid = self.program.pid
        self.program.wait_for_port(wss if tls else ws)
        self.target = f"wss://127.0.0.1:{wss}/ws?topic=load" if tls else f"ws://127.0.0.1:{ws}/ws?topic=load"
        self.post = ("127.0.0.1", ws, "/pub?topic=load")

    @staticmethod
    def nginx():
        return shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin:/usr/local/sbin")

    @classmethod
    def module(cls):
        return next((path for path in cls.MODULES if os.path.exists(path)), None)

    @classmethod
    def missing(cls):
        if cls.nginx() and cls.module():
            return None
        return "not installed (deploy/packages.sh nginx libnginx-mod-nchan)"

    @classmethod
    def version(cls, _):
        said = subprocess.run([cls.nginx(), "-v"], capture_output=True, text=True, timeout=20).stderr
        package = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", "libnginx-mod-nchan"], capture_output=True, text=True,
                                 timeout=20, check=False).stdout if shutil.which("dpkg-query") else ""
        return f"nginx {said.strip().rpartition('/')[2]}, nchan {package or '?'}"


class NotYet:
    """A system whose clients would have to speak its own protocol inside WebSocket, which pushgate-load does not."""

    def __init__(self, name, program, package, protocol):
        self.name, self.program, self.package, self.protocol = name, program, package, protocol

    def missing(self):
        if not shutil.which(self.program, path=os.environ.get("PATH", "") + ":/usr/sbin"):
            return f"not installed (deploy/packages.sh {self.package})"
        return f"not measured: pushgate-load does not speak {self.protocol} inside WebSocket"


SYSTEMS = {
    "pushgate": PushgateServer,
    "nchan": NchanServer,
    "mosquitto": NotYet("mosquitto", "mosquitto", "mosquitto", "MQTT"),
    "nats": NotYet("nats-server", "nats-server", "nats-server", "the NATS protocol"),
}


class Bridge:
    """Takes PUBLISH from pushgate-load and hands it on by HTTP POST: the same way in for every system.

    Notes the server's CPU time at each message. Because messages go one by one, what lies between two of them is one
    fan-out to all."""

    def __init__(self, server):
        self.server, self.cpu, self.failed = server, [], None
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self):
        try:
            connection, _ = self.listener.accept()
            with connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._forward(connection)
        except OSError as error:
            self.failed = str(error)

    def _forward(self, connection):
        host, port, path = self.server.post
        web, commands = http.client.HTTPConnection(host, port, timeout=30), connection.makefile("rb")
        while line := commands.readline():
            words = []
            for _ in range(int(line[1:])):
                size = int(commands.readline()[1:])
                words.append(commands.read(size + 2)[:-2])
            if words == [b"PING"]:
                connection.sendall(b"+PONG\r\n")
                continue
            self.cpu.append(self.server.cpu_ns())
            web.request("POST", path, body=words[2])
            answer = web.getresponse()
            text = answer.read().decode(errors="replace")
            if answer.status >= 300:
                connection.sendall(f"-ERR {answer.status} {text.splitlines()[0][:80] if text else ''}\r\n".encode())
                continue
            receivers = re.search(r'(?:active subscribers: |"queued": ?)(\d+)', text)
            connection.sendall(b":%d\r\n" % int(receivers.group(1) if receivers else 0))
        web.close()

    def close(self):
        self.listener.close()
        self.thread.join(5)

    def cpu_per_message(self):
        """Server CPU in seconds for one message to all; the last one is left out, because what follows it is the closing."""
        if len(self.cpu) < 2:
            raise CannotMeasure("fewer than two messages were published")
        return (self.cpu[-1] - self.cpu[0]) / (len(self.cpu) - 1) / 1e9
