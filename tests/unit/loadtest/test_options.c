/* The command line and target URLs. */
#include "loadtest/options.h"

#include "gateway/base/preflight.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include <arpa/inet.h>

#include <cmocka.h>

enum { ARGUMENTS_MAX = 16 };

static char error[256];

/* `line` is cut at spaces. */
static enum options_result parse(struct load_options *options, const char *line)
{
    static char copy[1024];
    char *argv[ARGUMENTS_MAX] = {"pushgate-load"}, *save = NULL;
    int argc = 1;

    snprintf(copy, sizeof(copy), "%s", line);
    for (char *word = strtok_r(copy, " ", &save); word && argc < ARGUMENTS_MAX;
         word = strtok_r(NULL, " ", &save))
        argv[argc++] = word;
    error[0] = '\0';
    return load_options_parse(options, argc, argv, error, sizeof(error));
}

static void a_whole_line_is_understood(void **state)
{
    (void)state;
    struct load_options options;
    assert_int_equal(parse(&options,
                           "fanout --target=wss://127.0.0.1:8443/ws?topic=load --connections=10k --rate 500 "
                           "--hold=2m --publish=127.0.0.1:6390 --topics=3 --sources=127.0.0.1-127.0.0.5 "
                           "--header=A:b --insecure --resume"),
                     OPTIONS_RUN);
    assert_int_equal(options.mode, LOAD_FANOUT);
    assert_int_equal(options.connections, 10000);
    assert_int_equal(options.rate, 500);
    assert_int_equal(options.hold_ms, 120000);
    assert_int_equal(options.message_bytes, 128);
    assert_int_equal(options.sources.count, 5);
    assert_string_equal(options.headers, "A:b\r\n");
    assert_true(options.insecure && options.resume && options.target.tls && options.target.host_is_ip);
    load_options_fini(&options);
}

static void bytes_to_send_are_given_in_hexadecimal(void **state)
{
    (void)state;
    static const char start[] = "fanout --target=ws://127.0.0.1:1/ --publish=127.0.0.1:2 --send-binary=";
    static const char *const wrong[] = {"1", "100", "0g", "1_"};
    struct load_options options;
    char line[128];

    snprintf(line, sizeof(line), "%s100cFF00", start);
    assert_int_equal(parse(&options, line), OPTIONS_RUN);
    assert_int_equal(options.send_binary_bytes, 4);
    assert_memory_equal(options.send_binary, "\x10\x0c\xff\x00", 4);
    load_options_fini(&options);
    for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
        snprintf(line, sizeof(line), "%s%s", start, wrong[i]);
        assert_int_equal(parse(&options, line), OPTIONS_BAD);
        assert_non_null(strstr(error, "hexadecimal"));
        load_options_fini(&options);
    }
}

static void shares_are_kept_in_hundredths_of_a_percent(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t share;
    } cases[] = {{"5%", 500}, {"0.5%", 50}, {"0.25%", 25}, {"100%", 10000}, {"12.3%", 1230}, {"0.01%", 1}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct load_options options;
        char line[128];
        snprintf(line, sizeof(line), "churn --target=ws://127.0.0.1/ --publish=127.0.0.1:1 --churn=%s",
                 cases[i].text);
        assert_int_equal(parse(&options, line), OPTIONS_RUN);
        assert_int_equal(options.churn_share, cases[i].share);
        assert_int_equal(options.publish_rate, 10);
    }
}

