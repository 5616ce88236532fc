/* pushgate-bare: its command line, and what its parts share. */
#include "loadtest/bare/bare.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BACKLOG = 4096, EXIT_USAGE = 2 };

static const char usage[] =
    "usage: pushgate-bare fanout LISTEN PUBLISH\n"
    "       pushgate-bare echo LISTEN\n"
    "       pushgate-bare trip ECHO GATEWAY_WS GATEWAY_PUBLISH ROUNDS MESSAGE_BYTES\n"
    "       pushgate-bare handshakes CERTIFICATE KEY ROUNDS\n\n"
    "The bare counterparts that loadtest/bench measures the gateway against. Addresses are 127.0.0.1:PORT.\n";

void bare_die(const char *format, ...)
{
    char text[256];
    va_list args;

    va_start(args, format);
    // NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized): it is, one line above
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    fprintf(stderr, "pushgate-bare: %s\n", text);
    exit(EXIT_USAGE);
}

struct net_address bare_address(const char *text)
{
    struct net_address address;
    char error[160];

    if (!net_parse(text, &address, error, sizeof(error)))
        bare_die("%s: %s", text, error);
    return address;
}

int bare_listen(const char *text)
{
    struct net_address address = bare_address(text);
    char error[160];
    int fd = net_listen(&address, BACKLOG, false, error, sizeof(error));

    if (fd < 0)
        bare_die("%s", error);
    return fd;
}

void bare_no_delay(int fd)
{
    const int on = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

int bare_connect(const char *text)
{
    struct net_address address = bare_address(text);
    int fd = socket(address.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || connect(fd, (const struct sockaddr *)&address.storage, address.len) != 0)
        bare_die("%s: %s", text, strerror(errno));
    bare_no_delay(fd);
    return fd;
}

void bare_send_all(int fd, const void *data, size_t len)
{
    const char *at = data;

    while (len > 0) {
        ssize_t n = send(fd, at, len, MSG_NOSIGNAL);
        if (n < 0 && errno != EINTR)
            bare_die("send: %s", strerror(errno));
        if (n > 0) {
            at += n;
            len -= (size_t)n;
        }
    }
}

static uint32_t number(const char *text, uint32_t max)
{
    char *end;
    errno = 0;
    unsigned long value = strtoul(text, &end, 10);

    if (errno != 0 || *end != '\0' || text[0] == '-' || value < 1 || value > max)
        bare_die("'%s' is not a number from 1 to %u", text, max);
    return (uint32_t)value;
}

int main(int argc, char **argv)
{
    const char *mode = argc > 1 ? argv[1] : "";

    signal(SIGPIPE, SIG_IGN);
    if (strcmp(mode, "fanout") == 0 && argc == 4)
        bare_fanout(argv[2], argv[3]);
    if (strcmp(mode, "echo") == 0 && argc == 3)
        bare_echo(argv[2]);
    if (strcmp(mode, "trip") == 0 && argc == 7) {
        const struct bare_trip trip = {
            .echo = argv[2],
            .client = argv[3],
            .publish = argv[4],
            .rounds = number(argv[5], 1000000),
            .message_bytes = number(argv[6], BARE_MESSAGE_MAX),
        };
        bare_trip(&trip);
    } else if (strcmp(mode, "handshakes") == 0 && argc == 5) {
        bare_handshakes(argv[2], argv[3], number(argv[4], 1000000));
    } else {
        bool asked = strcmp(mode, "--help") == 0;
        fputs(usage, asked ? stdout : stderr);
        return asked ? EXIT_SUCCESS : EXIT_USAGE;
    }
    return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
