/* settings: the table's defaults, and the rules between keys. */
#include "gateway/base/log.h"
#include "gateway/settings/settings.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct fixture {
    struct settings settings;
    struct config *config;
    char error[512];
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    f->config = settings_config(&f->settings);
    *state = f;
    return f->config ? 0 : -1;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    config_destroy(f->config);
    free(f);
    return 0;
}

static void set(struct fixture *f, const char *argument)
{
    if (!config_read_argument(f->config, argument, f->error, sizeof f->error))
        fail_msg("%s", f->error);
}

static void passes(struct fixture *f)
{
    if (!settings_check(&f->settings, f->error, sizeof f->error))
        fail_msg("%s", f->error);
}

static void fails_with(struct fixture *f, const char *words)
{
    assert_false(settings_check(&f->settings, f->error, sizeof f->error));
    if (!strstr(f->error, words))
        fail_msg("\"%s\" does not say \"%s\"", f->error, words);
}

static void defaults_are_the_documented_ones(void **state)
{
    const struct fixture *f = *state;
    const struct settings *s = &f->settings;
    assert_string_equal(s->listen.wss, "");
    assert_string_equal(s->listen.ws, "");
    assert_string_equal(s->listen.publish, "");
    assert_string_equal(s->listen.admin, "");
    assert_string_equal(s->listen.origins, "");
    assert_int_equal(s->listen.backlog, 4096);
    assert_string_equal(s->tls.certificate, "");
    assert_string_equal(s->tls.private_key, "");
    assert_int_equal(s->threads.acceptors, 0);
    assert_int_equal(s->threads.reactors, 0);
    assert_true(s->threads.private_fds);
    assert_int_equal(s->threads.balance, REACTOR_LEAST_CONNECTIONS);
    assert_int_equal(s->limits.connections, 0);
    assert_int_equal(s->limits.connections_per_ip, 0);
    assert_int_equal(s->limits.message_bytes, 65536);
    assert_int_equal(s->limits.topics_per_connection, 32);
    assert_int_equal(s->limits.handshake_timeout, 10000);
    assert_int_equal(s->limits.close_timeout, 5000);
    assert_int_equal(s->limits.outbox_bytes, 262144);
    assert_int_equal(s->limits.outbox_memory, 268435456);
    assert_int_equal(s->limits.inflight_bytes, 67108864);
    assert_int_equal(s->limits.publishers, 1000);
    assert_int_equal(s->idle.timeout, 90000);
    assert_int_equal(s->idle.ping_interval, 25000);
    assert_int_equal(s->drain.timeout, 30000);
    assert_int_equal(s->drain.grace, 0);
    assert_string_equal(s->publish.password, "");
    assert_string_equal(s->api.key, "");
    assert_false(s->api.insecure);
    assert_int_equal(s->api.body_bytes, 1048576);
    assert_int_equal(s->api.response_bytes, 16777216);
    assert_int_equal(s->api.commands, 10000);
    assert_string_equal(s->proxy.connect, "");
    assert_string_equal(s->proxy.headers, "");
    assert_int_equal(s->proxy.timeout, 1000);
    assert_int_equal(s->proxy.concurrency, 64);
    assert_int_equal(s->proxy.queue, 1024);
    assert_false(settings_use_proxy(s));
    assert_false(s->auth.anonymous);
    assert_string_equal(s->auth.hmac_secret, "");
    assert_string_equal(s->auth.public_keys, "");
    assert_string_equal(s->auth.jwks_file, "");
    assert_string_equal(s->auth.algorithms, "");
    assert_string_equal(s->auth.audience, "");
    assert_string_equal(s->auth.issuer, "");
    assert_string_equal(s->auth.cookie, "");
    assert_int_equal(s->auth.leeway, 0);
    assert_false(s->demo.enabled);
    assert_int_equal(s->log.level, LOG_INFO);
    assert_int_equal(s->log.format, LOG_FORMAT_LOGFMT);
}

/* Each key writes its own field and no other: a wrong offset in the table would show. */
static void no_two_keys_share_a_field(void **state)
{
    (void)state;
    for (size_t i = 0; i < settings_key_count; i++) {
        assert_true(settings_keys[i].offset < sizeof(struct settings));
        for (size_t j = 0; j < i; j++) {
            assert_int_not_equal(settings_keys[i].offset, settings_keys[j].offset);
            assert_string_not_equal(settings_keys[i].name, settings_keys[j].name);
        }
    }
}

