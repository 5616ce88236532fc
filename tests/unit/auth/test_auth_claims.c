/* Claims: dates against a plain model, origin, subject, and what a token may say of its client. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/auth/fixture.h"

static void a_connection_token_says_who_until_when_and_what_more(void **state)
{
    struct fixture *f = *state;
    fixture_open_secret(f);
    fixture_accepts_claims(
        f, "{\"sub\":\"user \\u00e9\",\"exp\":1700000100,\"iat\":1699999999,\"info\":{\"name\" : \"Ann\", "
           "\"n\":[1, "
           "2.5,null]},\"channels\":[\"news\",\"user:42\",\"news\"],\"meta\":{\"a\":1},\"jti\":\"7\"}");
    assert_string_equal(auth_identity_user(&f->identity), "user \xc3\xa9");
    assert_int_equal(f->identity.user_bytes, 7);
    assert_int_equal(f->identity.expires_at, 1700000100);
    assert_string_equal(auth_identity_info(&f->identity), "{\"name\":\"Ann\",\"n\":[1,2.5,null]}");
    assert_int_equal(f->identity.info_bytes, strlen(auth_identity_info(&f->identity)));
    assert_int_equal(f->identity.channel_count, 2);
    assert_int_equal(f->identity.channels_bytes, 5 + 8);
    assert_memory_equal(auth_identity_channels(&f->identity), "\4news\7user:42", 13);
}

static void a_token_that_says_nothing_is_anonymous_for_ever(void **state)
{
    struct fixture *f = *state;
    fixture_open_secret(f);
    for (int i = 0; i < 2; i++) {
        fixture_accepts_claims(
            f, i ? "{\"sub\":null,\"exp\":null,\"nbf\":null,\"iat\":null,\"info\":null,\"channels\":null,"
                   "\"channel\":null,\"expire_at\":null}"
                 : "{}");
        assert_string_equal(auth_identity_user(&f->identity), "");
        assert_string_equal(auth_identity_info(&f->identity), "");
        assert_int_equal(f->identity.user_bytes + f->identity.info_bytes + f->identity.channels_bytes +
                             f->identity.channel_count,
                         0);
        assert_int_equal(f->identity.expires_at, 0);
    }
}

static void info_may_be_any_json(void **state)
{
    static const char *const values[] = {"\"text\"", "7", "true", "[]", "{}", "\"\\u0001\\\"\\\\\"", "-0.5"};
    struct fixture *f = *state;
    fixture_open_secret(f);
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        char claims[64];
        snprintf(claims, sizeof claims, "{\"info\":%s}", values[i]);
        fixture_accepts_claims(f, claims);
        assert_string_equal(auth_identity_info(&f->identity), values[i]);
    }
}

/* What the dates of a token mean, written a second time. */
struct dates {
    int64_t exp, nbf, iat, expire_at; /* -1: absent */
};

static enum auth_result model(const struct dates *d, int64_t now, int64_t leeway, int64_t *until)
{
    if ((d->nbf >= 0 && d->nbf - now > leeway) || (d->iat >= 0 && d->iat - now > leeway + 60))
        return AUTH_INVALID;
    if (d->exp >= 0 && now - d->exp >= leeway)
        return AUTH_EXPIRED;
    if (d->expire_at > 0 && now - d->expire_at >= leeway)
        return AUTH_EXPIRED;
    *until = d->expire_at == 0  ? 0
             : d->expire_at > 0 ? d->expire_at + leeway
             : d->exp >= 0      ? d->exp + leeway
                                : 0;
    return AUTH_OK;
}

static void dates_hold_to_the_second(void **state)
{
    struct fixture *f = *state;
    unsigned results[AUTH_NO_MEMORY + 1] = {0};
    srand(7);
    for (int leeway = 0; leeway <= 30; leeway += 15) {
        f->config.leeway_s = (uint64_t)leeway;
        fixture_open_secret(f);
        for (int i = 0; i < 3000; i++) {
            int64_t date[4], until = 0;
            char claims[256] = "{\"sub\":\"a\"";
            static const char *const names[] = {"exp", "nbf", "iat", "expire_at"};
            for (int n = 0; n < 4; n++) {
                int spread = n == 2 ? 120 : 40;
                date[n] = rand() % 3 == 0 ? NOW - spread + rand() % (2 * spread) : -1;
                if (n == 3 && rand() % 8 == 0)
                    date[n] = 0;
                if (date[n] >= 0)
                    signer_add(claims, sizeof claims, ",\"%s\":%lld%s", names[n], (long long)date[n],
                               rand() % 4 ? "" : ".5");
            }
            signer_add(claims, sizeof claims, "}");
            struct dates d = {date[0], date[1], date[2], date[3]};
            enum auth_result expected = model(&d, NOW, leeway, &until);
            char *token = signer_plain("HS256", NULL, SECRET, NULL, claims);
            enum auth_result got = fixture_check(f, token);
            if (got != expected || f->identity.expires_at != until)
                fail_msg("%s, leeway %d: %d until %lld, not %d until %lld", claims, leeway, got,
                         (long long)f->identity.expires_at, expected, (long long)until);
            assert_true(got != AUTH_OK || until == 0 || until > NOW);
            results[got]++;
            free(token);
        }
    }
    assert_true(results[AUTH_OK] > 500 && results[AUTH_EXPIRED] > 500 && results[AUTH_INVALID] > 500);
}

