#include "gateway/admin_auth.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct fixture {
    struct settings settings;
    struct config *config;
    struct admin_auth auth;
};

static void set(struct fixture *f, const char *argument)
{
    char error[256];
    if (!config_read_argument(f->config, argument, error, sizeof error))
        fail_msg("%s", error);
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    *state = f;
    f->config = settings_config(&f->settings);
    return f->config && admin_auth_init(&f->auth, &f->settings) ? 0 : -1;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    config_destroy(f->config);
    free(f);
    return 0;
}

static struct http_slice slice(const char *text)
{
    return (struct http_slice){text, strlen(text)};
}

/* What a browser sends back of a cookie. */
static void make_ticket(const struct admin_auth *auth, uint64_t now_s, char out[ADMIN_TICKET_COOKIE_BYTES])
{
    admin_auth_ticket(auth, now_s, out);
    *strchr(out, ';') = '\0';
}

static void a_ticket_is_good_for_half_a_day_and_one_process(void **state)
{
    struct fixture *f = *state;
    struct admin_auth other;
    char ticket[ADMIN_TICKET_COOKIE_BYTES], both[2 * ADMIN_TICKET_COOKIE_BYTES];
    const uint64_t now = 1700000000, half_a_day = 43200;
    make_ticket(&f->auth, now, ticket);
    assert_true(admin_auth_ticket_good(&f->auth, now, slice(ticket)));
    assert_true(admin_auth_ticket_good(&f->auth, now + half_a_day - 1, slice(ticket)));
    assert_false(admin_auth_ticket_good(&f->auth, now + half_a_day, slice(ticket)));
    assert_true(admin_auth_init(&other, &f->settings));
    assert_false(admin_auth_ticket_good(&other, now, slice(ticket)));
    assert_false(admin_auth_ticket_good(&f->auth, now, slice("")));
    snprintf(both, sizeof both, "a=b; %.*s=1.0; %s", (int)strcspn(ticket, "="), ticket, ticket);
    assert_true(admin_auth_ticket_good(&f->auth, now, slice(both)));
}

static void no_byte_of_a_ticket_may_change(void **state)
{
    struct fixture *f = *state;
    char ticket[ADMIN_TICKET_COOKIE_BYTES];
    make_ticket(&f->auth, 1700000000, ticket);
    size_t len = strlen(ticket);
    for (size_t i = 0; i < len; i++) {
        char kept = ticket[i];
        ticket[i] = kept == '9' ? '8' : '9';
        assert_false(admin_auth_ticket_good(&f->auth, 1700000000, slice(ticket)));
        ticket[i] = kept;
        assert_false(admin_auth_ticket_good(&f->auth, 1700000000, (struct http_slice){ticket, i}));
    }
    assert_true(admin_auth_ticket_good(&f->auth, 1700000000, slice(ticket)));
}

static void passwords_are_read_out_of_both_schemes(void **state)
{
    (void)state;
    static const struct {
        const char *header, *password; /* NULL: there is none */
    } rows[] = {
        {"Bearer secret word", "secret word"},
        {"bearer   secret", "secret"},
        {"Basic b3BzOnNlY3JldA==", "secret"}, /* ops:secret */
        {"Basic OnNlY3JldA==", "secret"},     /* :secret */
        {"BASIC b3BzOmE6Yg==", "a:b"},        /* ops:a:b */
        {"Basic b3BzOg==", ""},               /* ops: */
        {"Basic b3Bz", NULL},                 /* ops */
        {"Basic b3BzOnNlY3JldA", NULL},
        {"Basic b3Bz OnNlY3JldA==", NULL},
        {"Basic b3BzOnNlY3JldA===", NULL},
        {"Basic =3BzOnNlY3JldA==", NULL},
        {"Basic ", NULL},
        {"Basic", NULL},
        {"Bearer", NULL},
        {"Bearer ", NULL},
        {"Digest b3BzOnNlY3JldA==", NULL},
        {"", NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char room[64];
        struct http_slice password;
        bool read = admin_auth_read(slice(rows[i].header), room, sizeof room, &password);
        if (read != (rows[i].password != NULL))
            fail_msg("\"%s\" was %s", rows[i].header, read ? "read" : "refused");
        if (!read)
            continue;
        assert_int_equal(password.len, strlen(rows[i].password));
        assert_memory_equal(password.data, rows[i].password, password.len);
    }
}

static enum admin_verdict judged(struct fixture *f, const char *password, const char *authorization)
{
    const struct throttle_key peer = {.family = 4};
    const struct http_request request = {.authorization = slice(authorization)};
    return admin_auth_check(&f->auth, password, &peer, &request);
}

static void secrets_are_compared_whole(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(judged(f, "", "anything"), ADMIN_MAY);
    assert_int_equal(judged(f, "secret", ""), ADMIN_MISSING);
    assert_int_equal(judged(f, "secret", "Bearer secret"), ADMIN_MAY);
    assert_int_equal(judged(f, "secret", "Bearer secre"), ADMIN_WRONG);
    assert_int_equal(judged(f, "secret", "Bearer secretsecret"), ADMIN_WRONG); /* the comparison goes round */
    assert_int_equal(judged(f, "secret", "Bearer secrets"), ADMIN_WRONG);
    assert_int_equal(judged(f, "secret", "Basic b3BzOg=="), ADMIN_WRONG);
    assert_int_equal(f->auth.wrong, 4);
}

static void beyond_loopback_the_publishers_password_stands_in(void **state)
{
    struct fixture *f = *state;
    set(f, "--publish.password=for publishers");
    assert_string_equal(admin_auth_password(&f->auth), "");
    set(f, "--listen.admin=0.0.0.0:9190");
    assert_true(admin_auth_init(&f->auth, &f->settings));
    assert_string_equal(admin_auth_password(&f->auth), "for publishers");
    set(f, "--admin.password=for operators");
    assert_string_equal(admin_auth_password(&f->auth), "for operators");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_ticket_is_good_for_half_a_day_and_one_process),
        TEST(no_byte_of_a_ticket_may_change),
        TEST(passwords_are_read_out_of_both_schemes),
        TEST(secrets_are_compared_whole),
        TEST(beyond_loopback_the_publishers_password_stands_in),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
