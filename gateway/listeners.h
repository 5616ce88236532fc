/* All listeners of the gateway, opened before privileges are given up and before threads start, and the files
 * of unix sockets, which are removed at the end.
 *
 * Thread: main. Owner: a descriptor belongs to the listeners until it is taken.
 */
#pragma once

#include "gateway/conn/stats.h"
#include "gateway/settings/settings.h"

#include <sys/stat.h>

enum {
    PUBLISH_LISTENERS_MAX = 4,
    LISTENERS_MAX = PUBLISH_LISTENERS_MAX + TRANSPORT_COUNT + 1,
};

struct unix_file {
    char path[108];
    dev_t device; /* of the file that we made: another's in its place is left alone */
    ino_t inode;
};

struct listeners {
    const struct settings *settings;
    int publish[PUBLISH_LISTENERS_MAX]; /* −1: none or taken */
    size_t publish_count;
    int (*acceptors)[TRANSPORT_COUNT]; /* one pair for each acceptor */
    uint32_t acceptor_count;
    int admin;
    struct {
        const char *name;
        char address[128]; /* with the port that was picked */
    } opened[LISTENERS_MAX];
    size_t opened_count;
    struct unix_file unix_files[LISTENERS_MAX];
    size_t unix_count;
};

/* Opens what the settings name, for so many acceptors. False with a sentence. listeners_fini() in any case.
 */
bool listeners_open(struct listeners *listeners, const struct settings *settings, uint32_t acceptors,
                    char *error, size_t error_size) __attribute__((warn_unused_result));
/* One line for each. */
void listeners_log(const struct listeners *listeners);
/* The descriptor, which is the caller's from now on. */
int listener_take(int *fd);
/* Closes what was not taken and removes the files of unix sockets; also of one that was never opened. */
void listeners_fini(struct listeners *listeners);