static void what_is_no_date_is_refused(void **state)
{
    static const char *const names[] = {"exp", "nbf", "iat", "expire_at"};
    static const char *const bad[] = {
        "\"1700000100\"",   "true", "[1700000100]", "{}", "-1", "-0.5", "1e300", "9223372036854775807",
        "18014398509481984"};
    struct fixture *f = *state;
    fixture_open_secret(f);
    for (size_t n = 0; n < sizeof names / sizeof *names; n++) {
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
            char claims[128], words[32];
            snprintf(claims, sizeof claims, "{\"%s\":%s}", names[n], bad[i]);
            snprintf(words, sizeof words, "%s is no date", names[n]);
            fixture_refuses_claims(f, claims, AUTH_INVALID, words);
        }
    }
    f->config.leeway_s = UINT64_MAX;
    fixture_open(f);
    fixture_accepts_claims(f, "{\"exp\":9007199254740992,\"nbf\":9007199254740992}"); /* nothing overflows */
}

static void issuer_and_audience_must_match_when_they_are_set(void **state)
{
    static const struct {
        const char *claims, *wrong; /* NULL: accepted */
    } cases[] = {
        {"{\"iss\":\"us\",\"aud\":\"push\"}", NULL},
        {"{\"iss\":\"us\",\"aud\":[\"mail\",\"push\"]}", NULL},
        {"{\"iss\":\"us\",\"aud\":[\"mail\",7,null,\"push\"]}", NULL},
        {"{\"aud\":\"push\"}", "iss"},
        {"{\"iss\":\"US\",\"aud\":\"push\"}", "iss"},
        {"{\"iss\":\"us \",\"aud\":\"push\"}", "iss"},
        {"{\"iss\":[\"us\"],\"aud\":\"push\"}", "iss"},
        {"{\"iss\":\"us\"}", "aud"},
        {"{\"iss\":\"us\",\"aud\":\"pus\"}", "aud"},
        {"{\"iss\":\"us\",\"aud\":\"push2\"}", "aud"},
        {"{\"iss\":\"us\",\"aud\":[]}", "aud"},
        {"{\"iss\":\"us\",\"aud\":[\"mail\",[\"push\"]]}", "aud"},
        {"{\"iss\":\"us\",\"aud\":{\"push\":\"push\"}}", "aud"},
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        f->config.issuer = "us";
        f->config.audience = "push";
        fixture_open_secret(f);
        if (cases[i].wrong)
            fixture_refuses_claims(f, cases[i].claims, AUTH_INVALID, cases[i].wrong);
        else
            fixture_accepts_claims(f, cases[i].claims);
        f->config.issuer = f->config.audience = "";
        fixture_open(f);
        fixture_accepts_claims(f, cases[i].claims);
    }
}

/* A fresh token of the same issuer would not help, so it is no AUTH_EXPIRED. */
static void an_expired_token_that_is_also_wrong_is_wrong(void **state)
{
    struct fixture *f = *state;
    f->config.audience = "push";
    fixture_open_secret(f);
    fixture_refuses_claims(f, "{\"exp\":1,\"aud\":\"push\"}", AUTH_EXPIRED, "expired");
    fixture_refuses_claims(f, "{\"exp\":1,\"aud\":\"mail\"}", AUTH_INVALID, "aud");
    fixture_refuses_claims(f, "{\"exp\":1,\"aud\":\"push\",\"sub\":1}", AUTH_INVALID, "sub");
    fixture_refuses_claims(f, "{\"exp\":1,\"aud\":\"push\",\"channels\":1}", AUTH_INVALID, "channels");
    char *token = signer_plain("HS256", NULL, SECRET "x", NULL, "{\"exp\":1,\"aud\":\"push\"}");
    fixture_refuses(f, token, AUTH_INVALID, "signature");
    free(token);
}

