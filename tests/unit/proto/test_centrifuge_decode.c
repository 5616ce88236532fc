/* Commands of a Centrifuge client: text on the left, meaning on the right. */
#include "proto/centrifuge.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { SUBS_MAX = 3, MEANING_MAX = 4096 };

struct text {
    char data[MEANING_MAX];
    size_t len;
};

static void add(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void add(struct text *text, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    text->len += (size_t)vsnprintf(text->data + text->len, sizeof text->data - text->len, format, arguments);
    va_end(arguments);
    assert_true(text->len < sizeof text->data);
}

static void add_slice(struct text *text, const char *name, struct json_slice slice)
{
    if (slice.data)
        add(text, " %s=<%.*s>", name, (int)slice.len, slice.data);
}

static void add_subscription(struct text *text, const struct centrifuge_subscribe *sub)
{
    add_slice(text, "channel", sub->channel);
    add_slice(text, "token", sub->token);
    add_slice(text, "data", sub->data);
    add_slice(text, "epoch", sub->epoch);
    if (sub->offset)
        add(text, " offset=%llu", (unsigned long long)sub->offset);
    add(text, "%s%s%s%s", sub->recover ? " recover" : "", sub->positioned ? " positioned" : "",
        sub->recoverable ? " recoverable" : "", sub->join_leave ? " join_leave" : "");
    if (sub->flags)
        add(text, " flags=%llu", (unsigned long long)sub->flags);
    if (sub->type)
        add(text, " type=%d", (int)sub->type);
}

static void add_connect(struct text *text, const struct centrifuge_connect *connect)
{
    add_slice(text, "token", connect->token);
    add_slice(text, "data", connect->data);
    add_slice(text, "name", connect->name);
    add_slice(text, "version", connect->version);
    add_slice(text, "headers", connect->headers);
    for (size_t i = 0; i < connect->sub_count; i++) {
        add(text, " {");
        add_subscription(text, &connect->subs[i]);
        add(text, " }");
    }
}

static void add_command(struct text *text, const struct centrifuge_command *command)
{
    add(text, "%s%u %s", text->len ? "; " : "", (unsigned)command->id,
        centrifuge_method_name(command->method));
    switch (command->method) {
    case CENTRIFUGE_CONNECT:
        add_connect(text, &command->connect);
        break;
    case CENTRIFUGE_SUBSCRIBE:
        add_subscription(text, &command->subscribe);
        break;
    case CENTRIFUGE_UNSUBSCRIBE:
        add_slice(text, "channel", command->unsubscribe.channel);
        break;
    case CENTRIFUGE_PUBLISH:
        add_slice(text, "channel", command->publish.channel);
        add_slice(text, "data", command->publish.data);
        if (command->publish.type)
            add(text, " type=%d", (int)command->publish.type);
        break;
    case CENTRIFUGE_PRESENCE:
        add_slice(text, "channel", command->presence.channel);
        break;
    case CENTRIFUGE_PRESENCE_STATS:
        add_slice(text, "channel", command->presence_stats.channel);
        break;
    case CENTRIFUGE_HISTORY:
        add_slice(text, "channel", command->history.channel);
        add(text, " limit=%d", (int)command->history.limit);
        if (command->history.has_since)
            add(text, " since=%llu", (unsigned long long)command->history.since_offset);
        add_slice(text, "epoch", command->history.since_epoch);
        add(text, "%s", command->history.reverse ? " reverse" : "");
        break;
    case CENTRIFUGE_SEND:
        add_slice(text, "data", command->send.data);
        break;
    case CENTRIFUGE_RPC:
        add_slice(text, "method", command->rpc.method);
        add_slice(text, "data", command->rpc.data);
        break;
    case CENTRIFUGE_REFRESH:
        add_slice(text, "token", command->refresh.token);
        break;
    case CENTRIFUGE_SUB_REFRESH:
        add_slice(text, "channel", command->sub_refresh.channel);
        add_slice(text, "token", command->sub_refresh.token);
        if (command->sub_refresh.type)
            add(text, " type=%d", (int)command->sub_refresh.type);
        break;
    default:
        break;
    }
}

/* All commands of a message, then "bad: …" if it ended so. */
static void read_message(struct text *text, const char *message, size_t len)
{
    struct centrifuge_subscribe subs[SUBS_MAX];
    struct centrifuge_decoder decoder;
    struct centrifuge_command command;
    char *exact = malloc(len ? len : 1); /* so that sanitizers see accesses past the end */
    assert_non_null(exact);
    memcpy(exact, message, len);
    text->len = 0;
    text->data[0] = '\0';
    centrifuge_decoder_init(&decoder, exact, len, subs, SUBS_MAX);
    enum parse_result result;
    while ((result = centrifuge_decode(&decoder, &command)) == PARSE_OK)
        add_command(text, &command);
    if (result == PARSE_BAD)
        add(text, "%sbad: %s", text->len ? "; " : "", decoder.error);
    assert_int_equal(centrifuge_decode(&decoder, &command), result); /* an end stays an end */
    free(exact);
}

struct row {
    const char *message, *meaning;
};

static void assert_rows(const struct row *rows, size_t count)
{
    struct text text;
    for (size_t i = 0; i < count; i++) {
        read_message(&text, rows[i].message, strlen(rows[i].message));
        if (strcmp(text.data, rows[i].meaning) != 0)
            fail_msg("%s\n  means   %s\n  but not %s", rows[i].message, text.data, rows[i].meaning);
    }
}
#define ASSERT_ROWS(rows) assert_rows(rows, sizeof(rows) / sizeof((rows)[0]))

static void every_method_is_read_with_all_its_fields(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"{\"id\":1,\"connect\":{}}", "1 connect"},
        {"{\"id\":1,\"connect\":{\"token\":\"t\",\"data\":{\"a\":1},\"name\":\"js\",\"version\":\"5\","
         "\"headers\":{\"X\":\"y\"},\"flag\":1}}",
         "1 connect token=<t> data=<{\"a\":1}> name=<js> version=<5> headers=<{\"X\":\"y\"}>"},
        {"{\"connect\":{\"subs\":{\"a\":{\"recover\":true,\"epoch\":\"e\",\"offset\":5},\"b\":{},\"c\":null}}"
         ",\"id\":2}",
         "2 connect { channel=<a> epoch=<e> offset=5 recover } { channel=<b> } { channel=<c> }"},
        {"{\"id\":3,\"subscribe\":{\"channel\":\"c\"}}", "3 subscribe channel=<c>"},
        {"{\"id\":3,\"subscribe\":{\"channel\":\"c\",\"token\":\"t\",\"recover\":true,\"epoch\":\"e\","
         "\"offset\":18446744073709551615,\"data\":[1],\"positioned\":true,\"recoverable\":true,"
         "\"join_leave\":true,\"delta\":\"fossil\",\"flag\":3,\"type\":1,\"tf\":{\"op\":\"and\"}}}",
         "3 subscribe channel=<c> token=<t> data=<[1]> epoch=<e> offset=18446744073709551615 recover "
         "positioned "
         "recoverable join_leave flags=3 type=1"},
        {"{\"id\":4,\"unsubscribe\":{\"channel\":\"c\"}}", "4 unsubscribe channel=<c>"},
        {"{\"id\":5,\"publish\":{\"channel\":\"c\",\"data\":\"d\"}}", "5 publish channel=<c> data=<\"d\">"},
        {"{\"id\":5,\"publish\":{\"channel\":\"c\",\"data\":1,\"type\":1,\"key\":\"k\"}}",
         "5 publish channel=<c> data=<1> type=1"},
        {"{\"id\":6,\"presence\":{\"channel\":\"c\"}}", "6 presence channel=<c>"},
        {"{\"id\":7,\"presence_stats\":{\"channel\":\"c\"}}", "7 presence_stats channel=<c>"},
        {"{\"id\":8,\"history\":{\"channel\":\"c\"}}", "8 history channel=<c> limit=0"},
        {"{\"id\":8,\"history\":{\"channel\":\"c\",\"limit\":-1,\"since\":{\"offset\":9,\"epoch\":\"e\"},"
         "\"reverse\":true}}",
         "8 history channel=<c> limit=-1 since=9 epoch=<e> reverse"},
        {"{\"id\":8,\"history\":{\"channel\":\"c\",\"limit\":2147483647,\"since\":{}}}",
         "8 history channel=<c> limit=2147483647 since=0"},
        {"{\"id\":9,\"ping\":{}}", "9 ping"},
        {"{\"id\":10,\"send\":{\"data\":{}}}", "10 send data=<{}>"},
        {"{\"send\":{\"data\":{}}}", "0 send data=<{}>"},
        {"{\"id\":11,\"rpc\":{\"method\":\"m\",\"data\":[null]}}", "11 rpc method=<m> data=<[null]>"},
        {"{\"id\":11,\"rpc\":{}}", "11 rpc"},
        {"{\"id\":12,\"refresh\":{\"token\":\"t\"}}", "12 refresh token=<t>"},
        {"{\"id\":4294967295,\"sub_refresh\":{\"channel\":\"c\",\"token\":\"t\",\"type\":2}}",
         "4294967295 sub_refresh channel=<c> token=<t> type=2"},
        {"{}", "0 pong"},
        {"{\"id\":0}", "0 pong"},
        {"{\"id\":1}", "1 unknown"},
        {"{\"id\":1,\"dance\":{}}", "1 unknown"},
    };
    ASSERT_ROWS(rows);
}

