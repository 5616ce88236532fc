#include "gateway/base/assert.h"
#include "gateway/base/log.h"
#include "gateway/publisher_client.h"

#include <inttypes.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct command_row {
    const char *name;
    uint16_t args_min, args_max; /* with the command's name; args_max 0: any */
    bool before_auth;
    bool listening; /* may be given by a RESP2 connection that listens */
    bool control;   /* an operator's: publish.control says from where */
    enum command_result (*run)(const struct call *call);
};

/* PUBLISH topic payload: the one that is hot. */
static enum command_result publish(const struct call *call)
{
    struct publisher *publisher = call->publisher;
    const struct resp_arg *topic = &call->args[1], *payload = &call->args[2];
    if (__builtin_expect(topic->len < 1 || topic->len > TOPIC_BYTES_MAX, 0))
        return command_fail(call, "ERR invalid topic: 1 to %d bytes", TOPIC_BYTES_MAX);
    uint64_t limit = publisher->settings->limits.message_bytes;
    if (__builtin_expect(limit != 0 && payload->len > limit, 0))
        return command_fail(
            call, "ERR message is too large: the limit is %" PRIu64 " bytes (limits.message_bytes)", limit);
    if (__builtin_expect(publisher->holding || broker_congested(publisher->broker), 0)) {
        publisher->holding = true;
        return COMMAND_LATER;
    }
    int64_t queued = broker_publish(publisher->broker, topic->data, topic->len, payload->data, payload->len);
    if (__builtin_expect(queued < 0, 0))
        return command_fail(call, "ERR the message was not sent: out of memory");
    counter_add(&publisher->stats.publishes, 1);
    counter_add(&publisher->stats.publish_bytes, payload->len);
    if (queued > 0)
        counter_add(&publisher->stats.publish_reached, (uint64_t)queued);
    resp_integer(call->out, queued);
    return COMMAND_DONE;
}

static enum command_result ping(const struct call *call)
{
    if (listener_count(&call->client->listener) > 0 && !call->client->resp3) {
        resp_array(call->out, 2);
        command_text(call, "pong");
        resp_bulk(call->out, call->args[1 % call->count].data, call->count == 2 ? call->args[1].len : 0);
        return COMMAND_DONE;
    }
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
    command_ok(call);
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
    command_fail(call, "WRONGPASS invalid username-password pair or user is disabled.");
    return false;
}

static enum command_result auth(const struct call *call)
{
    if (call->count == 2 && call->publisher->settings->publish.password[0] == '\0')
        return command_fail(
            call,
            "ERR AUTH <password> called without any password configured for the default user. Are you sure "
            "your configuration is correct?");
    const struct resp_arg *user = call->count == 3 ? &call->args[1] : NULL;
    return authenticate(call, user, &call->args[call->count - 1]) ? command_ok(call) : COMMAND_DONE;
}

static bool set_name(const struct call *call, const struct resp_arg *name)
{
    for (size_t i = 0; i < name->len; i++)
        if (name->data[i] < '!' || name->data[i] > '~') {
            command_fail(call, "ERR Client names cannot contain spaces, newlines or special characters.");
            return false;
        }
    if (name->len > NAME_MAX_BYTES) {
        command_fail(call, "ERR Client names cannot be longer than %d bytes.", NAME_MAX_BYTES);
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
    command_text(call, "server");
    command_text(call, "redis");
    command_text(call, "version");
    command_text(call, REDIS_VERSION);
    command_text(call, "proto");
    resp_integer(call->out, call->client->resp3 ? 3 : 2);
    command_text(call, "id");
    resp_integer(call->out, (int64_t)call->client->id);
    command_text(call, "mode");
    command_text(call, "standalone");
    command_text(call, "role");
    command_text(call, "master");
    command_text(call, "modules");
    resp_array(call->out, 0);
}

/* HELLO [protover [AUTH user password] [SETNAME name]]: the name counts only when everything else was right.
 */
static enum command_result hello(const struct call *call)
{
    int64_t version = call->client->resp3 ? 3 : 2;
    if (call->count > 1 && !command_integer(&call->args[1], &version))
        return command_fail(call, "ERR Protocol version is not an integer or out of range");
    if (version < 2 || version > 3)
        return command_fail(call, "NOPROTO unsupported protocol version");
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
            return command_fail(call, "ERR Syntax error in HELLO option '%.*s'", shown, call->args[i].data);
        }
    }
    if (user && !authenticate(call, user, user + 1))
        return COMMAND_DONE;
    if (!call->client->authenticated)
        return command_fail(
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
    listener_forget(call->publisher, call->client);
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
    if (!command_integer(&call->args[1], &index))
        return command_fail(call, "ERR value is not an integer or out of range");
    return index == 0 ? command_ok(call) : command_fail(call, "ERR DB index is out of range");
}

