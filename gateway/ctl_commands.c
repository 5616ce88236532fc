/* What each subcommand of pushgate ctl asks, and how the answer is shown. */
#include "gateway/ctl_internal.h"

#include "gateway/base/glob.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { PAGE = 1000, WORDS_MAX = 24, LIMIT_ALL = 0, POLL_MS = 250 };

/* A command that is put together. */
struct words {
    const char *word[WORDS_MAX];
    size_t count;
};

static void add(struct words *words, const char *word)
{
    if (words->count < WORDS_MAX)
        words->word[words->count++] = word;
}

static void add_pair(struct words *words, const char *keyword, const char *value)
{
    if (!value)
        return;
    add(words, keyword);
    add(words, value);
}

#define ASK(ctl, ...)                                                                                        \
    ctl_ask(ctl, (const char *const[]){__VA_ARGS__},                                                         \
            sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *))

static int refuse_shape(struct ctl *ctl, redisReply *reply)
{
    freeReplyObject(reply);
    return ctl_fail(ctl, "%s: this answer was not expected: is it a pushgate of this version?", ctl->address);
}

/* NULL: there was none, or it was of another type; said which. */
static redisReply *of_type(struct ctl *ctl, redisReply *reply, int type)
{
    if (!reply || reply->type == type)
        return reply;
    refuse_shape(ctl, reply);
    return NULL;
}

/* "+OK" and the like. */
static int show_simple(struct ctl *ctl, redisReply *reply)
{
    if (!reply)
        return EXIT_FAILURE;
    json_t *value = ctl->form == CTL_JSON ? ctl_json(reply) : NULL;
    if (value) {
        json_dumpf(value, ctl->out, JSON_ENCODE_ANY);
        fputc('\n', ctl->out);
    } else {
        ctl_show_raw(ctl, reply);
    }
    json_decref(value);
    freeReplyObject(reply);
    return EXIT_SUCCESS;
}

/* A map, as one object. */
static int show_map(struct ctl *ctl, redisReply *reply, const struct ctl_column *columns, size_t count)
{
    if (!of_type(ctl, reply, REDIS_REPLY_ARRAY))
        return EXIT_FAILURE;
    if (ctl->form == CTL_RAW) {
        ctl_show_raw(ctl, reply);
    } else {
        json_t *object = ctl_json_map(reply);
        ctl_show_object(ctl, object, columns, count);
        json_decref(object);
    }
    freeReplyObject(reply);
    return EXIT_SUCCESS;
}

/* Connections
 * ------------------------------------------------------------------------------------------- */

static const struct ctl_column connection_columns[] = {
    {"id", "ID", KIND_TEXT},
    {"address", "ADDRESS", KIND_TEXT},
    {"adapter", "ADAPTER", KIND_TEXT},
    {"transport", "TRANSPORT", KIND_TEXT},
    {"state", "STATE", KIND_TEXT},
    {"user", "USER", KIND_TEXT},
    {"client", "CLIENT", KIND_TEXT},
    {"age", "AGE", KIND_SECONDS},
    {"idle", "IDLE", KIND_SECONDS},
    {"queued", "QUEUED", KIND_BYTES},
    {"subscriptions", "TOPICS", KIND_NUMBER},
};
enum { CONNECTION_COLUMNS = sizeof connection_columns / sizeof *connection_columns };

static void add_filter(struct words *words, const struct ctl_args *args)
{
    add_pair(words, "ID", args->id);
    add_pair(words, "TOPIC", args->topic);
    add_pair(words, "USER", args->user);
    add_pair(words, "CLIENT", args->client);
}

/* A page: a cursor, and a list. */
static bool is_page(const redisReply *reply)
{
    return reply->type == REDIS_REPLY_ARRAY && reply->elements == 2 &&
           reply->element[0]->type == REDIS_REPLY_STRING && reply->element[0]->len < 32 &&
           reply->element[1]->type == REDIS_REPLY_ARRAY;
}

static void say_more(struct ctl *ctl, uint64_t shown)
{
    if (ctl->form == CTL_PEOPLE)
        fprintf(ctl->err, "(the first %llu; --limit=0 shows all)\n", (unsigned long long)shown);
}