static void payloads_pass_as_they_are(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"{\"id\":1,\"publish\":{\"data\": { "
         "\"b\":1e999,\"a\":12345678901234567890123,\"b\":\"\\ud800\\u0041\"} }}",
         "1 publish data=<{ \"b\":1e999,\"a\":12345678901234567890123,\"b\":\"\\ud800\\u0041\"}>"},
        {"{\"id\":1,\"publish\":{\"data\":\"}\\\",\\\"channel\\\":\\\"x\\\"\",\"channel\":\"c\"}}",
         "1 publish channel=<c> data=<\"}\\\",\\\"channel\\\":\\\"x\\\"\">"},
        {"{\"id\":1,\"rpc\":{\"data\":null}}", "1 rpc data=<null>"},
        {"{\"id\":1,\"publish\":{\"channel\":null,\"data\":{\"channel\":\"inner\"}}}",
         "1 publish data=<{\"channel\":\"inner\"}>"},
    };
    ASSERT_ROWS(rows);
}

static void escapes_are_decoded_in_strings_and_names(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"{\"id\":1,\"subscribe\":{\"channel\":\"a\\\"\\\\\\/"
         "\\u00e4\\ud83d\\ude00\\n\",\"token\":\"\\u0074\","
         "\"data\":\"\\u0074\",\"offset\":7}}",
         "1 subscribe channel=<a\"\\/\xc3\xa4\xf0\x9f\x98\x80\n> token=<t> data=<\"\\u0074\"> offset=7"},
        {"{\"\\u0069d\":1,\"\\u0073ubscribe\":{\"ch\\u0061nnel\":\"c\"}}", "1 subscribe channel=<c>"},
        {"{\"id\":1,\"connect\":{\"token\":\"\\\"\",\"subs\":{\"\\\"a\\\"\":{\"epoch\":\"\\\"\",\"offset\":3}"
         ","
         "\"\\u0062\":{\"token\":\"\\\\\"}},\"name\":\"\\\"\",\"headers\":{\"\\\"\":\"\\\"\"}}}",
         "1 connect token=<\"> name=<\"> headers=<{\"\\\"\":\"\\\"\"}> { channel=<\"a\"> epoch=<\"> offset=3 "
         "} "
         "{ channel=<b> token=<\\> }"},
        {"{\"id\":1,\"history\":{\"channel\":\"\\\"\",\"since\":{\"epoch\":\"\\\"\",\"offset\":3},\"limit\":"
         "2}}",
         "1 history channel=<\"> limit=2 since=3 epoch=<\">"},
        {"{\"id\":1,\"sub_refresh\":{\"channel\":\"\\\"\",\"token\":\"\\\"\"}}",
         "1 sub_refresh channel=<\"> token=<\">"},
    };
    ASSERT_ROWS(rows);
}

