/* Acceptors take over contexts and references to keys by their mailboxes. */
#include "gateway/tls_keeper.h"

#include "gateway/base/clock.h"
#include "gateway/base/log.h"
#include "gateway/key_files.h"

#include <stdio.h>
#include <stdlib.h>

/* The file's keys, or a random one and the first of those in use. */
static struct tls_ticket_keys *next_ticket_keys(const struct tls_keeper *keeper, char *error,
                                                size_t error_size)
{
    if (*keeper->settings->tls.ticket_key_file)
        return key_files_ticket_keys(keeper->settings, error, error_size);
    struct tls_ticket_keys *keys = tls_ticket_keys_create(keeper->ticket_keys);
    if (!keys)
        snprintf(error, error_size, "cannot make a ticket key: out of memory or random bytes");
    return keys;
}

static void plan_rotation(struct tls_keeper *keeper)
{
    const struct settings *settings = keeper->settings;
    bool own = keeper->ticket_keys && !*settings->tls.ticket_key_file;
    keeper->rotation_ms =
        own && settings->tls.ticket_rotation ? clock_monotonic_ms() + settings->tls.ticket_rotation : 0;
}

/* Takes over the reference. */
static void use_ticket_keys(struct tls_keeper *keeper, struct tls_ticket_keys *keys,
                            struct acceptor **acceptors, uint32_t count)
{
    tls_ticket_keys_release(keeper->ticket_keys);
    keeper->ticket_keys = keys;
    for (uint32_t i = 0; i < count; i++)
        acceptor_rotate(acceptors[i], tls_ticket_keys_retain(keys));
}

/* One for each of `count` acceptors, or NULL with a sentence. */
static struct tls_context **read_contexts(const struct settings *settings, uint32_t count, char *error,
                                          size_t error_size)
{
    struct tls_context **contexts = calloc(count, sizeof(struct tls_context *));
    if (!contexts)
        snprintf(error, error_size, "out of memory");
    for (uint32_t i = 0; contexts && i < count; i++) {
        contexts[i] = key_files_tls(settings, error, error_size);
        if (!contexts[i]) {
            while (i-- > 0)
                tls_context_destroy(contexts[i]);
            free(contexts);
            contexts = NULL;
            break;
        }
    }
    return contexts;
}

bool tls_keeper_init(struct tls_keeper *keeper, const struct settings *settings, char *error,
                     size_t error_size)
{
    *keeper = (struct tls_keeper){.settings = settings};
    if (!*settings->listen.wss)
        return true;
    if (!tls_certificates_init(&keeper->certificates, settings->tls.hosts, settings->tls.host_count)) {
        snprintf(error, error_size, "out of memory");
        return false;
    }
    if (!settings->tls.tickets)
        return true;
    keeper->ticket_keys = next_ticket_keys(keeper, error, error_size);
    plan_rotation(keeper);
    return keeper->ticket_keys != NULL;
}

bool tls_keeper_context(struct tls_keeper *keeper, struct tls_context **context, char *error,
                        size_t error_size)
{
    *context = NULL;
    if (!*keeper->settings->listen.wss)
        return true;
    *context = key_files_tls(keeper->settings, error, error_size);
    if (*context)
        tls_certificates_note(&keeper->certificates, *context);
    return *context != NULL;
}

bool tls_keeper_reload(struct tls_keeper *keeper, struct acceptor **acceptors, uint32_t count)
{
    const struct settings *settings = keeper->settings;
    char why[512];
    if (!*settings->listen.wss)
        return true;
    /* All or nothing: a bad file must not leave acceptors with different certificates. */
    struct tls_context **fresh = read_contexts(settings, count, why, sizeof why);
    struct tls_ticket_keys *keys = NULL;
    bool ok = fresh != NULL;
    /* Random keys have nothing to do with certificates: they go on as they are. */
    if (ok && keeper->ticket_keys && *settings->tls.ticket_key_file) {
        keys = next_ticket_keys(keeper, why, sizeof why);
        ok = keys != NULL;
        for (uint32_t i = 0; !ok && i < count; i++)
            tls_context_destroy(fresh[i]);
    }
    if (!ok) {
        log_event(LOG_ERROR, "reload_failed", "error=%s kept=%s", why,
                  "the certificates and ticket keys in use");
        free(fresh);
        return false;
    }
    tls_certificates_note(&keeper->certificates, fresh[0]);
    for (uint32_t i = 0; i < count; i++)
        acceptor_reload(acceptors[i], fresh[i]);
    free(fresh);
    if (keys)
        use_ticket_keys(keeper, keys, acceptors, count);
    log_event(LOG_INFO, "reloaded", "certificate=%s hosts=%zu ticket_keys=%zu", settings->tls.certificate,
              settings->tls.host_count, keeper->ticket_keys ? tls_ticket_keys_count(keeper->ticket_keys) : 0);
    return true;
}

void tls_keeper_rotate(struct tls_keeper *keeper, struct acceptor **acceptors, uint32_t count,
                       uint64_t now_ms)
{
    char why[256];
    if (!keeper->rotation_ms || keeper->rotation_ms > now_ms)
        return;
    struct tls_ticket_keys *keys = next_ticket_keys(keeper, why, sizeof why);
    if (keys) {
        use_ticket_keys(keeper, keys, acceptors, count);
        log_event(LOG_INFO, "ticket_keys_rotated", "keys=%zu", tls_ticket_keys_count(keys));
    } else {
        log_event(LOG_ERROR, "rotation_failed", "error=%s kept=%s", why, "the ticket keys in use");
    }
    plan_rotation(keeper);
}

void tls_keeper_fini(struct tls_keeper *keeper)
{
    tls_ticket_keys_release(keeper->ticket_keys);
    tls_certificates_fini(&keeper->certificates);
}
