/* The life of a client connection: connect, wait, end; what it holds. */
#include "loadtest/client_internal.h"

#include "gateway/base/assert.h"
#include "gateway/base/clock.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef IP_BIND_ADDRESS_NO_PORT
#define IP_BIND_ADDRESS_NO_PORT 24
#endif

enum { SLOW_RECEIVE_BUFFER = 4096 };

/* Heap memory */

struct client_heap *client_need_heap(struct client_context *context, struct client *client)
{
    if (client->heap)
        return client->heap;
    struct client_heap *heap = calloc(1, sizeof(*heap));
    if (!heap)
        return NULL;
    list_init(&heap->in_progress);
    heap->index = client_index(context, client);
    return client->heap = heap;
}

bool client_grow(uint8_t **buffer, uint32_t *cap, size_t need)
{
    if (need <= *cap)
        return true;
    uint8_t *grown = realloc(*buffer, need);
    if (!grown)
        return false;
    *buffer = grown;
    *cap = (uint32_t)need;
    return true;
}

static void heap_free(struct client_heap *heap)
{
    if (!heap)
        return;
    tls_client_destroy(heap->tls);
    free(heap->in);
    free(heap->out);
    free(heap->message);
    free(heap);
}

void client_shed_heap(struct client *client)
{
    const struct client_heap *heap = client->heap;
    if (!heap || client->state < CLIENT_OPEN ||
        heap->plain_bytes + heap->cipher_bytes + heap->out_bytes > 0 || heap->message ||
        heap->post.skip > 0 || heap->post.have > 0)
        return;
    heap_free(client->heap);
    client->heap = NULL;
}

/* Ends */

void client_leave_in_progress(struct client_context *context, struct client *client)
{
    if (list_empty(&client->heap->in_progress))
        return;
    list_remove(&client->heap->in_progress);
    context->in_progress_count--;
}

static void release(struct client_context *context, struct client *client, enum client_state state)
{
    if (client->heap) {
        client_leave_in_progress(context, client);
        heap_free(client->heap);
        client->heap = NULL;
    }
    if (context->tls) {
        tls_direction_wipe(&client_tls_of(client)->read);
        tls_direction_wipe(&client_tls_of(client)->write);
    }
    if (client->fd >= 0)
        close(client->fd);
    client->fd = -1;
    client->generation++;
    client->state = (uint8_t)state;
}

static void keep_example(char example[STATS_EXAMPLE_BYTES], const char *text)
{
    if (example[0] == '\0' && text)
        snprintf(example, STATS_EXAMPLE_BYTES, "%s", text);
}

void client_fail(struct client_context *context, struct client *client, enum fail_reason reason,
                 const char *text)
{
    counter_add(&client_stats(context, client)->failed[reason], 1);
    if (!client->was_open && reason != FAIL_INTERRUPTED)
        counter_add(&client_stats(context, client)->failed_first, 1);
    keep_example(client_stats(context, client)->fail_example[reason], text);
    release(context, client, CLIENT_FAILED);
}

static enum fail_reason fail_reason_of(int error)
{
    switch (error) {
    case ECONNREFUSED:
        return FAIL_REFUSED;
    case ECONNRESET:
    case EPIPE:
        return FAIL_RESET;
    case ETIMEDOUT:
        return FAIL_TIMEOUT;
    case EADDRNOTAVAIL:
    case EADDRINUSE:
        return FAIL_NO_PORT;
    case EMFILE:
    case ENFILE:
        return FAIL_NO_FD;
    case ENOMEM:
    case ENOBUFS:
        return FAIL_MEMORY;
    default:
        return FAIL_NETWORK;
    }
}

void client_fail_errno(struct client_context *context, struct client *client, int error)
{
    client_fail(context, client, fail_reason_of(error), strerror(error));
}

void client_end(struct client_context *context, struct client *client, enum end_reason reason,
                const char *text)
{
    if (client->state < CLIENT_OPEN) {
        client_fail(context, client,
                    reason == END_EOF        ? FAIL_EOF
                    : reason == END_RESET    ? FAIL_RESET
                    : reason == END_MEMORY   ? FAIL_MEMORY
                    : reason == END_WS_ERROR ? FAIL_BAD_UPGRADE
                                             : FAIL_TLS,
                    text);
        return;
    }
    if (client->state == CLIENT_CLOSING && reason == END_CLOSE_FRAME) {
        reason = END_DONE;
        text = NULL;
    } else if (client->state == CLIENT_CLOSING && (reason == END_EOF || reason == END_RESET)) {
        text = text ? text : "end of stream";
        reason = END_CLOSE_CUT;
    }
    keep_example(client_stats(context, client)->end_example[reason], text);
    context->outstanding -= client_outstanding(context, client);
    client_place_left(context, client);
    counter_add(&client_stats(context, client)->ended[reason], 1);
    counter_sub(&client_stats(context, client)->open, 1);
    release(context, client, CLIENT_ENDED);
}