static int connections(struct ctl *ctl)
{
    uint64_t limit = ctl->args.limit_number, left = limit;
    char cursor[32] = "0", count[8];
    struct ctl_table table;
    int status = EXIT_SUCCESS;
    bool more = true;
    if (ctl->form != CTL_RAW)
        ctl_table_begin(&table, ctl, connection_columns, CONNECTION_COLUMNS);
    while (more && (limit == LIMIT_ALL || left > 0)) {
        struct words words = {.word = {"CONNECTION", "LIST"}, .count = 2};
        snprintf(count, sizeof count, "%d", limit != LIMIT_ALL && left < PAGE ? (int)left : PAGE);
        add_filter(&words, &ctl->args);
        add_pair(&words, "CURSOR", cursor);
        add_pair(&words, "COUNT", count);
        redisReply *reply = ctl_ask(ctl, words.word, words.count);
        if (!reply || !is_page(reply)) {
            status = reply ? refuse_shape(ctl, reply) : EXIT_FAILURE;
            break;
        }
        const redisReply *list = reply->element[1];
        for (size_t i = 0; i < list->elements; i++)
            if (ctl->form == CTL_RAW)
                ctl_show_raw(ctl, list->element[i]);
            else
                ctl_table_row(&table, ctl_json_map(list->element[i]));
        if (ctl->form != CTL_RAW)
            ctl_table_flush(&table);
        left -= list->elements < left ? list->elements : left;
        snprintf(cursor, sizeof cursor, "%s", reply->element[0]->str);
        more = strcmp(cursor, "0") != 0;
        freeReplyObject(reply);
    }
    if (ctl->form != CTL_RAW)
        ctl_table_end(&table);
    if (more && status == EXIT_SUCCESS)
        say_more(ctl, limit);
    return status;
}

static int connection(struct ctl *ctl)
{
    static const struct ctl_column columns[] = {
        {"age", "", KIND_SECONDS},  {"idle", "", KIND_SECONDS}, {"queued", "", KIND_BYTES},
        {"unsent", "", KIND_BYTES}, {"rtt-us", "", KIND_US},
    };
    return show_map(ctl, ASK(ctl, "CONNECTION", "INFO", ctl->args.words[0]), columns,
                    sizeof columns / sizeof *columns);
}

static int close_connections(struct ctl *ctl)
{
    const struct ctl_args *args = &ctl->args;
    struct words words = {.word = {"CONNECTION", "CLOSE"}, .count = 2};
    if (!args->id && !args->topic && !args->user && !args->client) {
        ctl_fail(ctl, "close which? --id, --topic, --user or --client (drain closes all)");
        return 2;
    }
    add_filter(&words, args);
    add_pair(&words, "CODE", args->code);
    add_pair(&words, "REASON", args->reason);
    redisReply *reply = of_type(ctl, ctl_ask(ctl, words.word, words.count), REDIS_REPLY_INTEGER);
    if (!reply)
        return EXIT_FAILURE;
    long long closed = reply->integer;
    if (ctl->form == CTL_PEOPLE)
        fprintf(ctl->out, "closed %lld connection%s\n", closed, closed == 1 ? "" : "s");
    else
        fprintf(ctl->out, ctl->form == CTL_JSON ? "{\"closed\": %lld}\n" : "%lld\n", closed);
    freeReplyObject(reply);
    return EXIT_SUCCESS;
}

/* Topics
 * ------------------------------------------------------------------------------------------------ */

struct topic {
    char *name;
    size_t bytes;
    long long subscribers;
};

static int by_name(const void *a, const void *b)
{
    const struct topic *left = a, *right = b;
    size_t bytes = left->bytes < right->bytes ? left->bytes : right->bytes;
    int order = memcmp(left->name, right->name, bytes);
    return order != 0 ? order : (left->bytes > right->bytes) - (left->bytes < right->bytes);
}

static int by_subscribers(const void *a, const void *b)
{
    const struct topic *left = a, *right = b;
    if (left->subscribers != right->subscribers)
        return left->subscribers < right->subscribers ? 1 : -1;
    return by_name(a, b);
}

struct topics {
    struct topic *items;
    size_t count, cap;
};

