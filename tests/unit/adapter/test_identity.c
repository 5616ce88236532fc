/* An upgrade request's identity, packed and unpacked. */
#include "gateway/adapter/identity.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct identity everything = {
    .known = true,
    .channel_count = 2,
    .expires_at = -5,
    .user = {"anna", 4},
    .info = {"{\"a\":1}", 7},
    .channels = {"\x01"
                 "a\x02"
                 "bc",
                 5},
    .headers = {"Cookie: c=d\r\n", 13},
};

static void assert_text_equal(struct text a, struct text b)
{
    assert_int_equal(a.bytes, b.bytes);
    if (a.bytes > 0)
        assert_memory_equal(a.data, b.data, a.bytes);
}

static void assert_survives(const struct identity *identity)
{
    size_t bytes = identity_packed_bytes(identity);
    assert_true(bytes > 0);
    char *packed = malloc(bytes > 0 ? bytes : 1);
    struct identity out;
    assert_non_null(packed);
    assert_int_equal(identity_pack(identity, packed, bytes - 1), 0);
    assert_int_equal(identity_pack(identity, packed, bytes), bytes);
    assert_true(identity_unpack(packed, bytes, &out));
    assert_int_equal(out.known, identity->known);
    assert_int_equal(out.channel_count, identity->channel_count);
    assert_int_equal(out.expires_at, identity->expires_at);
    assert_text_equal(out.user, identity->user);
    assert_text_equal(out.info, identity->info);
    assert_text_equal(out.channels, identity->channels);
    assert_text_equal(out.headers, identity->headers);
    free(packed);
}

static void what_is_packed_can_be_unpacked(void **state)
{
    (void)state;
    static char large[IDENTITY_TEXT_MAX];
    struct identity identity = everything;
    assert_survives(&everything);
    assert_survives(&(struct identity){0});
    identity.headers = (struct text){large, sizeof large};
    assert_survives(&identity);
    identity.headers.bytes++;
    assert_int_equal(identity_packed_bytes(&identity), 0);
    assert_int_equal(identity_pack(&identity, large, sizeof large), 0);
}

static void what_was_not_packed_is_refused(void **state)
{
    (void)state;
    char packed[256];
    struct identity out;
    size_t bytes = identity_pack(&everything, packed, sizeof packed);
    for (size_t len = 0; len < sizeof packed; len++)
        assert_int_equal(identity_unpack(packed, len, &out), len == bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_packed_can_be_unpacked),
        cmocka_unit_test(what_was_not_packed_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