static void bad_lines_get_a_sentence(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "idle",
        "idle fanout --target=ws://127.0.0.1/",
        "flood --target=ws://127.0.0.1/",
        "idle --target=http://127.0.0.1/",
        "idle --target=ws://127.0.0.1:0/",
        "idle --target=ws://127.0.0.1:65536/",
        "idle --target=ws://:80/",
        "idle --target=ws://[::1/",
        "idle --target=ws://127.0.0.1/ --connections=0",
        "idle --target=ws://127.0.0.1/ --connections=99999999999999999999",
        "idle --target=ws://127.0.0.1/ --connections=5x",
        "idle --target=ws://127.0.0.1/ --hold=5",
        "idle --target=ws://127.0.0.1/ --hold",
        "idle --target=ws://127.0.0.1/ --insecure=yes",
        "idle --target=ws://127.0.0.1/ --unknown=1",
        "idle --target=ws://127.0.0.1/ --header=nocolon",
        "idle --target=ws://127.0.0.1/ --topics=2",
        "idle --target=ws://127.0.0.1/{topic}/{topic}",
        "idle --target=ws://127.0.0.1/?topic=",
        "idle --target=ws://127.0.0.1/?topic=%zz",
        "idle --target=ws://127.0.0.1/ --sources=127.0.0.9-127.0.0.1",
        "idle --target=ws://127.0.0.1/ --sources=loopback",
        "idle --target=ws://[::1]:80/ --sources=127.0.0.1",
        "idle --target=ws://127.0.0.1/ --resume",
        "idle --target=ws://127.0.0.1/ --nap=2s",
        "fanout --target=ws://127.0.0.1/ --publish=127.0.0.1:1 --watch",
        "fanout --target=ws://127.0.0.1/ --publish=localhost --messages=1",
        "idle --target=ws://127.0.0.1/ --watch --json=-",
        "idle --target=ws://127.0.0.1/ --report=- --json=-",
        "fanout --target=ws://127.0.0.1/",
        "fanout --target=ws://127.0.0.1/ --publish=127.0.0.1:1 --hold=0",
        "fanout --target=ws://127.0.0.1/ --publish=127.0.0.1:1 --message-bytes=10",
        "idle --target=ws://127.0.0.1/ --one-by-one",
        "storm --target=wss://127.0.0.1/ --resume",
        "storm --target=wss://127.0.0.1/ --handshakes=some",
        "storm --target=ws://127.0.0.1/ --publish=127.0.0.1:1 --messages=5",
        "churn --target=ws://127.0.0.1/",
        "churn --target=ws://127.0.0.1/ --publish=127.0.0.1:1 --churn=5",
        "churn --target=ws://127.0.0.1/ --publish=127.0.0.1:1 --churn=0%",
        "churn --target=ws://127.0.0.1/ --publish=127.0.0.1:1 --churn=101%",
        "churn --target=ws://127.0.0.1/ --publish=127.0.0.1:1 --churn=.5%",
        "churn --target=ws://127.0.0.1/ --publish=127.0.0.1:1 --churn=1.234%",
        "churn --target=ws://127.0.0.1/ --publish=127.0.0.1:1 --churn=99999999999999999999%",
        "slow --target=ws://127.0.0.1/ --publish=127.0.0.1:1 --slow=100%",
        "fanout --target=ws://127.0.0.1/?topic=a --publish=127.0.0.1:1 --topics=2 --one-by-one",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct load_options options;
        assert_int_equal(parse(&options, bad[i]), OPTIONS_BAD);
        assert_true(strlen(error) > 10);
        load_options_fini(&options);
    }
}

static void options_without_effect_in_a_mode_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *line, *sentence;
    } cases[] = {
        {"idle --target=ws://127.0.0.1/ --messages=10", "--messages has no effect in idle: it is for fanout"},
        {"idle --target=ws://127.0.0.1/ --publish=127.0.0.1:1",
         "--publish has no effect in idle: it is for fanout, storm, churn and slow"},
        {"storm --target=ws://127.0.0.1/ --messages=5",
         "--messages has no effect in storm: it is for fanout"},
        {"storm --target=ws://127.0.0.1/ --publish-rate=5", "--publish-rate has no effect without --publish"},
        {"fanout --target=ws://127.0.0.1/ --publish=127.0.0.1:1 --churn=5%",
         "--churn has no effect in fanout: it is for churn"},
        {"churn --target=ws://127.0.0.1/ --publish=127.0.0.1:1 --nap=1ms",
         "--nap has no effect in churn: it is for idle, fanout and storm"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct load_options options;
        assert_int_equal(parse(&options, cases[i].line), OPTIONS_BAD);
        assert_string_equal(error, cases[i].sentence);
    }
}

/* Returns a listener that never accepts, whose address becomes *out. */
static int listener(struct net_address *out)
{
    struct net_address any;
    assert_true(net_parse("127.0.0.1:0", &any, error, sizeof(error)));
    int fd = net_listen(&any, 8, false, error, sizeof(error));
    assert_true(fd >= 0 && net_local_address(fd, out));
    return fd;
}

static void of_several_addresses_the_first_that_accepts_is_taken(void **state)
{
    (void)state;
    struct target target = {.found_count = 3};
    struct net_address open = {0};
    int closed = listener(&target.found[0]), fd = listener(&open);
    const struct sockaddr_in *chosen = (const void *)&target.address.storage;
    const struct sockaddr_in *first = (const void *)&target.found[0].storage;
    struct sockaddr_in wanted;

    memcpy(&wanted, &open.storage, sizeof(wanted));
    close(closed); /* nobody accepts there any more */
    assert_true(net_parse("[::1]:1", &target.found[1], error, sizeof(error)));
    target.found[2] = open;
    assert_true(target_choose(&target, false, 1000));
    assert_int_equal(chosen->sin_port, wanted.sin_port);
    assert_true(target_choose(&target, true, 1000));
    assert_int_equal(target.found_count, 2); /* the IPv6 one does not count */
    assert_int_equal(chosen->sin_port, wanted.sin_port);
    close(fd);
    assert_true(target_choose(&target, false, 1000)); /* the run will tell what is wrong with it */
    assert_int_equal(chosen->sin_port, first->sin_port);
    assert_true(net_parse("[::1]:1", &target.found[0], error, sizeof(error)));
    target.found_count = 1;
    assert_false(target_choose(&target, true, 1000));
}

