/* Sets a run up: descriptors, workers, secrets; takes it down and gathers what it found. */
#include "loadtest/run_internal.h"

#include "gateway/base/clock.h"
#include "loadtest/check.h"
#include "loadtest/tls_session.h"

#include <openssl/crypto.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <unistd.h>

enum {
    WORKER_CONNECTIONS = 18000, /* that --processes=0 gives a worker at most */
    FD_RESERVE = 64,            /* descriptors of a worker that are no connections */
    PASSWORD_MAX = 1024,
};

/* Raises the soft limit to the hard one and returns how many connections a descriptor table holds; 0: cannot
 * even start. */
static uint32_t connections_per_table(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return 0;
    if (limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
        (void)getrlimit(RLIMIT_NOFILE, &limit);
    }
    if (limit.rlim_cur <= FD_RESERVE)
        return 0;
    return limit.rlim_cur - FD_RESERVE < UINT32_MAX ? (uint32_t)(limit.rlim_cur - FD_RESERVE) : UINT32_MAX;
}

static bool choose_workers(struct load_run *run, char *error, size_t error_size)
{
    const struct load_options *options = run->options;
    uint32_t per_table = connections_per_table();
    uint64_t total_max = options->shared_fds ? per_table : UINT64_MAX;
    uint64_t each = per_table < WORKER_CONNECTIONS ? per_table : WORKER_CONNECTIONS;

    if (per_table == 0 || options->connections > total_max) {
        snprintf(error, error_size,
                 "RLIMIT_NOFILE allows %u connections in one descriptor table; raise it (ulimit -n)%s",
                 per_table, options->shared_fds ? " or leave out --shared-fds" : "");
        return false;
    }
    uint64_t needed = (options->connections + per_table - 1) / per_table;
    run->worker_count =
        (unsigned)(options->processes > 0 ? options->processes : (options->connections + each - 1) / each);
    if (run->worker_count > options->connections)
        run->worker_count = (unsigned)options->connections;
    if (run->worker_count < needed && !options->shared_fds) {
        snprintf(error, error_size,
                 "--processes=%u: %" PRIu64 " connections need at least %" PRIu64 " (RLIMIT_NOFILE: %u each)",
                 run->worker_count, options->connections, needed, per_table);
        return false;
    }
    if (options->in_progress < run->worker_count)
        fprintf(stderr,
                "pushgate-load: --in-progress=%" PRIu64
                ": each of the %u workers opens at least one at a time, "
                "so up to %u\n",
                options->in_progress, run->worker_count, run->worker_count);
    return true;
}

static bool start_workers(struct load_run *run, char *error, size_t error_size)
{
    const struct load_options *options = run->options;
    uint64_t first = 0;

    for (unsigned i = 0; i < run->worker_count; i++) {
        struct worker *worker = &run->workers[i];
        uint64_t next = options->connections * (i + 1) / run->worker_count;
        uint64_t in_progress =
            options->in_progress * (i + 1) / run->worker_count - options->in_progress * i / run->worker_count;
        worker->shared = &run->shared;
        worker->clients.options = options;
        worker->clients.payload = run->result.publisher ? &run->payload : NULL;
        worker->clients.published_now = &run->publisher.published;
        worker->clients.confirmed_now = &run->publisher.answered;
        worker->clients.refusals = &run->publisher.refusals;
        worker->clients.tls = run->tls;
        worker->clients.first = (uint32_t)first;
        worker->connections = (uint32_t)(next - first);
        worker->in_progress_max = in_progress > 0 ? (uint32_t)in_progress : 1;
        worker->rate = (double)options->rate * (double)worker->connections / (double)options->connections;
        worker->churn_rate = (double)worker->connections * (double)options->churn_share / SHARE_WHOLE;
        worker->private_fds = !options->shared_fds;
        first = next;
        if (!worker_start(worker)) {
            snprintf(error, error_size, "cannot start thread %u of %u: %s", i + 1, run->worker_count,
                     strerror(errno));
            return false;
        }
        run->started_workers++;
    }
    for (unsigned i = 0; i < run->worker_count; i++) {
        struct worker *worker = &run->workers[i];
        while (!worker_finished(worker, run->order)) {
            if (atomic_load(&worker->failed)) {
                snprintf(error, error_size, "worker %u: %s", i + 1, worker->error);
                return false;
            }
            usleep(1000);
        }
    }
    return true;
}

static void stop_workers(struct load_run *run)
{
    run_set_phase(run, PHASE_STOP, "done");
    for (unsigned i = 0; i < run->started_workers; i++)
        worker_join(&run->workers[i]);
}

static void gather(struct load_run *run)
{
    struct load_result *result = &run->result;
    struct rusage usage;

    for (unsigned i = 0; i < run->started_workers; i++) {
        load_stats_merge(&result->total, &run->workers[i].stats, true);
        load_stats_merge(&result->slow, &run->workers[i].slow_stats, true);
    }
    load_stats_move_opening(&result->total, &result->slow);
    result->workers = run->worker_count;
    result->run_seconds = run_seconds_since(run->began_ns);
    result->samples = run->samples;
    result->sample_count = run->sample_count;
    if (getrusage(RUSAGE_SELF, &usage) == 0) {
        result->cpu_user = (double)usage.ru_utime.tv_sec + (double)usage.ru_utime.tv_usec / 1e6;
        result->cpu_system = (double)usage.ru_stime.tv_sec + (double)usage.ru_stime.tv_usec / 1e6;
    }
}

