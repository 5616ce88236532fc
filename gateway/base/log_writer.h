/* The thread that writes the log: to stderr, or to a file that can be reopened (logrotate).
 *
 * All other threads put whole lines into one pipe and never wait: not for a disk, not for a reader of stderr
 * that has stopped. What the pipe does not take, and what the file does not (ENOSPC and the like), is lost
 * and counted, and as soon as lines get through again, one says how many were.
 *
 * Descriptors: reactors have tables of their own, so they must keep log_fd() (log.h); the file is only the
 * writer's, which is why it can be replaced under everybody.
 *
 * Thread: start and stop by main, when no other thread logs; reopen and counts any. Owner: process-wide, as
 * log.h.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct log_counts {
    uint64_t lines;     /* given to the writer */
    uint64_t lost_full; /* not given: it did not keep up */
    uint64_t lost_write;
};

/* `path` "" is stderr. False with a sentence; then lines go to stderr as before. */
bool log_writer_start(const char *path, char *error, size_t error_size) __attribute__((warn_unused_result));
/* The path is opened anew; lines that were logged before may still go to the old file, and none is lost or
 * split. When it cannot be opened, the old one stays. Returns at once. Without a path or a writer: nothing.
 */
void log_writer_reopen(void);
/* Waits until what was logged before has been written, or `ms` are over. */
void log_writer_flush(unsigned ms);
/* Writes what is left, waiting at most a second for who does not read, and ends the thread. */
void log_writer_stop(void);
struct log_counts log_writer_counts(void);
