#!/usr/bin/env python3
"""Stops one thread of a process as a debugger would, while the others go on: hang_thread.py PID THREAD-NAME. Lets it go on when its own
input ends, or with the process."""
import ctypes, os, select, sys

PTRACE_ATTACH, PTRACE_DETACH, WALL = 16, 17, 0x40000000
pid, name = sys.argv[1:]
thread = next(int(t) for t in os.listdir(f"/proc/{pid}/task") if open(f"/proc/{pid}/task/{t}/comm").read().strip() == name)
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


def ptrace(request):
    if libc.ptrace(request, thread, None, None) != 0:
        sys.exit(f"ptrace: {os.strerror(ctypes.get_errno())}")


ptrace(PTRACE_ATTACH)
os.waitpid(thread, WALL)  # it has stopped
print("hangs", flush=True)
while not select.select([sys.stdin], [], [], 0.05)[0]:
    # A thread that is traced is not gone before its tracer has seen that it ended, and the process neither.
    if os.waitpid(thread, WALL | os.WNOHANG)[0]:
        sys.exit()
ptrace(PTRACE_DETACH)