/* The first line of the file, or the environment's variable; never an argument, which everybody may read. */
static bool read_password(struct load_run *run, char *error, size_t error_size)
{
    const char *path = run->options->publish_password_file;
    const char *given = path ? NULL : getenv("PUSHGATE_PUBLISH_PASSWORD");
    FILE *file = path ? fopen(path, "re") : NULL;
    int open_error = errno;

    if (!path && (!given || given[0] == '\0'))
        return true;
    run->password = calloc(1, PASSWORD_MAX + 2);
    bool read = run->password != NULL;
    if (read && file)
        read = fgets(run->password, PASSWORD_MAX + 2, file) != NULL;
    else if (read && given)
        snprintf(run->password, PASSWORD_MAX + 2, "%s", given);
    else
        read = false;
    if (file)
        fclose(file);
    if (read)
        run->password[strcspn(run->password, "\r\n")] = '\0';
    if (read && run->password[0] != '\0' && strlen(run->password) <= PASSWORD_MAX)
        return true;
    snprintf(error, error_size, "%s: %s", path ? path : "PUSHGATE_PUBLISH_PASSWORD",
             path && !file ? strerror(open_error) : "no password of 1 to 1024 bytes in the first line");
    return false;
}

struct load_run *load_run_create(const struct load_options *options, char *error, size_t error_size)
{
    struct load_run *run = calloc(1, sizeof(*run));
    uint32_t run_id;

    if (!run || getrandom(&run_id, sizeof(run_id), 0) != sizeof(run_id)) {
        snprintf(error, error_size, "out of memory");
        free(run);
        return NULL;
    }
    run->options = options;
    run->watched = run->watch_printed = UINT64_MAX; /* none yet, which deserves a line, too */
    run->doing = "starting";
    run->terminal = isatty(STDERR_FILENO) && !options->quiet;
    run->order = load_order_of(0, PHASE_START);
    atomic_store(&run->shared.order, run->order);
    if (options->publish)
        run->result.publisher = &run->publisher;
    run->result.options = options;
    publisher_init(&run->publisher, options);
    const struct tls_client_config tls = {
        .host = options->target.host,
        .host_is_ip = options->target.host_is_ip,
        .ca_file = options->ca_file,
        .insecure = options->insecure,
    };
    run->publisher.payload = &run->payload;
    if (!choose_workers(run, error, error_size) || !read_password(run, error, error_size))
        goto fail;
    run->publisher.password = run->password;
    if (run->result.publisher && !publisher_connect(&run->publisher, error, error_size))
        goto fail;
    if (options->ready_fd > 0 && fcntl((int)options->ready_fd, F_GETFL) < 0) {
        snprintf(error, error_size, "--ready-fd=%" PRIu64 ": %s", options->ready_fd, strerror(errno));
        goto fail;
    }
    load_check_machine(options, run->worker_count, "", stderr);
    if (options->target.tls && !(run->tls = tls_client_context_create(&tls, error, error_size)))
        goto fail;
    run->workers = calloc(run->worker_count, sizeof(*run->workers));
    if (run->workers && payload_format_init(&run->payload, run_id, options->message_bytes))
        return run;
    snprintf(error, error_size, "out of memory");
fail:
    load_run_destroy(run);
    return NULL;
}

static bool fetch_first_session(struct load_run *run, char *error, size_t error_size)
{
    char reason[160];

    if (tls_session_fetch(run->tls, &run->options->target.address, run->options->connect_timeout_ms, NULL,
                          NULL, reason, sizeof(reason)) == TLS_SESSION_FETCHED)
        return true;
    snprintf(error, error_size, "--resume: %s", reason);
    return false;
}

static void take_signals_over(void)
{
    sigset_t signals;

    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
}

bool load_run_execute(struct load_run *run, char *error, size_t error_size)
{
    bool started;

    /* Threads whose handshakes come and go would each keep an arena's worth of free memory. */
    (void)mallopt(M_ARENA_MAX, 2);
    if (run->options->resume && !fetch_first_session(run, error, error_size))
        return false;
    take_signals_over();
    started = start_workers(run, error, error_size);
    if (!started) {
        stop_workers(run);
        return false;
    }
    run->result.started_at_ms = clock_realtime_ms();
    run->began_ns = run->line_ns = run->sampled_ns = clock_monotonic_ns();
    run_scenario(run);
    stop_workers(run);
    if (run->terminal)
        fputc('\n', stderr);
    gather(run);
    return true;
}

const struct load_result *load_run_result(const struct load_run *run)
{
    return &run->result;
}

void load_run_destroy(struct load_run *run)
{
    if (!run)
        return;
    if (run->password)
        OPENSSL_cleanse(run->password, strlen(run->password));
    free(run->password);
    publisher_fini(&run->publisher);
    tls_client_context_destroy(run->tls);
    payload_format_fini(&run->payload);
    free(run->workers);
    free(run->samples);
    free(run);
}
