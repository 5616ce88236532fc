/* A conversation of the Centrifuge adapter: a client that says anything, a broker and a backend that answer
 * when and what they like, a clock, the server API. Whatever happens, nothing is sent behind a close, every
 * message is lines of JSON, every command that asks for a reply gets exactly one, and nothing is left behind.
 *
 * The input: one byte of settings, then pieces with '|' between. A piece that begins with '!' is an event
 * (see event()), every other one a message of the client's, in which %1 %2 … stand for tokens.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What the fixture says to cmocka elsewhere. */
static void check(bool truth)
{
    if (!truth)
        abort();
}
#define assert_true(e)               check(e)
#define assert_false(e)              check(!(e))
#define assert_null(e)               check((e) == NULL)
#define assert_non_null(e)           check((e) != NULL)
#define assert_int_equal(a, b)       check((long long)(a) == (long long)(b))
#define assert_string_equal(a, b)    check(strcmp(a, b) == 0)
#define assert_memory_equal(a, b, n) check((n) == 0 || memcmp(a, b, n) == 0)
#define fail_msg(...)                (fprintf(stderr, __VA_ARGS__), abort())

#include "proto/utf8.h"
#include "tests/unit/adapter/centrifuge_fixture.h"

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);

enum { MESSAGE_MAX = 96 * 1024, EVENTS_MAX = 64, ANSWERS_MAX = 4 * REQUESTS_MAX };

/* Made once: keys, hooks and tokens cost more than a conversation. */
static struct auth *auth;
static struct proxy *proxies[1 << PROXY_KIND_COUNT];
static char *tokens[8];

static void set_up_once(void)
{
    static const char *const claims[] = {
        "\"sub\":\"anna\",\"info\":{\"n\":1}",
        "\"sub\":\"anna\",\"exp\":1700000100",
        "\"sub\":\"anna\",\"channels\":[\"stream:a\",\"room:a\",\"b\"],\"exp\":1700000060",
        "\"sub\":\"anna\",\"exp\":1600000000",
        "\"sub\":\"anna\",\"channel\":\"secret:a\",\"info\":1",
        "\"sub\":\"anna\",\"channel\":\"a\",\"exp\":1700000050",
        "\"channel\":\"secret:a\"",
        "\"sub\":\"anna\",\"channel\":\"a\",\"exp\":1600000000",
    };
    if (auth)
        return;
    struct fake f = {0};
    fake_keys(&f);
    auth = f.link.auth;
    for (size_t i = 0; i < sizeof tokens / sizeof *tokens; i++)
        tokens[i] = token_of(claims[i]);
}

static struct proxy *proxy_of(unsigned kinds)
{
    if (kinds && !proxies[kinds]) {
        struct fake f = {0};
        fake_backend(&f, kinds);
        proxies[kinds] = f.link.proxy;
    }
    return proxies[kinds];
}

/* What the client has heard
 * ------------------------------------------------------------------------------------- */

struct tally {
    bool counting; /* from a moment on when nothing was on its way */
    size_t commands, replies;
};

static void look_at_line(const char *line, size_t bytes, struct tally *tally)
{
    static const char reply[] = "{\"id\":";
    check(bytes >= 2 && line[0] == '{' && line[bytes - 1] == '}');
    check(json_text_valid(line, bytes));
    if (bytes > sizeof reply && memcmp(line, reply, sizeof reply - 1) == 0)
        tally->replies++;
}

static void look_at_frames(struct fake *f, struct tally *tally)
{
    for (size_t i = 0; i < f->frame_count; i++) {
        for (char *line = f->frames[i]; line;) {
            char *end = strchr(line, '\n');
            look_at_line(line, end ? (size_t)(end - line) : strlen(line), tally);
            line = end ? end + 1 : NULL;
        }
        free(f->frames[i]);
    }
    f->frame_count = 0;
}

