/* The publisher's loop: write what the rate and the pipeline allow, read replies. */
#include "loadtest/publisher.h"

#include "gateway/base/clock.h"
#include "gateway/base/net.h"

#include <openssl/crypto.h>

#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    IN_BYTES = 16 * 1024,
    COMMAND_OVERHEAD = 128 + TARGET_TOPIC_MAX, /* around topic and payload */
    OUT_BATCH = 64 * 1024,
    CONNECT_TIMEOUT_MS = 5000,
    LOOK_MS = 50, /* how late a stop may be noticed */
};

struct channel {
    struct publisher *publisher;
    int fd;
    char *out;
    size_t out_len, out_cap;
    char in[IN_BYTES];
    size_t in_len;
    uint64_t *sent_ns; /* ring of --publish-pipeline */
    uint64_t queued, answered;
    uint64_t limit; /* messages; UINT64_MAX during --hold */
    uint64_t began_ns, heard_ns;
};

static bool fail(struct channel *channel, const char *what, const char *detail)
{
    snprintf(channel->publisher->error, sizeof(channel->publisher->error), "%s: %s", what, detail);
    return false;
}

/* As fail(), of a connection that had begun to publish. */
static bool break_off(struct channel *channel, const char *what, const char *detail)
{
    channel->publisher->broke_off = true;
    return fail(channel, what, detail);
}

