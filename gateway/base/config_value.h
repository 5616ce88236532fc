/* Values as people write them in a configuration: 64KiB, 30s, on; read and written back.
 *
 * Thread: any; pure. Owner: nobody; pointers are into the arguments.
 */
#pragma once

#include "gateway/base/config.h"

enum { CONFIG_RANGE_TEXT_MAX = 160 };

/* A CONFIG_UINT, _SIZE or _DURATION in the key's range. False with the sentence's end in error ("0 is too
 * small; allowed: 1 … 255"). */
bool config_value_number(const struct config_key *key, const char *text, uint64_t *out, char *error,
                         size_t error_size) __attribute__((warn_unused_result));
bool config_value_bool(const char *text, bool *out, char *error, size_t error_size)
    __attribute__((warn_unused_result));
/* A CONFIG_ENUM's index. */
bool config_value_choice(const struct config_key *key, const char *text, int *out, char *error,
                         size_t error_size) __attribute__((warn_unused_result));
/* What a key accepts, for people: "1 … 255", "on, off", "0: no limit, or 1s … 24h"; "" when anything goes. */
void config_value_range(const struct config_key *key, char *out, size_t out_size);
/* A key's value in `settings` as it would be written in the file. A secret is "(secret)" when it is set.
 * Points to `room`, or is the settings' own. */
enum { CONFIG_VALUE_TEXT_MAX = 64 };
const char *config_value_text(const struct config_key *key, const void *settings,
                              char room[CONFIG_VALUE_TEXT_MAX]);
/* What the key means, and of a secret that it may come from a file. */
void config_value_help(const struct config_key *key, char *out, size_t out_size);
/* What stands for the value in help: NUMBER, SIZE, DURATION, on|off, TEXT or the choices. */
const char *config_value_placeholder(const struct config_key *key);
