/* Users, groups and modes as settings write them. */
#include "gateway/base/owner.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

static void names_and_ids_are_understood(void **state)
{
    (void)state;
    uid_t user;
    gid_t group;
    char error[160];
    assert_true(owner_user("root", &user, &group, error, sizeof error));
    assert_int_equal(user, 0);
    assert_int_equal(group, 0);
    assert_true(owner_user("0", &user, &group, error, sizeof error));
    assert_int_equal(group, 0);
    assert_true(owner_user("4294967294", &user, &group, error, sizeof error));
    assert_int_equal(user, 4294967294u);
    assert_int_equal(group, OWNER_SAME); /* nobody knows its group */
    assert_true(owner_group("daemon", &group, error, sizeof error));
    assert_int_equal(group, 1);
    assert_true(owner_pair("daemon:root", &user, &group, error, sizeof error));
    assert_int_equal(user, 1);
    assert_int_equal(group, 0);
    assert_true(owner_pair("daemon", &user, &group, error, sizeof error));
    assert_int_equal(group, OWNER_SAME);
    assert_true(owner_pair(":7", &user, &group, error, sizeof error));
    assert_int_equal(user, OWNER_SAME);
    assert_int_equal(group, 7);
    assert_true(owner_pair("", &user, &group, error, sizeof error));
    assert_int_equal(user, OWNER_SAME);
    assert_int_equal(group, OWNER_SAME);
}

static void what_is_nobody_is_refused_with_its_name(void **state)
{
    (void)state;
    static const char *const none[] = {"no-such-user", "4294967295", "99999999999", "-1", " root"};
    uid_t user;
    gid_t group;
    char error[160];
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        assert_false(owner_user(none[i], &user, &group, error, sizeof error));
        assert_non_null(strstr(error, none[i]));
        assert_false(owner_group(none[i], &group, error, sizeof error));
    }
    assert_false(owner_pair("root:", &user, &group, error, sizeof error));
    assert_false(owner_pair(":", &user, &group, error, sizeof error));
    assert_false(owner_pair("root:root:root", &user, &group, error, sizeof error));
}

static void a_mode_is_three_octal_digits(void **state)
{
    (void)state;
    static const char *const bad[] = {"", "66", "0888", "1777", "00660", "u+w", "06 0"};
    mode_t mode;
    char error[160];
    assert_true(owner_mode("0660", &mode, error, sizeof error));
    assert_int_equal(mode, 0660);
    assert_true(owner_mode("777", &mode, error, sizeof error));
    assert_int_equal(mode, 0777);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(owner_mode(bad[i], &mode, error, sizeof error));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_and_ids_are_understood),
        cmocka_unit_test(what_is_nobody_is_refused_with_its_name),
        cmocka_unit_test(a_mode_is_three_octal_digits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
