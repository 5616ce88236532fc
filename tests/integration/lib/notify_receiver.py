#!/usr/bin/env python3
"""Receives a service's notifications as systemd does: notify_receiver.py @NAME|/PATH. One JSON line a message: the sender's process id, as the
kernel tells it, and the lines."""
import json, os, socket, struct, sys

name = sys.argv[1]
receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
receiver.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
receiver.bind("\0" + name[1:] if name[0] == "@" else name)
print(json.dumps({"pid": os.getpid(), "lines": []}), flush=True)
while True:
    data, control, _, _ = receiver.recvmsg(4096, socket.CMSG_SPACE(struct.calcsize("3i")))
    pid = next(struct.unpack("3i", part)[0] for level, kind, part in control if kind == socket.SCM_CREDENTIALS)
    print(json.dumps({"pid": pid, "lines": data.decode().split("\n")}), flush=True)