static bool connect_to(struct channel *channel)
{
    const char *text = channel->publisher->options->publish;
    struct net_address address;
    char sentence[120];
    const int on = 1;
    int error = 0;
    socklen_t len = sizeof(error);

    if (!net_parse(text, &address, sentence, sizeof(sentence)))
        return fail(channel, "--publish", sentence);
    channel->fd = socket(address.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (channel->fd < 0)
        return fail(channel, text, strerror(errno));
    if (address.storage.ss_family != AF_UNIX)
        (void)setsockopt(channel->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (connect(channel->fd, (const struct sockaddr *)&address.storage, address.len) == 0)
        return true;
    if (errno != EINPROGRESS)
        return fail(channel, text, strerror(errno));
    struct pollfd wait = {.fd = channel->fd, .events = POLLOUT};
    if (poll(&wait, 1, CONNECT_TIMEOUT_MS) != 1)
        return fail(channel, text, "no connection");
    if (getsockopt(channel->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0 || error != 0)
        return fail(channel, text, strerror(error ? error : errno));
    return true;
}

/* Sends AUTH and waits for its answer, before anything else is under way. */
static bool authenticate(struct channel *channel)
{
    const char *password = channel->publisher->password;
    char reply[256];
    size_t have = 0;

    if (!password)
        return true;
    int len = snprintf(channel->out, channel->out_cap, "*2\r\n$4\r\nAUTH\r\n$%zu\r\n%s\r\n", strlen(password),
                       password);
    if (len < 0 || (size_t)len >= channel->out_cap)
        return fail(channel, "AUTH", "the password is too long");
    bool sent = send(channel->fd, channel->out, (size_t)len, MSG_NOSIGNAL) == len;
    OPENSSL_cleanse(channel->out, (size_t)len);
    if (!sent)
        return fail(channel, "AUTH", strerror(errno));
    uint64_t deadline_ns = clock_monotonic_ns() + CONNECT_TIMEOUT_MS * UINT64_C(1000000);
    while (!memchr(reply, '\n', have)) {
        struct pollfd wait = {.fd = channel->fd, .events = POLLIN};
        if (clock_monotonic_ns() > deadline_ns || have == sizeof(reply) - 1)
            return fail(channel, "AUTH", "no answer");
        if (poll(&wait, 1, LOOK_MS) != 1)
            continue;
        ssize_t n = recv(channel->fd, reply + have, sizeof(reply) - 1 - have, 0);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
            return fail(channel, "AUTH", n == 0 ? "the endpoint closed the connection" : strerror(errno));
        have += n > 0 ? (size_t)n : 0;
    }
    reply[have] = '\0';
    reply[strcspn(reply, "\r\n")] = '\0';
    return reply[0] == '+' || fail(channel, "AUTH was refused", reply + (reply[0] == '-'));
}

static void queue_message(struct channel *channel, uint64_t now_ns)
{
    struct publisher *publisher = channel->publisher;
    const struct load_options *options = publisher->options;
    uint64_t number = channel->queued++;
    struct payload payload = {
        .topic = (uint32_t)(number % options->topics),
        .sequence = (uint32_t)(number / options->topics),
        .sent_ns = now_ns,
    };
    char topic[TARGET_TOPIC_MAX + 16];
    size_t topic_len = target_topic_name(&options->target, payload.topic, topic, sizeof(topic));

    char *out = channel->out + channel->out_len;
    int head = snprintf(out, COMMAND_OVERHEAD, "*3\r\n$7\r\nPUBLISH\r\n$%zu\r\n%s\r\n$%zu\r\n", topic_len,
                        topic, publisher->payload->message_bytes);
    payload_write(publisher->payload, &payload, out + head);
    char *end = out + head + publisher->payload->message_bytes;
    *end++ = '\r';
    *end++ = '\n';
    channel->out_len += (size_t)(end - out);
    channel->sent_ns[number % options->publish_pipeline] = now_ns;
    counter_set(&publisher->last_sent_ns, now_ns);
    counter_add(&publisher->published, 1);
}

/* Queues what may go now; returns in how many ns the rate allows the next. */
static uint64_t queue_due(struct channel *channel)
{
    const struct load_options *options = channel->publisher->options;
    uint64_t now_ns = clock_monotonic_ns(), due = channel->limit;
    size_t room = options->message_bytes + COMMAND_OVERHEAD;

    if (options->one_by_one) {
        uint64_t released = atomic_load_explicit(&channel->publisher->released, memory_order_acquire);
        due = released < due ? released : due;
    }
    if (options->publish_rate > 0) {
        double allowed = (double)(now_ns - channel->began_ns) / 1e9 * (double)options->publish_rate + 1;
        if (allowed < (double)due)
            due = (uint64_t)allowed;
    }
    while (channel->queued < due && channel->queued - channel->answered < options->publish_pipeline &&
           channel->out_cap - channel->out_len >= room)
        queue_message(channel, now_ns);
    if (options->publish_rate == 0 || channel->queued < due)
        return UINT64_MAX;
    double next_ns = (double)channel->queued / (double)options->publish_rate * 1e9;
    double elapsed_ns = (double)(clock_monotonic_ns() - channel->began_ns);
    return next_ns > elapsed_ns ? (uint64_t)(next_ns - elapsed_ns) : 0;
}

static bool write_out(struct channel *channel)
{
    while (channel->out_len > 0) {
        ssize_t n = send(channel->fd, channel->out, channel->out_len, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return true;
        if (n <= 0)
            return break_off(channel, "publishing stopped", strerror(errno));
        channel->out_len -= (size_t)n;
        memmove(channel->out, channel->out + n, channel->out_len);
    }
    return true;
}

static bool take_reply(struct channel *channel, const char *line)
{
    struct publisher *publisher = channel->publisher;
    uint64_t window = publisher->options->publish_pipeline;

    if (channel->answered == channel->queued)
        return break_off(channel, "publishing stopped: a reply without a command", line);
    uint64_t sent_ns = channel->sent_ns[channel->answered++ % window];
    histogram_record(&publisher->reply_time, (channel->heard_ns - sent_ns) / 1000);
    counter_add(&publisher->answered, 1);
    if (line[0] == ':') {
        counter_add(&publisher->receivers, strtoull(line + 1, NULL, 10));
        return true;
    }
    if (line[0] != '-')
        return break_off(channel, "publishing stopped: PUBLISH was answered with", line);
    counter_add(&publisher->refused, 1);
    if (!publisher->refused_of)
        publisher->refused_of = calloc(publisher->options->topics, sizeof(*publisher->refused_of));
    if (!publisher->refused_of)
        return break_off(channel, "publishing stopped", "out of memory");
    publisher->refused_of[(channel->answered - 1) % publisher->options->topics]++;
    if (publisher->error[0] == '\0')
        (void)fail(channel, "PUBLISH was refused", line + 1);
    return true;
}

static bool read_replies(struct channel *channel)
{
    ssize_t n = recv(channel->fd, channel->in + channel->in_len, IN_BYTES - channel->in_len, 0);
    size_t used = 0;
    char *newline;

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return true;
    if (n <= 0)
        return break_off(channel, "publishing stopped",
                         n == 0 ? "the endpoint closed the connection" : strerror(errno));
    channel->heard_ns = clock_monotonic_ns();
    channel->in_len += (size_t)n;
    while ((newline = memchr(channel->in + used, '\n', channel->in_len - used))) {
        char *line = channel->in + used;
        *newline = '\0';
        if (newline > line && newline[-1] == '\r')
            newline[-1] = '\0';
        used = (size_t)(newline - channel->in) + 1;
        if (!take_reply(channel, line))
            return false;
    }
    channel->in_len -= used;
    memmove(channel->in, channel->in + used, channel->in_len);
    return channel->in_len < IN_BYTES || break_off(channel, "publishing stopped", "the reply has no end");
}

/* Stops at the first of: all published, time over, told to stop. */
static void stop_when_due(struct channel *channel)
{
    const struct load_options *options = channel->publisher->options;
    bool over = !channel->publisher->endless && options->messages == 0 &&
                clock_monotonic_ns() - channel->began_ns >= options->hold_ms * 1000000;
    if (over || atomic_load_explicit(&channel->publisher->stop, memory_order_relaxed))
        channel->limit = channel->queued;
}

static void exchange(struct channel *channel)
{
    uint64_t settle_ns = channel->publisher->options->settle_ms * 1000000;

    channel->began_ns = channel->heard_ns = clock_monotonic_ns();
    counter_set(&channel->publisher->began_ns, channel->began_ns);
    for (;;) {
        stop_when_due(channel);
        uint64_t wait_ns = queue_due(channel);
        if (!write_out(channel))
            return;
        if (channel->queued >= channel->limit && channel->answered == channel->queued)
            return;
        if (channel->answered < channel->queued && clock_monotonic_ns() - channel->heard_ns > settle_ns &&
            clock_monotonic_ns() -
                    channel->sent_ns[channel->answered % channel->publisher->options->publish_pipeline] >
                settle_ns) {
            (void)break_off(channel, "publishing stopped", "no reply");
            return;
        }
        if (wait_ns > LOOK_MS * UINT64_C(1000000))
            wait_ns = LOOK_MS * UINT64_C(1000000);
        struct pollfd poll_fd = {.fd = channel->fd,
                                 .events = (short)(POLLIN | (channel->out_len > 0 ? POLLOUT : 0))};
        struct timespec timeout = {.tv_nsec = (long)wait_ns};
        if (ppoll(&poll_fd, 1, &timeout, NULL) > 0 && poll_fd.revents & ~POLLOUT && !read_replies(channel))
            return;
    }
}

static void *publisher_main(void *argument)
{
    struct publisher *publisher = argument;
    const struct load_options *options = publisher->options;
    struct channel *channel = calloc(1, sizeof(*channel));

    if (channel) {
        *channel = (struct channel){
            .publisher = publisher,
            .fd = -1,
            .out_cap = OUT_BATCH + options->message_bytes + COMMAND_OVERHEAD,
            .limit = options->messages > 0 ? options->messages : UINT64_MAX,
        };
        channel->out = malloc(channel->out_cap);
        channel->sent_ns = calloc(options->publish_pipeline, sizeof(*channel->sent_ns));
    }
    if (!channel || !channel->out || !channel->sent_ns)
        snprintf(publisher->error, sizeof(publisher->error), "out of memory");
    else if (connect_to(channel) && authenticate(channel))
        exchange(channel);
    counter_set(&publisher->ended_ns, clock_monotonic_ns());
    if (channel) {
        if (channel->fd >= 0)
            close(channel->fd);
        free(channel->out);
        free(channel->sent_ns);
        free(channel);
    }
    atomic_store_explicit(&publisher->done, true, memory_order_release);
    return NULL;
}

bool publisher_start(struct publisher *publisher)
{
    return pthread_create(&publisher->thread, NULL, publisher_main, publisher) == 0;
}

void publisher_stop(struct publisher *publisher)
{
    atomic_store_explicit(&publisher->stop, true, memory_order_relaxed);
}

void publisher_join(struct publisher *publisher)
{
    pthread_join(publisher->thread, NULL);
}

bool publisher_done(const struct publisher *publisher)
{
    return atomic_load_explicit(&publisher->done, memory_order_acquire);
}

void publisher_fini(struct publisher *publisher)
{
    free(publisher->refused_of);
    publisher->refused_of = NULL;
}