static enum command_result client_set_name(const struct call *call)
{
    return set_name(call, &call->args[2]) ? command_ok(call) : COMMAND_DONE;
}

static enum command_result client_get_name(const struct call *call)
{
    if (call->client->name)
        command_text(call, call->client->name);
    else
        resp_null(call->out);
    return COMMAND_DONE;
}

static enum command_result client_id(const struct call *call)
{
    resp_integer(call->out, (int64_t)call->client->id);
    return COMMAND_DONE;
}

static enum command_result client_help(const struct call *call)
{
    static const char *const lines[] = {
        "CLIENT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "GETNAME",
        "    Return the name of this connection.",
        "ID",
        "    Return the id of this connection.",
        "SETNAME <name>",
        "    Give this connection a name.",
        "SETINFO <option> <value>, NO-EVICT <on|off>, NO-TOUCH <on|off>",
        "    Taken for libraries that send them, without effect.",
        "HELP",
        "    Print this help.",
    };
    return command_help(call, lines, sizeof lines / sizeof *lines);
}

static enum command_result client(const struct call *call)
{
    static const struct subcommand subcommands[] = {
        {"setname", 1, 1, client_set_name},
        {"getname", 0, 0, client_get_name},
        {"id", 0, 0, client_id},
        {"setinfo", 2, 2, command_ok},
        {"no-evict", 1, 1, command_ok},
        {"no-touch", 1, 1, command_ok},
        {"help", 0, 0, client_help},
    };
    return command_dispatch(call, "client", subcommands, sizeof subcommands / sizeof *subcommands);
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
    {"publish", 3, 3, false, false, false, publish},
    {"ping", 1, 2, false, true, false, ping},
    {"auth", 2, 3, true, false, false, auth},
    {"client", 2, 0, false, false, false, client},
    {"command", 1, 0, false, false, false, command},
    {"config", 2, 0, false, false, false, command_config},
    {"connection", 2, 0, false, false, true, command_connection},
    {"drain", 1, 2, false, false, true, command_drain},
    {"echo", 2, 2, false, false, false, echo},
    {"hello", 1, 0, true, false, false, hello},
    {"history", 2, 0, false, false, false, command_history},
    {"historydel", 2, 2, false, false, false, command_historydel},
    {"info", 1, 0, false, false, false, command_info},
    {"metrics", 1, 1, false, false, true, command_metrics},
    {"presence", 2, 2, false, false, false, command_presence},
    {"presencestats", 2, 2, false, false, false, command_presencestats},
    {"psubscribe", 2, 0, false, true, false, command_psubscribe},
    {"pubsub", 2, 0, false, false, false, command_pubsub},
    {"punsubscribe", 1, 0, false, true, false, command_punsubscribe},
    {"quit", 1, 0, true, true, false, quit},
    {"reset", 1, 1, true, true, false, reset},
    {"select", 2, 2, false, false, false, select_database},
    {"shutdown", 1, 4, false, false, true, command_shutdown},
    {"subscribe", 2, 0, false, true, false, command_subscribe},
    {"topic", 2, 0, false, false, false, command_topic},
    {"unsubscribe", 1, 0, false, true, false, command_unsubscribe},
    {"user", 2, 0, false, false, false, command_user},
    /* A web page can make a browser send these with lines of its own behind them; a Redis client never does.
     */
    {"post", 1, 0, true, true, false, attack},
    {"host:", 1, 0, true, true, false, attack},
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
    return command_fail(call, "ERR unknown command '%.*s', with args beginning with: %s", shown,
                        call->args[0].data, args);
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
        return command_fail(&call, "ERR wrong number of arguments for '%s' command", row->name);
    if (!client->authenticated && !row->before_auth)
        return command_fail(&call, "NOAUTH Authentication required.");
    /* RESP2 cannot tell a reply from what comes unasked. */
    if (listener_count(&client->listener) > 0 && !client->resp3 && !row->listening)
        return command_fail(&call,
                            "ERR Can't execute '%s': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / "
                            "RESET are allowed in this context",
                            row->name);
    if (row->control && !control_allowed(&call, row->name))
        return COMMAND_DONE;
    return row->run(&call);
}