static void payloads_that_are_no_object_or_repeat_a_claim_are_refused(void **state)
{
    static const char *const bad[] = {"",
                                      "null",
                                      "[]",
                                      "\"a\"",
                                      "7",
                                      "{",
                                      "{}x",
                                      "{\"sub\":\"a\",\"sub\":\"b\"}",
                                      "{\"sub\":\"a\\u0000b\"}",
                                      "{\"sub\":\"\xff\"}",
                                      "{\"sub\":\"\\ud800\"}",
                                      "{'a':1}"};
    struct fixture *f = *state;
    fixture_open_secret(f);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        fixture_refuses_claims(f, bad[i], AUTH_INVALID, *bad[i] ? "payload is no JSON object" : "malformed");
}

/* `len` times 'x' between the two. */
static char *filled(const char *before, size_t len, const char *after)
{
    size_t size = strlen(before) + len + strlen(after) + 1;
    char *text = calloc(1, size);
    signer_add(text, size, "%s", before);
    memset(text + strlen(text), 'x', len);
    signer_add(text, size, "%s", after);
    return text;
}

static void what_a_token_says_has_bounds(void **state)
{
    static const struct {
        const char *before, *after;
        size_t max;
        const char *words;
    } bounds[] = {
        {"{\"sub\":\"", "\"}", AUTH_USER_MAX, "sub is too long"},
        {"{\"info\":\"", "\"}", AUTH_INFO_MAX - 2, "info is too long"},
        {"{\"channels\":[\"a\",\"", "\"]}", AUTH_CHANNEL_BYTES_MAX, "channels has what is no name"},
    };
    struct fixture *f = *state;
    fixture_open_secret(f);
    for (size_t i = 0; i < sizeof bounds / sizeof *bounds; i++) {
        char *most = filled(bounds[i].before, bounds[i].max, bounds[i].after);
        char *more = filled(bounds[i].before, bounds[i].max + 1, bounds[i].after);
        fixture_accepts_claims(f, most);
        fixture_refuses_claims(f, more, AUTH_INVALID, bounds[i].words);
        free(most);
        free(more);
    }
    for (int count = AUTH_CHANNELS_MAX - 1; count <= AUTH_CHANNELS_MAX + 1; count++) {
        char claims[4096] = "{\"channels\":[\"0\"";
        for (int i = 1; i < count; i++)
            signer_add(claims, sizeof claims, ",\"%d\",\"%d\"", i, i); /* repeats do not count */
        signer_add(claims, sizeof claims, "]}");
        if (count <= AUTH_CHANNELS_MAX) {
            fixture_accepts_claims(f, claims);
            assert_int_equal(f->identity.channel_count, count);
        } else {
            fixture_refuses_claims(f, claims, AUTH_INVALID, "channels has too many names");
        }
    }
    /* 8192 bytes packed: 32 names of 255 bytes. */
    for (int count = 32; count <= 33; count++) {
        char claims[12000] = "{\"channels\":[";
        for (int i = 0; i < count; i++)
            signer_add(claims, sizeof claims, "%s\"%0255d\"", i ? "," : "", i);
        signer_add(claims, sizeof claims, "]}");
        if (count == 32)
            fixture_accepts_claims(f, claims);
        else
            fixture_refuses_claims(f, claims, AUTH_INVALID, "channels has too many names");
    }
}

static void claims_of_the_wrong_type_are_refused(void **state)
{
    static const struct {
        const char *claims, *words;
    } bad[] = {
        {"{\"sub\":42}", "sub is no string"},
        {"{\"sub\":[\"a\"]}", "sub is no string"},
        {"{\"channels\":\"news\"}", "channels is no array"},
        {"{\"channels\":{\"news\":{}}}", "channels is no array"},
        {"{\"channels\":[\"a\",7]}", "channels has what is no name"},
        {"{\"channels\":[\"\"]}", "channels has what is no name"},
        {"{\"channels\":[\"a\\nb\"]}", "channels has what is no name"},
        {"{\"channels\":[\"a\\u007f\"]}", "channels has what is no name"},
        {"{\"channels\":[\"a\\u0085\"]}", "channels has what is no name"},
    };
    struct fixture *f = *state;
    fixture_open_secret(f);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        fixture_refuses_claims(f, bad[i].claims, AUTH_INVALID, bad[i].words);
    fixture_accepts_claims(f, "{\"channels\":[\"a\\u00a0\"]}"); /* the first that is no control character */
}

