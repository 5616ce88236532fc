/* Settings that are good each, and bad together.
 *
 * Thread: main, before others start. Owner: nobody.
 */
#pragma once

#include "gateway/settings/settings.h"

/* Two listeners at one address; a topic that recovers what it does not keep. False with a sentence that names
 * the settings. */
bool settings_collisions_check(const struct settings *settings, char *error, size_t error_size)
    __attribute__((warn_unused_result));
