/* Bodies of the server API: whatever they are, a job ends, its answer is JSON with one reply for each call,
 * and nothing stays held. The broker is a real one with a memory engine.
 *
 * First byte: the path (its low bits) and how small api.response_bytes is (its high bit); the rest is the
 * body. */
#include "gateway/admin_api.h"
#include "gateway/broker/engine_memory.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

struct world {
    struct settings settings;
    struct config *config;
    struct mailbox reactor, replies;
    struct engine *engine;
    struct broker *broker;
    struct admin_api *api;
};

static struct world *world_create(void)
{
    static const char rules[] = "[topic h*]\nhistory_size = 3\n[topic p*]\npresence = on\n"
                                "[limits]\nmessage_bytes = 64\n[api]\ncommands = 100\nbody_bytes = 4KiB\n";
    static struct world world;
    struct mailbox *mail[] = {&world.reactor};
    char error[256];
    check(topic_hash_setup());
    world.config = settings_config(&world.settings);
    check(world.config &&
          config_read_text(world.config, "rules", rules, sizeof rules - 1, error, sizeof error));
    check(mailbox_init(&world.reactor) && mailbox_init(&world.replies));
    world.engine =
        engine_memory_create(&(struct engine_memory_config){.history_bytes = 1 << 20, .epoch_seed = 1});
    world.broker = broker_create(&(struct broker_config){.reactors = 1,
                                                         .reactor_mail = mail,
                                                         .message_bytes = 64,
                                                         .settings = &world.settings,
                                                         .engine = world.engine});
    struct admin_config admin = {.settings = &world.settings, .broker_mail = broker_mailbox(world.broker)};
    world.api = admin_api_create(&admin, &world.replies, 0);
    check(world.broker && world.api);
    struct broker_interest *interest =
        broker_interest_create(0, "a", 1, topic_hash("a", 1), 1, 1 << ADAPTER_RAW);
    mailbox_push(broker_mailbox(world.broker), &interest->mail.node);
    return &world;
}

static void drop_orders_and_messages(struct world *world)
{
    for (struct mailbox_node *node = mailbox_detach(&world->reactor), *next; node; node = next) {
        next = node->next;
        if (((struct mail *)node)->kind == MAIL_DELIVERY) {
            message_passed(((struct delivery *)node)->message);
        } else {
            order_unref(((struct order_copy *)node)->order);
            free(node);
        }
    }
}

/* Lets the broker answer all that is on its way. */
static size_t answer(struct world *world, struct admin_api_job *job)
{
    size_t answers = 0;
    broker_drain_mail(world->broker);
    for (struct mailbox_node *node = mailbox_detach(&world->replies), *next; node; node = next, answers++) {
        next = node->next;
        admin_api_answered(world->api, job, (struct broker_request *)(void *)node);
    }
    drop_orders_and_messages(world);
    return answers;
}

/* NULL when it has what the grammar has and jansson does not take: data is passed on as it came in. */
static json_t *parse(const char *text, size_t bytes)
{
    json_error_t error;
    json_t *tree = json_loadb(text, bytes, JSON_ALLOW_NUL, &error);
    check(json_text_valid(text, bytes));
    check(tree || json_error_code(&error) != json_error_invalid_syntax || strstr(error.text, "nicode"));
    return tree;
}

static void check_reply(const json_t *reply)
{
    const json_t *error = json_object_get(reply, "error");
    check(json_is_object(reply) && json_object_size(reply) >= 1);
    if (error)
        check(json_integer_value(json_object_get(error, "code")) >= 100 &&
              json_string_length(json_object_get(error, "message")) > 0);
}

static void check_lines(char *text, size_t bytes)
{
    for (char *at = text, *end = text + bytes; at < end;) {
        char *newline = memchr(at, '\n', (size_t)(end - at));
        size_t len = (size_t)((newline ? newline : end) - at);
        json_t *reply = parse(at, len);
        if (reply)
            check_reply(reply);
        json_decref(reply);
        at += len + (newline != NULL);
        check(!newline || at < end);
    }
}

static void check_answer(const char *method, const char *body, size_t body_bytes, char *text, size_t bytes)
{
    if (!*method) {
        check_lines(text, bytes);
        return;
    }
    check(bytes > 0 && text[bytes - 1] == '\n');
    json_t *answer = parse(text, bytes);
    if (!answer)
        return;
    if (strcmp(method, "/batch") == 0) {
        json_t *replies = json_object_get(answer, "replies"), *reply;
        size_t index;
        json_t *asked = json_loadb(body, body_bytes, JSON_ALLOW_NUL, NULL);
        check(json_is_array(replies));
        if (asked) /* else jansson does not take what the grammar has */
            check(json_array_size(replies) == json_array_size(json_object_get(asked, "commands")));
        json_decref(asked);
        json_array_foreach(replies, index, reply) check_reply(reply);
    } else {
        check_reply(answer);
    }
    json_decref(answer);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    static const char *const methods[] = {
        "/batch",      "/publish", "/broadcast", "/subscribe",      "/unsubscribe",
        "/disconnect", "/refresh", "/presence",  "/history",        "/channels",
        "/info",       "/rpc",     "",           "/presence_stats", "/history_remove"};
    static struct world *world;
    int status = 0;
    const char *sentence = NULL;
    if (size < 1 || size > 4096)
        return 0;
    if (!world)
        world = world_create();
    const char *method = methods[(input[0] & 0x7f) % (sizeof methods / sizeof methods[0])];
    world->settings.api.response_bytes = input[0] & 0x80 ? 200 : 1 << 20;
    size_t bytes = size - 1;
    char *body = malloc(bytes ? bytes : 1);
    check(body != NULL);
    memcpy(body, input + 1, bytes);
    struct admin_api_job *job = admin_api_begin(world->api, (struct http_slice){method, strlen(method)},
                                                (struct http_slice){body, bytes}, 1, &status, &sentence);
    if (!job) {
        check((status == 400 || status == 413) && sentence && *sentence);
    } else {
        unsigned turns = 0;
        while (admin_api_go_on(world->api, job) != API_DONE) {
            check(answer(world, job) > 0);
            check(++turns < 10000);
        }
        check(memcmp(body, input + 1, bytes) == 0); /* it is only read */
        size_t len = 0;
        char *text = admin_api_take(job, &len);
        check(text != NULL);
        check_answer(method, body, bytes, text, len);
        free(text);
        admin_api_end(world->api, job);
        /* The same again, given up in the middle. */
        job = admin_api_begin(world->api, (struct http_slice){method, strlen(method)},
                              (struct http_slice){body, bytes}, 1, &status, &sentence);
        check(job != NULL);
        (void)admin_api_go_on(world->api, job);
        admin_api_end(world->api, job);
        (void)answer(world, NULL);
    }
    free(body);
    check(admin_api_held(world->api) == 0);
    return 0;
}
