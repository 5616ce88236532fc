#include "proto/centrifuge.h"

#include <stdio.h>
#include <string.h>

/* A member to look for, and its value, absent until it is found. */
struct field {
    const char *name;
    struct json_slice value;
};

/* Every function that answers bool has said what was wrong when it answers false. */

static bool bad(struct centrifuge_decoder *decoder, const char *error)
{
    decoder->error = error;
    return false;
}

static bool bad_field(struct centrifuge_decoder *decoder, const struct field *field, const char *error)
{
    snprintf(decoder->error_text, sizeof decoder->error_text, "%s %s", field->name, error);
    return bad(decoder, decoder->error_text);
}

/* Finds members by name in one walk; the last of several wins, members that are not asked for are ignored. */
static void find_fields(struct json_slice object, struct field *fields, size_t count)
{
    struct json_slice name, value;
    size_t cursor = 0;
    while (json_text_next(object, &cursor, &name, &value)) {
        char first = name.data[1]; /* the closing quote when the name is empty */
        for (size_t i = 0; i < count; i++)
            if ((first == fields[i].name[0] || first == '\\') &&
                json_text_is(name, fields[i].name, strlen(fields[i].name)))
                fields[i].value = value;
    }
}

static bool is_null(struct json_slice value)
{
    return value.len == 4 && memcmp(value.data, "null", 4) == 0;
}

/* Missing and null are the same, but where any value may stand. */
static bool is_absent(const struct field *field)
{
    return !field->value.data || is_null(field->value);
}

static bool is_object(struct json_slice value)
{
    return value.data && value.data[0] == '{';
}

/* Decodes a string where it stands. */
static bool unescape(struct centrifuge_decoder *decoder, struct json_slice raw, struct json_slice *out)
{
    char *place = decoder->message + (raw.data + 1 - decoder->message);
    size_t len;
    if (!json_text_unescape(raw, place, &len) || memchr(place, '\0', len))
        return false;
    *out = (struct json_slice){place, len};
    return true;
}

static bool take_string(struct centrifuge_decoder *decoder, const struct field *field, struct json_slice *out)
{
    if (is_absent(field))
        return true;
    if (field->value.data[0] != '"')
        return bad_field(decoder, field, "is no string");
    if (!unescape(decoder, field->value, out))
        return bad_field(decoder, field, "has a NUL or half a surrogate pair");
    return true;
}

static bool take_bool(struct centrifuge_decoder *decoder, const struct field *field, bool *out)
{
    if (is_absent(field))
        return true;
    *out = field->value.data[0] == 't';
    return *out || field->value.data[0] == 'f' || bad_field(decoder, field, "is neither true nor false");
}

/* The digits of a number as far as `max`. False, and nothing said, for anything else than digits. */
static bool read_digits(struct json_slice text, uint64_t *out, bool *too_large, uint64_t max)
{
    uint64_t number = 0;
    *too_large = false;
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] < '0' || text.data[i] > '9')
            return false;
        *too_large = *too_large || __builtin_mul_overflow(number, 10, &number) ||
                     __builtin_add_overflow(number, (uint64_t)(text.data[i] - '0'), &number) || number > max;
    }
    *out = number;
    return true;
}

static bool take_uint(struct centrifuge_decoder *decoder, const struct field *field, uint64_t max,
                      uint64_t *out)
{
    bool too_large;
    if (is_absent(field))
        return true;
    if (!read_digits(field->value, out, &too_large, max))
        return bad_field(decoder, field, "is no whole number from 0 on");
    return !too_large || bad_field(decoder, field, "is too large");
}

static bool take_int32(struct centrifuge_decoder *decoder, const struct field *field, int32_t *out)
{
    bool too_large;
    uint64_t number;
    if (is_absent(field))
        return true;
    bool negative = field->value.data[0] == '-';
    struct json_slice digits = {field->value.data + negative, field->value.len - negative};
    if (!read_digits(digits, &number, &too_large, INT32_MAX))
        return bad_field(decoder, field, "is no whole number");
    if (too_large)
        return bad_field(decoder, field, "is too large");
    *out = negative ? -(int32_t)number : (int32_t)number;
    return true;
}

