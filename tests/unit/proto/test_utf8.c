/* UTF-8 against a decoder that does it the long way: bits to code point, then the rules of RFC 3629. */
#include "proto/utf8.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

/* Bytes of the first character, 0 when the text does not begin with a valid one. */
static size_t naive_character(const uint8_t *text, size_t len)
{
    static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t size = text[0] < 0x80             ? 1
                  : (text[0] & 0xe0) == 0xc0 ? 2
                  : (text[0] & 0xf0) == 0xe0 ? 3
                  : (text[0] & 0xf8) == 0xf0 ? 4
                                             : 0;
    if (size == 0 || size > len)
        return 0;
    uint32_t point = size == 1 ? text[0] : text[0] & (0x7fu >> size);
    for (size_t i = 1; i < size; i++) {
        if ((text[i] & 0xc0) != 0x80)
            return 0;
        point = point << 6 | (text[i] & 0x3f);
    }
    if (point < smallest[size] || point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff))
        return 0;
    return size;
}

static bool naive_valid(const uint8_t *text, size_t len)
{
    for (size_t at = 0; at < len;) {
        size_t size = naive_character(text + at, len - at);
        if (size == 0)
            return false;
        at += size;
    }
    return true;
}

/* Can more bytes make it valid? The tail bytes tried are the ends of every range that the RFC's grammar has.
 */
static bool naive_hopeful(const uint8_t *text, size_t len)
{
    static const uint8_t tails[] = {0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf};
    uint8_t longer[8];
    if (naive_valid(text, len))
        return true;
    memcpy(longer, text, len);
    for (size_t a = 0; a < sizeof(tails); a++) {
        longer[len] = tails[a];
        for (size_t more = 1; more <= 3; more++) {
            memset(longer + len + 1, 0x80, 2);
            if (naive_valid(longer, len + more))
                return true;
        }
    }
    return false;
}

static void check(const uint8_t *text, size_t len)
{
    bool expected = naive_valid(text, len);
    if (utf8_valid(text, len) != expected)
        fail_msg("%02x %02x %02x %02x: expected %d", text[0], len > 1 ? text[1] : 0, len > 2 ? text[2] : 0,
                 len > 3 ? text[3] : 0, expected);
}

static void every_sequence_of_one_to_three_bytes_is_judged_as_the_model_does(void **state)
{
    (void)state;
    for (unsigned a = 0; a < 256; a++) {
        check((uint8_t[]){(uint8_t)a}, 1);
        for (unsigned b = 0; b < 256; b++) {
            check((uint8_t[]){(uint8_t)a, (uint8_t)b}, 2);
            /* After an ASCII or a wrong lead byte the other two are a sequence of two, which all have had
             * their turn. */
            for (unsigned c = 0; a >= 0xc0 && c < 256; c++)
                check((uint8_t[]){(uint8_t)a, (uint8_t)b, (uint8_t)c}, 3);
        }
    }
}

static void sequences_of_four_bytes_are_judged_as_the_model_does(void **state)
{
    (void)state;
    static const uint8_t tails[] = {0x00, 0x7f, 0x80, 0x81, 0xbf, 0xc0, 0xff};
    for (unsigned a = 0xe0; a < 256; a++) {
        for (unsigned b = 0; b < 256; b++) {
            for (size_t c = 0; c < sizeof(tails); c++) {
                for (size_t d = 0; d < sizeof(tails); d++)
                    check((uint8_t[]){(uint8_t)a, (uint8_t)b, tails[c], tails[d]}, 4);
            }
        }
    }
}

static void a_sequence_is_rejected_at_the_byte_that_makes_it_impossible(void **state)
{
    (void)state;
    for (unsigned a = 0; a < 256; a++) {
        for (unsigned b = 0; b < 256; b++) {
            uint8_t text[2] = {(uint8_t)a, (uint8_t)b};
            assert_int_equal(utf8_feed(UTF8_START, text, 1) != UTF8_REJECT, naive_hopeful(text, 1));
            assert_int_equal(utf8_feed(UTF8_START, text, 2) != UTF8_REJECT, naive_hopeful(text, 2));
        }
    }
    /* Autobahn 6.4: F4 90 can only become a code point above U+10FFFF. */
    uint8_t after = utf8_feed(UTF8_START, "\xce\xba\xf4", 3);
    assert_true(after != UTF8_REJECT && after != UTF8_START);
    assert_int_equal(utf8_feed(after, "\x90", 1), UTF8_REJECT);
}

static void a_text_may_be_split_anywhere(void **state)
{
    (void)state;
    static const char text[] =
        "plain ASCII that is longer than a word, \xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5, "
        "\xe0\xa0\x80 \xed\x9f\xbf \xee\x80\x80 \xef\xbf\xbf \xf0\x90\x80\x80 \xf4\x8f\xbf\xbf "
        "\xc2\x80\xdf\xbf and the end";
    size_t len = sizeof(text) - 1;
    assert_true(utf8_valid(text, len));
    for (size_t first = 0; first <= len; first++) {
        for (size_t second = first; second <= len; second++) {
            uint8_t at = utf8_feed(UTF8_START, text, first);
            at = utf8_feed(at, text + first, second - first);
            assert_int_equal(utf8_feed(at, text + second, len - second), UTF8_START);
        }
    }
}

static void one_wrong_byte_is_found_at_every_place_and_alignment(void **state)
{
    (void)state;
    uint8_t text[64];
    for (size_t start = 0; start < 8; start++) {
        for (size_t len = 1; len < sizeof(text) - start; len++) {
            memset(text, 'a', sizeof(text));
            assert_true(utf8_valid(text + start, len));
            for (size_t at = 0; at < len; at++) {
                text[start + at] = 0xff;
                assert_false(utf8_valid(text + start, len));
                text[start + at] = 'a';
            }
        }
    }
}

static void reject_is_final_and_nothing_is_valid(void **state)
{
    (void)state;
    assert_int_equal(utf8_feed(UTF8_REJECT, "a", 1), UTF8_REJECT);
    assert_int_equal(utf8_feed(UTF8_REJECT, NULL, 0), UTF8_REJECT);
    assert_int_equal(utf8_feed(UTF8_START, NULL, 0), UTF8_START);
    assert_true(utf8_valid(NULL, 0));
    uint8_t inside = utf8_feed(UTF8_START, "\xe2\x82", 2);
    assert_int_equal(utf8_feed(inside, NULL, 0), inside);
    assert_int_equal(utf8_feed(200, "a", 1), UTF8_REJECT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_sequence_of_one_to_three_bytes_is_judged_as_the_model_does),
        cmocka_unit_test(sequences_of_four_bytes_are_judged_as_the_model_does),
        cmocka_unit_test(a_sequence_is_rejected_at_the_byte_that_makes_it_impossible),
        cmocka_unit_test(a_text_may_be_split_anywhere),
        cmocka_unit_test(one_wrong_byte_is_found_at_every_place_and_alignment),
        cmocka_unit_test(reject_is_final_and_nothing_is_valid),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