static void null_and_nothing_are_the_same_and_the_last_of_a_name_counts(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"{\"id\":null,\"connect\":null}", "0 pong"},
        {"{\"id\":1,\"connect\":{\"token\":null,\"name\":null,\"headers\":null,\"subs\":null}}", "1 connect"},
        {"{\"id\":1,\"connect\":null,\"subscribe\":{\"channel\":null,\"recover\":null,\"offset\":null}}",
         "1 subscribe"},
        {"{\"id\":1,\"history\":{\"since\":null,\"limit\":null,\"reverse\":null}}", "1 history limit=0"},
        {"{\"id\":1,\"subscribe\":{\"channel\":\"a\",\"channel\":\"b\"},\"id\":2}",
         "2 subscribe channel=<b>"},
        {"{\"id\":1,\"subscribe\":{\"channel\":\"\"}}", "1 subscribe channel=<>"},
        {"{\"id\":1,\"connect\":{\"subs\":{\"a\":{\"channel\":\"b\"},\"a\":{}}}}",
         "1 connect { channel=<a> } { channel=<a> }"},
    };
    ASSERT_ROWS(rows);
}

static void commands_are_separated_by_newlines(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"{\"id\":1,\"ping\":{}}\n{}\n{\"id\":2,\"ping\":{}}", "1 ping; 0 pong; 2 ping"},
        {"\n\r\n {} \r\n\t\n{}\n\n", "0 pong; 0 pong"},
        {"{\"id\":1,\"connect\":{\"subs\":{\"a\":{}}}}\n{\"id\":2,\"connect\":{\"subs\":{\"b\":{}}}}",
         "1 connect { channel=<a> }; 2 connect { channel=<b> }"},
        {"{}{}", "bad: a command is no JSON"},
        {"{}\n{\n}", "0 pong; bad: a command is no JSON"},
        {"{}\n[]\n{}", "0 pong; bad: a command is no object"},
        {"", "bad: a message has no command"},
        {"\r\n \n", "bad: a message has no command"},
    };
    ASSERT_ROWS(rows);
}

