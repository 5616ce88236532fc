/* Loads what settings name: keys and certificates. */
#include "gateway/key_files.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct auth *key_files_auth(const struct settings *settings, char *error, size_t error_size)
{
    const struct auth_config config = {
        .hmac_secret = settings->auth.hmac_secret,
        .public_keys = settings->auth.public_keys,
        .jwks_file = settings->auth.jwks_file,
        .algorithms = settings->auth.algorithms,
        .audience = settings->auth.audience,
        .issuer = settings->auth.issuer,
        .leeway_s = settings->auth.leeway / 1000,
    };
    return auth_create(&config, error, error_size);
}

/* What TLS calls by its words, people know as a setting. */
static void name_setting(char *error, size_t error_size)
{
    static const struct {
        const char *words, *setting;
    } names[] = {{"certificate ", "tls.certificate: "},
                 {"private key ", "tls.private_key: "},
                 {"ticket keys ", "tls.ticket_key_file: "}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        size_t words = strlen(names[i].words);
        if (strncmp(error, names[i].words, words) != 0)
            continue;
        char *copy = strdup(error + words);
        if (copy)
            snprintf(error, error_size, "%s%s", names[i].setting, copy);
        free(copy);
        return;
    }
}

struct tls_context *key_files_tls(const struct settings *settings, char *error, size_t error_size)
{
    struct tls_context_config config = {
        .certificate_file = settings->tls.certificate,
        .private_key_file = settings->tls.private_key,
        .hosts = settings->tls.hosts,
        .host_count = settings->tls.host_count,
        .ciphersuites = settings->tls.ciphersuites,
        .tickets = (unsigned)settings->tls.tickets,
        .ticket_lifetime_s = settings->tls.ticket_rotation / 1000,
    };
    struct tls_context *context = tls_context_create(&config, error, error_size);
    if (!context)
        name_setting(error, error_size);
    return context;
}

struct tls_ticket_keys *key_files_ticket_keys(const struct settings *settings, char *error, size_t error_size)
{
    struct tls_ticket_keys *keys = tls_ticket_keys_read(settings->tls.ticket_key_file, error, error_size);
    if (!keys)
        name_setting(error, error_size);
    return keys;
}

static bool check_tls(const struct settings *settings, char *error, size_t error_size)
{
    if (!*settings->listen.wss)
        return true;
    struct tls_context *context = key_files_tls(settings, error, error_size);
    if (!context)
        return false;
    tls_context_destroy(context);
    if (!settings->tls.tickets || !*settings->tls.ticket_key_file)
        return true;
    struct tls_ticket_keys *keys = key_files_ticket_keys(settings, error, error_size);
    tls_ticket_keys_release(keys);
    return keys != NULL;
}

bool key_files_check(const struct settings *settings, char *error, size_t error_size)
{
    if (!check_tls(settings, error, error_size))
        return false;
    struct auth *auth = key_files_auth(settings, error, error_size);
    auth_destroy(auth);
    return auth != NULL;
}
