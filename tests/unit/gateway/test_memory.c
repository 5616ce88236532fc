/* memory: OPERATIONS.md's formula, by settings. */
#include "gateway/memory.h"

#include "gateway/base/preflight.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MIB (UINT64_C(1) << 20)

static char none[] = "", here[] = "127.0.0.1:1";

static struct settings usual(void)
{
    return (struct settings){
        .listen = {.ws = here, .wss = none, .publish = here, .admin = none},
        .limits = {.outbox_memory = 100 * MIB, .inflight_bytes = 64 * MIB},
        .publish = {.outbox_bytes = 8 * MIB},
        .history = {.memory = 256 * MIB},
    };
}

static bool prints(const struct settings *settings, uint64_t connections, const char *part)
{
    struct memory_need need = memory_reckon(settings, connections, 4096);
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    assert_non_null(out);
    memory_print(&need, settings, out);
    fclose(out);
    bool found = strstr(text, part) != NULL;
    free(text);
    return found;
}

static void histories_count_when_a_topic_keeps_one(void **state)
{
    (void)state;
    struct topic_rule rules[] = {{.name = none, .presence = true}, {.name = none, .history_size = 1}};
    struct settings settings = usual();
    settings.topics.rules = rules;
    settings.topics.count = 1;
    struct memory_need need = memory_reckon(&settings, 1000, 4096);
    assert_int_equal(need.history, 0);
    assert_int_equal(memory_fixed(&need), (64 + 100 + 128) * MIB);
    assert_false(prints(&settings, 1000, "history"));
    settings.topics.count = 2;
    need = memory_reckon(&settings, 1000, 4096);
    assert_int_equal(memory_fixed(&need), (256 + 64 + 100 + 128) * MIB);
    assert_true(prints(&settings, 1000, "          256 MiB  history.memory\n"));
}

static void few_connections_cannot_fill_what_is_for_all_outboxes(void **state)
{
    (void)state;
    struct settings settings = usual();
    settings.limits.outbox_bytes = MIB;
    assert_int_equal(memory_reckon(&settings, 25, 4096).outboxes, 25 * MIB);
    assert_int_equal(memory_reckon(&settings, 100, 4096).outboxes, 100 * MIB);
    assert_int_equal(memory_reckon(&settings, UINT64_MAX / 2, 4096).outboxes, 100 * MIB);
    settings.limits.outbox_memory = 0;
    assert_int_equal(memory_reckon(&settings, 25, 4096).outboxes, 0);
}

static void connections_over_tls_cost_more(void **state)
{
    (void)state;
    struct settings settings = usual();
    assert_true(prints(&settings, 1000000, "        4,062 MiB  4,260 bytes of each connection"));
    settings.listen.wss = here;
    assert_true(prints(&settings, 1000000, "        4,224 MiB  4,430 bytes of each connection"));
    assert_true(prints(&settings, 1000000, "        3,906 MiB  while one message goes to all: 4,096 bytes"));
}

static void slow_clients_are_counted_and_slow_backends_told_of(void **state)
{
    (void)state;
    struct settings settings = usual();
    assert_true(prints(&settings, 1000000, "          100 MiB  limits.outbox_memory\n"));
    assert_true(prints(&settings, 1000000, "publish.outbox_bytes (8 MiB) for each backend"));
    assert_false(prints(&settings, 1000000, "without bound"));
    settings.publish.outbox_bytes = 4 * 1024 * MIB - 1;
    struct memory_need need = memory_reckon(&settings, 1000000, 4096);
    assert_int_equal(memory_fixed(&need), (64 + 100 + 128) * MIB);
    assert_true(prints(&settings, 100, "(4,294,967,295 bytes)"));
    settings.publish.outbox_bytes = 64 * 1024;
    assert_true(prints(&settings, 100, "(64 KiB)"));
    settings.listen.publish = none;
    assert_false(prints(&settings, 100, "publish.outbox_bytes"));
}

static void what_has_no_bound_is_named(void **state)
{
    (void)state;
    struct topic_rule rule = {.name = none, .history_size = 1};
    struct settings settings = usual();
    settings.limits.outbox_memory = settings.limits.inflight_bytes = settings.history.memory = 0;
    assert_true(prints(&settings, 100, "without bound: slow clients (limits.outbox_memory is 0)\n"));
    assert_true(prints(&settings, 100, "(limits.inflight_bytes is 0)\n"));
    assert_false(prints(&settings, 100, "history"));
    settings.topics.rules = &rule;
    settings.topics.count = 1;
    assert_true(prints(&settings, 100, "without bound: histories (history.memory is 0)\n"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(histories_count_when_a_topic_keeps_one),
        cmocka_unit_test(few_connections_cannot_fill_what_is_for_all_outboxes),
        cmocka_unit_test(connections_over_tls_cost_more),
        cmocka_unit_test(slow_clients_are_counted_and_slow_backends_told_of),
        cmocka_unit_test(what_has_no_bound_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
