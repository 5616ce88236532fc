/* The proxy's thread: takes requests from its mailbox, keeps a bounded number of them at the backends and the
 * others in a queue, and answers each. */
#include "gateway/base/assert.h"
#include "gateway/base/clock.h"
#include "gateway/base/log.h"
#include "gateway/proxy/proxy_internal.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    WAIT_MS_MAX = 60 * 60 * 1000, /* nothing to do: libcurl wants some number */
    PAUSE_NS = 10 * 1000 * 1000,  /* when libcurl cannot wait, for lack of memory */
    HOST_BYTES = 128,
};

struct proxy {
    /* Set before the thread starts. */
    char *urls[PROXY_KIND_COUNT]; /* NULL: off */
    char hosts[PROXY_KIND_COUNT][HOST_BYTES];
    char *headers, *ca_file;
    struct exchange_setup setup;
    uint64_t timeout_ns;
    uint32_t concurrency;
    uint64_t pending_max;
    /* Shared. */
    struct mailbox mailbox;
    struct pulse pulse;
    _Atomic uint64_t pending; /* handed in, not yet answered */
    _Atomic bool stop;
    struct log_limit logs[PROXY_OUTCOME_COUNT];
    struct proxy_stats stats;
    /* Main's. */
    bool started, curl;
    pthread_t thread;
    /* The thread's. */
    CURLM *multi;
    struct exchange *exchanges; /* `concurrency` of them; those from exchange_count on were never needed */
    uint32_t exchange_count;
    struct list idle, busy;
    struct mailbox_node *waiting, **waiting_end; /* a queue, oldest first */
};

/* A request's way back
 * ---------------------------------------------------------------------------------------------------------------
 */

static void answer(struct proxy *proxy, struct proxy_request *request, enum proxy_outcome outcome)
{
    request->answer.outcome = outcome;
    counter_add(&proxy->stats.answers[request->kind][outcome], 1);
    atomic_fetch_sub_explicit(&proxy->pending, 1, memory_order_relaxed);
    mailbox_push(request->reply_to, &request->node);
}

static void log_failure(struct proxy *proxy, const struct proxy_request *request, enum proxy_outcome outcome,
                        long status, const char *why)
{
    log_limited(&proxy->logs[outcome], LOG_WARN, "proxy_failed",
                "kind=%s outcome=%s backend=%s status=%ld cause=%s",
                proxy_kind_label((enum proxy_kind)request->kind), proxy_outcome_label(outcome),
                proxy->hosts[request->kind], status, why);
}

/* In the thread of the asker: nothing of the proxy but atomics may be touched. */
static void refuse(struct proxy *proxy, struct proxy_request *request)
{
    atomic_fetch_sub_explicit(&proxy->pending, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&proxy->stats.answers[request->kind][PROXY_BUSY], 1, memory_order_relaxed);
    log_failure(proxy, request, PROXY_BUSY, 0, "proxy.queue is full");
    request->answer.outcome = PROXY_BUSY;
    mailbox_push(request->reply_to, &request->node);
}

void proxy_submit(struct proxy *proxy, struct proxy_request *request)
{
    PG_ASSERT(proxy_serves(proxy, (enum proxy_kind)request->kind) && request->reply_to);
    request->submitted_ns = clock_monotonic_ns();
    if (atomic_fetch_add_explicit(&proxy->pending, 1, memory_order_relaxed) >= proxy->pending_max)
        refuse(proxy, request);
    else
        mailbox_push(&proxy->mailbox, &request->node);
}

/* The queue
 * ---------------------------------------------------------------------------------------------------------------
 */

static void take_mail(struct proxy *proxy)
{
    mailbox_clear_wake(&proxy->mailbox);
    *proxy->waiting_end = mailbox_detach(&proxy->mailbox);
    for (; *proxy->waiting_end; proxy->waiting_end = &(*proxy->waiting_end)->next)
        counter_add(&proxy->stats.queued, 1);
}

static struct proxy_request *oldest(const struct proxy *proxy)
{
    return (struct proxy_request *)(void *)proxy->waiting;
}

static struct proxy_request *pop(struct proxy *proxy)
{
    struct mailbox_node *node = proxy->waiting;
    proxy->waiting = node->next;
    if (!proxy->waiting)
        proxy->waiting_end = &proxy->waiting;
    counter_sub(&proxy->stats.queued, 1);
    return (struct proxy_request *)(void *)node;
}

/* Milliseconds until the request's time is up, rounded up; 0: it is. */
static long left_ms(const struct proxy *proxy, const struct proxy_request *request, uint64_t now_ns)
{
    uint64_t end = request->submitted_ns + proxy->timeout_ns;
    return end > now_ns ? (long)((end - now_ns + 999999) / 1000000) : 0;
}

static struct exchange *find_idle(struct proxy *proxy)
{
    struct list *link = list_pop(&proxy->idle);
    if (link)
        return LIST_ITEM(link, struct exchange, link);
    if (proxy->exchange_count == proxy->concurrency)
        return NULL;
    struct exchange *fresh = &proxy->exchanges[proxy->exchange_count];
    if (!exchange_init(fresh, proxy->multi, &proxy->setup))
        return NULL;
    proxy->exchange_count++;
    return fresh;
}

