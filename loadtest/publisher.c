/* The publisher's loop: write what the rate and the pipeline allow, read replies. */
#include "loadtest/publisher.h"

#include "gateway/base/clock.h"
#include "loadtest/printable.h"
#include "loadtest/publish_connect.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    IN_BYTES = 16 * 1024,
    COMMAND_OVERHEAD = 128 + TARGET_TOPIC_MAX, /* around topic and payload */
    OUT_BATCH = 64 * 1024,
    LOOK_MS = 50, /* how late a stop may be noticed */
};

struct waiting {
    uint64_t due_ns, queued_ns;
};

struct channel {
    struct publisher *publisher;
    int fd;
    char *out;
    size_t out_len, out_cap;
    char in[IN_BYTES];
    size_t in_len;
    struct waiting *waiting; /* for a reply: ring of --publish-pipeline */
    uint64_t queued, answered;
    uint64_t limit; /* messages; UINT64_MAX during --hold */
    uint64_t began_ns, heard_ns;
};

/* `detail` may be the endpoint's. */
static bool fail(struct channel *channel, const char *what, const char *detail)
{
    char *error = channel->publisher->error;
    size_t size = sizeof(channel->publisher->error), at = (size_t)snprintf(error, size, "%s: ", what);

    (void)printable(detail, strlen(detail), error + at, size - at);
    return false;
}

/* As fail(), of a connection that had begun to publish. */
static bool break_off(struct channel *channel, const char *what, const char *detail)
{
    channel->publisher->broke_off = true;
    return fail(channel, what, detail);
}

/* The moment at which the rate made message `number` due, however late it is: what a stalled endpoint keeps
 * from being sent in time would else not show in any figure. Without a rate, now. */
static uint64_t due_ns_of(const struct channel *channel, uint64_t number, uint64_t now_ns)
{
    const struct load_options *options = channel->publisher->options;
    if (options->publish_rate == 0 || options->one_by_one)
        return now_ns;
    uint64_t due_ns = channel->began_ns + (uint64_t)((double)number / (double)options->publish_rate * 1e9);
    return due_ns < now_ns ? due_ns : now_ns;
}