static enum auth_result subscribe(struct fixture *f, const char *claims, const char *user,
                                  const char *channel)
{
    char *token = signer_plain("HS256", NULL, SECRET, NULL, claims);
    auth_identity_fini(&f->identity);
    enum auth_result result = auth_check_subscription(f->auth, token, strlen(token), NOW, user, strlen(user),
                                                      channel, strlen(channel), &f->identity);
    free(token);
    return result;
}

static void a_subscription_token_is_for_one_user_and_one_channel(void **state)
{
    struct fixture *f = *state;
    fixture_open_secret(f);
    const char *claims =
        "{\"sub\":\"ann\",\"channel\":\"chat:1\",\"exp\":1700000050,\"info\":{\"role\":\"host\"}}";
    assert_int_equal(subscribe(f, claims, "ann", "chat:1"), AUTH_OK);
    assert_string_equal(auth_identity_user(&f->identity), "ann");
    assert_string_equal(auth_identity_info(&f->identity), "{\"role\":\"host\"}");
    assert_int_equal(f->identity.expires_at, 1700000050);
    static const char *const others[][2] = {{"bob", "chat:1"},  {"", "chat:1"},    {"anna", "chat:1"},
                                            {"an", "chat:1"},   {"ann", "chat:2"}, {"ann", "chat:"},
                                            {"ann", "chat:11"}, {"ann", ""}};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        assert_int_equal(subscribe(f, claims, others[i][0], others[i][1]), AUTH_INVALID);
    assert_int_equal(subscribe(f, "{\"channel\":\"chat:1\"}", "", "chat:1"), AUTH_OK); /* anonymous */
    assert_int_equal(subscribe(f, "{\"channel\":\"chat:1\"}", "ann", "chat:1"), AUTH_INVALID);
    assert_int_equal(subscribe(f, "{\"sub\":\"ann\",\"channel\":\"c\",\"exp\":1700000000}", "ann", "c"),
                     AUTH_EXPIRED);
    assert_int_equal(subscribe(f, "{\"sub\":\"ann\",\"channel\":[\"c\"]}", "ann", "c"), AUTH_INVALID);
}

static void expire_at_decides_when_a_subscription_ends(void **state)
{
    struct fixture *f = *state;
    fixture_open_secret(f);
    assert_int_equal(subscribe(f, "{\"channel\":\"c\",\"exp\":1700000050,\"expire_at\":0}", "", "c"),
                     AUTH_OK);
    assert_int_equal(f->identity.expires_at, 0);
    assert_int_equal(subscribe(f, "{\"channel\":\"c\",\"exp\":1700000050,\"expire_at\":1700009999}", "", "c"),
                     AUTH_OK);
    assert_int_equal(f->identity.expires_at, 1700009999);
    assert_int_equal(subscribe(f, "{\"channel\":\"c\",\"exp\":1700000000,\"expire_at\":0}", "", "c"),
                     AUTH_EXPIRED);
}

static void tokens_for_connections_and_subscriptions_do_not_pass_for_each_other(void **state)
{
    struct fixture *f = *state;
    fixture_open_secret(f);
    fixture_refuses_claims(f, "{\"sub\":\"ann\",\"channel\":\"chat:1\"}", AUTH_INVALID,
                           "a subscription token");
    assert_int_equal(subscribe(f, "{\"sub\":\"ann\",\"channels\":[\"chat:1\"]}", "ann", "chat:1"),
                     AUTH_INVALID);
    assert_non_null(strstr(f->identity.reason, "no subscription token"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_connection_token_says_who_until_when_and_what_more),
        TEST(a_token_that_says_nothing_is_anonymous_for_ever),
        TEST(info_may_be_any_json),
        TEST(dates_hold_to_the_second),
        TEST(what_is_no_date_is_refused),
        TEST(issuer_and_audience_must_match_when_they_are_set),
        TEST(an_expired_token_that_is_also_wrong_is_wrong),
        TEST(payloads_that_are_no_object_or_repeat_a_claim_are_refused),
        TEST(what_a_token_says_has_bounds),
        TEST(claims_of_the_wrong_type_are_refused),
        TEST(a_subscription_token_is_for_one_user_and_one_channel),
        TEST(expire_at_decides_when_a_subscription_ends),
        TEST(tokens_for_connections_and_subscriptions_do_not_pass_for_each_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
