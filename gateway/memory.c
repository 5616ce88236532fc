/* The arithmetic of memory. */
#include "gateway/memory.h"

#include "gateway/base/grouped.h"
#include "gateway/base/preflight.h"

enum {
    /* Measured at a million idle connections with one topic (README), over the dearer protocol, Centrifuge's.
     */
    USER_BYTES_WS = 100,
    USER_BYTES_WSS = 270,
    PROCESS_BYTES = 128 << 20, /* what it is without connections, handshakes under way, a reserve */
};

static bool keeps_history(const struct settings *settings)
{
    for (size_t i = 0; i < settings->topics.count; i++)
        if (settings->topics.rules[i].history_size > 0)
            return true;
    return false;
}

/* What slow clients can have waiting: no more than all of them together, each with its own bound. */
static uint64_t outboxes(const struct settings *settings, uint64_t connections)
{
    uint64_t all = settings->limits.outbox_memory, each = settings->limits.outbox_bytes, sum;
    if (each == 0 || __builtin_mul_overflow(connections, each, &sum))
        return all;
    return sum < all ? sum : all; /* 0: no bound, which is told apart */
}

struct memory_need memory_reckon(const struct settings *settings, uint64_t connections, uint64_t page_bytes)
{
    return (struct memory_need){
        .connections = connections,
        .user = *settings->listen.wss ? USER_BYTES_WSS : USER_BYTES_WS,
        .page = page_bytes,
        .history = keeps_history(settings) ? settings->history.memory : 0,
        .inflight = settings->limits.inflight_bytes,
        .outboxes = outboxes(settings, connections),
        .process = PROCESS_BYTES,
        .listener_outbox = *settings->listen.publish ? settings->publish.outbox_bytes : 0,
    };
}

uint64_t memory_fixed(const struct memory_need *need)
{
    return need->history + need->inflight + need->outboxes + need->process;
}

static void print_part(uint64_t bytes, const char *what, FILE *out)
{
    char text[32];
    fprintf(out, "  %11s MiB  %s\n", grouped(bytes >> 20, text), what);
}

/* "256 KiB" */
static const char *size_text(uint64_t bytes, char out[48])
{
    static const char *const units[] = {"bytes", "KiB", "MiB"};
    char number[32];
    unsigned unit = 0;
    for (; unit < 2 && bytes % 1024 == 0; unit++)
        bytes /= 1024;
    snprintf(out, 48, "%s %s", grouped(bytes, number), units[unit]);
    return out;
}

/* What can be more than any sum says. */
static void print_notes(const struct memory_need *need, const struct settings *settings, FILE *out)
{
    const struct {
        bool holds;
        const char *what;
    } boundless[] = {
        {settings->limits.outbox_memory == 0, "slow clients (limits.outbox_memory is 0)"},
        {settings->limits.inflight_bytes == 0,
         "what is published and not yet sent (limits.inflight_bytes is 0)"},
        {settings->history.memory == 0 && keeps_history(settings), "histories (history.memory is 0)"},
    };
    char size[48];
    if (need->listener_outbox > 0)
        fprintf(out,
                "  more, at most: publish.outbox_bytes (%s) for each backend that listens and reads slowly\n",
                size_text(need->listener_outbox, size));
    for (size_t i = 0; i < sizeof boundless / sizeof *boundless; i++)
        if (boundless[i].holds)
            fprintf(out, "  without bound: %s\n", boundless[i].what);
}

void memory_print(const struct memory_need *need, const struct settings *settings, FILE *out)
{
    char what[128], each[32], kernel[32];
    fputs("memory:\n", out);
    snprintf(what, sizeof what, "%s bytes of each connection, %s of them the kernel's for its socket",
             grouped(need->user + PREFLIGHT_SOCKET_BYTES, each), grouped(PREFLIGHT_SOCKET_BYTES, kernel));
    print_part(need->connections * (need->user + PREFLIGHT_SOCKET_BYTES), what, out);
    snprintf(what, sizeof what, "while one message goes to all: %s bytes of each until its client has it",
             grouped(need->page, each));
    print_part(need->connections * need->page, what, out);
    if (need->history > 0)
        print_part(need->history, "history.memory", out);
    if (need->inflight > 0)
        print_part(need->inflight, "limits.inflight_bytes", out);
    if (need->outboxes > 0)
        print_part(need->outboxes, "limits.outbox_memory", out);
    print_part(need->process, "the process, handshakes under way, a reserve", out);
    print_notes(need, settings, out);
}
