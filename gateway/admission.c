#include "gateway/admission.h"

#include "gateway/base/log.h"

#include <stdio.h>

static struct access *load_access(const struct settings *settings, char *error, size_t error_size)
{
    const struct access_config config = {
        .allow = settings->access.allow,
        .deny = settings->access.deny,
        .allow_file = settings->access.allow_file,
        .deny_file = settings->access.deny_file,
    };
    return access_create(&config, error, error_size);
}

bool admission_init(struct admission *admission, const struct settings *settings, char *error,
                    size_t error_size)
{
    const char *lists[] = {settings->access.allow, settings->access.deny, settings->access.allow_file,
                           settings->access.deny_file};
    bool listed = false;
    *admission = (struct admission){.settings = settings};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        listed |= *lists[i] != '\0';
    if (listed && !(admission->access = load_access(settings, error, error_size)))
        return false;
    if (*settings->listen.trusted &&
        !(admission->trusted = cidr_set_create(settings->listen.trusted, "", error, error_size)))
        return false;
    admission->ip_limit = ip_limit_create(settings->limits.connections_per_ip);
    if (settings->limits.handshakes_per_ip)
        admission->ip_rate =
            ip_rate_create(settings->limits.handshakes_per_ip, settings->limits.handshakes_burst);
    if (admission->ip_limit && (admission->ip_rate || !settings->limits.handshakes_per_ip))
        return true;
    snprintf(error, error_size, "out of memory, or the kernel gives no random bytes");
    return false;
}

void admission_fini(struct admission *admission)
{
    ip_limit_destroy(admission->ip_limit);
    ip_rate_destroy(admission->ip_rate);
    cidr_set_destroy(admission->trusted);
    access_release(admission->access);
}

void admission_share(const struct admission *admission, struct acceptor_shared *shared)
{
    shared->ip_limit = admission->ip_limit;
    shared->ip_rate = admission->ip_rate;
    shared->trusted = admission->trusted;
    shared->forwarded = (enum forwarded_header)admission->settings->listen.forwarded;
    shared->proxy_protocol[TRANSPORT_WS] = settings_use_proxy_protocol(admission->settings, "ws");
    shared->proxy_protocol[TRANSPORT_WSS] = settings_use_proxy_protocol(admission->settings, "wss");
}

bool admission_reload(struct admission *admission, struct acceptor *const *acceptors, uint32_t count)
{
    char why[512];
    if (!*admission->settings->access.allow_file && !*admission->settings->access.deny_file)
        return true;
    struct access *fresh = load_access(admission->settings, why, sizeof why);
    if (!fresh) {
        log_event(LOG_ERROR, "reload_failed", "error=%s kept=%s", why, "the lists of networks in use");
        return false;
    }
    access_release(admission->access);
    admission->access = fresh;
    for (uint32_t i = 0; i < count; i++)
        acceptor_restrict(acceptors[i], access_retain(fresh));
    log_event(LOG_INFO, "networks_reloaded", "ranges=%zu", access_ranges(fresh));
    return true;
}