static void begin(struct proxy *proxy, struct exchange *exchange, struct proxy_request *request, long ms)
{
    if (exchange_begin(exchange, request, proxy->urls[request->kind], ms)) {
        list_append(&proxy->busy, &exchange->link);
        counter_add(&proxy->stats.in_flight, 1);
        return;
    }
    list_append(&proxy->idle, &exchange->link);
    log_failure(proxy, request, PROXY_UNREACHABLE, 0, "out of memory");
    answer(proxy, request, PROXY_UNREACHABLE);
}

/* Sends what waits as far as there is room at the backends, and gives up what has waited too long. */
static void serve_waiting(struct proxy *proxy)
{
    uint64_t now_ns = clock_monotonic_ns();
    while (proxy->waiting) {
        long ms = left_ms(proxy, oldest(proxy), now_ns);
        if (!ms) {
            struct proxy_request *late = pop(proxy);
            log_failure(proxy, late, PROXY_TIMEOUT, 0, "waited for its turn for too long");
            answer(proxy, late, PROXY_TIMEOUT);
            continue;
        }
        struct exchange *exchange = find_idle(proxy);
        if (!exchange)
            return;
        begin(proxy, exchange, pop(proxy), ms);
    }
}

/* At the backends
 * ---------------------------------------------------------------------------------------------------------------
 */

static void finish(struct proxy *proxy, CURL *easy, CURLcode code)
{
    char *private = NULL;
    curl_easy_getinfo(easy, CURLINFO_PRIVATE, &private);
    struct exchange *exchange = (struct exchange *)(void *)private;
    struct exchange_report report;
    struct proxy_request *request = exchange_end(exchange, code, &report);
    list_remove(&exchange->link);
    list_append(&proxy->idle, &exchange->link);
    counter_sub(&proxy->stats.in_flight, 1);
    counter_add(&proxy->stats.connections, (uint64_t)report.connections);
    histogram_record(&proxy->stats.latency, (clock_monotonic_ns() - request->submitted_ns) / 1000);
    if (report.outcome > PROXY_DISCONNECT)
        log_failure(proxy, request, report.outcome, report.status, report.why);
    answer(proxy, request, report.outcome);
}

static void finish_done(struct proxy *proxy)
{
    int left;
    for (const CURLMsg *message; (message = curl_multi_info_read(proxy->multi, &left));)
        if (message->msg == CURLMSG_DONE)
            finish(proxy, message->easy_handle, message->data.result);
}

static void wait_for_work(struct proxy *proxy)
{
    long ms = proxy->waiting ? left_ms(proxy, oldest(proxy), clock_monotonic_ns()) : WAIT_MS_MAX;
    if (ms > WAIT_MS_MAX)
        ms = WAIT_MS_MAX;
    struct curl_waitfd mail = {.fd = proxy->mailbox.wake_fd, .events = CURL_WAIT_POLLIN};
    if (curl_multi_poll(proxy->multi, &mail, 1, (int)ms, NULL) != CURLM_OK) {
        const struct timespec pause = {.tv_nsec = PAUSE_NS};
        nanosleep(&pause, NULL);
    }
}

static void stop_all(struct proxy *proxy)
{
    for (struct list *link; (link = list_pop(&proxy->busy));) {
        struct exchange *exchange = LIST_ITEM(link, struct exchange, link);
        counter_sub(&proxy->stats.in_flight, 1);
        answer(proxy, exchange_cancel(exchange), PROXY_STOPPED);
        list_append(&proxy->idle, &exchange->link);
    }
    take_mail(proxy);
    while (proxy->waiting)
        answer(proxy, pop(proxy), PROXY_STOPPED);
}

static void *run(void *context)
{
    struct proxy *proxy = context;
    while (!atomic_load_explicit(&proxy->stop, memory_order_acquire)) {
        int running;
        counter_add(&proxy->stats.wakes, 1);
        pulse_beat(&proxy->pulse);
        take_mail(proxy);
        serve_waiting(proxy);
        curl_multi_perform(proxy->multi, &running);
        finish_done(proxy);
        serve_waiting(proxy); /* places have become free */
        wait_for_work(proxy);
    }
    pulse_end(&proxy->pulse);
    stop_all(proxy);
    return NULL;
}

/* Life
 * ---------------------------------------------------------------------------------------------------------------
 */

static bool copy_text(char **copy, const char *text)
{
    *copy = strdup(text ? text : "");
    return *copy != NULL;
}