static void what_is_malformed_is_refused_by_name(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"{\"id\":1,\"connect\":{}", "bad: a command is no JSON"},
        {"{\"id\":1,\"publish\":{\"channel\":\"\xff\"}}", "bad: a command is no JSON"},
        {"\"connect\"", "bad: a command is no object"},
        {"1", "bad: a command is no object"},
        {"{\"connect\":{}}", "bad: a command that has a reply has no id"},
        {"{\"id\":0,\"rpc\":{}}", "bad: a command that has a reply has no id"},
        {"{\"id\":1,\"connect\":{},\"ping\":{}}", "bad: a command has two methods"},
        {"{\"id\":\"1\",\"ping\":{}}", "bad: id is no whole number from 0 on"},
        {"{\"id\":-1,\"ping\":{}}", "bad: id is no whole number from 0 on"},
        {"{\"id\":1.0,\"ping\":{}}", "bad: id is no whole number from 0 on"},
        {"{\"id\":1e2,\"ping\":{}}", "bad: id is no whole number from 0 on"},
        {"{\"id\":[],\"ping\":{}}", "bad: id is no whole number from 0 on"},
        {"{\"id\":4294967296,\"ping\":{}}", "bad: id is too large"},
        {"{\"id\":99999999999999999999999999,\"ping\":{}}", "bad: id is too large"},
        {"{\"id\":1,\"ping\":1}", "bad: ping is no object"},
        {"{\"id\":1,\"connect\":[]}", "bad: connect is no object"},
        {"{\"id\":1,\"connect\":\"{\"}", "bad: connect is no object"},
        {"{\"id\":1,\"connect\":{\"token\":1}}", "bad: token is no string"},
        {"{\"id\":1,\"connect\":{\"name\":{}}}", "bad: name is no string"},
        {"{\"id\":1,\"connect\":{\"version\":true}}", "bad: version is no string"},
        {"{\"id\":1,\"connect\":{\"headers\":[]}}", "bad: headers is no object"},
        {"{\"id\":1,\"connect\":{\"headers\":{\"a\":1}}}", "bad: a value in headers is no string"},
        {"{\"id\":1,\"connect\":{\"subs\":[]}}", "bad: subs is no object"},
        {"{\"id\":1,\"connect\":{\"subs\":{\"a\":1}}}", "bad: a subscription in subs is no object"},
        {"{\"id\":1,\"connect\":{\"subs\":{\"a\":{\"epoch\":1}}}}", "bad: epoch is no string"},
        {"{\"id\":1,\"connect\":{\"subs\":{\"\\u0000\":{}}}}",
         "bad: a channel in subs has a NUL or half a surrogate pair"},
        {"{\"id\":1,\"connect\":{\"subs\":{\"a\":{},\"b\":{},\"c\":{},\"d\":{}}}}",
         "bad: subs has more channels than one connection may have"},
        {"{\"id\":1,\"subscribe\":{\"channel\":\"a\\u0000b\"}}",
         "bad: channel has a NUL or half a surrogate pair"},
        {"{\"id\":1,\"subscribe\":{\"channel\":\"\\ud800\"}}",
         "bad: channel has a NUL or half a surrogate pair"},
        {"{\"id\":1,\"subscribe\":{\"channel\":[\"a\"]}}", "bad: channel is no string"},
        {"{\"id\":1,\"subscribe\":{\"recover\":1}}", "bad: recover is neither true nor false"},
        {"{\"id\":1,\"subscribe\":{\"positioned\":\"true\"}}", "bad: positioned is neither true nor false"},
        {"{\"id\":1,\"subscribe\":{\"recoverable\":{}}}", "bad: recoverable is neither true nor false"},
        {"{\"id\":1,\"subscribe\":{\"join_leave\":0}}", "bad: join_leave is neither true nor false"},
        {"{\"id\":1,\"subscribe\":{\"offset\":18446744073709551616}}", "bad: offset is too large"},
        {"{\"id\":1,\"subscribe\":{\"offset\":\"5\"}}", "bad: offset is no whole number from 0 on"},
        {"{\"id\":1,\"subscribe\":{\"flag\":-1}}", "bad: flag is no whole number from 0 on"},
        {"{\"id\":1,\"unsubscribe\":{\"channel\":1}}", "bad: channel is no string"},
        {"{\"id\":1,\"publish\":{\"channel\":1}}", "bad: channel is no string"},
        {"{\"id\":1,\"presence\":{\"channel\":1}}", "bad: channel is no string"},
        {"{\"id\":1,\"presence_stats\":{\"channel\":1}}", "bad: channel is no string"},
        {"{\"id\":1,\"history\":{\"channel\":1}}", "bad: channel is no string"},
        {"{\"id\":1,\"history\":{\"limit\":2147483648}}", "bad: limit is too large"},
        {"{\"id\":1,\"history\":{\"limit\":--1}}", "bad: a command is no JSON"},
        {"{\"id\":1,\"history\":{\"limit\":1.5}}", "bad: limit is no whole number"},
        {"{\"id\":1,\"history\":{\"since\":1}}", "bad: since is no object"},
        {"{\"id\":1,\"history\":{\"since\":{\"offset\":-1}}}", "bad: offset is no whole number from 0 on"},
        {"{\"id\":1,\"history\":{\"since\":{\"epoch\":1}}}", "bad: epoch is no string"},
        {"{\"id\":1,\"history\":{\"reverse\":\"\"}}", "bad: reverse is neither true nor false"},
        {"{\"id\":1,\"rpc\":{\"method\":1}}", "bad: method is no string"},
        {"{\"id\":1,\"refresh\":{\"token\":1}}", "bad: token is no string"},
        {"{\"id\":1,\"sub_refresh\":{\"channel\":1}}", "bad: channel is no string"},
        {"{\"id\":1,\"sub_refresh\":{\"token\":1}}", "bad: token is no string"},
        {"{\"id\":1,\"sub_refresh\":{\"type\":\"\"}}", "bad: type is no whole number"},
    };
    ASSERT_ROWS(rows);
}