/* Connecting */

void client_rearm(struct client_context *context, struct client *client)
{
    struct epoll_event event = {
        .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
        .data.u64 = (uint64_t)client->generation << 32 | client_index(context, client),
    };
    (void)epoll_ctl(context->epoll_fd, EPOLL_CTL_MOD, client->fd, &event);
}

/* Returns 0 or an errno; a pending connect is 0. */
static int start_connect(struct client_context *context, struct client *client, uint32_t index)
{
    const struct load_options *options = context->options;
    const struct net_address *address = &options->target.address;
    const int on = 1;

    client->fd = socket(address->storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (client->fd < 0)
        return errno;
    (void)setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (client->slow) { /* else the kernel would read for it, by the megabyte */
        static const int small = SLOW_RECEIVE_BUFFER;
        (void)setsockopt(client->fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
    }
    if (options->sources.count > 0) {
        /* The port is chosen at connect(), when the whole four-tuple is known: 28,000 ports per pair of
         * addresses, not per source. */
        (void)setsockopt(client->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on));
        struct sockaddr_in source = source_range_at(&options->sources, (uint64_t)context->first + index);
        if (bind(client->fd, (const struct sockaddr *)&source, sizeof(source)) != 0)
            return errno;
    }
    struct epoll_event event = {
        .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
        .data.u64 = (uint64_t)client->generation << 32 | index,
    };
    if (connect(client->fd, (const struct sockaddr *)&address->storage, address->len) != 0 &&
        errno != EINPROGRESS)
        return errno;
    /* Only now: an unconnected socket would report a hang-up. */
    return epoll_ctl(context->epoll_fd, EPOLL_CTL_ADD, client->fd, &event) == 0 ? 0 : errno;
}

/* Public */

bool client_context_init(struct client_context *context, uint32_t capacity, char *error, size_t error_size)
{
    size_t slot_bytes = sizeof(struct client) + (context->tls ? sizeof(struct client_tls) : 0);

    list_init(&context->in_progress);
    context->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (context->epoll_fd < 0) {
        snprintf(error, error_size, "epoll_create1: %s", strerror(errno));
        return false;
    }
    if (getrandom(&context->random, sizeof(context->random), 0) != sizeof(context->random) ||
        context->random == 0)
        context->random = clock_monotonic_ns() | 1;
    context->probe_key = client_random(context);
    context->scratch = malloc(CLIENT_SCRATCH_BYTES);
    context->reader = ws_reader_create(WS_ROLE_CLIENT);
    context->crypto = context->tls ? tls_crypto_create() : NULL;
    if (!context->scratch || !context->reader || (context->tls && !context->crypto) ||
        !client_places_init(context, capacity) || !slab_init(&context->slab, slot_bytes, capacity)) {
        snprintf(error, error_size, "out of memory");
        client_context_fini(context);
        return false;
    }
    return true;
}

void client_context_fini(struct client_context *context)
{
    PG_ASSERT(context->in_progress_count == 0);
    if (context->slab.base)
        slab_fini(&context->slab);
    client_places_fini(context);
    tls_crypto_destroy(context->crypto);
    ws_reader_destroy(context->reader);
    free(context->scratch);
    if (context->epoll_fd >= 0)
        close(context->epoll_fd);
    *context = (struct client_context){.epoll_fd = -1};
}

/* Spreads the slow ones evenly. */
static bool is_slow(const struct client_context *context, uint32_t index)
{
    const struct load_options *options = context->options;
    uint64_t number = (uint64_t)context->first + index;
    return options->mode == LOAD_SLOW &&
           number * options->slow_share / SHARE_WHOLE != (number + 1) * options->slow_share / SHARE_WHOLE;
}

static bool start(struct client_context *context, struct client *client, uint32_t index)
{
    client->fd = -1;
    client->state = CLIENT_CONNECTING;
    client->slow = is_slow(context, index);
    counter_add(&client_stats(context, client)->started, 1);
    if (!client_need_heap(context, client)) {
        client_fail(context, client, FAIL_MEMORY, NULL);
        return false;
    }
    client->heap->started_ns = clock_monotonic_ns();
    list_append(&context->in_progress, &client->heap->in_progress);
    context->in_progress_count++;
    int error = start_connect(context, client, index);
    if (error == 0)
        return true;
    client_fail_errno(context, client, error);
    return false;
}

bool client_open(struct client_context *context)
{
    uint32_t index = slab_alloc(&context->slab);
    return index != SLAB_NONE && start(context, client_at(context, index), index);
}

bool client_reopen(struct client_context *context, uint32_t index)
{
    struct client *client = client_at(context, index);

    PG_ASSERT(client_is_down(client) && !client->heap);
    client->frames = (struct ws_sequence){0};
    client->awaits_pong = false;
    client->joining = true;
    return start(context, client, index);
}

static bool is_stalled(const struct client_context *context, const struct client *client)
{
    return client->slow && context->slow_stalled && client->state == CLIENT_OPEN;
}

void client_read_some(struct client_context *context, uint32_t index, size_t bytes)
{
    struct client *client = client_at(context, index);
    if (is_stalled(context, client))
        client_receive(context, client, 0, bytes);
}

void client_read_on(struct client_context *context, uint32_t index)
{
    struct client *client = client_at(context, index);
    if (client->slow && client->state == CLIENT_OPEN)
        client_rearm(context, client);
}

void client_event(struct client_context *context, uint64_t tag, uint32_t events)
{
    struct client *client = client_at(context, (uint32_t)tag);

    if (client->generation != (uint32_t)(tag >> 32) || client->fd < 0)
        return;
    if (client->state == CLIENT_CONNECTING) {
        if (!(events & (EPOLLOUT | EPOLLERR | EPOLLHUP)))
            return;
        client_connected(context, client);
        if (client->fd < 0)
            return;
    }
    uint32_t gone = events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR);
    if (events & EPOLLOUT)
        client_flush(client);
    if (gone || (events & EPOLLIN && !is_stalled(context, client)))
        client_receive(context, client, events, SIZE_MAX);
}

