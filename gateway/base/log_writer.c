/* One pipe, one reader. Lines are at most PIPE_BUF long, so that each goes in whole or not at all (pipe(7)).
 */
#include "gateway/base/log_writer.h"

#include "gateway/base/clock.h"
#include "gateway/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
    PIPE_BYTES = 1 << 20, /* what an unprivileged process may ask for; a second of a very busy log */
    BUFFER_BYTES = 64 * 1024,
    CHUNK_BYTES = 4096, /* PIPE_BUF: what poll(2) says can be written without waiting */
    WAIT_MS = 100,      /* between looks at `stopping` */
    STOP_MS = 1000,
    FILE_MODE = 0640,
};

static struct {
    const char *path; /* "": stderr */
    pthread_t thread;
    bool started;
    int pipe[2], wake_fd;
    int fd; /* of the writer alone once it runs */
    _Atomic bool reopen;
    _Atomic uint64_t stop_by; /* by the monotonic clock; 0: not yet */
    _Atomic uint64_t written, lost_write;
    bool torn, failing; /* the last line in the file has no end; the last write failed */
    uint64_t told_lost; /* what the log has said about losses */
    size_t len;
    char buffer[BUFFER_BYTES];
} writer;

/* Output
 * -------------------------------------------------------------------------------------------------------------
 */

static size_t lines_in(const char *text, size_t len)
{
    size_t count = 0;
    for (const char *end; (end = memchr(text, '\n', len)); count++) {
        len -= (size_t)(end + 1 - text);
        text = end + 1;
    }
    return count;
}

/* False when there is no more time to wait for a reader. */
static bool wait_writable(void)
{
    for (;;) {
        struct pollfd poll_fd = {.fd = writer.fd, .events = POLLOUT};
        uint64_t stop_by = atomic_load(&writer.stop_by);
        bool late = stop_by && clock_monotonic_ms() >= stop_by;
        if (poll(&poll_fd, 1, late ? 0 : WAIT_MS) != 0)
            return true; /* writable, or an error that write() will tell */
        if (late)
            return false;
    }
}

/* All of it; false with errno, and how many bytes went out. */
static bool put(const char *text, size_t len, size_t *done)
{
    *done = 0;
    while (*done < len) {
        if (!wait_writable()) {
            errno = ETIMEDOUT;
            return false;
        }
        ssize_t n = write(writer.fd, text + *done, len - *done);
        if (n > 0)
            *done += (size_t)n;
        else if (n < 0 && errno != EINTR && errno != EAGAIN)
            return false;
    }
    return true;
}

static void complain(const char *what, int error)
{
    char line[512];
    if (!*writer.path)
        return;
    /* The one place left. Short, and stderr is nobody else's by now. */
    int len =
        snprintf(line, sizeof line, "pushgate: log.file %s: %s: %s\n", writer.path, what, strerror(error));
    struct pollfd poll_fd = {.fd = STDERR_FILENO, .events = POLLOUT};
    if (len > 0 && poll(&poll_fd, 1, 0) == 1)
        (void)!write(STDERR_FILENO, line, (size_t)len < sizeof line ? (size_t)len : sizeof line - 1);
}

/* Whole lines. A line of which only a part went out is ended before the next one, so that no other looks
 * split. */
static void put_lines(const char *text, size_t len)
{
    size_t done = 0, ignored;
    bool ok = !writer.torn || put("\n", 1, &ignored);
    if (ok) {
        writer.torn = false;
        ok = put(text, len, &done);
    }
    if (ok) {
        writer.failing = false;
        return;
    }
    int error = errno;
    if (done > 0)
        writer.torn = text[done - 1] != '\n';
    atomic_fetch_add(&writer.lost_write, lines_in(text + done, len - done));
    if (!writer.failing)
        complain("cannot write", error);
    writer.failing = true;
}

static uint64_t lost(void)
{
    return log_pipe_lost() + atomic_load(&writer.lost_write);
}

/* As soon as lines get through: the pipe has just been read. */
static void tell_losses(void)
{
    uint64_t now = lost();
    if (now == writer.told_lost || writer.failing)
        return;
    log_event(LOG_WARN, "log_lost", "lines=%llu", (unsigned long long)(now - writer.told_lost));
    writer.told_lost = now;
}

/* The whole lines of the buffer, in pieces that a pipe takes at once. */
static void write_out(void)
{
    size_t at = 0;
    for (;;) {
        size_t left = writer.len - at, most = left < CHUNK_BYTES ? left : CHUNK_BYTES;
        const char *end = memrchr(writer.buffer + at, '\n', most);
        if (!end)
            break;
        size_t bytes = (size_t)(end + 1 - (writer.buffer + at));
        size_t lines = lines_in(writer.buffer + at, bytes);
        put_lines(writer.buffer + at, bytes);
        atomic_fetch_add(&writer.written, lines);
        at += bytes;
    }
    memmove(writer.buffer, writer.buffer + at, writer.len - at);
    writer.len -= at;
}

/* The file
 * -------------------------------------------------------------------------------------------------------------
 */