static bool keep_topic(struct topics *topics, const redisReply *name, const redisReply *subscribers)
{
    if (topics->count == topics->cap) {
        size_t cap = topics->cap ? topics->cap * 2 : 1024;
        struct topic *items = realloc(topics->items, cap * sizeof *items);
        if (!items)
            return false;
        topics->items = items;
        topics->cap = cap;
    }
    char *copy = malloc((size_t)name->len + 1);
    if (!copy)
        return false;
    memcpy(copy, name->str, (size_t)name->len + 1);
    topics->items[topics->count++] = (struct topic){copy, (size_t)name->len, subscribers->integer};
    return true;
}

/* All pages. False: said why. */
static bool read_topics(struct ctl *ctl, struct topics *topics)
{
    char cursor[32] = "0";
    do {
        struct words words = {.word = {"TOPIC", "LIST", "COUNT", "1000", "CURSOR", cursor}, .count = 6};
        add_pair(&words, "MATCH", ctl->args.word_count > 0 ? ctl->args.words[0] : NULL);
        redisReply *reply = ctl_ask(ctl, words.word, words.count);
        if (!reply)
            return false;
        if (!is_page(reply))
            return refuse_shape(ctl, reply), false;
        const redisReply *map = reply->element[1];
        bool kept = true;
        for (size_t i = 0; kept && i + 1 < map->elements; i += 2)
            kept = map->element[i]->type == REDIS_REPLY_STRING &&
                   keep_topic(topics, map->element[i], map->element[i + 1]);
        snprintf(cursor, sizeof cursor, "%s", reply->element[0]->str);
        freeReplyObject(reply);
        if (!kept)
            return ctl_fail(ctl, "out of memory"), false;
    } while (strcmp(cursor, "0") != 0);
    return true;
}

/* The largest first. A topic may have come on two pages. */
static void sort_topics(struct topics *topics)
{
    size_t kept = 0;
    if (topics->count == 0)
        return;
    qsort(topics->items, topics->count, sizeof *topics->items, by_name);
    for (size_t i = 1; i < topics->count; i++) {
        if (by_name(&topics->items[kept], &topics->items[i]) == 0)
            free(topics->items[i].name);
        else
            topics->items[++kept] = topics->items[i];
    }
    topics->count = kept + 1;
    qsort(topics->items, topics->count, sizeof *topics->items, by_subscribers);
}

