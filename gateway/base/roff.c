/* Escapes text for roff (man pages). */
#include "gateway/base/roff.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum { LINE_BYTES = 66 }; /* of the text; escapes add some, and linters want lines under 80 */

/* One character of UTF-8; *used is at least 1. What is not UTF-8 comes back as U+FFFD. */
static uint32_t decode(const char *text, size_t len, size_t *used)
{
    const unsigned char *at = (const unsigned char *)text;
    size_t more = *at >= 0xf0 ? 3 : *at >= 0xe0 ? 2 : 1;
    uint32_t code = *at & (0x3fu >> more);
    *used = 1;
    if (*at < 0xc2 || *at > 0xf4 || more >= len)
        return 0xfffd;
    for (size_t i = 1; i <= more; i++) {
        if ((at[i] & 0xc0) != 0x80)
            return 0xfffd;
        code = code << 6 | (at[i] & 0x3f);
    }
    *used = more + 1;
    return code;
}

static const char *escape(char c)
{
    switch (c) {
    case '\\':
        return "\\e";
    case '-':
        return "\\-";
    case '\'':
        return "\\(aq";
    case '`':
        return "\\(ga";
    case '^':
        return "\\(ha";
    case '~':
        return "\\(ti";
    default:
        return NULL;
    }
}

/* `opens`: these are the first bytes of a line. */
static void write_bytes(FILE *out, const char *text, size_t len, bool opens)
{
    if (opens && len > 0 && *text == '.')
        fputs("\\&", out);
    for (size_t i = 0, used; i < len; i += used) {
        const char *escaped = escape(text[i]);
        used = 1;
        if (escaped)
            fputs(escaped, out);
        else if ((unsigned char)text[i] < 0x80)
            fputc(text[i], out);
        else
            fprintf(out, "\\[u%04X]", (unsigned)decode(text + i, len - i, &used));
    }
}

void roff_words(FILE *out, const char *text)
{
    write_bytes(out, text, strlen(text), false);
}

void roff_paragraph(FILE *out, const char *text)
{
    static const char blanks[] = " \t\n";
    size_t column = 0;
    char before = '\0'; /* the last byte of the word before */
    text += strspn(text, blanks);
    while (*text) {
        size_t len = strcspn(text, blanks);
        bool sentence = before == '.' && isupper((unsigned char)*text);
        if (column > 0 && (sentence || column + 1 + len > LINE_BYTES)) {
            fputc('\n', out);
            column = 0;
        }
        if (column > 0) {
            fputc(' ', out);
            column++;
        }
        write_bytes(out, text, len, column == 0);
        column += len;
        before = text[len - 1];
        text += len;
        text += strspn(text, blanks);
    }
    fputc('\n', out);
}

void roff_tag(FILE *out, const char *prefix, const char *name, const char *joint, const char *value)
{
    fputs(".TP\n\\fB", out);
    roff_words(out, prefix);
    roff_words(out, name);
    fputs("\\fR", out);
    if (value) {
        roff_words(out, joint);
        fputs("\\fI", out);
        roff_words(out, value);
        fputs("\\fR", out);
    }
    fputc('\n', out);
}
