/* How pushgate ctl shows answers: aligned tables with units, JSON, or as they come. */
#include "gateway/ctl_internal.h"

#include "proto/utf8.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { CELL_MAX = 1200 };

/* Values
 * ------------------------------------------------------------------------------------------------ */

json_t *ctl_json_text(const char *text, size_t bytes)
{
    if (utf8_valid(text, bytes))
        return json_stringn(text, bytes);
    char *ascii = malloc(bytes + 1); /* what is no text is shown as far as it is */
    if (!ascii)
        return NULL;
    for (size_t i = 0; i < bytes; i++)
        ascii[i] = (unsigned char)text[i] < 0x80 ? text[i] : '?';
    json_t *value = json_stringn(ascii, bytes);
    free(ascii);
    return value;
}

json_t *ctl_json(const redisReply *reply)
{
    json_t *list;
    switch (reply->type) {
    case REDIS_REPLY_INTEGER:
        return json_integer(reply->integer);
    case REDIS_REPLY_STRING:
    case REDIS_REPLY_STATUS:
    case REDIS_REPLY_ERROR:
        return ctl_json_text(reply->str, (size_t)reply->len);
    case REDIS_REPLY_ARRAY:
        list = json_array();
        for (size_t i = 0; i < reply->elements; i++)
            json_array_append_new(list, ctl_json(reply->element[i]));
        return list;
    default:
        return json_null();
    }
}

json_t *ctl_json_map(const redisReply *reply)
{
    json_t *object = json_object();
    for (size_t i = 0; i + 1 < reply->elements; i += 2)
        if (reply->element[i]->type == REDIS_REPLY_STRING)
            json_object_set_new(object, reply->element[i]->str, ctl_json(reply->element[i + 1]));
    return object;
}

static void format_seconds(uint64_t s, char *out, size_t size)
{
    if (s < 60)
        snprintf(out, size, "%" PRIu64 "s", s);
    else if (s < 3600)
        snprintf(out, size, "%" PRIu64 "m%02" PRIu64 "s", s / 60, s % 60);
    else if (s < 86400)
        snprintf(out, size, "%" PRIu64 "h%02" PRIu64 "m", s / 3600, s / 60 % 60);
    else
        snprintf(out, size, "%" PRIu64 "d%02" PRIu64 "h", s / 86400, s / 3600 % 24);
}

static void format_bytes(uint64_t bytes, char *out, size_t size)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double scaled = (double)bytes;
    size_t unit = 0;
    for (; scaled >= 1024 && unit + 1 < sizeof units / sizeof *units; unit++)
        scaled /= 1024;
    snprintf(out, size, unit == 0 ? "%.0f %s" : "%.1f %s", scaled, units[unit]);
}

static void format_number(uint64_t value, enum ctl_kind kind, char *out, size_t size)
{
    switch (kind) {
    case KIND_SECONDS:
        format_seconds(value, out, size);
        return;
    case KIND_MS:
        if (value < 10000)
            snprintf(out, size, "%" PRIu64 ".%" PRIu64 "s", value / 1000, value / 100 % 10);
        else
            format_seconds(value / 1000, out, size);
        return;
    case KIND_US:
        snprintf(out, size, "%" PRIu64 ".%03" PRIu64 " ms", value / 1000, value % 1000);
        return;
    case KIND_BYTES:
        format_bytes(value, out, size);
        return;
    case KIND_TEXT:
    case KIND_NUMBER:
        break;
    }
    snprintf(out, size, "%" PRIu64, value);
}

/* The character at `text`, with what a terminal would obey (control characters, C1 ones too) as \x1b; returns
 * its bytes. */
static size_t printable(const char *text, char out[8])
{
    unsigned char c = (unsigned char)text[0];
    bool c1 = c == 0xc2 && (unsigned char)text[1] >= 0x80 && (unsigned char)text[1] < 0xa0;
    if (c < 0x20 || c == 0x7f || c1)
        snprintf(out, 8, "\\x%02x", c1 ? (unsigned char)text[1] : c);
    else
        snprintf(out, 8, "%c", c);
    return c1 ? 2 : 1;
}

static void make_printable(const char *text, char *out, size_t size)
{
    char shown[8];
    size_t at = 0;
    while (*text && at + 5 < size) {
        text += printable(text, shown);
        at += (size_t)snprintf(out + at, size - at, "%s", shown);
    }
    out[at] = '\0';
}

void ctl_put_text(FILE *out, const char *text)
{
    char shown[8];
    while (*text) {
        size_t bytes = printable(text, shown);
        fputs(*text == '\n' ? "\n" : shown, out);
        text += bytes;
    }
}

static void format_cell(const json_t *value, enum ctl_kind kind, char *out, size_t size)
{
    if (json_is_integer(value)) {
        json_int_t number = json_integer_value(value);
        format_number(number > 0 ? (uint64_t)number : 0, kind, out, size);
    } else if (json_is_real(value)) {
        snprintf(out, size, "%g", json_real_value(value));
    } else if (json_is_string(value) && *json_string_value(value)) {
        make_printable(json_string_value(value), out, size);
    } else if (json_is_array(value) && json_array_size(value) > 0) {
        size_t i, at = 0;
        json_t *item;
        json_array_foreach(value, i, item)
        {
            char text[CELL_MAX];
            format_cell(item, KIND_TEXT, text, sizeof text);
            if (at + strlen(text) + 8 > size) {
                snprintf(out + at, size - at, ", …");
                break;
            }
            at += (size_t)snprintf(out + at, size - at, "%s%s", i > 0 ? ", " : "", text);
        }
    } else {
        snprintf(out, size, "-");
    }
}

