"""A network namespace of this process' own, in which the kernel's table of established TCP sockets has room for so many connections.

Every segment that arrives is looked up there, and the machine's table is chosen at boot: with eight sockets a bucket, walking the
chains took a fifth of all cycles of a fan-out to a million connections. A namespace gets a table as large as
net.ipv4.tcp_child_ehash_entries says, in the namespace that it is made from, when it is made (Linux 6.1).
"""

import ctypes
import fcntl
import os
import socket
import struct

IPV4 = "/proc/sys/net/ipv4/"
CLONE_NEWNET = 0x40000000
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1
BUCKETS_MAX = 1 << 24  # the kernel's own limit
PORTS = (12000, 65535)  # of clients; listeners are below
libc = ctypes.CDLL(None, use_errno=True)


class Unavailable(Exception):
    """Why there is no namespace; the measurement goes on without."""


def buckets():
    """Of the table that this process' sockets are in; None where the kernel does not show it."""
    try:
        with open(IPV4 + "tcp_ehash_entries", encoding="ascii") as file:
            return abs(int(file.read()))  # negative: another namespace's table
    except OSError:
        return None


def buckets_for(connections):
    """Both ends are on this machine: two buckets for each of 2 × connections sockets; never fewer than there are without."""
    wanted = 1 << (4 * connections - 1).bit_length()
    return min(max(wanted, buckets() or 0), BUCKETS_MAX)


def _loopback_up():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        flags, = struct.unpack("16xH", fcntl.ioctl(any_socket, SIOCGIFFLAGS, struct.pack("16sH14x", b"lo", 0))[:18])
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | IFF_UP))


def enter(connections):
    """Moves this process, which has one thread yet, and all that it starts from now on. The namespace ends with the last of them."""
    refused = "only root may make one, or who has CAP_NET_ADMIN and CAP_SYS_ADMIN"
    try:
        # The descriptor keeps to the namespace that it was opened in: by the name one would reach the new one afterwards.
        setting = os.open(IPV4 + "tcp_child_ehash_entries", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        raise Unavailable("the kernel has no net.ipv4.tcp_child_ehash_entries (Linux 6.1 has)") from None
    except OSError as error:
        raise Unavailable(f"{refused} ({error})") from None
    try:
        fcntl.flock(setting, fcntl.LOCK_EX)  # two of us would restore each other's value
        before = os.pread(setting, 64, 0)
        try:
            os.pwrite(setting, b"%d\n" % buckets_for(connections), 0)
            made = libc.unshare(CLONE_NEWNET) == 0
            error = os.strerror(ctypes.get_errno())
        except OSError as reason:
            made, error = False, str(reason)
        finally:
            os.pwrite(setting, before, 0)
    finally:
        os.close(setting)
    if not made:
        raise Unavailable(f"{refused} ({error})")
    _loopback_up()
    with open(IPV4 + "ip_local_port_range", "w", encoding="ascii") as file:
        file.write("%d %d\n" % PORTS)