/* Commands of a message that want a reply. */
static size_t commands_in(const char *message, size_t bytes)
{
    struct centrifuge_subscribe subs[255];
    struct centrifuge_decoder decoder;
    struct centrifuge_command command;
    char *copy = malloc(bytes + 1);
    size_t count = 0;
    check(copy != NULL);
    memcpy(copy, message, bytes);
    centrifuge_decoder_init(&decoder, copy, bytes, subs, 255);
    while (centrifuge_decode(&decoder, &command) == PARSE_OK)
        count += command.method != CENTRIFUGE_SEND && command.method != CENTRIFUGE_PONG;
    free(copy);
    return count;
}

/* Messages and events
 * -------------------------------------------------------------------------------------- */

static void client_says(struct fake *f, const char *piece, size_t bytes, struct tally *tally)
{
    static char message[MESSAGE_MAX];
    size_t len = 0;
    for (size_t i = 0; i < bytes && len < MESSAGE_MAX - 1024; i++) {
        size_t number = i + 1 < bytes ? (size_t)(piece[i + 1] - '1') : 8;
        if (piece[i] == '%' && number < sizeof tokens / sizeof *tokens) {
            len += (size_t)snprintf(message + len, MESSAGE_MAX - len, "%s", tokens[number]);
            i++;
        } else
            message[len++] = piece[i];
    }
    if (!utf8_valid(message, len))
        return; /* the reactor lets none through */
    if (f->session.connected && f->request_count == 0 && f->hook_count == 0 && !tally->counting)
        *tally = (struct tally){.counting = true};
    if (tally->counting)
        tally->commands += commands_in(message, len);
    say_bytes(f, message, len);
}

static void take_request(struct fake *f, size_t at, enum broker_result result, bool recovered)
{
    if (at >= f->request_count)
        return;
    struct broker_request *request = f->requests[at];
    memmove((void *)&f->requests[at], (void *)&f->requests[at + 1],
            (--f->request_count - at) * sizeof f->requests[0]);
    request->result = (uint8_t)result;
    if (request->op == BROKER_PRESENCE && result == BROKER_OK) {
        request->json = strdup("{\"c\":{\"user\":\"u\",\"client\":\"c\"}}");
        request->json_bytes = strlen(request->json);
    } else if ((request->op == BROKER_HISTORY || request->flags & SUBSCRIPTION_POSITIONED) &&
               result == BROKER_OK) {
        static const char *const payloads[] = {"{\"a\":1}", "text", NULL};
        bool items = request->since_set || request->limit > 0;
        answer_page(request, 9, items ? payloads : NULL);
        request->recovered = request->recovered && recovered;
        request->continuous = request->continuous && recovered;
    }
    answer(f, request);
}

static void backend_answers(struct fake *f, const char *body, size_t bytes, bool newest)
{
    if (f->hook_count == 0)
        return;
    size_t at = newest ? f->hook_count - 1 : 0;
    struct proxy_request *request = f->hooks[at];
    memmove((void *)&f->hooks[at], (void *)&f->hooks[at + 1], (--f->hook_count - at) * sizeof f->hooks[0]);
    char why[PROXY_WHY_BYTES];
    (void)proxy_answer_parse(request, body, bytes, why, sizeof why);
    if (!f->link.gone)
        adapter_centrifuge.proxied(&f->link, request);
    proxy_request_destroy(request);
}

static void server_orders(struct fake *f, const char *rest, size_t bytes)
{
    static const char *const topics[] = {"a", "stream:a", "room:a", "b"};
    unsigned byte = bytes > 0 ? (uint8_t)rest[0] : 0, more = bytes > 1 ? (uint8_t)rest[1] : 0;
    const char *user = byte & 4 ? "anna" : "", *topic = topics[byte >> 3 & 3];
    struct order order = {
        .kind = byte & 3,
        .user = {user, strlen(user)},
        .topic = {topic, strlen(topic)},
        .expire_at = more & 1 ? NOW + more : 0,
        .recover = more & 2,
        .since = {.offset = more >> 4, .epoch = more & 4 ? EPOCH : 0},
        .expired = more == 255,
        .info = {"{}", more & 8 ? 2 : 0},
        .data = {"[1]", more & 16 ? 3 : 0},
    };
    adapter_centrifuge.ordered(&f->link, &order);
}

