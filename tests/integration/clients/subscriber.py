"""Python's ssl: subscriber.py CERTIFICATE PORT TOPIC COUNT; connects twice with one session, prints what it hears."""
import socket
import ssl
import sys

certificate, port, topic, count = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
context = ssl.create_default_context(cafile=certificate)
context.minimum_version = ssl.TLSVersion.TLSv1_3
context.set_alpn_protocols(["h2", "http/1.1"])


def connect(session=None):
    plain = socket.create_connection(("127.0.0.1", port), timeout=20)
    secure = context.wrap_socket(plain, server_hostname="127.0.0.1", session=session)
    assert secure.version() == "TLSv1.3", secure.version()
    assert secure.selected_alpn_protocol() == "http/1.1", secure.selected_alpn_protocol()
    secure.sendall(
        f"GET /ws?topic={topic} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
    )
    stream = secure.makefile("rb")
    assert stream.readline().startswith(b"HTTP/1.1 101 ")
    while stream.readline() != b"\r\n":
        pass
    return secure, stream


first, _ = connect()
ticket = first.session
assert ticket.has_ticket
assert first.unwrap() is not None  # close_notify is answered
secure, stream = connect(ticket)
assert secure.session_reused
print("subscribed", flush=True)
for _ in range(count):
    head = stream.read(2)
    length = head[1] if head[1] < 126 else int.from_bytes(stream.read(2 if head[1] == 126 else 8), "big")
    print(stream.read(length).decode(), flush=True)