static int show_topics(struct ctl *ctl)
{
    static const struct ctl_column columns[] = {{"subscribers", "SUBSCRIBERS", KIND_NUMBER},
                                                {"topic", "TOPIC", KIND_TEXT}};
    uint64_t limit = ctl->args.limit_number;
    struct topics topics = {0};
    bool good = read_topics(ctl, &topics);
    sort_topics(&topics);
    size_t shown = limit != LIMIT_ALL && limit < topics.count ? (size_t)limit : topics.count;
    struct ctl_table table;
    if (good && ctl->form != CTL_RAW)
        ctl_table_begin(&table, ctl, columns, 2);
    for (size_t i = 0; good && i < shown; i++) {
        const struct topic *topic = &topics.items[i];
        if (ctl->form == CTL_RAW)
            fprintf(ctl->out, "%.*s\n%lld\n", (int)topic->bytes, topic->name, topic->subscribers);
        else
            ctl_table_row(&table, json_pack("{s:o, s:I}", "topic", ctl_json_text(topic->name, topic->bytes),
                                            "subscribers", (json_int_t)topic->subscribers));
    }
    if (good && ctl->form != CTL_RAW)
        ctl_table_end(&table);
    if (good && shown < topics.count)
        say_more(ctl, shown);
    for (size_t i = 0; i < topics.count; i++)
        free(topics.items[i].name);
    free(topics.items);
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int topic(struct ctl *ctl)
{
    return show_map(ctl, ASK(ctl, "TOPIC", "INFO", ctl->args.words[0]), NULL, 0);
}

/* Counters and sections
 * --------------------------------------------------------------------------------- */

/* A pattern, or a part of the name. */
static bool is_meant(const struct ctl *ctl, const char *name, size_t bytes)
{
    const struct ctl_args *args = &ctl->args;
    bool any = args->word_count == 0;
    for (size_t i = 0; i < args->word_count && !any; i++)
        any = strpbrk(args->words[i], "*?[")
                  ? glob_match(args->words[i], strlen(args->words[i]), name, bytes)
                  : memmem(name, bytes, args->words[i], strlen(args->words[i])) != NULL;
    return any;
}

/* "name{label="value"} 12.5" as a row. Buckets of histograms are for programs. */
static void show_counter(struct ctl_table *table, const char *line, size_t bytes)
{
    const struct ctl *ctl = table->ctl;
    const char *space = memrchr(line, ' ', bytes);
    if (!space || *line == '#' || !is_meant(ctl, line, (size_t)(space - line)))
        return;
    size_t name = (size_t)(space - line);
    if (ctl->form == CTL_PEOPLE && memmem(line, name, "_bucket{", 8))
        return;
    double value = strtod(space + 1, NULL);
    bool whole = value < 9e15 && value > -9e15 && value == (double)(long long)value;
    ctl_table_row(table, json_pack("{s:o, s:o}", "name", ctl_json_text(line, name), "value",
                                   whole ? json_integer((json_int_t)value) : json_real(value)));
}

static int counters(struct ctl *ctl)
{
    static const struct ctl_column columns[] = {{"value", "VALUE", KIND_NUMBER}, {"name", "NAME", KIND_TEXT}};
    redisReply *reply = of_type(ctl, ASK(ctl, "METRICS"), REDIS_REPLY_STRING);
    if (!reply)
        return EXIT_FAILURE;
    if (ctl->form == CTL_RAW) {
        ctl_show_raw(ctl, reply);
        freeReplyObject(reply);
        return EXIT_SUCCESS;
    }
    struct ctl_table table;
    ctl_table_begin(&table, ctl, columns, 2);
    for (const char *line = reply->str; *line; line += strcspn(line, "\n"), line += *line == '\n')
        show_counter(&table, line, strcspn(line, "\n"));
    ctl_table_end(&table);
    freeReplyObject(reply);
    return EXIT_SUCCESS;
}

/* "key:value" lines under "# Section". */
static json_t *sections_of(const char *text)
{
    json_t *all = json_object(), *section = NULL;
    for (const char *line = text; *line; line += strcspn(line, "\r\n"), line += strspn(line, "\r\n")) {
        size_t bytes = strcspn(line, "\r\n"), name = strcspn(line, ":\r\n");
        char key[128], *end;
        bool heading = *line == '#' && bytes > 2;
        snprintf(key, sizeof key, "%.*s", (int)(heading ? bytes - 2 : name), line + (heading ? 2 : 0));
        if (heading) {
            section = json_object();
            if (json_object_set_new(all, key, section) != 0)
                section = NULL; /* its name is no text: neither is what stands below it */
        } else if (section && name < bytes) {
            const char *value = line + name + 1;
            long long number = strtoll(value, &end, 10);
            bool whole = end > value && end == line + bytes;
            json_object_set_new(section, key,
                                whole ? json_integer(number) : ctl_json_text(value, bytes - name - 1));
        }
    }
    return all;
}

static int info(struct ctl *ctl)
{
    struct words words = {.word = {"INFO"}, .count = 1};
    for (size_t i = 0; i < ctl->args.word_count; i++)
        add(&words, ctl->args.words[i]);
    redisReply *reply = of_type(ctl, ctl_ask(ctl, words.word, words.count), REDIS_REPLY_STRING);
    if (!reply)
        return EXIT_FAILURE;
    json_t *all = sections_of(reply->str);
    const char *name;
    json_t *section;
    if (ctl->form == CTL_RAW)
        ctl_show_raw(ctl, reply);
    else if (ctl->form == CTL_JSON)
        ctl_show_object(ctl, all, NULL, 0);
    else
        json_object_foreach(all, name, section)
        {
            if (json_object_size(section) == 0)
                continue;
            fprintf(ctl->out, "%s:\n", name);
            ctl_show_object(ctl, section, NULL, 0);
            fputc('\n', ctl->out);
        }
    json_decref(all);
    freeReplyObject(reply);
    return EXIT_SUCCESS;
}

/* Settings
 * ----------------------------------------------------------------------------------------------- */

static int config(struct ctl *ctl)
{
    struct words words = {.word = {"CONFIG", "GET"}, .count = 2};
    for (size_t i = 0; i < ctl->args.word_count; i++)
        add(&words, ctl->args.words[i]);
    if (words.count == 2)
        add(&words, "*.*");
    return show_map(ctl, ctl_ask(ctl, words.word, words.count), NULL, 0);
}

static int log_level(struct ctl *ctl)
{
    if (ctl->args.word_count == 1)
        return show_simple(ctl, ASK(ctl, "CONFIG", "SET", "log.level", ctl->args.words[0]));
    redisReply *reply = ASK(ctl, "CONFIG", "GET", "log.level");
    if (!reply)
        return EXIT_FAILURE;
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2 ||
        reply->element[1]->type != REDIS_REPLY_STRING)
        return refuse_shape(ctl, reply);
    fprintf(ctl->out, ctl->form == CTL_JSON ? "\"%s\"\n" : "%s\n", reply->element[1]->str);
    freeReplyObject(reply);
    return EXIT_SUCCESS;
}

