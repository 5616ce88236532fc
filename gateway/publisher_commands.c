#include "gateway/base/assert.h"
#include "gateway/base/glob.h"
#include "gateway/base/log.h"
#include "gateway/publisher_client.h"

#include <inttypes.h>
#include <openssl/crypto.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    QUOTED_MAX = 128,       /* of a peer's text in an error, as Redis */
    GLOB_PATTERN_MAX = 255, /* a longer one cannot match more topics, but takes longer */
};

struct command_row {
    const char *name;
    uint16_t args_min, args_max; /* with the command's name; args_max 0: any */
    bool before_auth;
    enum command_result (*run)(const struct call *call);
};

static enum command_result fail(const struct call *call, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static enum command_result fail(const struct call *call, const char *format, ...)
{
    char text[512];
    va_list values;
    va_start(values, format);
    // NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized): it is, one line above
    vsnprintf(text, sizeof text, format, values);
    va_end(values);
    resp_error(call->out, text);
    counter_add(&call->publisher->stats.errors, 1);
    return COMMAND_DONE;
}

static enum command_result ok(const struct call *call)
{
    resp_simple(call->out, "OK");
    return COMMAND_DONE;
}

static void bulk_text(const struct call *call, const char *text)
{
    resp_bulk(call->out, text, strlen(text));
}

static bool parse_integer(const struct resp_arg *arg, int64_t *value)
{
    char text[24], *end;
    if (arg->len == 0 || arg->len >= sizeof text || arg->data[0] == ' ' || arg->data[0] == '+')
        return false;
    memcpy(text, arg->data, arg->len);
    text[arg->len] = '\0';
    *value = strtoll(text, &end, 10);
    return end == text + arg->len;
}

/* PUBLISH topic payload: the one that is hot. */
static enum command_result publish(const struct call *call)
{
    struct publisher *publisher = call->publisher;
    const struct resp_arg *topic = &call->args[1], *payload = &call->args[2];
    if (__builtin_expect(topic->len < 1 || topic->len > TOPIC_BYTES_MAX, 0))
        return fail(call, "ERR invalid topic: 1 to %d bytes", TOPIC_BYTES_MAX);
    uint64_t limit = publisher->settings->limits.message_bytes;
    if (__builtin_expect(limit != 0 && payload->len > limit, 0))
        return fail(call, "ERR message is too large: the limit is %" PRIu64 " bytes (limits.message_bytes)",
                    limit);
    if (__builtin_expect(publisher->holding || broker_congested(publisher->broker), 0)) {
        publisher->holding = true;
        return COMMAND_LATER;
    }
    int64_t queued = broker_publish(publisher->broker, topic->data, topic->len, payload->data, payload->len);
    if (__builtin_expect(queued < 0, 0))
        return fail(call, "ERR the message was not sent: out of memory");
    counter_add(&publisher->stats.publishes, 1);
    counter_add(&publisher->stats.publish_bytes, payload->len);
    if (queued > 0)
        counter_add(&publisher->stats.publish_reached, (uint64_t)queued);
    resp_integer(call->out, queued);
    return COMMAND_DONE;
}

static enum command_result ping(const struct call *call)
{
    if (call->count == 2)
        resp_bulk(call->out, call->args[1].data, call->args[1].len);
    else
        resp_simple(call->out, "PONG");
    return COMMAND_DONE;
}

static enum command_result echo(const struct call *call)
{
    resp_bulk(call->out, call->args[1].data, call->args[1].len);
    return COMMAND_DONE;
}

static enum command_result quit(const struct call *call)
{
    ok(call);
    return COMMAND_QUIT;
}

/* The time depends on what was given, not on how much of it is right. */
static bool equals_secret(const struct resp_arg *given, const char *secret)
{
    size_t len = strlen(secret);
    volatile size_t difference = given->len ^ len;
    for (size_t i = 0; i < given->len; i++)
        difference |= (size_t)((unsigned char)given->data[i] ^ (unsigned char)secret[len > 0 ? i % len : 0]);
    return difference == 0;
}

/* Checks and wipes the password. */
static bool authenticate(const struct call *call, const struct resp_arg *user,
                         const struct resp_arg *password)
{
    struct publisher *publisher = call->publisher;
    PG_ASSERT(password != NULL);
    const char *secret = publisher->settings->publish.password;
    bool good = secret[0] == '\0' || equals_secret(password, secret);
    if (user && (user->len != 7 || memcmp(user->data, "default", 7) != 0))
        good = false;
    OPENSSL_cleanse((char *)password->data, password->len); /* arguments stand in a buffer of ours */
    if (good) {
        call->client->authenticated = true;
        list_remove(&call->client->timed); /* no stranger any more */
        return true;
    }
    counter_add(&publisher->stats.auth_failures, 1);
    log_limited(&publisher->log_auth, LOG_WARN, "publisher_auth_failed", "publisher=%llu",
                (unsigned long long)call->client->id);
    fail(call, "WRONGPASS invalid username-password pair or user is disabled.");
    return false;
}

static enum command_result auth(const struct call *call)
{
    if (call->count == 2 && call->publisher->settings->publish.password[0] == '\0')
        return fail(
            call,
            "ERR AUTH <password> called without any password configured for the default user. Are you sure "
            "your configuration is correct?");
    const struct resp_arg *user = call->count == 3 ? &call->args[1] : NULL;
    return authenticate(call, user, &call->args[call->count - 1]) ? ok(call) : COMMAND_DONE;
}

static bool set_name(const struct call *call, const struct resp_arg *name)
{
    for (size_t i = 0; i < name->len; i++)
        if (name->data[i] < '!' || name->data[i] > '~') {
            fail(call, "ERR Client names cannot contain spaces, newlines or special characters.");
            return false;
        }
    if (name->len > NAME_MAX_BYTES) {
        fail(call, "ERR Client names cannot be longer than %d bytes.", NAME_MAX_BYTES);
        return false;
    }
    char *copy = name->len > 0 ? strndup(name->data, name->len) : NULL;
    free(call->client->name);
    call->client->name = copy;
    return true;
}

static void hello_answer(const struct call *call)
{
    resp_map(call->out, 7);
    bulk_text(call, "server");
    bulk_text(call, "redis");
    bulk_text(call, "version");
    bulk_text(call, REDIS_VERSION);
    bulk_text(call, "proto");
    resp_integer(call->out, call->client->resp3 ? 3 : 2);
    bulk_text(call, "id");
    resp_integer(call->out, (int64_t)call->client->id);
    bulk_text(call, "mode");
    bulk_text(call, "standalone");
    bulk_text(call, "role");
    bulk_text(call, "master");
    bulk_text(call, "modules");
    resp_array(call->out, 0);
}

/* HELLO [protover [AUTH user password] [SETNAME name]]: the name counts only when everything else was right.
 */
static enum command_result hello(const struct call *call)
{
    int64_t version = call->client->resp3 ? 3 : 2;
    if (call->count > 1 && !parse_integer(&call->args[1], &version))
        return fail(call, "ERR Protocol version is not an integer or out of range");
    if (version < 2 || version > 3)
        return fail(call, "NOPROTO unsupported protocol version");
    const struct resp_arg *user = NULL, *name = NULL;
    for (size_t i = 2; i < call->count;) {
        size_t left = call->count - i - 1;
        if (left >= 2 && resp_arg_is(&call->args[i], "AUTH")) {
            user = &call->args[i + 1];
            i += 3;
        } else if (left >= 1 && resp_arg_is(&call->args[i], "SETNAME")) {
            name = &call->args[i + 1];
            i += 2;
        } else {
            int shown = (int)(call->args[i].len < QUOTED_MAX ? call->args[i].len : QUOTED_MAX);
            return fail(call, "ERR Syntax error in HELLO option '%.*s'", shown, call->args[i].data);
        }
    }
    if (user && !authenticate(call, user, user + 1))
        return COMMAND_DONE;
    if (!call->client->authenticated)
        return fail(
            call,
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> "
            "AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol "
            "version at the same time");
    if (name && !set_name(call, name))
        return COMMAND_DONE;
    call->client->resp3 = call->out->resp3 = version == 3;
    hello_answer(call);
    return COMMAND_DONE;
}

static enum command_result reset(const struct call *call)
{
    call->client->resp3 = call->out->resp3 = false;
    call->client->authenticated = call->publisher->settings->publish.password[0] == '\0';
    free(call->client->name);
    call->client->name = NULL;
    resp_simple(call->out, "RESET");
    return COMMAND_DONE;
}

static enum command_result select_database(const struct call *call)
{
    int64_t index;
    if (!parse_integer(&call->args[1], &index))
        return fail(call, "ERR value is not an integer or out of range");
    return index == 0 ? ok(call) : fail(call, "ERR DB index is out of range");
}

/* Is args[1] this subcommand, with so many arguments behind it? A wrong number is answered here. */
enum sub { SUB_OTHER, SUB_YES, SUB_ANSWERED };
static enum sub subcommand(const struct call *call, const char *command, const char *name, size_t min,
                           size_t max)
{
    if (!resp_arg_is(&call->args[1], name))
        return SUB_OTHER;
    if (call->count - 2 >= min && call->count - 2 <= max)
        return SUB_YES;
    fail(call, "ERR wrong number of arguments for '%s|%s' command", command, name);
    return SUB_ANSWERED;
}

static enum command_result unknown_subcommand(const struct call *call, const char *help)
{
    int shown = (int)(call->args[1].len < QUOTED_MAX ? call->args[1].len : QUOTED_MAX);
    return fail(call, "ERR unknown subcommand '%.*s'. Try %s HELP.", shown, call->args[1].data, help);
}

static enum command_result client(const struct call *call)
{
    enum sub sub;
    if ((sub = subcommand(call, "client", "setname", 1, 1)))
        return sub == SUB_YES && set_name(call, &call->args[2]) ? ok(call) : COMMAND_DONE;
    if ((sub = subcommand(call, "client", "setinfo", 2, 2)) ||
        (sub = subcommand(call, "client", "no-evict", 1, 1)) ||
        (sub = subcommand(call, "client", "no-touch", 1, 1)))
        return sub == SUB_YES ? ok(call) : COMMAND_DONE;
    if ((sub = subcommand(call, "client", "getname", 0, 0))) {
        if (sub == SUB_YES && call->client->name)
            bulk_text(call, call->client->name);
        else if (sub == SUB_YES)
            resp_null(call->out);
        return COMMAND_DONE;
    }
    if ((sub = subcommand(call, "client", "id", 0, 0))) {
        if (sub == SUB_YES)
            resp_integer(call->out, (int64_t)call->client->id);
        return COMMAND_DONE;
    }
    return unknown_subcommand(call, "CLIENT");
}

/* Tools probe these two (redis-benchmark prints them); everything else is not ours to have. */
static enum command_result config(const struct call *call)
{
    enum sub sub = subcommand(call, "config", "get", 1, RESP_ARGS_MAX);
    if (sub == SUB_OTHER)
        return unknown_subcommand(call, "CONFIG");
    if (sub == SUB_ANSWERED)
        return COMMAND_DONE;
    if (resp_arg_is(&call->args[2], "save") || resp_arg_is(&call->args[2], "appendonly")) {
        bool save = resp_arg_is(&call->args[2], "save");
        resp_map(call->out, 1);
        bulk_text(call, save ? "save" : "appendonly");
        bulk_text(call, save ? "" : "no");
        return COMMAND_DONE;
    }
    resp_map(call->out, 0);
    return COMMAND_DONE;
}

struct channel_search {
    const struct call *call;
    const struct resp_arg *pattern; /* NULL: all */
    size_t found;
    bool emit;
};

static void visit_channel(void *context, const char *topic, size_t topic_bytes, uint64_t subscribers)
{
    (void)subscribers;
    struct channel_search *search = context;
    if (search->pattern && !glob_match(search->pattern->data, search->pattern->len, topic, topic_bytes))
        return;
    search->found++;
    if (search->emit)
        resp_bulk(search->call->out, topic, topic_bytes);
}

static enum command_result pubsub_channels(const struct call *call)
{
    struct channel_search search = {.call = call, .pattern = call->count > 2 ? &call->args[2] : NULL};
    if (search.pattern && search.pattern->len > GLOB_PATTERN_MAX)
        return fail(call, "ERR pattern is too long: the limit is %d bytes", GLOB_PATTERN_MAX);
    broker_visit_topics(call->publisher->broker, visit_channel,
                        &search); /* the count stands before the names */
    resp_array(call->out, search.found);
    search.emit = true;
    broker_visit_topics(call->publisher->broker, visit_channel, &search);
    return COMMAND_DONE;
}

static enum command_result pubsub(const struct call *call)
{
    enum sub sub;
    if ((sub = subcommand(call, "pubsub", "channels", 0, 1)))
        return sub == SUB_YES ? pubsub_channels(call) : COMMAND_DONE;
    if ((sub = subcommand(call, "pubsub", "numpat", 0, 0))) {
        if (sub == SUB_YES)
            resp_integer(call->out, 0);
        return COMMAND_DONE;
    }
    if (subcommand(call, "pubsub", "numsub", 0, RESP_ARGS_MAX)) {
        resp_array(call->out, (call->count - 2) * 2);
        for (size_t i = 2; i < call->count; i++) {
            const struct resp_arg *topic = &call->args[i];
            resp_bulk(call->out, topic->data, topic->len);
            resp_integer(call->out,
                         (int64_t)broker_subscribers(call->publisher->broker, topic->data, topic->len));
        }
        return COMMAND_DONE;
    }
    return unknown_subcommand(call, "PUBSUB");
}

static enum command_result command(const struct call *call);

static enum command_result attack(const struct call *call)
{
    struct publisher *publisher = call->publisher;
    counter_add(&publisher->stats.protocol_errors, 1);
    log_limited(&publisher->log_attack, LOG_WARN, "publisher_closed", "publisher=%llu reason=%s",
                (unsigned long long)call->client->id, "http_request");
    return COMMAND_ABORT;
}

static const struct command_row rows[] = {
    {"publish", 3, 3, false, publish},
    {"ping", 1, 2, false, ping},
    {"auth", 2, 3, true, auth},
    {"client", 2, 0, false, client},
    {"command", 1, 0, false, command},
    {"config", 2, 0, false, config},
    {"echo", 2, 2, false, echo},
    {"hello", 1, 0, true, hello},
    {"info", 1, 0, false, command_info},
    {"pubsub", 2, 0, false, pubsub},
    {"quit", 1, 0, true, quit},
    {"reset", 1, 1, true, reset},
    {"select", 2, 2, false, select_database},
    /* A web page can make a browser send these with lines of its own behind them; a Redis client never does.
     */
    {"post", 1, 0, true, attack},
    {"host:", 1, 0, true, attack},
};
enum { ROW_COUNT = sizeof rows / sizeof rows[0], ROW_ATTACKS = 2 };

static enum command_result command(const struct call *call)
{
    if (call->count > 1 && resp_arg_is(&call->args[1], "count"))
        resp_integer(call->out, ROW_COUNT - ROW_ATTACKS);
    else if (call->count > 1 && resp_arg_is(&call->args[1], "docs"))
        resp_map(call->out, 0);
    else
        resp_array(call->out, 0);
    return COMMAND_DONE;
}

static enum command_result unknown(const struct call *call)
{
    char args[QUOTED_MAX + 8];
    size_t len = 0;
    args[0] = '\0';
    for (size_t i = 1; i < call->count && len < QUOTED_MAX; i++) {
        size_t shown = call->args[i].len < QUOTED_MAX - len ? call->args[i].len : QUOTED_MAX - len;
        len += (size_t)snprintf(args + len, sizeof args - len, "'%.*s' ", (int)shown, call->args[i].data);
    }
    int shown = (int)(call->args[0].len < QUOTED_MAX ? call->args[0].len : QUOTED_MAX);
    return fail(call, "ERR unknown command '%.*s', with args beginning with: %s", shown, call->args[0].data,
                args);
}

static const struct command_row *find_row(const struct resp_arg *name)
{
    if (name->len == 7 && resp_arg_is(name, rows[0].name))
        return &rows[0];
    for (size_t i = 1; i < ROW_COUNT; i++)
        if (resp_arg_is(name, rows[i].name))
            return &rows[i];
    return NULL;
}

enum command_result command_execute(struct publisher *publisher, struct publisher_client *client,
                                    const struct resp_command *command, struct resp_out *out)
{
    const struct call call = {publisher, client, command->args, command->arg_count, out};
    const struct command_row *row = find_row(&command->args[0]);
    if (!row)
        return unknown(&call);
    if (call.count < row->args_min || (row->args_max != 0 && call.count > row->args_max))
        return fail(&call, "ERR wrong number of arguments for '%s' command", row->name);
    if (!client->authenticated && !row->before_auth)
        return fail(&call, "NOAUTH Authentication required.");
    return row->run(&call);
}