static bool take_object(struct centrifuge_decoder *decoder, const struct field *field, struct json_slice *out)
{
    if (is_absent(field))
        return true;
    if (!is_object(field->value))
        return bad_field(decoder, field, "is no object");
    *out = field->value;
    return true;
}

/* The members of a subscription: of a subscribe command, and of what a connect command says of one channel,
 * whose name is known then.
 *
 * Here and below: all members are found before one is decoded, as decoding spoils the text around it. */
static bool decode_subscription(struct centrifuge_decoder *decoder, struct json_slice object,
                                struct centrifuge_subscribe *out)
{
    enum { CHANNEL, TOKEN, DATA, EPOCH, OFFSET, RECOVER, POSITIONED, RECOVERABLE, JOIN_LEAVE, FLAG, TYPE };
    struct field fields[] = {
        [CHANNEL] = {.name = "channel"},
        [TOKEN] = {.name = "token"},
        [DATA] = {.name = "data"},
        [EPOCH] = {.name = "epoch"},
        [OFFSET] = {.name = "offset"},
        [RECOVER] = {.name = "recover"},
        [POSITIONED] = {.name = "positioned"},
        [RECOVERABLE] = {.name = "recoverable"},
        [JOIN_LEAVE] = {.name = "join_leave"},
        [FLAG] = {.name = "flag"},
        [TYPE] = {.name = "type"},
    };
    find_fields(object, fields, sizeof fields / sizeof fields[0]);
    out->data = fields[DATA].value;
    return (out->channel.data || take_string(decoder, &fields[CHANNEL], &out->channel)) &&
           take_string(decoder, &fields[TOKEN], &out->token) &&
           take_string(decoder, &fields[EPOCH], &out->epoch) &&
           take_uint(decoder, &fields[OFFSET], UINT64_MAX, &out->offset) &&
           take_bool(decoder, &fields[RECOVER], &out->recover) &&
           take_bool(decoder, &fields[POSITIONED], &out->positioned) &&
           take_bool(decoder, &fields[RECOVERABLE], &out->recoverable) &&
           take_bool(decoder, &fields[JOIN_LEAVE], &out->join_leave) &&
           take_uint(decoder, &fields[FLAG], INT64_MAX, &out->flags) &&
           take_int32(decoder, &fields[TYPE], &out->type);
}

static bool decode_channel(struct centrifuge_decoder *decoder, struct json_slice object,
                           struct json_slice *out)
{
    struct field channel = {.name = "channel"};
    find_fields(object, &channel, 1);
    return take_string(decoder, &channel, out);
}

static bool decode_subs(struct centrifuge_decoder *decoder, struct json_slice object,
                        struct centrifuge_connect *out)
{
    struct json_slice name, value;
    size_t cursor = 0;
    out->subs = decoder->subs;
    while (json_text_next(object, &cursor, &name, &value)) {
        if (out->sub_count == decoder->subs_max)
            return bad(decoder, "subs has more channels than one connection may have");
        struct centrifuge_subscribe *sub = &out->subs[out->sub_count++];
        *sub = (struct centrifuge_subscribe){0};
        if (!unescape(decoder, name, &sub->channel))
            return bad(decoder, "a channel in subs has a NUL or half a surrogate pair");
        if (!is_object(value) && !is_null(value))
            return bad(decoder, "a subscription in subs is no object");
        if (!decode_subscription(decoder, value, sub))
            return false;
    }
    return true;
}

static bool check_headers(struct centrifuge_decoder *decoder, struct json_slice headers)
{
    struct json_slice name, value;
    size_t cursor = 0;
    while (json_text_next(headers, &cursor, &name, &value))
        if (value.data[0] != '"')
            return bad(decoder, "a value in headers is no string");
    return true;
}

static bool decode_connect(struct centrifuge_decoder *decoder, struct json_slice object,
                           struct centrifuge_connect *out)
{
    enum { TOKEN, DATA, NAME, VERSION, HEADERS, SUBS };
    struct field fields[] = {
        [TOKEN] = {.name = "token"},     [DATA] = {.name = "data"},       [NAME] = {.name = "name"},
        [VERSION] = {.name = "version"}, [HEADERS] = {.name = "headers"}, [SUBS] = {.name = "subs"},
    };
    struct json_slice subs = {0};
    find_fields(object, fields, sizeof fields / sizeof fields[0]);
    out->data = fields[DATA].value;
    return take_string(decoder, &fields[TOKEN], &out->token) &&
           take_string(decoder, &fields[NAME], &out->name) &&
           take_string(decoder, &fields[VERSION], &out->version) &&
           take_object(decoder, &fields[HEADERS], &out->headers) && check_headers(decoder, out->headers) &&
           take_object(decoder, &fields[SUBS], &subs) && decode_subs(decoder, subs, out);
}

