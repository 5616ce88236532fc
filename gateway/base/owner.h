/* Users, groups and modes as settings write them.
 *
 * Thread: main, before others start (the system's databases of users are asked). Owner: nobody.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define OWNER_SAME ((uid_t)-1) /* chown(2): leave it as it is */

/* A name or an id; *group is the user's own when the system knows the user, else OWNER_SAME. False with a
 * sentence. */
bool owner_user(const char *text, uid_t *user, gid_t *group, char *error, size_t error_size)
    __attribute__((warn_unused_result));
bool owner_group(const char *text, gid_t *group, char *error, size_t error_size)
    __attribute__((warn_unused_result));
/* "user", "user:group", ":group" or "": what is not named is OWNER_SAME. */
bool owner_pair(const char *text, uid_t *user, gid_t *group, char *error, size_t error_size)
    __attribute__((warn_unused_result));
/* Octal, of at most 0777: "0660". */
bool owner_mode(const char *text, mode_t *mode, char *error, size_t error_size)
    __attribute__((warn_unused_result));
