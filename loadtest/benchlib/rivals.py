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


NATS_CONFIG = """\
# TLS as the gateway has it; nothing logged or compressed that need not be.
host: 127.0.0.1
port: {tcp}
max_connections: {connections}
pid_file: "{folder}/nats.pid"
websocket {{
    host: 127.0.0.1
    port: {port}
    compression: false
    {tls}
}}
"""

MOSQUITTO_CONFIG = """\
# TLS as the gateway has it; nothing logged or kept that need not be.
{user}per_listener_settings false
allow_anonymous true
persistence false
log_dest stderr
log_type error
log_type warning
connection_messages false
set_tcp_nodelay true
listener {tcp} 127.0.0.1
listener {port} 127.0.0.1
protocol websockets
{tls}
"""


def family(pid):
    """The process and its descendants."""
    found = [pid]
    for task in glob.glob(f"/proc/{pid}/task/*/children"):
        with open(task, encoding="ascii") as file:
            for child in file.read().split():
                found += family(int(child))
    return found


class HttpPublisher:
    """Publishes by HTTP POST."""

    way = "HTTP POST"

    def __init__(self, host, port, path):
        self.path = path
        self.web = http.client.HTTPConnection(host, port, timeout=30)

    def publish(self, message):
        """(receivers, what went wrong or None)"""
        self.web.request("POST", self.path, body=message)
        answer = self.web.getresponse()
        text = answer.read().decode(errors="replace")
        if answer.status >= 300:
            return 0, f"{answer.status} {text.splitlines()[0][:80] if text else ''}"
        receivers = re.search(r'(?:active subscribers: |"queued": ?)(\d+)', text)
        return int(receivers.group(1) if receivers else 0), None

    def close(self):
        self.web.close()


class SocketPublisher:
    """Publishes on a plain TCP connection of the server's own protocol, and waits until the server has answered a ping that came
    behind the message: then it has taken it."""

    way = "TCP, by its own protocol"

    def __init__(self, port, hello, wrap, ping, pong):
        """`hello` is sent first, `wrap` makes a command of a message, `pong` ends the answer to `ping`."""
        self.wrap, self.ping, self.pong = wrap, ping, pong
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.exchange(hello)

    def exchange(self, command):
        self.socket.sendall(command + self.ping)
        heard = b""
        while not heard.endswith(self.pong):
            more = self.socket.recv(4096)
            if not more:
                raise OSError("the server has closed the connection that publishes")
            heard += more
        return heard

    def publish(self, message):
        heard = self.exchange(self.wrap(message))
        return 0, heard.decode(errors="replace").strip() if b"-ERR" in heard else None

    def close(self):
        self.socket.close()


class Server:
    """What is asked of every system: a target, options for its clients, a publisher, CPU and memory of all its processes."""

    client_options = ()

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
        self.publisher = lambda: HttpPublisher("127.0.0.1", admin, "/publish?topic=load")
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
        self.publisher = lambda: HttpPublisher("127.0.0.1", ws, "/pub?topic=load")

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