static void something_must_listen_for_clients(void **state)
{
    struct fixture *f = *state;
    set(f, "--auth.anonymous=on");
    fails_with(f, "set listen.wss or listen.ws");
    set(f, "--listen.publish=127.0.0.1:6390");
    fails_with(f, "set listen.wss or listen.ws");
    set(f, "--listen.ws=127.0.0.1:8080");
    passes(f);
}

static void wss_needs_certificate_and_key(void **state)
{
    struct fixture *f = *state;
    set(f, "--auth.anonymous=on");
    set(f, "--listen.wss=127.0.0.1:8443");
    fails_with(f, "tls.certificate and tls.private_key");
    set(f, "--tls.certificate=a.pem");
    fails_with(f, "tls.certificate and tls.private_key");
    set(f, "--tls.private_key=b.pem");
    passes(f);
}

static void every_address_must_parse(void **state)
{
    struct fixture *f = *state;
    set(f, "--auth.anonymous=on");
    set(f, "--listen.ws=localhost");
    fails_with(f, "listen.ws: ");
    set(f, "--listen.ws=*:8080");
    set(f, "--listen.admin=9190");
    fails_with(f, "listen.admin: ");
    set(f, "--listen.admin=[::1]:9190");
    set(f, "--listen.publish=127.0.0.1:6390 nonsense");
    fails_with(f, "listen.publish: ");
    set(f, "--listen.publish=127.0.0.1:6390, unix:/run/pushgate.sock");
    passes(f);
    set(f, "--listen.publish=127.0.0.1:1 127.0.0.1:2 127.0.0.1:3");
    fails_with(f, "more than two");
}

static void whoever_may_publish_must_be_near_or_know_the_password(void **state)
{
    static const char *const far[] = {"--listen.publish=0.0.0.0:6390",
                                      "--listen.publish=unix:/a,10.0.0.1:6390", "--listen.publish=[::]:6390",
                                      "--listen.publish=*:6390"};
    struct fixture *f = *state;
    set(f, "--auth.anonymous=on");
    set(f, "--listen.ws=0.0.0.0:8080");
    passes(f);
    for (size_t i = 0; i < sizeof far / sizeof *far; i++) {
        set(f, far[i]);
        fails_with(f, "set publish.password");
    }
    set(f, "--listen.publish=127.3.2.1:6390");
    set(f, "--listen.admin=*:9190");
    fails_with(f, "listen.admin: *:9190 can be reached from other machines");
    fails_with(f, "set admin.password");
    set(f, "--api.key=secret"); /* which is for the API only */
    fails_with(f, "set admin.password");
    set(f, "--admin.password=eleven byte");
    fails_with(f, "admin.password: it is shorter than 12 bytes");
    set(f, "--admin.password=twelve bytes");
    passes(f);
    set(f, "--admin.password=");
    set(f, "--publish.password=secret");
    passes(f);
    set(f, "--listen.publish=*:6390");
    passes(f);
}

static void the_api_does_without_a_key_only_on_this_machine(void **state)
{
    struct fixture *f = *state;
    set(f, "--auth.anonymous=on");
    set(f, "--listen.ws=127.0.0.1:8080");
    set(f, "--publish.password=secret");
    set(f, "--api.insecure=on");
    passes(f); /* nobody can reach it */
    set(f, "--listen.admin=127.0.0.1:9190");
    passes(f);
    set(f, "--listen.admin=unix:/run/admin.sock");
    passes(f);
    set(f, "--listen.admin=*:9190");
    fails_with(f, "api.insecure lets everybody there");
    set(f, "--listen.admin=[::1]:9190");
    set(f, "--api.key=secret");
    fails_with(f, "contradict");
    set(f, "--api.insecure=off");
    set(f, "--listen.admin=*:9190");
    passes(f);
}

static void pings_must_come_before_the_idle_timeout(void **state)
{
    struct fixture *f = *state;
    set(f, "--auth.anonymous=on");
    set(f, "--listen.ws=127.0.0.1:8080");
    set(f, "--idle.timeout=25s");
    fails_with(f, "idle.timeout must be longer than idle.ping_interval");
    set(f, "--idle.ping_interval=0");
    passes(f);
    set(f, "--idle.ping_interval=1h");
    set(f, "--idle.timeout=0");
    passes(f);
}