static void expect_topic(const char *url, uint32_t topics, const char *path, const char *name)
{
    struct target target;
    char whole[2 * TARGET_TEXT_MAX + 16], topic[TARGET_TOPIC_MAX + 16], number[16] = "";

    assert_true(target_parse(&target, url, topics, error, sizeof(error)));
    if (target.numbered)
        snprintf(number, sizeof(number), "%d", 5);
    snprintf(whole, sizeof(whole), "%s%s%s", target.path, number, target.path_after);
    assert_string_equal(whole, path);
    size_t len = target_topic_name(&target, 5, topic, sizeof(topic));
    assert_int_equal(len, strlen(topic));
    assert_string_equal(topic, name);
}

static void topics_stand_where_the_url_says(void **state)
{
    (void)state;
    expect_topic("ws://127.0.0.1", 1, "/", "load");
    expect_topic("ws://127.0.0.1?topic=x", 1, "/?topic=x", "x");
    expect_topic("ws://127.0.0.1/ws?topic=news%3Aeu&a=b#frag", 1, "/ws?topic=news%3Aeu&a=b", "news:eu");
    expect_topic("ws://127.0.0.1/ws?a=b&topic=news%3Aeu&c=d", 9, "/ws?a=b&topic=news%3Aeu-5&c=d",
                 "news:eu-5");
    expect_topic("ws://127.0.0.1/ws?topic=load", 9, "/ws?topic=load-5", "load-5");
    expect_topic("ws://127.0.0.1/sub/{topic}?a=b", 9, "/sub/load-5?a=b", "load-5");
    expect_topic("ws://127.0.0.1/sub?subtopic=no&topic=yes", 1, "/sub?subtopic=no&topic=yes", "yes");
}

static void ports_default_by_scheme(void **state)
{
    (void)state;
    struct target target;
    const struct sockaddr_in *v4 = (const void *)&target.address.storage;
    const struct sockaddr_in6 *v6 = (const void *)&target.address.storage;
    assert_true(target_parse(&target, "ws://127.0.0.1/", 1, error, sizeof(error)));
    assert_int_equal(ntohs(v4->sin_port), 80);
    assert_true(target_parse(&target, "wss://127.0.0.1/", 1, error, sizeof(error)));
    assert_int_equal(ntohs(v4->sin_port), 443);
    assert_true(target_parse(&target, "wss://[::1]:8443/", 1, error, sizeof(error)));
    assert_int_equal(ntohs(v6->sin6_port), 8443);
    assert_string_equal(target.host, "::1");
    assert_string_equal(target.authority, "[::1]:8443");
}

static void a_loopback_target_gets_source_addresses_by_the_number_of_connections(void **state)
{
    (void)state;
    struct load_options options;
    struct preflight_machine machine;
    preflight_read("", &machine);
    assert_int_equal(parse(&options, "idle --target=ws://127.0.0.1/ --connections=1000"), OPTIONS_RUN);
    assert_int_equal(options.sources.first, 0x7f000001);
    assert_int_equal(options.sources.count, 40);
    assert_int_equal(parse(&options, "idle --target=ws://127.0.0.1/ --connections=4M"), OPTIONS_RUN);
    assert_int_equal(options.sources.count, preflight_sources(&machine, 4000000));
    assert_true(options.sources.count > 40);
    assert_int_equal(parse(&options, "idle --target=ws://127.0.0.1/ --sources= --connections=4M"),
                     OPTIONS_RUN);
    assert_int_equal(options.sources.count, 0);
    assert_int_equal(parse(&options, "idle --target=ws://192.0.2.1/ --connections=4M"), OPTIONS_RUN);
    assert_int_equal(options.sources.count, 0);
    assert_int_equal(parse(&options, "idle --target=ws://[::1]/ --connections=4M"), OPTIONS_RUN);
    assert_int_equal(options.sources.count, 0);
}

static void sources_are_taken_in_turn(void **state)
{
    (void)state;
    struct source_range range;
    assert_true(source_range_parse(&range, "127.0.0.250-127.0.1.3", error, sizeof(error)));
    assert_int_equal(range.count, 10);
    struct sockaddr_in last = source_range_at(&range, 9), wrapped = source_range_at(&range, 20);
    assert_int_equal(ntohl(last.sin_addr.s_addr), 0x7f000103);
    assert_int_equal(ntohl(wrapped.sin_addr.s_addr), 0x7f0000fa);
    assert_true(source_range_parse(&range, "", error, sizeof(error)));
    assert_int_equal(range.count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_to_send_are_given_in_hexadecimal),
        cmocka_unit_test(shares_are_kept_in_hundredths_of_a_percent),
        cmocka_unit_test(a_whole_line_is_understood),
        cmocka_unit_test(bad_lines_get_a_sentence),
        cmocka_unit_test(options_without_effect_in_a_mode_are_refused),
        cmocka_unit_test(of_several_addresses_the_first_that_accepts_is_taken),
        cmocka_unit_test(topics_stand_where_the_url_says),
        cmocka_unit_test(ports_default_by_scheme),
        cmocka_unit_test(a_loopback_target_gets_source_addresses_by_the_number_of_connections),
        cmocka_unit_test(sources_are_taken_in_turn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