class PackagedServer(Server):
    """One program of a Debian package of the same name, whose clients speak its own protocol inside WebSocket."""

    @classmethod
    def program_path(cls):
        return shutil.which(cls.name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")

    @classmethod
    def missing(cls):
        return None if cls.program_path() else f"not installed (deploy/packages.sh {cls.name})"

    def begin(self, stage, tls, configuration, arguments):
        """`configuration` has the names port and tcp; starts it and waits until both are open."""
        port, tcp = free_port(), free_port()
        certificate, key = stage.certificate()
        self.certificate = certificate if tls else None
        self.shown = configuration(port, tcp, certificate, key)
        path = os.path.join(stage.folder, f"{self.name}.conf")
        with open(path, "w", encoding="utf-8") as file:
            file.write(self.shown)
        self.program = stage.start(stage.server_core, [self.program_path(), *arguments, path], end_signal=signal.SIGTERM)
        self.pid = self.program.pid
        self.program.wait_for_port(port)
        self.program.wait_for_port(tcp)
        self.target = f"{'wss' if tls else 'ws'}://127.0.0.1:{port}/"
        return tcp


class NatsServer(PackagedServer):
    name = "nats-server"
    client_options = ("--unwrap", "--send-binary=" + b"CONNECT {\"verbose\":false,\"pedantic\":false}\r\nSUB load 1\r\n".hex())

    def __init__(self, stage, connections, tls):
        def configuration(port, tcp, certificate, key):
            return NATS_CONFIG.format(port=port, tcp=tcp, folder=stage.folder, connections=connections + 100,
                                      tls=f'tls {{ cert_file: "{certificate}", key_file: "{key}" }}' if tls else "no_tls: true")
        tcp = self.begin(stage, tls, configuration, ["-c"])
        self.publisher = lambda: SocketPublisher(
            tcp, b'CONNECT {"verbose":false,"pedantic":false}\r\n',
            lambda message: b"PUB load %d\r\n%s\r\n" % (len(message), message), b"PING\r\n", b"PONG\r\n")

    @classmethod
    def version(cls, _):
        said = subprocess.run([cls.program_path(), "--version"], capture_output=True, text=True, timeout=20)
        return (said.stdout + said.stderr).strip()


def mqtt_packet(kind, body):
    """MQTT 3.1.1, 2.2: a packet's type and flags, the length of what follows in groups of seven bits, and that."""
    length, left = b"", len(body)
    while left > 127:
        length, left = length + bytes([left & 127 | 128]), left >> 7
    return bytes([kind]) + length + bytes([left]) + body


def mqtt_text(text):
    return len(text).to_bytes(2, "big") + text


MQTT_CONNECT = mqtt_packet(0x10, mqtt_text(b"MQTT") + b"\x04\x02\x00\x00" + mqtt_text(b""))  # clean session, no keep-alive, no name
MQTT_SUBSCRIBE = mqtt_packet(0x82, b"\x00\x01" + mqtt_text(b"load") + b"\x00")  # quality of service 0


class MosquittoServer(PackagedServer):
    name = "mosquitto"
    client_options = ("--unwrap", "--subprotocol=mqtt", "--send-binary=" + (MQTT_CONNECT + MQTT_SUBSCRIBE).hex())

    def __init__(self, stage, connections, tls):
        def configuration(port, tcp, certificate, key):
            return MOSQUITTO_CONFIG.format(port=port, tcp=tcp, user="user root\n" if os.geteuid() == 0 else "",
                                           tls=f"certfile {certificate}\nkeyfile {key}\ntls_version tlsv1.3" if tls else "")
        tcp = self.begin(stage, tls, configuration, ["-c"])
        self.publisher = lambda: SocketPublisher(tcp, MQTT_CONNECT, lambda message: mqtt_packet(0x30, mqtt_text(b"load") + message),
                                                 b"\xc0\x00", b"\xd0\x00")

    @classmethod
    def version(cls, _):
        said = subprocess.run([cls.program_path(), "-h"], capture_output=True, text=True, timeout=20).stdout
        return said.splitlines()[0].strip() if said else cls.name


SYSTEMS = {
    "pushgate": PushgateServer,
    "nchan": NchanServer,
    "mosquitto": MosquittoServer,
    "nats": NatsServer,
}


class Bridge:
    """Takes PUBLISH from pushgate-load and hands it on, by HTTP POST where the server takes that: as far as can be the same way in
    for every system.

    Notes the server's CPU time at each message. Because messages go one by one, what lies between two of them is one
    fan-out to all."""

    def __init__(self, server):
        self.server, self.cpu = server, []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self):
        try:
            while True:  # one after the other; until close()
                connection, _ = self.listener.accept()
                with connection:
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    self._forward(connection)
        except OSError:
            pass  # closed, or the server is gone: pushgate-load says what it missed

    def _forward(self, connection):
        publisher, commands = self.server.publisher(), connection.makefile("rb")
        while line := commands.readline():
            words = []
            for _ in range(int(line[1:])):
                size = int(commands.readline()[1:])
                words.append(commands.read(size + 2)[:-2])
            if words[0].upper() != b"PUBLISH":
                connection.sendall(b"+PONG\r\n")
                continue
            self.cpu.append(self.server.cpu_ns())
            receivers, error = publisher.publish(words[2])
            connection.sendall(f"-ERR {error}\r\n".encode() if error else b":%d\r\n" % receivers)
        publisher.close()

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)  # wakes the thread
        self.listener.close()
        self.thread.join(5)

    def cpu_per_message(self):
        """Server CPU in seconds for one message to all; the last one is left out, because what follows it is the closing."""
        if len(self.cpu) < 2:
            raise CannotMeasure("fewer than two messages were published")
        return (self.cpu[-1] - self.cpu[0]) / (len(self.cpu) - 1) / 1e9
