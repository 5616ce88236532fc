/* From root to an unprivileged user, or from a user with capabilities to one without; there is no way back.
 *
 * Thread: main, before others start: capabilities and no_new_privs belong to threads, and those that come
 * later inherit. Owner: nobody.
 */
#pragma once

#include "gateway/settings/settings.h"

struct privileges {
    bool change; /* to user and group; else the process stays who it is */
    bool root;   /* process.user names root: whoever wrote that needs no warning */
    uid_t user;
    gid_t group;
};

/* Whom the settings name. False with a sentence: unknown, or this process cannot become it. */
bool privileges_plan(const struct settings *settings, struct privileges *plan, char *error, size_t error_size)
    __attribute__((warn_unused_result));
/* Becomes that user without supplementary groups, gives up all capabilities unless it stays root, and the
 * right to gain any by execve (no_new_privs); then tries whether there is a way back. False with a sentence:
 * the process must not serve. Without a user to become, root stays root, and a warning says so. */
bool privileges_drop(const struct privileges *plan, char *error, size_t error_size)
    __attribute__((warn_unused_result));
/* What `attempt` returns of the path, an errno or 0, as the user that the process would become: in a process
 * of its own where it is another one. */
int privileges_try(const struct privileges *plan, int (*attempt)(const char *path), const char *path);
/* Warns of files named in the settings that SIGHUP could not read again. */
void privileges_check_files(const struct settings *settings);