/* Without waiting for anybody: a FIFO that nobody reads is an error. */
static int open_file(const char *path)
{
    return open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, FILE_MODE);
}

static void reopen_file(void)
{
    int fd = open_file(writer.path);
    if (fd < 0) {
        int error = errno;
        complain("cannot open it again, the old one stays in use", error);
        log_event(LOG_ERROR, "log_reopen_failed", "path=%s error=%s", writer.path, strerror(error));
        return;
    }
    close(writer.fd);
    writer.fd = fd;
    writer.torn = writer.failing = false;
    log_event(LOG_INFO, "log_reopened", "path=%s", writer.path);
}

/* The thread
 * -------------------------------------------------------------------------------------------------------------
 */

/* False when the pipe is empty. */
static bool take(void)
{
    ssize_t n = read(writer.pipe[0], writer.buffer + writer.len, BUFFER_BYTES - writer.len);
    if (n <= 0)
        return n < 0 && errno == EINTR;
    writer.len += (size_t)n;
    write_out();
    tell_losses();
    return true;
}

static void *run(void *argument)
{
    (void)argument;
    for (;;) {
        /* Read before the pipe is emptied: what was logged before a reopen or a stop goes first. */
        bool stop = atomic_load(&writer.stop_by) != 0;
        bool reopen = atomic_exchange(&writer.reopen, false);
        uint64_t wakes;
        (void)!read(writer.wake_fd, &wakes, sizeof wakes);
        while (take())
            if (reopen && writer.len == 0)
                break; /* others go on logging */
        if (reopen)
            reopen_file();
        if (stop)
            return NULL;
        struct pollfd fds[] = {{.fd = writer.pipe[0], .events = POLLIN},
                               {.fd = writer.wake_fd, .events = POLLIN}};
        (void)poll(fds, 2, -1);
    }
}

static void wake(void)
{
    const uint64_t one = 1;
    (void)!write(writer.wake_fd, &one, sizeof one);
}

static void close_all(void)
{
    for (int i = 0; i < 2; i++)
        if (writer.pipe[i] >= 0)
            close(writer.pipe[i]);
    if (writer.wake_fd >= 0)
        close(writer.wake_fd);
    if (*writer.path && writer.fd >= 0)
        close(writer.fd);
}

bool log_writer_start(const char *path, char *error, size_t error_size)
{
    writer.path = path;
    writer.pipe[0] = writer.pipe[1] = -1;
    writer.wake_fd = -1;
    writer.len = 0;
    writer.torn = writer.failing = false;
    atomic_store(&writer.stop_by, 0);
    atomic_store(&writer.reopen, false);
    writer.fd = *path ? open_file(path) : STDERR_FILENO;
    if (writer.fd < 0) {
        snprintf(error, error_size, "log.file: cannot open %s: %s", path, strerror(errno));
        return false;
    }
    writer.wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int failed = writer.wake_fd < 0 || pipe2(writer.pipe, O_CLOEXEC | O_NONBLOCK) != 0 ? errno : 0;
    if (!failed) {
        log_use_pipe(writer.pipe[1], *path == '\0');
        (void)fcntl(writer.pipe[1], F_SETPIPE_SZ, PIPE_BYTES); /* else it has 64 KiB */
        sigset_t all, before;
        sigfillset(&all);        /* signals are main's, */
        sigdelset(&all, SIGSYS); /* but a call that seccomp refuses is answered in its own thread */
        pthread_sigmask(SIG_SETMASK, &all, &before);
        failed = pthread_create(&writer.thread, NULL, run, NULL);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
    }
    if (failed) {
        log_use_pipe(-1, true);
        snprintf(error, error_size, "cannot start writing the log: %s", strerror(failed));
        close_all();
        return false;
    }
    pthread_setname_np(writer.thread, "log");
    writer.started = true;
    return true;
}

void log_writer_reopen(void)
{
    if (!writer.started || !*writer.path)
        return;
    atomic_store(&writer.reopen, true);
    wake();
}

void log_writer_flush(unsigned ms)
{
    const struct timespec pause = {.tv_nsec = 1000000};
    uint64_t wanted = log_pipe_lines(), until = clock_monotonic_ms() + ms;
    while (writer.started && atomic_load(&writer.written) < wanted && clock_monotonic_ms() < until)
        nanosleep(&pause, NULL);
}

void log_writer_stop(void)
{
    if (!writer.started)
        return;
    atomic_store(&writer.stop_by, clock_monotonic_ms() + STOP_MS);
    wake();
    /* It may hang in a write to somebody who does not read: the process ends without it. */
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 1 + STOP_MS / 1000;
    if (pthread_timedjoin_np(writer.thread, NULL, &until) != 0)
        return;
    writer.started = false;
    log_use_pipe(-1, true);
    close_all();
}

struct log_counts log_writer_counts(void)
{
    return (struct log_counts){.lines = log_pipe_lines(),
                               .lost_full = log_pipe_lost(),
                               .lost_write = atomic_load(&writer.lost_write)};
}