void client_expire(struct client_context *context, uint64_t now_ns)
{
    uint64_t limit_ns = context->options->connect_timeout_ms * 1000000;

    client_places_expire(context, now_ns);
    while (!list_empty(&context->in_progress)) {
        struct client_heap *heap = LIST_ITEM(context->in_progress.next, struct client_heap, in_progress);
        if (now_ns < heap->started_ns || now_ns - heap->started_ns < limit_ns)
            return;
        struct client *client = client_at(context, heap->index);
        client_fail(context, client, FAIL_TIMEOUT,
                    client->state == CLIENT_CONNECTING ? "no TCP connection"
                    : client->state == CLIENT_TLS      ? "TLS handshake not finished"
                                                       : "no answer to the upgrade request");
    }
}

void client_probe(struct client_context *context, uint32_t index)
{
    struct client *client = client_at(context, index);

    if (client->state != CLIENT_OPEN)
        return;
    const struct client_ping ping = client_ping_of(context, client, clock_monotonic_ns());
    client->awaits_pong = true;
    counter_add(&client_stats(context, client)->probes_sent, 1);
    if (!client_send_frame(context, client, WS_PING, &ping, sizeof(ping)))
        client_end(context, client, END_MEMORY, NULL);
}

void client_close(struct client_context *context, uint32_t index)
{
    struct client *client = client_at(context, index);

    if (client->state != CLIENT_OPEN)
        return;
    client_send_close(context, client, WS_CLOSE_NORMAL);
    client->state = CLIENT_CLOSING;
}

/* No TIME_WAIT: ports must be free for the next connection. */
static void end_by_reset(struct client_context *context, struct client *client, enum end_reason reason)
{
    static const struct linger reset = {.l_onoff = 1, .l_linger = 0};

    if (client->fd < 0)
        return;
    (void)setsockopt(client->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
    if (client->state == CLIENT_OPEN || client->state == CLIENT_CLOSING)
        client_end(context, client, reason, NULL);
    else
        client_fail(context, client, FAIL_INTERRUPTED, NULL);
}

void client_cut(struct client_context *context, uint32_t index)
{
    end_by_reset(context, client_at(context, index), END_CUT);
}

void client_abort(struct client_context *context, uint32_t index)
{
    struct client *client = client_at(context, index);
    end_by_reset(context, client, client->state == CLIENT_CLOSING ? END_UNANSWERED : END_CUT);
}
