/* What a service tells the program that started it (sd_notify(3)): one datagram of NAME=VALUE lines to the
 * socket that $NOTIFY_SOCKET names. systemd reads it, and podman, and whoever else implements the protocol.
 *
 * The protocol is stable and small, and its documentation asks for an implementation of one's own where
 * nothing else of libsystemd is needed.
 *
 * Thread: main, which systemd takes for the sender (NotifyAccess=main). Owner: the caller; the descriptor
 * lives in main's table only.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

enum { NOTIFY_MESSAGE_MAX = 1024 };

struct notify {
    int fd; /* −1: nobody listens, and everything here does nothing */
    socklen_t address_bytes;
    struct sockaddr_un address; /* a path, or an abstract name */
    uint64_t watchdog_us;       /* WATCHDOG=1 is expected this often at least; 0: not at all */
};

/* From the environment's NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID. False with a sentence when they say
 * something that cannot be used; `notify` is then one that nobody listens to. */
bool notify_open(struct notify *notify, char *error, size_t error_size) __attribute__((warn_unused_result));
/* The same from text; NULL: not set. */
bool notify_parse(struct notify *notify, const char *socket_name, const char *watchdog_us,
                  const char *watchdog_pid, char *error, size_t error_size)
    __attribute__((warn_unused_result));
static inline bool notify_heard(const struct notify *notify)
{
    return notify->fd >= 0;
}
/* Sends the lines, e.g. "READY=1\nSTATUS=…"; a message over NOTIFY_MESSAGE_MAX is cut. False with errno when
 * it did not go out: the receiver is gone, or has not read for a second. Never a reason to end. */
bool notify_send(const struct notify *notify, const char *format, ...) __attribute__((format(printf, 2, 3)));
void notify_close(struct notify *notify);
