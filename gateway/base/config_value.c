/* Reads, writes and describes single values. */
#include "gateway/base/config_value.h"

#include "gateway/base/suggest.h"

#include <inttypes.h>
#include <string.h>
#include <strings.h>

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
        return "a size (512, 64KiB, 1MiB, 2GiB)";
    case CONFIG_DURATION:
        return "a duration (500ms, 30s, 5m, 2h, 1d)";
    default:
        return "a whole number";
    }
}

/* What others write for our units and words. */
struct synonym {
    const char *typed, *meant;
};
static const struct synonym size_synonyms[] = {
    {"k", "KiB"},  {"kb", "KiB"}, {"kib", "KiB"}, {"m", "MiB"}, {"mb", "MiB"}, {"mib", "MiB"},
    {"g", "GiB"},  {"gb", "GiB"}, {"gib", "GiB"}, {"t", "TiB"}, {"tb", "TiB"}, {"tib", "TiB"},
    {"bytes", ""}, {"byte", ""},  {"b", ""},      {NULL, NULL},
};
static const struct synonym duration_synonyms[] = {
    {"", "s"},        {"sec", "s"},
    {"secs", "s"},    {"second", "s"},
    {"seconds", "s"}, {"min", "m"},
    {"mins", "m"},    {"minute", "m"},
    {"minutes", "m"}, {"hour", "h"},
    {"hours", "h"},   {"hr", "h"},
    {"day", "d"},     {"days", "d"},
    {"msec", "ms"},   {"s", "s"},
    {"m", "m"},       {"h", "h"},
    {"d", "d"},       {"ms", "ms"},
    {"millis", "ms"}, {"milliseconds", "ms"},
    {NULL, NULL},
};
static const struct synonym bool_synonyms[] = {
    {"yes", "on"},       {"true", "on"}, {"1", "on"},      {"y", "on"},  {"enabled", "on"},
    {"on", "on"},        {"no", "off"},  {"false", "off"}, {"0", "off"}, {"n", "off"},
    {"disabled", "off"}, {"off", "off"}, {NULL, NULL},
};

static const char *find_synonym(const struct synonym *synonyms, const char *typed)
{
    for (; synonyms->typed; synonyms++)
        if (strcasecmp(synonyms->typed, typed) == 0)
            return synonyms->meant;
    return NULL;
}

/* "; did you mean 64KiB?" for 64kb, else "". */
static void suggest_unit(enum config_type type, const char *text, char *out, size_t out_size)
{
    size_t digits = strspn(text, "0123456789"), blanks = strspn(text + digits, " ");
    const char *unit = NULL;
    if (digits > 0 && (type == CONFIG_SIZE || type == CONFIG_DURATION))
        unit = find_synonym(type == CONFIG_SIZE ? size_synonyms : duration_synonyms, text + digits + blanks);
    *out = '\0';
    if (unit)
        snprintf(out, out_size, "; did you mean %.*s%s?", (int)digits, text, unit);
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

/* In the largest unit that divides it. */
static void format_number(enum config_type type, uint64_t value, char *out, size_t out_size)
{
    size_t count;
    const struct unit *units = units_of(type, &count);
    for (size_t i = 0; i < count; i++) {
        if (value != 0 && value % units[i].factor == 0) {
            snprintf(out, out_size, "%" PRIu64 "%s", value / units[i].factor, units[i].suffix);
            return;
        }
    }
    snprintf(out, out_size, "%" PRIu64, value);
}

static void format_numeric_range(const struct config_key *key, char *out, size_t out_size)
{
    char low[32], high[32], zero[64] = "";
    uint64_t min = key->zero && key->min == 0 ? 1 : key->min;
    format_number(key->type, min, low, sizeof low);
    format_number(key->type, upper_bound(key), high, sizeof high);
    if (key->zero)
        snprintf(zero, sizeof zero, "0: %s, or ", key->zero);
    if (upper_bound(key) == UINT64_MAX)
        snprintf(out, out_size, "%s%s or more", zero, low);
    else
        snprintf(out, out_size, "%s%s … %s", zero, low, high);
}

bool config_value_number(const struct config_key *key, const char *text, uint64_t *out, char *error,
                         size_t error_size)
{
    bool overflow;
    uint64_t value;
    char range[CONFIG_RANGE_TEXT_MAX], meant[64];
    format_numeric_range(key, range, sizeof range);
    if (!*text) {
        snprintf(error, error_size, "the value is missing; allowed: %s", range);
        return false;
    }
    if (!scan_number(key->type, text, &value, &overflow)) {
        suggest_unit(key->type, text, meant, sizeof meant);
        snprintf(error, error_size, "\"%.100s\" is not %s%s%s: %s", text, expected_form(key->type), meant,
                 *meant ? " Allowed" : "; allowed", range);
        return false;
    }
    if (overflow || !in_range(key, value)) {
        snprintf(error, error_size, "%.100s is too %s; allowed: %s", text,
                 overflow || value > upper_bound(key) ? "large" : "small", range);
        return false;
    }
    *out = value;
    return true;
}

bool config_value_bool(const char *text, bool *out, char *error, size_t error_size)
{
    bool on = strcmp(text, "on") == 0;
    if (!on && strcmp(text, "off") != 0) {
        const char *meant = find_synonym(bool_synonyms, text);
        if (!*text)
            snprintf(error, error_size, "the value is missing; allowed: on, off");
        else
            snprintf(error, error_size, "\"%.100s\" is neither on nor off%s%s%s", text,
                     meant ? "; did you mean " : "", meant ? meant : "", meant ? "?" : "");
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
    struct suggestion suggestion;
    suggest_begin(&suggestion, text, strlen(text));
    for (const char *choice = key->choices;; index++) {
        size_t len = strcspn(choice, "|");
        suggest_offer(&suggestion, choice, len);
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
    if (!*text)
        snprintf(error, error_size, "the value is missing; allowed: %s", list);
    else
        snprintf(error, error_size, "\"%.100s\" is not one of %s%s%.*s%s", text, list,
                 suggestion.nearest ? "; did you mean " : "", (int)suggestion.nearest_len,
                 suggestion.nearest ? suggestion.nearest : "", suggestion.nearest ? "?" : "");
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

void config_value_help(const struct config_key *key, char *out, size_t out_size)
{
    if (key->type == CONFIG_SECRET)
        snprintf(out, out_size, "%s %s_file=FILE reads it from a file.", key->help, key->name);
    else
        snprintf(out, out_size, "%s", key->help);
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
        format_number(key->type, *(const uint64_t *)field, room, CONFIG_VALUE_TEXT_MAX);
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
