/* A file that a report will go to: opened before the run, so that a wrong name shows before and not after it.
 *
 * What is in the file stays until the report is there. Thread: the main thread. Owner: whoever opened it.
 */
#pragma once

#include "loadtest/report.h"

struct output {
    const char *option, *path; /* "--json", its value; NULL: not wanted */
    FILE *file;
    bool created; /* there was none before */
};

/* `path` is NULL for none, "-" for standard output. False with a sentence. */
bool output_open(struct output *output, const char *option, const char *path, char *error, size_t error_size)
    __attribute__((warn_unused_result));
/* Replaces what is in the file, and closes it; true also when none is wanted. False: a sentence is on stderr.
 */
bool output_write(struct output *output, const struct load_result *result,
                  bool (*write)(const struct load_result *result, FILE *out))
    __attribute__((warn_unused_result));
/* Leaves everything as it was before; nothing after output_write(). */
void output_discard(struct output *output);
