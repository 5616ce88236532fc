/* Loads what settings name: keys and certificates. */
#include "gateway/key_files.h"

#include "gateway/privileges.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/x509_vfy.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

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

static int try_read(const char *path)
{
    return access(path, R_OK) == 0 ? 0 : errno;
}

/* As the log is opened, but for making it: where there is none, one can be made. What is no file is not
 * opened: a pipe's reader would see its end. */
static int try_append(const char *path)
{
    struct stat found;
    bool exists = stat(path, &found) == 0;
    if (exists && S_ISDIR(found.st_mode))
        return EISDIR;
    if (exists && !S_ISREG(found.st_mode))
        return access(path, W_OK) == 0 ? 0 : errno;
    int fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd >= 0) {
        close(fd);
        return 0;
    }
    if (errno != ENOENT)
        return errno;
    char *folder = strdup(path);
    if (!folder)
        return ENOMEM;
    char *slash = strrchr(folder, '/');
    if (slash)
        slash[slash == folder] = '\0';
    int failed = access(slash ? folder : ".", W_OK | X_OK) == 0 ? 0 : errno;
    free(folder);
    return failed;
}

/* Those that hooks to https: backends are known by: as libcurl reads them, and as whom. */
static bool check_ca(const struct settings *settings, const struct privileges *who, char *error,
                     size_t error_size)
{
    const char *path = settings->proxy.ca_file;
    if (!settings_use_proxy(settings) || !*path)
        return true;
    int failed = privileges_try(who, try_read, path);
    if (failed) {
        snprintf(error, error_size, "proxy.ca_file: cannot read %s: %s", path, strerror(failed));
        return false;
    }
    X509_STORE *store = X509_STORE_new();
    bool good = store && X509_STORE_load_file(store, path) == 1;
    X509_STORE_free(store);
    if (!good)
        snprintf(error, error_size, "proxy.ca_file: %s holds no certificate in PEM", path);
    return good;
}

static bool check_log(const struct settings *settings, const struct privileges *who, char *error,
                      size_t error_size)
{
    const char *path = settings->log.file;
    int failed = *path ? privileges_try(who, try_append, path) : 0;
    if (failed)
        snprintf(error, error_size, "log.file: cannot %s %s: %s",
                 access(path, F_OK) == 0 ? "append to" : "make", path, strerror(failed));
    return !failed;
}

bool key_files_check(const struct settings *settings, char *error, size_t error_size)
{
    char why[256];
    struct privileges who;
    if (!check_tls(settings, error, error_size))
        return false;
    struct auth *auth = key_files_auth(settings, error, error_size);
    auth_destroy(auth);
    if (!auth)
        return false;
    if (!privileges_plan(settings, &who, why, sizeof why))
        return true; /* this user cannot start it, nor find out what that one may */
    return check_ca(settings, &who, error, error_size) && check_log(settings, &who, error, error_size);
}
