/* Epochs as clients send them back: what is accepted is written again exactly as it was. */
#include "gateway/broker/engine.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    char *text = malloc(size > 0 ? size : 1); /* not NUL-terminated: a byte too many is found */
    if (!text)
        return 0;
    if (size > 0)
        memcpy(text, input, size);
    uint64_t epoch = 0;
    if (epoch_parse(text, size, &epoch)) {
        char back[EPOCH_TEXT_BYTES];
        epoch_format(epoch, back);
        if (epoch == 0 || size != EPOCH_TEXT_BYTES - 1 || memcmp(back, text, size) != 0)
            abort();
    }
    free(text);
    return 0;
}
