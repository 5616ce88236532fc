/* The bare round trip, and a publish timed by the same process in turn with it. */
#include "loadtest/bare/bare.h"

#include "gateway/base/clock.h"
#include "loadtest/upgrade.h"
#include "proto/ws_frame.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WARM_UP = 200, TOPIC_PATIENCE_MS = 5000 };

static const char topic[] = "bench-trip";

void bare_echo(const char *listen)
{
    static char buffer[BARE_MESSAGE_MAX];
    int listener = bare_listen(listen);

    for (;;) {
        struct pollfd wait = {.fd = listener, .events = POLLIN};
        ssize_t n;
        int fd = poll(&wait, 1, -1) == 1 ? accept4(listener, NULL, NULL, SOCK_CLOEXEC) : -1;
        if (fd < 0)
            continue;
        bare_no_delay(fd);
        while ((n = recv(fd, buffer, sizeof(buffer), 0)) > 0)
            bare_send_all(fd, buffer, (size_t)n);
        close(fd);
    }
}

static void receive_exactly(int fd, char *buffer, size_t len)
{
    while (len > 0) {
        ssize_t n = recv(fd, buffer, len, 0);
        if (n == 0 || (n < 0 && errno != EINTR))
            bare_die("recv: %s", n == 0 ? "end of stream" : strerror(errno));
        if (n > 0) {
            buffer += n;
            len -= (size_t)n;
        }
    }
}

static int open_subscriber(const struct bare_trip *trip)
{
    static const uint8_t random[16] = "not random here";
    char key[UPGRADE_KEY_CHARS + 1], accept[UPGRADE_ACCEPT_CHARS + 1], buffer[2048];
    struct upgrade_answer answer;
    size_t have = 0;
    int fd = bare_connect(trip->client);

    upgrade_key(random, key, accept);
    const struct upgrade_request request = {
        .path_parts = {"/ws?topic=", topic, ""},
        .authority = trip->client,
        .subprotocol = "",
        .headers = "",
    };
    bare_send_all(fd, buffer, upgrade_write(&request, key, buffer, sizeof(buffer)));
    for (;;) {
        ssize_t n = recv(fd, buffer + have, sizeof(buffer) - have, 0);
        if (n <= 0)
            bare_die("%s: no upgrade", trip->client);
        have += (size_t)n;
        enum parse_result result = upgrade_parse(buffer, have, accept, "", &answer);
        if (result == PARSE_OK && answer.head_bytes == have)
            return fd;
        if (result != PARSE_MORE)
            bare_die("%s: %s", trip->client, result == PARSE_OK ? "bytes after the upgrade" : answer.error);
    }
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static double quantile_us(const uint64_t *sorted_ns, uint32_t count, uint32_t percent)
{
    uint64_t at = (uint64_t)count * percent / 100;
    return (double)sorted_ns[at] / 1e3;
}

static void print_times(const char *name, uint64_t *times_ns, uint32_t count, const char *after)
{
    qsort(times_ns, count, sizeof(*times_ns), compare);
    printf("\"%s\": {\"p50\": %.3f, \"p90\": %.3f, \"p99\": %.3f}%s", name, quantile_us(times_ns, count, 50),
           quantile_us(times_ns, count, 90), quantile_us(times_ns, count, 99), after);
}

void bare_trip(const struct bare_trip *trip)
{
    size_t message_bytes = trip->message_bytes;
    uint8_t header[WS_SERVER_HEADER_MAX];
    size_t frame_bytes = ws_frame_header(header, WS_TEXT, true, message_bytes) + message_bytes;
    size_t command_max = message_bytes + sizeof(topic) + 64;
    char *message = malloc(message_bytes), *command = malloc(command_max), *buffer = malloc(frame_bytes);
    uint64_t *bare_ns = calloc(trip->rounds, sizeof(*bare_ns));
    uint64_t *publish_ns = calloc(trip->rounds, sizeof(*publish_ns));
    char reply[4];

    if (!message || !command || !buffer || !bare_ns || !publish_ns)
        bare_die("out of memory");
    memset(message, 'm', message_bytes);
    int head = snprintf(command, command_max, "*3\r\n$7\r\nPUBLISH\r\n$%zu\r\n%s\r\n$%zu\r\n",
                        sizeof(topic) - 1, topic, message_bytes);
    memcpy(command + head, message, message_bytes);
    command[(size_t)head + message_bytes] = '\r';
    command[(size_t)head + message_bytes + 1] = '\n';
    size_t command_bytes = (size_t)head + message_bytes + 2;

    int echo = bare_connect(trip->echo);
    int subscriber = open_subscriber(trip);
    int publisher = bare_connect(trip->publish);
    for (uint32_t i = 0; i < WARM_UP + trip->rounds; i++) {
        uint64_t began_ns = clock_monotonic_ns();
        bare_send_all(echo, message, message_bytes);
        receive_exactly(echo, buffer, message_bytes);
        uint64_t echoed_ns = clock_monotonic_ns();
        bare_send_all(publisher, command, command_bytes);
        receive_exactly(subscriber, buffer, frame_bytes);
        uint64_t received_ns = clock_monotonic_ns();
        receive_exactly(publisher, reply, sizeof(reply));
        if (memcmp(reply, ":1\r\n", sizeof(reply)) != 0)
            bare_die("PUBLISH was answered with %.4s", reply);
        if (i >= WARM_UP) {
            bare_ns[i - WARM_UP] = echoed_ns - began_ns;
            publish_ns[i - WARM_UP] = received_ns - echoed_ns;
        }
    }
    putchar('{');
    print_times("bare_us", bare_ns, trip->rounds, ", ");
    print_times("publish_us", publish_ns, trip->rounds, "}\n");
    free(message);
    free(command);
    free(buffer);
    free(bare_ns);
    free(publish_ns);
    close(echo);
    close(subscriber);
    close(publisher);
}
