/* What payloads and strings become in JSON, read back by jansson. */
#include "proto/json_text.h"
#include "proto/utf8.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

/* Written into exactly as many bytes as were announced; NUL-terminated for the test. */
static char *written(const void *data, size_t len)
{
    enum json_payload kind = json_payload_kind(data, len);
    size_t bytes = json_payload_bytes(kind, data, len);
    char *out = malloc(bytes), *text = malloc(bytes + 1);
    assert_true(out && text);
    assert_int_equal(json_payload_write(kind, data, len, out), bytes);
    memcpy(text, out, bytes);
    text[bytes] = '\0';
    free(out);
    assert_true(json_text_valid(text, bytes));
    assert_null(memchr(text, '\n', bytes));
    assert_null(memchr(text, '\r', bytes));
    return text;
}

static void assert_written(const void *data, size_t len, const char *expected)
{
    char *text = written(data, len);
    assert_string_equal(text, expected);
    free(text);
}

static void json_is_embedded_as_it_is(void **state)
{
    (void)state;
    const char *const texts[] = {
        "{}",
        "{\"b\":1,\"a\":2,\"b\":3}",
        "[1.0,1e999,123456789012345678901234567890]",
        "\"text\"",
        "12",
        "null",
        "true",
        " 1 ",
        "\"\\ud800\"",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        assert_int_equal(json_payload_kind(texts[i], strlen(texts[i])), JSON_PAYLOAD_JSON);
        assert_written(texts[i], strlen(texts[i]), texts[i]);
    }
}

static void line_breaks_between_tokens_become_spaces(void **state)
{
    (void)state;
    const char text[] = "\n{\r\n\"a\\n\" :\r[ 1,\n2 ]\n}\n";
    assert_written(text, sizeof text - 1, " {  \"a\\n\" : [ 1, 2 ] } ");
    assert_int_equal(json_text_inline(NULL, 0, NULL), 0);
}

static void other_text_becomes_a_string(void **state)
{
    (void)state;
    assert_written("", 0, "\"\"");
    assert_written(NULL, 0, "\"\"");
    assert_written("hello", 5, "\"hello\"");
    assert_written("say \"no\" \\ \b\f\n\r\t\x01\x1f\x7f/", 20,
                   "\"say \\\"no\\\" \\\\ \\b\\f\\n\\r\\t\\u0001\\u001f\x7f/\"");
    assert_written("{\"half\":", 8, "\"{\\\"half\\\":\"");
    assert_written("\xc3\xa4\xe2\x80\xa8", 5, "\"\xc3\xa4\xe2\x80\xa8\"");
    assert_written("a\0b", 3, "\"a\\u0000b\"");
}

static void other_bytes_become_base64_in_an_object(void **state)
{
    (void)state;
    assert_int_equal(json_payload_kind("\xff", 1), JSON_PAYLOAD_BINARY);
    assert_written("\xff", 1, "{\"b64data\":\"/w==\"}");
    assert_written("\xff\x00", 2, "{\"b64data\":\"/wA=\"}");
    assert_written("\xff\x00\xfb", 3, "{\"b64data\":\"/wD7\"}");
    assert_written("{}\xff\xfe", 4, "{\"b64data\":\"e33//g==\"}");
}

/* Longer than one piece that is handed to OpenSSL: no padding in the middle. */
static void base64_of_many_bytes_is_one_text(void **state)
{
    (void)state;
    size_t len = (3u << 20) + 1, bytes = json_payload_bytes(JSON_PAYLOAD_BINARY, NULL, len);
    uint8_t *data = malloc(len);
    char *out = malloc(bytes);
    assert_true(data && out);
    memset(data, 0xff, len);
    assert_int_equal(json_payload_write(JSON_PAYLOAD_BINARY, data, len, out), bytes);
    const char *text = out + strlen("{\"b64data\":\"");
    for (size_t i = 0; i < (4u << 20); i++)
        assert_true(text[i] == '/');
    assert_memory_equal(text + (4u << 20), "/w==\"}", 6);
    free(data);
    free(out);
}

static void jansson_reads_every_string_back(void **state)
{
    (void)state;
    uint32_t random = 1;
    char text[64];
    for (int round = 0; round < 20000; round++) {
        size_t len = 0;
        while (len < sizeof text) {
            random = random * 1664525 + 1013904223;
            uint32_t byte = random >> 24;
            if (byte < 0x30)
                text[len++] = (char)byte;
            else
                text[len++] = byte < 0x60 ? "\"\\\n/"[byte % 4] : (char)(byte & 0x7f);
            if (random % 40 == 0)
                break;
        }
        size_t bytes = json_text_string_bytes(text, len);
        char *out = malloc(bytes);
        assert_non_null(out);
        assert_int_equal(json_text_string(text, len, out), bytes);
        json_t *tree = json_loadb(out, bytes, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
        assert_non_null(tree);
        assert_int_equal(json_string_length(tree), len);
        assert_memory_equal(json_string_value(tree), text, len);
        size_t back;
        assert_true(json_text_unescape((struct json_slice){out, bytes}, out, &back));
        assert_int_equal(back, len);
        assert_memory_equal(out, text, len);
        json_decref(tree);
        free(out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_is_embedded_as_it_is),
        cmocka_unit_test(line_breaks_between_tokens_become_spaces),
        cmocka_unit_test(other_text_becomes_a_string),
        cmocka_unit_test(other_bytes_become_base64_in_an_object),
        cmocka_unit_test(base64_of_many_bytes_is_one_text),
        cmocka_unit_test(jansson_reads_every_string_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