static bool copy_config(struct proxy *proxy, const struct proxy_config *config, char *error,
                        size_t error_size)
{
    char why[256];
    snprintf(error, error_size, "proxy: out of memory");
    if (!copy_text(&proxy->headers, config->headers) || !copy_text(&proxy->ca_file, config->ca_file))
        return false;
    if (!proxy_headers_check(proxy->headers, why, sizeof why)) {
        snprintf(error, error_size, "proxy.headers: %s", why);
        return false;
    }
    if (*proxy->ca_file && access(proxy->ca_file, R_OK) != 0) {
        snprintf(error, error_size, "proxy.ca_file: cannot read %s: %s", proxy->ca_file, strerror(errno));
        return false;
    }
    for (unsigned i = 0; i < PROXY_KIND_COUNT; i++) {
        const char *url = config->urls[i];
        if (!url || !*url)
            continue;
        if (!proxy_url_check(url, why, sizeof why)) {
            snprintf(error, error_size, "proxy.%s %s", proxy_kind_label((enum proxy_kind)i), why);
            return false;
        }
        proxy_url_host(url, proxy->hosts[i], sizeof proxy->hosts[i]);
        if (!copy_text(&proxy->urls[i], url))
            return false;
    }
    proxy->setup = (struct exchange_setup){
        .headers = proxy->headers, .ca_file = proxy->ca_file, .answer_bytes = config->answer_bytes};
    proxy->timeout_ns = config->timeout_ms * 1000000;
    proxy->concurrency = config->concurrency;
    proxy->pending_max = (uint64_t)config->concurrency + config->queue;
    return true;
}

static bool set_up_curl(struct proxy *proxy)
{
    proxy->curl = proxy_curl_retain();
    proxy->multi = proxy->curl ? curl_multi_init() : NULL;
    return proxy->multi &&
           curl_multi_setopt(proxy->multi, CURLMOPT_MAXCONNECTS, (long)proxy->concurrency) == CURLM_OK &&
           curl_multi_setopt(proxy->multi, CURLMOPT_PIPELINING, (long)CURLPIPE_MULTIPLEX) == CURLM_OK;
}

struct proxy *proxy_create(const struct proxy_config *config, char *error, size_t error_size)
{
    PG_ASSERT(config->concurrency > 0 && config->timeout_ms > 0);
    struct proxy *proxy = calloc(1, sizeof *proxy);
    if (!proxy) {
        snprintf(error, error_size, "proxy: out of memory");
        return NULL;
    }
    list_init(&proxy->idle);
    list_init(&proxy->busy);
    proxy->waiting_end = &proxy->waiting;
    proxy->mailbox.wake_fd = -1;
    if (!copy_config(proxy, config, error, error_size))
        goto out;
    proxy->exchanges = calloc(proxy->concurrency, sizeof *proxy->exchanges);
    if (!proxy->exchanges || !set_up_curl(proxy)) {
        snprintf(error, error_size, "proxy: out of memory");
        goto out;
    }
    if (!mailbox_init(&proxy->mailbox)) {
        snprintf(error, error_size, "proxy: %s", strerror(errno));
        goto out;
    }
    pulse_init(&proxy->pulse, &proxy->mailbox);
    return proxy;
out:
    proxy_destroy(proxy);
    return NULL;
}

bool proxy_start(struct proxy *proxy)
{
    PG_ASSERT(!proxy->started);
    sigset_t all, before;
    sigfillset(&all);        /* signals are main's, */
    sigdelset(&all, SIGSYS); /* but a call that seccomp refuses is answered in its own thread */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&proxy->thread, NULL, run, proxy);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error != 0) {
        errno = error;
        return false;
    }
    pthread_setname_np(proxy->thread, "proxy");
    proxy->started = true;
    return true;
}

void proxy_stop(struct proxy *proxy)
{
    if (proxy->started) {
        atomic_store_explicit(&proxy->stop, true, memory_order_release);
        mailbox_wake(&proxy->mailbox);
        pthread_join(proxy->thread, NULL);
        proxy->started = false;
    }
    stop_all(proxy); /* also what came before a start that failed, or after the thread's last look */
}

void proxy_destroy(struct proxy *proxy)
{
    if (!proxy)
        return;
    PG_ASSERT(!proxy->started && list_empty(&proxy->busy) && !proxy->waiting);
    for (uint32_t i = 0; i < proxy->exchange_count; i++)
        exchange_fini(&proxy->exchanges[i]);
    if (proxy->multi)
        curl_multi_cleanup(proxy->multi);
    if (proxy->curl)
        proxy_curl_release();
    mailbox_fini(&proxy->mailbox);
    free(proxy->exchanges);
    for (unsigned i = 0; i < PROXY_KIND_COUNT; i++)
        free(proxy->urls[i]);
    free(proxy->headers);
    free(proxy->ca_file);
    free(proxy);
}

bool proxy_serves(const struct proxy *proxy, enum proxy_kind kind)
{
    return proxy && proxy->urls[kind];
}

struct pulse *proxy_pulse(struct proxy *proxy)
{
    return &proxy->pulse;
}

const struct mailbox *proxy_mailbox(const struct proxy *proxy)
{
    return &proxy->mailbox;
}

const struct proxy_stats *proxy_stats(const struct proxy *proxy)
{
    return &proxy->stats;
}
