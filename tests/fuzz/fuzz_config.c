/* Whatever a file holds, reading it sets checked values or says what is wrong in one line. */
#include "gateway/settings/settings.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Values of numbers are in the range that the table gives. */
static void check_ranges(const struct settings *settings)
{
    for (size_t i = 0; i < settings_key_count; i++) {
        const struct config_key *key = &settings_keys[i];
        if (key->type != CONFIG_UINT && key->type != CONFIG_SIZE && key->type != CONFIG_DURATION)
            continue;
        uint64_t value;
        memcpy(&value, (const char *)settings + key->offset, sizeof value);
        bool zero = value == 0 && key->zero;
        if (!zero && (value < key->min || (key->max != 0 && value > key->max)))
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct settings settings = {0};
    char error[300] = "";
    struct config *config = settings_config(&settings);
    if (!config)
        return 0;
    if (!config_read_text(config, "fuzz.conf", (const char *)data, size, error, sizeof error) &&
        strncmp(error, "fuzz.conf:", 10) != 0)
        abort();
    check_ranges(&settings);
    (void)!settings_check(&settings, error, sizeof error);

    /* The first line again, as an argument. */
    char argument[512];
    const uint8_t *newline = memchr(data, '\n', size);
    size_t len = newline ? (size_t)(newline - data) : size;
    if (len < sizeof argument) {
        memcpy(argument, data, len);
        argument[len] = '\0';
        (void)!config_read_argument(config, argument, error, sizeof error);
        check_ranges(&settings);
    }
    config_destroy(config);
    return 0;
}