static bool decode_publish(struct centrifuge_decoder *decoder, struct json_slice object,
                           struct centrifuge_publish *out)
{
    struct field fields[] = {{.name = "channel"}, {.name = "data"}, {.name = "type"}};
    find_fields(object, fields, sizeof fields / sizeof fields[0]);
    out->data = fields[1].value;
    return take_string(decoder, &fields[0], &out->channel) && take_int32(decoder, &fields[2], &out->type);
}

static bool decode_history(struct centrifuge_decoder *decoder, struct json_slice object,
                           struct centrifuge_history *out)
{
    enum { CHANNEL, LIMIT, SINCE, REVERSE };
    struct field fields[] = {
        [CHANNEL] = {.name = "channel"},
        [LIMIT] = {.name = "limit"},
        [SINCE] = {.name = "since"},
        [REVERSE] = {.name = "reverse"},
    };
    struct field position[] = {{.name = "offset"}, {.name = "epoch"}};
    struct json_slice since = {0};
    find_fields(object, fields, sizeof fields / sizeof fields[0]);
    if (!take_string(decoder, &fields[CHANNEL], &out->channel) ||
        !take_int32(decoder, &fields[LIMIT], &out->limit) || !take_object(decoder, &fields[SINCE], &since) ||
        !take_bool(decoder, &fields[REVERSE], &out->reverse))
        return false;
    out->has_since = since.data != NULL;
    find_fields(since, position, sizeof position / sizeof position[0]);
    return take_uint(decoder, &position[0], UINT64_MAX, &out->since_offset) &&
           take_string(decoder, &position[1], &out->since_epoch);
}

static bool decode_rpc(struct centrifuge_decoder *decoder, struct json_slice object,
                       struct centrifuge_command *command)
{
    struct field fields[] = {{.name = "method"}, {.name = "data"}};
    find_fields(object, fields, sizeof fields / sizeof fields[0]);
    command->rpc.data = fields[1].value;
    return take_string(decoder, &fields[0], &command->rpc.method);
}

static bool decode_refresh(struct centrifuge_decoder *decoder, struct json_slice object,
                           struct centrifuge_command *command)
{
    struct field token = {.name = "token"};
    find_fields(object, &token, 1);
    return take_string(decoder, &token, &command->refresh.token);
}

static bool decode_sub_refresh(struct centrifuge_decoder *decoder, struct json_slice object,
                               struct centrifuge_command *command)
{
    struct field fields[] = {{.name = "channel"}, {.name = "token"}, {.name = "type"}};
    find_fields(object, fields, sizeof fields / sizeof fields[0]);
    return take_string(decoder, &fields[0], &command->sub_refresh.channel) &&
           take_string(decoder, &fields[1], &command->sub_refresh.token) &&
           take_int32(decoder, &fields[2], &command->sub_refresh.type);
}

static bool decode_method(struct centrifuge_decoder *decoder, struct json_slice object,
                          struct centrifuge_command *command)
{
    switch (command->method) {
    case CENTRIFUGE_CONNECT:
        return decode_connect(decoder, object, &command->connect);
    case CENTRIFUGE_SUBSCRIBE:
        return decode_subscription(decoder, object, &command->subscribe);
    case CENTRIFUGE_UNSUBSCRIBE:
        return decode_channel(decoder, object, &command->unsubscribe.channel);
    case CENTRIFUGE_PUBLISH:
        return decode_publish(decoder, object, &command->publish);
    case CENTRIFUGE_PRESENCE:
        return decode_channel(decoder, object, &command->presence.channel);
    case CENTRIFUGE_PRESENCE_STATS:
        return decode_channel(decoder, object, &command->presence_stats.channel);
    case CENTRIFUGE_HISTORY:
        return decode_history(decoder, object, &command->history);
    case CENTRIFUGE_SEND:
        command->send.data = json_text_member(object, "data");
        return true;
    case CENTRIFUGE_RPC:
        return decode_rpc(decoder, object, command);
    case CENTRIFUGE_REFRESH:
        return decode_refresh(decoder, object, command);
    case CENTRIFUGE_SUB_REFRESH:
        return decode_sub_refresh(decoder, object, command);
    default:
        return true; /* ping, pong and what is unknown have no members */
    }
}