static size_t columns_of(const char *text)
{
    size_t columns = 0;
    for (; *text; text++)
        columns += ((unsigned char)*text & 0xc0) != 0x80;
    return columns;
}

/* Tables
 * ------------------------------------------------------------------------------------------------ */

void ctl_table_begin(struct ctl_table *table, struct ctl *ctl, const struct ctl_column *columns, size_t count)
{
    *table = (struct ctl_table){.ctl = ctl, .columns = columns, .count = count, .rows = json_array()};
    for (size_t i = 0; i < count; i++)
        table->widths[i] = columns_of(columns[i].title);
    if (ctl->form == CTL_JSON)
        fputc('[', ctl->out);
}

void ctl_table_row(struct ctl_table *table, json_t *row)
{
    json_array_append_new(table->rows, row);
}

/* Numbers stand right, texts left; nothing follows the last column. */
static void put_cell(const struct ctl_table *table, size_t i, const char *text)
{
    FILE *out = table->ctl->out;
    int pad = (int)(table->widths[i] - columns_of(text));
    bool right = table->columns[i].kind != KIND_TEXT, last = i + 1 == table->count;
    fprintf(out, "%s%*s%s%*s", i > 0 ? "  " : "", right ? pad : 0, "", text, right || last ? 0 : pad, "");
    if (last)
        fputc('\n', out);
}

static void flush_people(struct ctl_table *table)
{
    char text[CELL_MAX];
    size_t r;
    json_t *row;
    json_array_foreach(table->rows, r, row)
    {
        for (size_t i = 0; i < table->count; i++) {
            format_cell(json_object_get(row, table->columns[i].key), table->columns[i].kind, text,
                        sizeof text);
            size_t width = columns_of(text);
            if (width > table->widths[i])
                table->widths[i] = width;
        }
    }
    for (size_t i = 0; table->shown == 0 && json_array_size(table->rows) > 0 && i < table->count; i++)
        put_cell(table, i, table->columns[i].title);
    json_array_foreach(table->rows, r, row)
    {
        for (size_t i = 0; i < table->count; i++) {
            format_cell(json_object_get(row, table->columns[i].key), table->columns[i].kind, text,
                        sizeof text);
            put_cell(table, i, text);
        }
    }
}

void ctl_table_flush(struct ctl_table *table)
{
    FILE *out = table->ctl->out;
    if (table->ctl->form == CTL_PEOPLE)
        flush_people(table);
    if (table->ctl->form == CTL_JSON) {
        size_t r;
        json_t *row;
        json_array_foreach(table->rows, r, row)
        {
            fputs(table->shown + r > 0 ? ",\n " : "\n ", out);
            json_dumpf(row, out, JSON_COMPACT);
        }
    }
    table->shown += json_array_size(table->rows);
    json_array_clear(table->rows);
}

void ctl_table_end(struct ctl_table *table)
{
    ctl_table_flush(table);
    if (table->ctl->form == CTL_JSON)
        fputs(table->shown > 0 ? "\n]\n" : "]\n", table->ctl->out);
    json_decref(table->rows);
}

/* One object
 * -------------------------------------------------------------------------------------------- */

static const struct ctl_column *column_of(const struct ctl_column *columns, size_t count, const char *key)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(columns[i].key, key) == 0)
            return &columns[i];
    return NULL;
}

void ctl_show_object(struct ctl *ctl, const json_t *object, const struct ctl_column *columns, size_t count)
{
    if (ctl->form == CTL_JSON) {
        json_dumpf(object, ctl->out, JSON_INDENT(2));
        fputc('\n', ctl->out);
        return;
    }
    size_t width = 0;
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)object, key, value)
    {
        size_t key_width = columns_of(key);
        width = key_width > width ? key_width : width;
    }
    json_object_foreach((json_t *)object, key, value)
    {
        char text[64 * CELL_MAX];
        const struct ctl_column *column = column_of(columns, count, key);
        format_cell(value, column ? column->kind : KIND_NUMBER, text, sizeof text);
        ctl_put_text(ctl->out, key);
        fprintf(ctl->out, "%*s  %s\n", (int)(width - columns_of(key)), "", text);
    }
}

/* As redis-cli writes to a pipe. */
void ctl_show_raw(struct ctl *ctl, const redisReply *reply)
{
    switch (reply->type) {
    case REDIS_REPLY_INTEGER:
        fprintf(ctl->out, "%lld\n", reply->integer);
        return;
    case REDIS_REPLY_ARRAY:
        for (size_t i = 0; i < reply->elements; i++)
            ctl_show_raw(ctl, reply->element[i]);
        return;
    case REDIS_REPLY_NIL:
        fputc('\n', ctl->out);
        return;
    default:
        if (ctl->form == CTL_RAW || ctl->form == CTL_JSON)
            fwrite(reply->str, 1, (size_t)reply->len, ctl->out);
        else
            ctl_put_text(ctl->out, reply->str); /* to a terminal, perhaps */
        fputc('\n', ctl->out);
    }
}
