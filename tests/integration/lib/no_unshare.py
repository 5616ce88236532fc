#!/usr/bin/env python3
"""Runs a command as a container runtime's default seccomp filter would have it: unshare(2) fails with EPERM, all else is allowed.

usage: no_unshare.py COMMAND [ARGUMENT]...
"""
import ctypes
import os
import platform
import struct
import sys

UNSHARE = {"x86_64": 272, "aarch64": 97}[platform.machine()]
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
LOAD_WORD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06  # BPF: ld [k]; jeq #k, true, false; ret #k
SECCOMP_RET_ERRNO, SECCOMP_RET_ALLOW, EPERM = 0x00050000, 0x7FFF0000, 1

PROGRAM = [
    (LOAD_WORD, 0, 0, 0),  # the system call's number
    (JUMP_IF_EQUAL, 0, 1, UNSHARE),
    (RETURN, 0, 0, SECCOMP_RET_ERRNO | EPERM),
    (RETURN, 0, 0, SECCOMP_RET_ALLOW),
]
instructions = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *each) for each in PROGRAM))
filter_ = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(PROGRAM), ctypes.addressof(instructions)))

libc = ctypes.CDLL(None, use_errno=True)
none = ctypes.c_ulong(0)
if (libc.prctl(PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1), none, none, none) != 0
        or libc.prctl(PR_SET_SECCOMP, ctypes.c_ulong(SECCOMP_MODE_FILTER), filter_, none, none) != 0):
    sys.exit(f"no_unshare.py: {os.strerror(ctypes.get_errno())}")
os.execvp(sys.argv[1], sys.argv[1:])
