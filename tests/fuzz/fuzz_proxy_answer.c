/* Whatever a backend answers, what reaches the gateway is in its bounds and points into the answer's own
 * memory. The first byte chooses the kind of request. */
#include "gateway/proxy/proxy_internal.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool condition)
{
    if (!condition)
        abort();
}

static void check_place(const struct proxy_request *request, struct json_slice text)
{
    if (text.len)
        must(text.data >= request->storage &&
             text.data + text.len <= request->storage + request->storage_bytes);
}

static void check_json(const struct proxy_request *request, struct json_slice json)
{
    if (!json.data)
        return;
    check_place(request, json);
    must(json_text_valid(json.data, json.len));
    must(!memchr(json.data, '\n', json.len) && !memchr(json.data, '\r', json.len));
}

/* Decoded text is UTF-8 without NUL: as a JSON string it is valid and means itself. */
static void check_text(const struct proxy_request *request, struct json_slice text)
{
    if (!text.data)
        return;
    check_place(request, text);
    must(!memchr(text.data, '\0', text.len));
    size_t bytes = json_text_string_bytes(text.data, text.len);
    char *string = malloc(bytes);
    must(string && json_text_string(text.data, text.len, string) == bytes);
    must(json_text_valid(string, bytes));
    must(json_text_is((struct json_slice){string, bytes}, text.data, text.len));
    free(string);
}

static void check_channels(const struct proxy_request *request)
{
    const struct proxy_answer *answer = &request->answer;
    must(answer->channel_count <= PROXY_CHANNELS_MAX);
    for (size_t i = 0; i < answer->channel_count; i++) {
        const struct proxy_channel *channel = &answer->channels[i];
        must(channel->name.len > 0 && channel->expire_at >= 0);
        check_text(request, channel->name);
        check_json(request, channel->info);
        check_json(request, channel->data);
        for (size_t j = 0; j < i; j++)
            must(answer->channels[j].name.len != channel->name.len ||
                 memcmp(answer->channels[j].name.data, channel->name.data, channel->name.len) != 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    char why[PROXY_WHY_BYTES] = "";
    struct proxy_request *request =
        proxy_request_create(&(struct proxy_ask){.kind = (enum proxy_kind)(data[0] % PROXY_KIND_COUNT)});
    if (!request)
        return 0;
    enum proxy_outcome outcome =
        proxy_answer_parse(request, (const char *)data + 1, size - 1, why, sizeof why);
    const struct proxy_answer *answer = &request->answer;
    must(answer->outcome == outcome);
    must(answer->expire_at >= 0);
    check_json(request, answer->info);
    check_json(request, answer->data);
    check_json(request, answer->meta);
    check_json(request, answer->tags);
    check_text(request, answer->user);
    check_text(request, answer->text);
    check_channels(request);
    switch (outcome) {
    case PROXY_OK:
        must(answer->code == 0 && !answer->text.data);
        must(!answer->user.data == (request->kind != PROXY_CONNECT));
        break;
    case PROXY_ERROR:
        must(answer->code >= 400 && answer->code <= 1999 && answer->text.len <= PROXY_MESSAGE_BYTES_MAX);
        break;
    case PROXY_DISCONNECT:
        must(answer->code >= 4000 && answer->code <= 4999 && answer->text.len <= PROXY_REASON_BYTES_MAX);
        break;
    default:
        must(outcome == PROXY_BAD_BODY && *why);
    }
    proxy_request_destroy(request);
    return 0;
}