static bool decode_command(struct centrifuge_decoder *decoder, struct json_slice line,
                           struct centrifuge_command *command)
{
    enum { ID = CENTRIFUGE_METHOD_COUNT, FIELDS };
    struct field fields[FIELDS] = {
#define X(method, text) [CENTRIFUGE_##method] = {.name = (text)},
        CENTRIFUGE_METHODS(X)
#undef X
            [ID] = {.name = "id"},
    };
    uint64_t id = 0;
    int methods = 0;
    if (!json_text_valid(line.data, line.len))
        return bad(decoder, "a command is no JSON");
    if (!is_object(line))
        return bad(decoder, "a command is no object");
    find_fields(line, fields, FIELDS);
    if (!take_uint(decoder, &fields[ID], UINT32_MAX, &id))
        return false;
    struct json_slice object = {0};
    memset(command, 0, sizeof *command); /* whichever member of the union is meant */
    command->id = (uint32_t)id;
    command->method = id > 0 ? CENTRIFUGE_UNKNOWN : CENTRIFUGE_PONG;
    for (enum centrifuge_method method = 0; method < CENTRIFUGE_METHOD_COUNT; method++) {
        if (is_absent(&fields[method]))
            continue;
        command->method = method;
        methods++;
        if (!take_object(decoder, &fields[method], &object))
            return false;
    }
    if (methods > 1)
        return bad(decoder, "a command has two methods");
    if (methods == 1 && id == 0 && command->method != CENTRIFUGE_SEND)
        return bad(decoder, "a command that has a reply has no id");
    return decode_method(decoder, object, command);
}

/* The next line that is not empty, without white space before and behind it. */
static bool next_line(struct centrifuge_decoder *decoder, struct json_slice *line)
{
    while (decoder->at < decoder->len) {
        const char *begin = decoder->message + decoder->at;
        const char *end = memchr(begin, '\n', decoder->len - decoder->at);
        if (!end)
            end = decoder->message + decoder->len;
        decoder->at = (size_t)(end - decoder->message) + 1;
        while (begin < end && (*begin == ' ' || *begin == '\t' || *begin == '\r'))
            begin++;
        while (begin < end && (end[-1] == ' ' || end[-1] == '\t' || end[-1] == '\r'))
            end--;
        if (begin < end) {
            *line = (struct json_slice){begin, (size_t)(end - begin)};
            return true;
        }
    }
    return false;
}

const char *centrifuge_method_name(enum centrifuge_method method)
{
    switch (method) {
#define X(name, text)                                                                                        \
    case CENTRIFUGE_##name:                                                                                  \
        return text;
        CENTRIFUGE_METHODS(X)
#undef X
    case CENTRIFUGE_PONG:
        return "pong";
    default:
        return "unknown";
    }
}

void centrifuge_decoder_init(struct centrifuge_decoder *decoder, char *message, size_t len,
                             struct centrifuge_subscribe *subs, size_t subs_max)
{
    *decoder =
        (struct centrifuge_decoder){.message = message, .len = len, .subs = subs, .subs_max = subs_max};
}

enum parse_result centrifuge_decode(struct centrifuge_decoder *decoder, struct centrifuge_command *command)
{
    struct json_slice line;
    if (decoder->error)
        return PARSE_BAD;
    if (!next_line(decoder, &line)) {
        if (decoder->commands > 0)
            return PARSE_MORE;
        bad(decoder, "a message has no command");
        return PARSE_BAD;
    }
    if (decoder->commands == CENTRIFUGE_COMMANDS_MAX) {
        bad(decoder, "a message has too many commands");
        return PARSE_BAD;
    }
    decoder->commands++;
    return decode_command(decoder, line, command) ? PARSE_OK : PARSE_BAD;
}