static void a_message_has_a_bounded_number_of_commands(void **state)
{
    (void)state;
    enum { LINE = 3, LINES = CENTRIFUGE_COMMANDS_MAX + 1 };
    char *message = malloc(LINES * LINE);
    assert_non_null(message);
    for (size_t i = 0; i < LINES; i++)
        memcpy(message + i * LINE, "{}\n", LINE);
    for (size_t lines = LINES - 1; lines <= LINES; lines++) {
        struct centrifuge_decoder decoder;
        struct centrifuge_command command;
        centrifuge_decoder_init(&decoder, message, lines * LINE, NULL, 0);
        for (size_t i = 0; i < CENTRIFUGE_COMMANDS_MAX; i++)
            assert_int_equal(centrifuge_decode(&decoder, &command), PARSE_OK);
        assert_int_equal(centrifuge_decode(&decoder, &command), lines < LINES ? PARSE_MORE : PARSE_BAD);
    }
    free(message);
}

static void no_beginning_of_a_command_is_taken_for_a_whole_one(void **state)
{
    (void)state;
    const char message[] =
        "{\"id\":1,\"connect\":{\"token\":\"\\u00e4\",\"data\":[1.5e1],\"subs\":{\"a\":{\"offset\":1}}}}";
    struct text text;
    for (size_t len = 1; len < sizeof message - 1; len++) {
        read_message(&text, message, len);
        assert_string_equal(text.data, "bad: a command is no JSON");
    }
    read_message(&text, message, sizeof message - 1);
    assert_string_equal(text.data, "1 connect token=<\xc3\xa4> data=<[1.5e1]> { channel=<a> offset=1 }");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_method_is_read_with_all_its_fields),
        cmocka_unit_test(payloads_pass_as_they_are),
        cmocka_unit_test(escapes_are_decoded_in_strings_and_names),
        cmocka_unit_test(null_and_nothing_are_the_same_and_the_last_of_a_name_counts),
        cmocka_unit_test(commands_are_separated_by_newlines),
        cmocka_unit_test(what_is_malformed_is_refused_by_name),
        cmocka_unit_test(a_message_has_a_bounded_number_of_commands),
        cmocka_unit_test(no_beginning_of_a_command_is_taken_for_a_whole_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
