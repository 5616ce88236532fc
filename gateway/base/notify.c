/* Datagrams to $NOTIFY_SOCKET. */
#include "gateway/base/notify.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

/* How long main waits for a receiver whose queue is full. */
static const struct timeval send_timeout = {.tv_sec = 1};

/* Digits only, so no sign, no blank and no octal. */
static bool parse_number(const char *text, uint64_t *number)
{
    if (*text < '0' || *text > '9')
        return false;
    char *end;
    errno = 0;
    *number = strtoull(text, &end, 10);
    return errno == 0 && *end == '\0';
}

static bool parse_address(struct notify *notify, const char *name, char *error, size_t error_size)
{
    size_t length = strlen(name);
    if (*name != '/' && *name != '@') {
        snprintf(
            error, error_size,
            "NOTIFY_SOCKET=%.200s: neither a path that begins with / nor an abstract name that begins with @",
            name);
        return false;
    }
    if (length < 2 || length >= sizeof notify->address.sun_path) {
        snprintf(error, error_size, "NOTIFY_SOCKET=%.200s: must have 2 to %zu characters", name,
                 sizeof notify->address.sun_path - 1);
        return false;
    }
    notify->address = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(notify->address.sun_path, name, length);
    if (*name == '@')
        notify->address.sun_path[0] = '\0';
    /* An abstract name is all of its bytes: no terminator, no padding. */
    notify->address_bytes =
        (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + (*name == '/' ? 1 : 0));
    return true;
}

/* The watchdog may be meant for another process, which this one inherited its environment from. */
static bool parse_watchdog(struct notify *notify, const char *us, const char *pid, char *error,
                           size_t error_size)
{
    uint64_t number;
    if (pid && *pid) {
        if (!parse_number(pid, &number)) {
            snprintf(error, error_size, "WATCHDOG_PID=%.40s: not a number", pid);
            return false;
        }
        if (number != (uint64_t)getpid())
            return true;
    }
    if (!us || !*us)
        return true;
    if (!parse_number(us, &number) || number == 0) {
        snprintf(error, error_size, "WATCHDOG_USEC=%.40s: not a number of microseconds above 0", us);
        return false;
    }
    notify->watchdog_us = number;
    return true;
}

bool notify_parse(struct notify *notify, const char *socket_name, const char *watchdog_us,
                  const char *watchdog_pid, char *error, size_t error_size)
{
    *notify = (struct notify){.fd = -1};
    if (!socket_name || !*socket_name)
        return true;
    if (!parse_address(notify, socket_name, error, error_size) ||
        !parse_watchdog(notify, watchdog_us, watchdog_pid, error, error_size))
        return false;
    /* Not connected: a receiver that starts again has another socket under the same name. */
    notify->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (notify->fd < 0 ||
        setsockopt(notify->fd, SOL_SOCKET, SO_SNDTIMEO, &send_timeout, sizeof send_timeout) != 0) {
        snprintf(error, error_size, "NOTIFY_SOCKET=%.200s: cannot make a socket: %s", socket_name,
                 strerror(errno));
        notify_close(notify);
        return false;
    }
    return true;
}

bool notify_open(struct notify *notify, char *error, size_t error_size)
{
    return notify_parse(notify, getenv("NOTIFY_SOCKET"), getenv("WATCHDOG_USEC"), getenv("WATCHDOG_PID"),
                        error, error_size);
}

bool notify_send(const struct notify *notify, const char *format, ...)
{
    char message[NOTIFY_MESSAGE_MAX];
    if (notify->fd < 0)
        return true;
    va_list args;
    va_start(args, format);
    int length = vsnprintf(message, sizeof message, format, args);
    va_end(args);
    if (length < 0)
        return false;
    size_t bytes = (size_t)length < sizeof message ? (size_t)length : sizeof message - 1;
    ssize_t sent;
    do
        sent = sendto(notify->fd, message, bytes, MSG_NOSIGNAL, (const struct sockaddr *)&notify->address,
                      notify->address_bytes);
    while (sent < 0 && errno == EINTR);
    return sent == (ssize_t)bytes;
}

void notify_close(struct notify *notify)
{
    if (notify->fd >= 0)
        close(notify->fd);
    *notify = (struct notify){.fd = -1};
}