/* The end
 * ------------------------------------------------------------------------------------------------ */

static const struct ctl_column drain_columns[] = {{"elapsed-ms", "", KIND_MS}, {"remaining-ms", "", KIND_MS}};

/* Until the gateway has closed this connection. */
static int wait_for_end(struct ctl *ctl)
{
    static const char *const status[] = {"DRAIN", "STATUS"};
    const struct timespec pause = {.tv_nsec = POLL_MS * 1000000L};
    for (;;) {
        bool ended;
        redisReply *reply = ctl_ask_ending(ctl, status, 2, &ended);
        if (ended) {
            if (ctl->form == CTL_PEOPLE)
                fputs("the gateway has ended\n", ctl->out);
            return EXIT_SUCCESS;
        }
        if (!reply)
            return EXIT_FAILURE;
        freeReplyObject(reply);
        nanosleep(&pause, NULL);
    }
}

static int end(struct ctl *ctl, const char *const *words, size_t count)
{
    bool ended;
    redisReply *reply = ctl_ask_ending(ctl, words, count, &ended);
    if (!reply && !ended)
        return EXIT_FAILURE;
    if (!ended && !ctl->args.wait)
        return show_simple(ctl, reply);
    if (reply)
        freeReplyObject(reply);
    return ctl->args.wait ? wait_for_end(ctl) : EXIT_SUCCESS;
}

static int drain(struct ctl *ctl)
{
    if (ctl->args.status)
        return show_map(ctl, ASK(ctl, "DRAIN", "STATUS"), drain_columns,
                        sizeof drain_columns / sizeof *drain_columns);
    return end(ctl, (const char *const[]){"DRAIN"}, 1);
}

static int shut_down(struct ctl *ctl)
{
    return end(ctl, (const char *const[]){"SHUTDOWN", "NOW"}, ctl->args.now ? 2 : 1);
}

static int any_command(struct ctl *ctl)
{
    redisReply *reply = ctl_ask(ctl, (const char *const *)ctl->args.words, ctl->args.word_count);
    return show_simple(ctl, reply);
}

const struct ctl_command ctl_commands[] = {
    {"connections", "", "Lists connections: all, or those that --topic, --user, --client and --id name.", 0,
     0, connections},
    {"connection", "ID", "Shows all that is known of one connection; ids stand in lists and in the log.", 1,
     1, connection},
    {"close", "", "Closes the connections that --id, --topic, --user and --client name.", 0, 0,
     close_connections},
    {"topics", "[PATTERN]", "Lists topics that have subscribers, the largest first.", 0, 1, show_topics},
    {"topic", "TOPIC", "Shows what a topic has: subscribers, history, presence.", 1, 1, topic},
    {"counters", "[PATTERN ...]",
     "Shows what /metrics shows (but pushgate_api_*, pushgate_admin_*); a pattern or a part of a name "
     "chooses.",
     0, 16, counters},
    {"info", "[SECTION ...]", "Shows the gateway in short: version, connections, messages.", 0, 16, info},
    {"config", "[PATTERN ...]", "Shows settings in use; secrets are not shown.", 0, 16, config},
    {"log-level", "[LEVEL]", "Shows or sets the log level: error, warn, info, debug. Until the next start.",
     0, 1, log_level},
    {"drain", "", "Closes all connections in good order, then the gateway ends: as SIGTERM does.", 0, 0,
     drain},
    {"shutdown", "", "The same; with --now at once.", 0, 0, shut_down},
    {"command", "WORD ...", "Gives any command of the publish socket, as redis-cli would.", 1, 64,
     any_command},
};
const size_t ctl_command_count = sizeof ctl_commands / sizeof *ctl_commands;
