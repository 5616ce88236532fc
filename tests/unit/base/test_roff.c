/* roff: nothing of a text is taken for markup. */
#include "gateway/base/roff.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static void writes(void (*write)(FILE *out, const char *text), const char *text, const char *expected)
{
    char *written;
    size_t len;
    FILE *out = open_memstream(&written, &len);
    assert_non_null(out);
    write(out, text);
    fclose(out);
    assert_string_equal(written, expected);
    free(written);
}

static void minus_signs_backslashes_and_quotes_stay_what_they_are(void **state)
{
    (void)state;
    writes(roff_words, "--log.level=debug", "\\-\\-log.level=debug");
    writes(roff_words, "a\\b", "a\\eb");
    writes(roff_words, "'x' `y` ~z^", "\\(aqx\\(aq \\(gay\\(ga \\(tiz\\(ha");
}

static void what_is_not_ascii_is_named(void **state)
{
    (void)state;
    writes(roff_words, "1 … 9", "1 \\[u2026] 9");
    writes(roff_words, "é€😀", "\\[u00E9]\\[u20AC]\\[u1F600]");
}

static void bytes_that_are_no_utf8_do_no_harm(void **state)
{
    (void)state;
    writes(roff_words, "a\xff", "a\\[uFFFD]");
    writes(roff_words, "\xe2\x80", "\\[uFFFD]\\[uFFFD]");
    writes(roff_words, "\xc3(", "\\[uFFFD](");
    writes(roff_words, "\xc0\xaf", "\\[uFFFD]\\[uFFFD]");
}

static void a_dot_or_quote_that_opens_a_line_is_no_request(void **state)
{
    (void)state;
    writes(roff_paragraph, ".SH NAME", "\\&.SH NAME\n");
    writes(roff_paragraph, "'tis", "\\(aqtis\n");
    writes(roff_paragraph, "See it. \n.TP is text. Next", "See it. .TP is text.\nNext\n");
    writes(roff_paragraph, "0123456789012345678901234567890123456789012345678901234567890123456789 .hidden",
           "0123456789012345678901234567890123456789012345678901234567890123456789\n\\&.hidden\n");
}

static void sentences_begin_lines_and_blanks_are_one(void **state)
{
    (void)state;
    writes(roff_paragraph, "  One.  Two\t e.g. this.\n Three ", "One.\nTwo e.g. this.\nThree\n");
    writes(roff_paragraph, "", "\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(minus_signs_backslashes_and_quotes_stay_what_they_are),
        cmocka_unit_test(what_is_not_ascii_is_named),
        cmocka_unit_test(bytes_that_are_no_utf8_do_no_harm),
        cmocka_unit_test(a_dot_or_quote_that_opens_a_line_is_no_request),
        cmocka_unit_test(sentences_begin_lines_and_blanks_are_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
