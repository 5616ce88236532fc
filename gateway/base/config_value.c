/* Reading and describing single values. */
#include "gateway/base/config_value.h"

#include <inttypes.h>
#include <string.h>

struct unit {
    const char *suffix;
    uint64_t factor;
};

/* Largest first: a limit is described in the largest unit that divides it. */
static const struct unit size_units[] = {
    {"TiB", UINT64_C(1) << 40},
    {"GiB", UINT64_C(1) << 30},
    {"MiB", UINT64_C(1) << 20},
    {"KiB", UINT64_C(1) << 10},
    {"B", 1},
    {"", 1},
};
static const struct unit duration_units[] = {
    {"d", UINT64_C(86400000)},
    {"h", UINT64_C(3600000)},
    {"m", UINT64_C(60000)},
    {"s", UINT64_C(1000)},
    {"ms", 1},
};
static const struct unit plain_units[] = {{"", 1}};

static const struct unit *units_of(enum config_type type, size_t *count)
{
    switch (type) {
    case CONFIG_SIZE:
        *count = sizeof size_units / sizeof *size_units;
        return size_units;
    case CONFIG_DURATION:
        *count = sizeof duration_units / sizeof *duration_units;
        return duration_units;
    default:
        *count = 1;
        return plain_units;
    }
}

static const char *expected_form(enum config_type type)
{
    switch (type) {
    case CONFIG_SIZE:
        return "a size; write it as 512, 64KiB, 1MiB or 2GiB";
    case CONFIG_DURATION:
        return "a duration; write it as 500ms, 30s, 5m, 2h or 1d";
    default:
        return "a whole number";
    }
}

static uint64_t upper_bound(const struct config_key *key)
{
    return key->max == 0 ? UINT64_MAX : key->max;
}

static bool in_range(const struct config_key *key, uint64_t value)
{
    if (value == 0 && key->zero)
        return true;
    return value >= key->min && value <= upper_bound(key);
}

/* Digits, then one of the key's units. False when it is neither; an overflow comes back as UINT64_MAX with
 * *overflow set. */
static bool scan_number(enum config_type type, const char *text, uint64_t *out, bool *overflow)
{
    uint64_t value = 0;
    const char *at = text;
    *overflow = false;
    for (; *at >= '0' && *at <= '9'; at++) {
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, (uint64_t)(*at - '0'), &value))
            *overflow = true;
    }
    if (at == text)
        return false;
    size_t count;
    const struct unit *units = units_of(type, &count);
    for (size_t i = 0; i < count; i++) {
        if (strcmp(at, units[i].suffix) != 0)
            continue;
        if (__builtin_mul_overflow(value, units[i].factor, &value))
            *overflow = true;
        *out = *overflow ? UINT64_MAX : value;
        return true;
    }
    /* Zero is the same in every unit. */
    *out = 0;
    return *at == '\0' && value == 0 && !*overflow;
}

/* Sizes are described in plain bytes, so that a value just past the bound can be compared by eye. */
static void format_bound(enum config_type type, uint64_t value, char *out, size_t out_size)
{
    if (type == CONFIG_DURATION) {
        for (size_t i = 0; i < sizeof duration_units / sizeof *duration_units; i++) {
            if (value != 0 && value % duration_units[i].factor == 0) {
                snprintf(out, out_size, "%" PRIu64 "%s", value / duration_units[i].factor,
                         duration_units[i].suffix);
                return;
            }
        }
    }
    snprintf(out, out_size, "%" PRIu64, value);
}

static void format_numeric_range(const struct config_key *key, char *out, size_t out_size)
{
    char low[32], high[32], zero[64] = "";
    const char *unit = key->type == CONFIG_SIZE ? " bytes" : "";
    uint64_t min = key->zero && key->min == 0 ? 1 : key->min;
    format_bound(key->type, min, low, sizeof low);
    format_bound(key->type, upper_bound(key), high, sizeof high);
    if (key->zero)
        snprintf(zero, sizeof zero, "0: %s, or ", key->zero);
    if (upper_bound(key) == UINT64_MAX)
        snprintf(out, out_size, "%s%s%s or more", zero, low, unit);
    else
        snprintf(out, out_size, "%s%s … %s%s", zero, low, high, unit);
}