static void event(struct fake *f, const char *what, size_t bytes)
{
    char kind = bytes > 0 ? what[0] : 'a';
    const char *rest = what + (bytes > 0);
    size_t rest_bytes = bytes > 0 ? bytes - 1 : 0, last = f->request_count ? f->request_count - 1 : 0;
    switch (kind) {
    case 'a': /* the broker answers the oldest request, */
        take_request(f, 0, BROKER_OK, true);
        break;
    case 'l': /* or the newest */
        take_request(f, last, BROKER_OK, true);
        break;
    case 'm': /* something is missing */
        take_request(f, 0, BROKER_OK, false);
        break;
    case 'f':
        take_request(f, 0, BROKER_FULL, true);
        break;
    case 'n':
        take_request(f, 0, BROKER_NO_MEMORY, true);
        break;
    case 'k':
        take_request(f, 0, BROKER_NOT_KEPT, true);
        break;
    case 'b': /* the backend answers with this body */
        backend_answers(f, rest, rest_bytes, false);
        break;
    case 'c':
        backend_answers(f, rest, rest_bytes, true);
        break;
    case 't': /* time passes */
        f->link.now_s += rest_bytes > 0 ? (uint8_t)rest[0] : 1;
        break;
    case 'e': /* a deadline, at the right time or not */
        if (f->deadline && !f->link.gone)
            adapter_centrifuge.expired(&f->link);
        break;
    case 'g':
        adapter_centrifuge.gap(&f->link, rest, rest_bytes < TOPIC_BYTES_MAX ? rest_bytes : TOPIC_BYTES_MAX);
        break;
    case 'o':
        server_orders(f, rest, rest_bytes);
        break;
    case 'd':
        f->sends_end_it = true;
        break;
    case 'B': {
        uint8_t payload[] = "{\"id\":1,\"ping\":{}}";
        adapter_centrifuge.message(&f->link, false, payload, sizeof payload - 1);
        break;
    }
    default:
        break;
    }
}

/* Everybody who still owes an answer gives one. */
static void settle(struct fake *f, struct tally *tally)
{
    for (int turn = 0; turn < ANSWERS_MAX && !f->link.gone && (f->hook_count || f->request_count); turn++) {
        static const char result[] = "{\"result\":{\"user\":\"anna\"}}";
        if (f->hook_count)
            backend_answers(f, result, sizeof result - 1, false);
        else
            take_request(f, 0, BROKER_OK, true);
        look_at_frames(f, tally);
    }
    check(f->link.gone || (!f->hook_count && !f->request_count));
    if (!f->link.gone && tally->counting)
        check(tally->commands == tally->replies);
    if (!f->link.gone) {
        check(f->session.asked == 0);
        check(!f->session.waiting);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    if (size == 0)
        return 0;
    set_up_once();
    void *state;
    struct tally tally = {0};
    check(fake_set_up(&state) == 0);
    struct fake *f = state;
    unsigned mode = input[0];
    f->link.auth = mode & 1 ? auth : NULL;
    f->settings.auth.anonymous = mode & 2;
    f->link.proxy = proxy_of(mode >> 2 & ((1u << PROXY_KIND_COUNT) - 1));
    f->settings.limits.topics_per_connection = 4;
    f->settings.limits.outbox_bytes = 4096;
    struct identity upgrade = {.known = true,
                               .user = {"anna", 4},
                               .expires_at = NOW + 40,
                               .channels = {"\x08stream:a\x01z", 11},
                               .channel_count = 2};
    const char *at = (const char *)input + 1, *end = (const char *)input + size;
    fake_open_as(f, mode == 0xff ? &upgrade : NULL);
    for (int pieces = 0; at < end && pieces < EVENTS_MAX && !f->link.gone; pieces++) {
        const char *stop = memchr(at, '|', (size_t)(end - at));
        size_t bytes = (size_t)((stop ? stop : end) - at);
        if (bytes > 0 && at[0] == '!')
            event(f, at + 1, bytes - 1);
        else
            client_says(f, at, bytes, &tally);
        look_at_frames(f, &tally);
        at = stop ? stop + 1 : end;
    }
    settle(f, &tally);
    fake_end(f); /* nothing is left of the session */
    free(f);
    return 0;
}
