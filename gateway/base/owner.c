/* Names are asked for first: a user may be called 1000. */
#include "gateway/base/owner.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_MAX_BYTES = 256, RECORD_BYTES = 64 * 1024 };

/* Plain digits; the highest number is chown's "leave it". */
static bool read_id(const char *text, uint32_t *id)
{
    uint64_t value = 0;
    size_t len = strlen(text);
    if (len == 0 || len > 10 || strspn(text, "0123456789") != len)
        return false;
    for (; *text; text++)
        value = value * 10 + (unsigned)(*text - '0');
    *id = (uint32_t)value;
    return value < UINT32_MAX;
}

bool owner_user(const char *text, uid_t *user, gid_t *group, char *error, size_t error_size)
{
    struct passwd record, *found = NULL;
    uint32_t id;
    bool numeric = read_id(text, &id);
    char *memory = malloc(RECORD_BYTES);
    if (memory && (getpwnam_r(text, &record, memory, RECORD_BYTES, &found) != 0 || !found) && numeric)
        (void)getpwuid_r(id, &record, memory, RECORD_BYTES, &found);
    bool known = found || numeric;
    if (known) {
        *user = found ? found->pw_uid : id;
        *group = found ? found->pw_gid : OWNER_SAME;
    } else {
        snprintf(error, error_size, "no user is called \"%.100s\" on this machine", text);
    }
    free(memory);
    return known;
}

bool owner_group(const char *text, gid_t *group, char *error, size_t error_size)
{
    struct group record, *found = NULL;
    uint32_t id;
    bool numeric = read_id(text, &id);
    char *memory = malloc(RECORD_BYTES);
    if (memory)
        (void)getgrnam_r(text, &record, memory, RECORD_BYTES, &found);
    bool known = found || numeric;
    if (known)
        *group = found ? found->gr_gid : id;
    else
        snprintf(error, error_size, "no group is called \"%.100s\" on this machine", text);
    free(memory);
    return known;
}

bool owner_pair(const char *text, uid_t *user, gid_t *group, char *error, size_t error_size)
{
    char name[NAME_MAX_BYTES];
    gid_t ignored;
    const char *colon = strchr(text, ':');
    size_t len = colon ? (size_t)(colon - text) : strlen(text);
    *user = OWNER_SAME;
    *group = OWNER_SAME;
    if (len >= sizeof name || (colon && !colon[1])) {
        snprintf(error, error_size, "\"%.100s\" is not an owner: write user, user:group or :group", text);
        return false;
    }
    memcpy(name, text, len);
    name[len] = '\0';
    if (len > 0 && !owner_user(name, user, &ignored, error, error_size))
        return false;
    return !colon || owner_group(colon + 1, group, error, error_size);
}

bool owner_mode(const char *text, mode_t *mode, char *error, size_t error_size)
{
    size_t len = strlen(text);
    mode_t value = 0;
    bool good = len >= 3 && len <= 4 && strspn(text, "01234567") == len && (len == 3 || *text == '0');
    for (const char *at = text; good && *at; at++)
        value = value << 3 | (mode_t)(*at - '0');
    if (good)
        *mode = value;
    else
        snprintf(error, error_size, "\"%.20s\" is not a mode: write three octal digits, as in 0660", text);
    return good;
}