static void a_proxy_needs_urls_and_headers_that_can_be_sent(void **state)
{
    static const char *const kinds[] = {"connect", "refresh", "subscribe", "sub_refresh", "publish", "rpc"};
    struct fixture *f = *state;
    set(f, "--auth.anonymous=on");
    set(f, "--listen.ws=127.0.0.1:8080");
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        char argument[128], words[128];
        snprintf(argument, sizeof argument, "--proxy.%s=backend:3000/x", kinds[i]);
        snprintf(words, sizeof words, "proxy.%s is ", kinds[i]);
        set(f, argument);
        fails_with(f, words);
        snprintf(argument, sizeof argument, "--proxy.%s=http://backend:3000/x", kinds[i]);
        set(f, argument);
        assert_true(settings_use_proxy(&f->settings));
        passes(f);
        if (i % 2) { /* each alone counts as use */
            snprintf(argument, sizeof argument, "--proxy.%s=", kinds[i]);
            set(f, argument);
            snprintf(argument, sizeof argument, "--proxy.%s=", kinds[i - 1]);
            set(f, argument);
            assert_false(settings_use_proxy(&f->settings));
        }
    }
    set(f, "--proxy.headers=Cookie Host");
    fails_with(f, "proxy.headers: Host cannot be passed on");
    set(f, "--proxy.headers=Cookie, Authorization");
    passes(f);
}

static void somebody_must_be_able_to_connect(void **state)
{
    static const char *const enough[] = {"auth.hmac_secret=0123456789abcdef0123456789abcdef",
                                         "auth.public_keys=/some/key.pem", "auth.jwks_file=/some/keys.json",
                                         "proxy.connect=http://localhost/connect", "auth.anonymous=on"};
    struct fixture *f = *state;
    set(f, "--listen.ws=127.0.0.1:8080");
    for (size_t i = 0; i < sizeof enough / sizeof *enough; i++) {
        char argument[128];
        fails_with(f, "nobody could connect");
        snprintf(argument, sizeof argument, "--%s", enough[i]);
        set(f, argument);
        passes(f);
        snprintf(argument, sizeof argument, "--%.*s=%s", (int)strcspn(enough[i], "="), enough[i],
                 strstr(enough[i], "anonymous") ? "off" : "");
        set(f, argument);
    }
}

static void secrets_of_tokens_must_be_long_and_their_algorithms_known(void **state)
{
    struct fixture *f = *state;
    set(f, "--listen.ws=127.0.0.1:8080");
    set(f, "--auth.hmac_secret=0123456789abcdef0123456789abcde");
    fails_with(f, "shorter than 32 bytes");
    assert_null(strstr(f->error, "0123"));
    set(f, "--auth.hmac_secret=0123456789abcdef0123456789abcdef");
    passes(f);
    set(f, "--auth.algorithms=RS256, HS256");
    passes(f);
    set(f, "--auth.algorithms=HS256 none");
    fails_with(f, "\"none\" is none of HS256");
}

static void a_cookie_with_tokens_wants_named_origins(void **state)
{
    struct fixture *f = *state;
    set(f, "--listen.ws=127.0.0.1:8080");
    set(f, "--auth.hmac_secret=0123456789abcdef0123456789abcdef");
    set(f, "--auth.cookie=to ken");
    fails_with(f, "name of a cookie");
    set(f, "--auth.cookie=__Host-token");
    passes(f);
    set(f, "--listen.origins=https://example.org *");
    fails_with(f, "every web page");
    set(f, "--listen.origins=https://example.org");
    passes(f);
}

static void who_may_say_who_the_client_is_must_be_named(void **state)
{
    struct fixture *f = *state;
    set(f, "--auth.anonymous=on");
    set(f, "--listen.ws=127.0.0.1:8080");
    set(f, "--listen.proxy_protocol=ws");
    fails_with(f, "listen.proxy_protocol needs listen.trusted");
    set(f, "--listen.trusted=10.0.0.1/8");
    fails_with(f, "listen.trusted: \"10.0.0.1/8\" has bits behind its prefix");
    set(f, "--listen.trusted=10.0.0.0/8, 127.0.0.1 ::1 unix");
    passes(f);
    assert_true(settings_use_proxy_protocol(&f->settings, "ws"));
    assert_false(settings_use_proxy_protocol(&f->settings, "wss"));
    set(f, "--listen.proxy_protocol=ws, wss");
    fails_with(f, "listen.wss is not set");
    set(f, "--listen.proxy_protocol=ws8080");
    fails_with(f, "\"ws8080\" is no listener");
    set(f, "--listen.proxy_protocol=");
    set(f, "--listen.forwarded=x-forwarded-for");
    passes(f);
    assert_int_equal(f->settings.listen.forwarded, FORWARDED_X_FORWARDED_FOR);
    set(f, "--listen.trusted=");
    fails_with(f, "listen.forwarded needs listen.trusted");
}