static void queue_message(struct channel *channel, uint64_t now_ns)
{
    struct publisher *publisher = channel->publisher;
    const struct load_options *options = publisher->options;
    uint64_t number = channel->queued++, due_ns = due_ns_of(channel, number, now_ns);
    struct payload payload = {
        .topic = (uint32_t)(number % options->topics),
        .sequence = (uint32_t)(number / options->topics),
        .sent_ns = due_ns,
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
    channel->waiting[number % options->publish_pipeline] =
        (struct waiting){.due_ns = due_ns, .queued_ns = now_ns};
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
    uint64_t due_ns = channel->waiting[channel->answered++ % window].due_ns;
    histogram_record(&publisher->reply_time, (channel->heard_ns - due_ns) / 1000);
    counter_add(&publisher->answered, 1);
    if (line[0] == ':') {
        counter_add(&publisher->receivers, strtoull(line + 1, NULL, 10));
        return true;
    }
    if (line[0] != '-')
        return break_off(channel, "publishing stopped: PUBLISH was answered with", line);
    counter_add(&publisher->refused, 1);
    uint64_t number = channel->answered - 1, topics = publisher->options->topics;
    if (!refusals_add(&publisher->refusals, (uint32_t)(number % topics), (uint32_t)(number / topics)))
        return break_off(channel, "publishing stopped", "out of memory");
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

/* True when neither a reply has come for --settle nor the oldest command is younger. */
static bool is_silent(const struct channel *channel)
{
    const struct load_options *options = channel->publisher->options;
    uint64_t now_ns = clock_monotonic_ns(), settle_ns = options->settle_ms * 1000000;
    const struct waiting *oldest = &channel->waiting[channel->answered % options->publish_pipeline];

    return channel->answered < channel->queued && now_ns - channel->heard_ns > settle_ns &&
           now_ns - oldest->queued_ns > settle_ns;
}

static void exchange(struct channel *channel)
{
    struct publisher *publisher = channel->publisher;

    channel->began_ns = channel->heard_ns = clock_monotonic_ns();
    counter_set(&publisher->began_ns, channel->began_ns);
    for (;;) {
        if (atomic_load_explicit(&publisher->abandoned, memory_order_relaxed)) {
            publisher->broke_off = channel->answered < channel->queued;
            return;
        }
        stop_when_due(channel);
        uint64_t wait_ns = queue_due(channel);
        if (channel->queued >= channel->limit && counter_read(&publisher->stopped_ns) == 0)
            counter_set(&publisher->stopped_ns, clock_monotonic_ns());
        if (!write_out(channel))
            return;
        if (channel->queued >= channel->limit && channel->answered == channel->queued)
            return;
        if (is_silent(channel)) {
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

static void disconnect(struct publisher *publisher)
{
    if (publisher->connected)
        close(publisher->fd);
    publisher->connected = false;
}

/* Takes the connection that has been made before, or makes another when that has not held. */
static bool take_connection(struct channel *channel)
{
    struct publisher *publisher = channel->publisher;

    if (publisher->connected && publish_still_connected(publisher->fd))
        return true;
    disconnect(publisher);
    return publisher_connect(publisher, publisher->error, sizeof(publisher->error));
}

static void *publisher_main(void *argument)
{
    struct publisher *publisher = argument;
    const struct load_options *options = publisher->options;
    struct channel *channel = calloc(1, sizeof(*channel));

    if (channel) {
        *channel = (struct channel){
            .publisher = publisher,
            .out_cap = OUT_BATCH + options->message_bytes + COMMAND_OVERHEAD,
            .limit = options->messages > 0 ? options->messages : UINT64_MAX,
        };
        channel->out = malloc(channel->out_cap);
        channel->waiting = calloc(options->publish_pipeline, sizeof(*channel->waiting));
    }
    if (!channel || !channel->out || !channel->waiting) {
        snprintf(publisher->error, sizeof(publisher->error), "out of memory");
    } else if (take_connection(channel)) {
        channel->fd = publisher->fd;
        exchange(channel);
    } else if (atomic_load_explicit(&publisher->abandoned, memory_order_relaxed)) {
        publisher->error[0] = '\0'; /* it was not the endpoint's fault */
    }
    counter_set(&publisher->ended_ns, clock_monotonic_ns());
    if (counter_read(&publisher->stopped_ns) == 0)
        counter_set(&publisher->stopped_ns, counter_read(&publisher->ended_ns));
    disconnect(publisher);
    if (channel) {
        free(channel->out);
        free(channel->waiting);
        free(channel);
    }
    atomic_store_explicit(&publisher->done, true, memory_order_release);
    return NULL;
}

void publisher_init(struct publisher *publisher, const struct load_options *options)
{
    publisher->options = options;
    refusals_init(&publisher->refusals, options->topics);
}

bool publisher_connect(struct publisher *publisher, char *error, size_t error_size)
{
    const struct publish_endpoint endpoint = {
        .text = publisher->options->publish,
        .address = publisher->options->publish_address,
        .password = publisher->password,
    };

    publisher->fd = publish_connect(&endpoint, &publisher->abandoned, error, error_size);
    return publisher->connected = publisher->fd >= 0;
}

bool publisher_start(struct publisher *publisher)
{
    return pthread_create(&publisher->thread, NULL, publisher_main, publisher) == 0;
}

void publisher_stop(struct publisher *publisher)
{
    atomic_store_explicit(&publisher->stop, true, memory_order_relaxed);
}

void publisher_abandon(struct publisher *publisher)
{
    atomic_store_explicit(&publisher->abandoned, true, memory_order_relaxed);
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
    disconnect(publisher);
    refusals_fini(&publisher->refusals);
}