bool config_value_number(const struct config_key *key, const char *text, uint64_t *out, char *error,
                         size_t error_size)
{
    bool overflow;
    uint64_t value;
    if (!scan_number(key->type, text, &value, &overflow)) {
        snprintf(error, error_size, "\"%s\" is not %s", text, expected_form(key->type));
        return false;
    }
    if (overflow || !in_range(key, value)) {
        char range[CONFIG_RANGE_TEXT_MAX];
        format_numeric_range(key, range, sizeof range);
        snprintf(error, error_size, "%s is out of range (%s)", text, range);
        return false;
    }
    *out = value;
    return true;
}

bool config_value_bool(const char *text, bool *out, char *error, size_t error_size)
{
    bool on = strcmp(text, "on") == 0;
    if (!on && strcmp(text, "off") != 0) {
        snprintf(error, error_size, "\"%s\" is neither on nor off", text);
        return false;
    }
    *out = on;
    return true;
}

/* "a|b|c" → "a, b, c" */
static void list_choices(const char *choices, char *out, size_t out_size)
{
    size_t used = 0;
    for (; *choices && used + 3 < out_size; choices++) {
        out[used++] = *choices == '|' ? ',' : *choices;
        if (*choices == '|')
            out[used++] = ' ';
    }
    out[used] = '\0';
}

bool config_value_choice(const struct config_key *key, const char *text, int *out, char *error,
                         size_t error_size)
{
    int index = 0;
    for (const char *choice = key->choices;; index++) {
        size_t len = strcspn(choice, "|");
        if (strlen(text) == len && memcmp(text, choice, len) == 0) {
            *out = index;
            return true;
        }
        if (choice[len] == '\0')
            break;
        choice += len + 1;
    }
    char list[CONFIG_RANGE_TEXT_MAX];
    list_choices(key->choices, list, sizeof list);
    snprintf(error, error_size, "\"%s\" is not one of %s", text, list);
    return false;
}

void config_value_range(const struct config_key *key, char *out, size_t out_size)
{
    switch (key->type) {
    case CONFIG_UINT:
    case CONFIG_SIZE:
    case CONFIG_DURATION:
        format_numeric_range(key, out, out_size);
        return;
    case CONFIG_BOOL:
        snprintf(out, out_size, "on, off");
        return;
    case CONFIG_ENUM:
        list_choices(key->choices, out, out_size);
        return;
    case CONFIG_STRING:
    case CONFIG_SECRET:
        break;
    }
    *out = '\0';
}

const char *config_value_placeholder(const struct config_key *key)
{
    switch (key->type) {
    case CONFIG_UINT:
        return "NUMBER";
    case CONFIG_SIZE:
        return "SIZE";
    case CONFIG_DURATION:
        return "DURATION";
    case CONFIG_BOOL:
        return "on|off";
    case CONFIG_ENUM:
        return "CHOICE";
    case CONFIG_STRING:
    case CONFIG_SECRET:
        break;
    }
    return key->placeholder ? key->placeholder : "TEXT";
}

const char *config_value_text(const struct config_key *key, const void *settings,
                              char room[CONFIG_VALUE_TEXT_MAX])
{
    const void *field = (const char *)settings + key->offset;
    const char *text;
    size_t skip;
    switch (key->type) {
    case CONFIG_STRING:
        return *(char *const *)field;
    case CONFIG_SECRET:
        return **(char *const *)field ? "(secret)" : "";
    case CONFIG_BOOL:
        return *(const bool *)field ? "on" : "off";
    case CONFIG_UINT:
    case CONFIG_SIZE:
    case CONFIG_DURATION:
        format_bound(key->type, *(const uint64_t *)field, room, CONFIG_VALUE_TEXT_MAX);
        return room;
    case CONFIG_ENUM:
        text = key->choices;
        for (int i = 0; i < *(const int *)field; i++)
            text += strcspn(text, "|") + 1;
        skip = strcspn(text, "|");
        snprintf(room, CONFIG_VALUE_TEXT_MAX, "%.*s", (int)skip, text);
        return room;
    }
    return "";
}
