/* What operators do to the gateway as a whole: CONFIG, DRAIN, SHUTDOWN, METRICS. */
#include "gateway/base/clock.h"
#include "gateway/base/config_value.h"
#include "gateway/base/glob.h"
#include "gateway/publisher_client.h"

#include <stdlib.h>
#include <string.h>

/* Who may
 * ------------------------------------------------------------------------------------------------ */

static bool is_allowed(const struct call *call)
{
    int who = call->publisher->settings->publish.control;
    return who == PUBLISH_CONTROL_ALL || (who == PUBLISH_CONTROL_LOCAL && call->client->local);
}

bool control_allowed(const struct call *call, const char *command)
{
    if (is_allowed(call))
        return true;
    bool off = call->publisher->settings->publish.control == PUBLISH_CONTROL_OFF;
    command_fail(call, "NOPERM this connection has no permissions to run the '%s' command: %s", command,
                 off ? "publish.control is off"
                     : "publish.control = local takes it on unix sockets and from loopback only");
    return false;
}

/* CONFIG
 * ------------------------------------------------------------------------------------------------ */

/* "https://user:password@host/" → where the part that nobody else may see begins, and where the host does. */
static bool find_userinfo(const char *value, size_t *from, size_t *to)
{
    const char *scheme = strstr(value, "://");
    if (!scheme)
        return false;
    const char *begin = scheme + 3;
    size_t authority = strcspn(begin, "/?# ");
    const char *at = memrchr(begin, '@', authority);
    if (!at)
        return false;
    *from = (size_t)(begin - value);
    *to = (size_t)(at - value);
    return true;
}

static const char *level_name(enum log_level level)
{
    static const char *const names[] = {"error", "warn", "info", "debug"};
    return names[level];
}

static void put_setting(const struct call *call, const struct config_key *key)
{
    char room[CONFIG_VALUE_TEXT_MAX], text[1024];
    const char *value = config_value_text(key, call->publisher->settings, room);
    size_t from, to;
    if (strcmp(key->name, "log.level") == 0)
        value = level_name(log_get_level()); /* it may have been changed since the start */
    command_text(call, key->name);
    if (find_userinfo(value, &from, &to)) {
        snprintf(text, sizeof text, "%.*s(secret)%s", (int)from, value, value + to);
        value = text;
    } else if (strstr(value, "://") && strchr(value, '?')) { /* a hook's key often stands in its query */
        snprintf(text, sizeof text, "%.*s?(secret)", (int)strcspn(value, "?"), value);
        value = text;
    }
    command_text(call, value);
}

static bool is_wanted(const struct call *call, const char *name)
{
    for (size_t i = 2; i < call->count; i++)
        if (glob_match(call->args[i].data, call->args[i].len, name, strlen(name)))
            return true;
    return false;
}

/* Of Redis' own, what tools ask of every server: redis-benchmark prints these two. */
static const char *const probes[][2] = {{"save", ""}, {"appendonly", "no"}};

/* CONFIG GET pattern […]: our settings are for operators. */
static enum command_result config_get(const struct call *call)
{
    size_t count = 0, keys = is_allowed(call) ? settings_key_count : 0;
    for (size_t i = 0; i < keys; i++)
        count += is_wanted(call, settings_keys[i].name);
    for (size_t i = 0; i < sizeof probes / sizeof *probes; i++)
        count += is_wanted(call, probes[i][0]);
    resp_map(call->out, count);
    for (size_t i = 0; i < keys; i++)
        if (is_wanted(call, settings_keys[i].name))
            put_setting(call, &settings_keys[i]);
    for (size_t i = 0; i < sizeof probes / sizeof *probes; i++)
        if (is_wanted(call, probes[i][0])) {
            command_text(call, probes[i][0]);
            command_text(call, probes[i][1]);
        }
    return COMMAND_DONE;
}

static const struct config_key *find_key(const struct resp_arg *name)
{
    for (size_t i = 0; i < settings_key_count; i++)
        if (resp_arg_is(name, settings_keys[i].name))
            return &settings_keys[i];
    return NULL;
}

/* CONFIG SET log.level LEVEL: until the next start. */
static enum command_result config_set(const struct call *call)
{
    const struct resp_arg *name = &call->args[2], *value = &call->args[3];
    const struct config_key *key = find_key(name);
    int shown = (int)(name->len < QUOTED_MAX ? name->len : QUOTED_MAX);
    if (!control_allowed(call, "config|set"))
        return COMMAND_DONE;
    if (!key)
        return command_fail(call, "ERR Unknown option or number of arguments for CONFIG SET - '%.*s'", shown,
                            name->data);
    if (strcmp(key->name, "log.level") != 0)
        return command_fail(call,
                            "ERR CONFIG SET failed (possibly related to argument '%s') - can't set immutable "
                            "config: change the file, then reload or restart",
                            key->name);
    char text[16] = "", why[160];
    int level;
    if (value->len < sizeof text)
        memcpy(text, value->data, value->len);
    if (!config_value_choice(key, text, &level, why, sizeof why))
        return command_fail(call, "ERR CONFIG SET failed (possibly related to argument 'log.level') - %s",
                            why);
    if ((enum log_level)level == log_get_level())
        return command_ok(call);
    char from[ORIGIN_TEXT_MAX];
    client_origin(call->client, from);
    log_always(LOG_WARN, "operator_asked", "for=log_level was=%s is=%s publisher=%llu from=%s",
               level_name(log_get_level()), text, (unsigned long long)call->client->id, from);
    log_set_level((enum log_level)level);
    return command_ok(call);
}