static void networks_of_access_must_be_networks(void **state)
{
    struct fixture *f = *state;
    set(f, "--auth.anonymous=on");
    set(f, "--listen.ws=127.0.0.1:8080");
    set(f, "--access.allow=192.0.2.0/24 2001:db8::/32");
    set(f, "--access.deny=192.0.2.7, unix");
    passes(f);
    set(f, "--access.deny=example.org");
    fails_with(f, "access.deny: \"example.org\" is no network");
    set(f, "--access.deny=");
    set(f, "--access.allow_file=/nonexistent/networks");
    fails_with(f, "access.allow_file: /nonexistent/networks: No such file");
}

static void no_two_listeners_share_an_address(void **state)
{
    static const struct {
        const char *ws, *other;
        bool good;
    } rows[] = {
        {"127.0.0.1:8080", "--listen.admin=127.0.0.1:8080", false},
        {"127.0.0.1:8080", "--listen.admin=127.0.0.2:8080", true},
        {"127.0.0.1:8080", "--listen.admin=127.0.0.1:8081", true},
        {"0.0.0.0:8080", "--listen.admin=127.0.0.1:8080", false},
        {"*:8080", "--listen.admin=127.0.0.1:8080", false},
        {"[::1]:8080", "--listen.admin=127.0.0.1:8080", true},
        {"[::1]:8080", "--listen.admin=[::1]:8080", false},
        {"127.0.0.1:0", "--listen.admin=127.0.0.1:0", true},
        {"unix:/run/a", "--listen.publish=127.0.0.1:6390 unix:/run/a", false},
        {"unix:/run/a", "--listen.publish=127.0.0.1:6390 unix:/run/b", true},
    };
    struct fixture *f = *state;
    set(f, "--auth.anonymous=on");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char argument[64];
        snprintf(argument, sizeof argument, "--listen.ws=%s", rows[i].ws);
        set(f, "--listen.admin=");
        set(f, "--listen.publish=");
        set(f, argument);
        set(f, rows[i].other);
        if (rows[i].good)
            passes(f);
        else
            fails_with(f, "is taken by listen.ws already");
    }
    set(f, "--listen.publish=127.0.0.1:1 127.0.0.1:1");
    fails_with(f, "is taken by listen.publish already");
}

static void only_a_topic_with_history_recovers(void **state)
{
    struct fixture *f = *state;
    const char text[] = "[topic a]\nhistory_size=1\nrecover=on\n[topic b*]\nrecover=on\n";
    set(f, "--auth.anonymous=on");
    set(f, "--listen.ws=127.0.0.1:8080");
    assert_true(config_read_text(f->config, "t", text, sizeof text - 1, f->error, sizeof f->error));
    fails_with(f, "[topic b*]: recover needs history_size");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(defaults_are_the_documented_ones),
        TEST(no_two_keys_share_a_field),
        TEST(something_must_listen_for_clients),
        TEST(wss_needs_certificate_and_key),
        TEST(every_address_must_parse),
        TEST(whoever_may_publish_must_be_near_or_know_the_password),
        TEST(the_api_does_without_a_key_only_on_this_machine),
        TEST(pings_must_come_before_the_idle_timeout),
        TEST(a_proxy_needs_urls_and_headers_that_can_be_sent),
        TEST(somebody_must_be_able_to_connect),
        TEST(secrets_of_tokens_must_be_long_and_their_algorithms_known),
        TEST(a_cookie_with_tokens_wants_named_origins),
        TEST(who_may_say_who_the_client_is_must_be_named),
        TEST(networks_of_access_must_be_networks),
        TEST(no_two_listeners_share_an_address),
        TEST(only_a_topic_with_history_recovers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
