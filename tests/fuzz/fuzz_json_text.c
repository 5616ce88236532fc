/* JSON text against jansson: the same texts are valid, members are the ones that jansson finds, strings mean
 * what it says and survive being written, and a payload becomes exactly as many bytes as announced. */
#include "proto/json_text.h"
#include "proto/utf8.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { LOAD = JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL };

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);

static void check(int truth)
{
    if (!truth)
        abort();
}

/* What jansson refuses although the grammar has it. */
static bool beyond_grammar(const json_error_t *error)
{
    return json_error_code(error) == json_error_numeric_overflow ||
           json_error_code(error) == json_error_null_byte_in_key || strstr(error->text, "invalid Unicode") ||
           json_error_code(error) == json_error_stack_overflow;
}

/* Arrays and objects inside one another, counted the simple way; only for valid text. */
static size_t depth_of(const char *text, size_t len)
{
    size_t depth = 0, deepest = 0;
    bool string = false;
    for (size_t i = 0; i < len; i++) {
        if (string) {
            if (text[i] == '\\')
                i++;
            else if (text[i] == '"')
                string = false;
        } else if (text[i] == '"') {
            string = true;
        } else if (text[i] == '{' || text[i] == '[') {
            depth++;
            deepest = depth > deepest ? depth : deepest;
        } else if (text[i] == '}' || text[i] == ']') {
            depth--;
        }
    }
    return deepest;
}

static void check_string(struct json_slice raw, const json_t *meaning)
{
    char *out = malloc(raw.len ? raw.len : 1);
    size_t len = 0;
    check(out != NULL);
    check(json_text_unescape(raw, out, &len));
    check(len == json_string_length(meaning) && memcmp(out, json_string_value(meaning), len) == 0);
    check(json_text_is(raw, out, len));
    check(!json_text_is(raw, out, len + 1));
    free(out);
}

/* The members of `text` are those of `tree`, all the way down. Names with half a surrogate pair do not get
 * here: jansson has refused them. */
static void check_members(struct json_slice text, const json_t *tree)
{
    struct json_slice name, value;
    size_t cursor = 0, count = 0;
    if (json_is_string(tree))
        check_string(text, tree);
    cursor = 0;
    while (json_text_element(text, &cursor, &value)) {
        check(value.data > text.data && value.data + value.len < text.data + text.len);
        json_t *one = json_loadb(value.data, value.len, LOAD, NULL);
        check(one && json_equal(one, json_array_get(tree, count)));
        json_decref(one);
        check_members(value, json_array_get(tree, count++));
    }
    check(count == json_array_size(tree));
    cursor = count = 0;
    if (!json_is_object(tree)) {
        check(!json_text_next(text, &cursor, &name, &value));
        return;
    }
    while (json_text_next(text, &cursor, &name, &value)) {
        check(name.data > text.data && value.data + value.len < text.data + text.len);
        json_t *one = json_loadb(value.data, value.len, LOAD, NULL);
        check(one != NULL);
        json_decref(one);
        count++;
    }
    check(count >= json_object_size(tree));
    const char *key;
    json_t *member;
    json_object_foreach((json_t *)tree, key, member)
    {
        struct json_slice found = json_text_member(text, key);
        check(found.data != NULL);
        json_t *parsed = json_loadb(found.data, found.len, LOAD, NULL);
        check(json_equal(parsed, member));
        json_decref(parsed);
        check_members(found, member);
    }
}

static void check_valid(const char *text, size_t len, const json_t *tree)
{
    const char *begin = text, *end = text + len;
    while (strchr(" \t\r\n", *begin))
        begin++;
    while (strchr(" \t\r\n", end[-1]))
        end--;
    check_members((struct json_slice){begin, (size_t)(end - begin)}, tree);
    char *inlined = malloc(len ? len : 1);
    check(inlined != NULL);
    check(json_text_inline(text, len, inlined) == len);
    check(!memchr(inlined, '\n', len) && !memchr(inlined, '\r', len));
    json_t *again = json_loadb(inlined, len, LOAD, NULL);
    check(json_equal(again, tree));
    json_decref(again);
    free(inlined);
}

/* Whatever the bytes are: a payload that jansson reads, and that gives them back. */
static void check_payload(const char *data, size_t len)
{
    enum json_payload kind = json_payload_kind(data, len);
    size_t bytes = json_payload_bytes(kind, data, len);
    char *out = malloc(bytes ? bytes : 1);
    check(out != NULL);
    check(json_payload_write(kind, data, len, out) == bytes);
    check(json_text_valid(out, bytes));
    check(!memchr(out, '\n', bytes) && !memchr(out, '\r', bytes));
    json_t *tree = kind == JSON_PAYLOAD_JSON ? NULL : json_loadb(out, bytes, LOAD, NULL);
    if (kind == JSON_PAYLOAD_TEXT) {
        check(json_string_length(tree) == len &&
              (len == 0 || memcmp(json_string_value(tree), data, len) == 0));
    } else if (kind == JSON_PAYLOAD_BINARY) {
        check(!utf8_valid(data, len));
        check(json_string_length(json_object_get(tree, "b64data")) == (len + 2) / 3 * 4);
    }
    json_decref(tree);
    free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    const char *text = (const char *)input;
    json_error_t error;
    json_t *tree = json_loadb(text, size, LOAD, &error);
    bool valid = json_text_valid(text, size);
    if (size > 0 && memchr(text, '\0', size))
        check(!valid); /* behind a number jansson overlooks it */
    else if (tree)
        check(valid == (depth_of(text, size) <= JSON_DEPTH_MAX));
    else
        check(!valid || beyond_grammar(&error));
    if (valid && tree)
        check_valid(text, size, tree);
    json_decref(tree);
    check_payload(text, size);
    return 0;
}