static enum command_result config_help(const struct call *call)
{
    static const char *const lines[] = {
        "CONFIG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "GET <pattern> [<pattern> ...]",
        "    Return settings that match, and their values. Secrets are not shown.",
        "SET log.level <error|warn|info|debug>",
        "    Set the log level, until the next start.",
        "HELP",
        "    Print this help.",
    };
    return command_help(call, lines, sizeof lines / sizeof *lines);
}

enum command_result command_config(const struct call *call)
{
    static const struct subcommand subcommands[] = {
        {"get", 1, RESP_ARGS_MAX, config_get},
        {"set", 2, 2, config_set},
        {"help", 0, 0, config_help},
    };
    return command_dispatch(call, "config", subcommands, sizeof subcommands / sizeof *subcommands);
}

/* DRAIN and SHUTDOWN
 * ------------------------------------------------------------------------------------ */

static enum command_result drain_status(const struct call *call)
{
    struct control_drain drain = control_drain(call->publisher->config.control);
    uint64_t now = clock_monotonic_ms();
    bool under_way = drain.phase == PHASE_GRACE || drain.phase == PHASE_DRAINING;
    resp_map(call->out, 5);
    command_text(call, "phase");
    command_text(call, control_phase_label(drain.phase));
    command_pair(call, "connections", drain.connections);
    command_pair(call, "left", drain.left);
    command_pair(call, "elapsed-ms", drain.began_ms != 0 && now > drain.began_ms ? now - drain.began_ms : 0);
    command_pair(call, "remaining-ms", under_way && drain.until_ms > now ? drain.until_ms - now : 0);
    return COMMAND_DONE;
}

static enum command_result ask_main(const struct call *call, enum control_request request, const char *what)
{
    struct control *control = call->publisher->config.control;
    if (!control)
        return command_fail(call, "ERR there is nobody to ask");
    char from[ORIGIN_TEXT_MAX];
    client_origin(call->client, from);
    log_event(LOG_WARN, "operator_asked", "for=%s publisher=%llu from=%s", what,
              (unsigned long long)call->client->id, from);
    control_ask(control, request);
    return command_ok(call);
}

/* DRAIN [STATUS]: begins to close all connections in good order, then the process ends. */
enum command_result command_drain(const struct call *call)
{
    if (call->count == 1)
        return ask_main(call, CONTROL_DRAIN, "drain");
    if (!resp_arg_is(&call->args[1], "STATUS"))
        return command_fail(call, "ERR syntax error");
    return call->publisher->config.control ? drain_status(call)
                                           : command_fail(call, "ERR there is nobody to ask");
}

/* SHUTDOWN [NOSAVE|SAVE] [NOW]: drains, or ends at once. There is nothing to save, either way. */
enum command_result command_shutdown(const struct call *call)
{
    bool now = false;
    for (size_t i = 1; i < call->count; i++) {
        if (resp_arg_is(&call->args[i], "NOW"))
            now = true;
        else if (!resp_arg_is(&call->args[i], "SAVE") && !resp_arg_is(&call->args[i], "NOSAVE") &&
                 !resp_arg_is(&call->args[i], "FORCE"))
            return command_fail(call, "ERR syntax error");
    }
    return ask_main(call, now ? CONTROL_END : CONTROL_DRAIN, now ? "end" : "drain");
}

/* METRICS
 * ----------------------------------------------------------------------------------------------- */

/* METRICS: counters as /metrics of the admin listener has them, but for those of that listener itself. */
enum command_result command_metrics(const struct call *call)
{
    const struct publisher_config *config = &call->publisher->config;
    char *text = NULL;
    size_t bytes = 0;
    FILE *stream = config->write_metrics ? open_memstream(&text, &bytes) : NULL;
    if (!stream)
        return command_fail(call, config->write_metrics ? "ERR out of memory" : "ERR nothing is counted");
    config->write_metrics(config->metrics_context, stream);
    bool good = !ferror(stream);
    good = fclose(stream) == 0 && good;
    if (good)
        resp_bulk(call->out, text, bytes);
    else
        command_fail(call, "ERR out of memory");
    free(text);
    return COMMAND_DONE;
}
