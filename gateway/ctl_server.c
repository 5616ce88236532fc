/* How pushgate ctl finds the gateway and speaks to it: hiredis, in RESP2. */
#include "gateway/ctl_internal.h"

#include "gateway/base/net.h"
#include "gateway/settings/settings.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TIMEOUT_S = 5, PASSWORD_MAX = 4096 };

#define CONFIG_PATH     "/etc/pushgate/pushgate.conf"
#define ADDRESS_DEFAULT "127.0.0.1:6390"

int ctl_fail(struct ctl *ctl, const char *format, ...)
{
    va_list values;
    fputs("pushgate ctl: ", ctl->err);
    va_start(values, format);
    // NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized): it is, one line above
    vfprintf(ctl->err, format, values);
    va_end(values);
    fputc('\n', ctl->err);
    return EXIT_FAILURE;
}

/* Where
 * ------------------------------------------------------------------------------------------------- */

/* Of several addresses the one that is a unix socket, else the first. */
static void choose_address(const char *list, char *out, size_t out_size)
{
    const char *at = list + strspn(list, " ,\t");
    const char *best = at;
    for (; *at; at += strspn(at, " ,\t")) {
        if (strncmp(at, "unix:", 5) == 0) {
            best = at;
            break;
        }
        at += strcspn(at, " ,\t");
    }
    snprintf(out, out_size, "%.*s", (int)strcspn(best, " ,\t"), best);
}

/* What the configuration says. Its texts live as long as *config. False: said why. */
static bool read_config(struct ctl *ctl, const char *path, struct config **config, char **password)
{
    static struct settings settings;
    char error[1024];
    *config = settings_config(&settings);
    if (!*config)
        return ctl_fail(ctl, "out of memory"), false;
    if (!config_read_file(*config, path, error, sizeof error)) {
        ctl_fail(ctl, "%s%s", error,
                 errno == EACCES
                     ? " (run this as root or as the gateway's user, or name the socket: --address)"
                     : "");
        return false;
    }
    if (!*settings.listen.publish) {
        ctl_fail(ctl, "%s: listen.publish is not set, so this gateway takes no commands", path);
        return false;
    }
    choose_address(settings.listen.publish, ctl->address, sizeof ctl->address);
    *password = settings.publish.password;
    return true;
}

/* The first line of a file; free()d by the caller. */
static char *read_password(struct ctl *ctl, const char *path)
{
    char line[PASSWORD_MAX];
    FILE *file = fopen(path, "re");
    if (!file) {
        ctl_fail(ctl, "--password-file=%s: %s", path, strerror(errno));
        return NULL;
    }
    char *got = fgets(line, sizeof line, file);
    fclose(file);
    if (!got) {
        ctl_fail(ctl, "--password-file=%s: the file is empty", path);
        return NULL;
    }
    line[strcspn(line, "\r\n")] = '\0';
    char *password = strdup(line);
    OPENSSL_cleanse(line, sizeof line);
    if (!password)
        ctl_fail(ctl, "out of memory");
    return password;
}

/* Connecting
 * ------------------------------------------------------------------------------------------- */

static struct timeval timeout_of(const struct ctl *ctl)
{
    return (struct timeval){.tv_sec =
                                ctl->args.timeout ? (time_t)strtoul(ctl->args.timeout, NULL, 10) : TIMEOUT_S};
}

/* Listeners on all addresses are asked at the loopback one. False: the address cannot be understood. */
static bool dial(struct ctl *ctl)
{
    char host[128], why[256];
    const char *address = ctl->address;
    struct net_address parsed;
    if (strncmp(address, "unix:", 5) == 0) {
        ctl->redis = redisConnectUnixWithTimeout(address + 5, timeout_of(ctl));
        return true;
    }
    if (!net_parse(address, &parsed, why, sizeof why)) {
        ctl_fail(ctl, "%s", why);
        return false;
    }
    const char *colon = strrchr(address, ':');
    bool bracketed = *address == '[';
    snprintf(host, sizeof host, "%.*s", (int)(colon - address) - 2 * bracketed, address + bracketed);
    const char *name = strcmp(host, "*") == 0 || strcmp(host, "0.0.0.0") == 0 ? "127.0.0.1"
                       : strcmp(host, "::") == 0                              ? "::1"
                                                                              : host;
    ctl->redis = redisConnectWithTimeout(name, (int)strtol(colon + 1, NULL, 10), timeout_of(ctl));
    return true;
}

static bool say_unreachable(struct ctl *ctl)
{
    int cause = errno;
    if (!ctl->redis)
        ctl_fail(ctl, "out of memory");
    else if (cause == ECONNREFUSED || cause == ENOENT)
        ctl_fail(ctl,
                 "nothing listens at %s: is the gateway running, and is listen.publish set? --config FILE or "
                 "--address ADDRESS says where it is",
                 ctl->address);
    else if (cause == EACCES || cause == EPERM)
        ctl_fail(ctl, "%s: %s: run this as root or in the group of the socket (listen.unix_owner)",
                 ctl->address, strerror(cause));
    else
        ctl_fail(ctl, "%s: %s", ctl->address, *ctl->redis->errstr ? ctl->redis->errstr : strerror(cause));
    return false;
}

static bool authenticate(struct ctl *ctl, const char *password)
{
    const char *words[] = {"AUTH", password};
    redisReply *reply = redisCommandArgv(ctl->redis, 2, words, NULL);
    if (!reply) {
        ctl_fail(ctl, "%s: %s", ctl->address, ctl->redis->errstr);
        return false;
    }
    /* No password is set there: then this one does no harm. */
    bool good = reply->type != REDIS_REPLY_ERROR || strstr(reply->str, "without any password") != NULL;
    if (!good)
        ctl_fail(ctl, "%s refuses the password: it must be the gateway's publish.password", ctl->address);
    freeReplyObject(reply);
    return good;
}

bool ctl_connect(struct ctl *ctl)
{
    const struct ctl_args *args = &ctl->args;
    const char *path = args->config;
    struct config *config = NULL;
    char *configured = NULL, *from_file = NULL;
    bool good = false;
    snprintf(ctl->address, sizeof ctl->address, "%s", args->address ? args->address : ADDRESS_DEFAULT);
    if (!path && !args->address && access(CONFIG_PATH, F_OK) == 0)
        path = CONFIG_PATH;
    if (path && !read_config(ctl, path, &config, &configured))
        goto out;
    const char *password = getenv("PUSHGATE_PASSWORD"); // NOLINT(concurrency-mt-unsafe): one thread
    if (!password && args->password_file) {
        from_file = read_password(ctl, args->password_file);
        if (!from_file)
            goto out;
        password = from_file;
    }
    if (!password)
        password = configured;
    if (!dial(ctl))
        goto out;
    if (!ctl->redis || ctl->redis->err) {
        say_unreachable(ctl);
        goto out;
    }
    redisSetTimeout(ctl->redis, timeout_of(ctl));
    good = !password || !*password || authenticate(ctl, password);
out:
    if (from_file)
        OPENSSL_cleanse(from_file, strlen(from_file));
    free(from_file);
    config_destroy(config);
    return good;
}

/* Asking
 * ------------------------------------------------------------------------------------------------ */

/* True: it was no error. */
static bool look_at(struct ctl *ctl, const redisReply *reply)
{
    if (reply->type != REDIS_REPLY_ERROR)
        return true;
    if (strncmp(reply->str, "NOAUTH", 6) == 0)
        ctl_fail(ctl,
                 "%s wants a password: set PUSHGATE_PASSWORD, or name a file that has it: --config or "
                 "--password-file",
                 ctl->address);
    else if (strncmp(reply->str, "ERR unknown command", 19) == 0)
        ctl_fail(ctl, "%s is no gateway of this version: %s", ctl->address, reply->str);
    else
        ctl_fail(ctl, "%s", strncmp(reply->str, "ERR ", 4) == 0 ? reply->str + 4 : reply->str);
    return false;
}

redisReply *ctl_ask_ending(struct ctl *ctl, const char *const *words, size_t count, bool *ended)
{
    redisReply *reply = redisCommandArgv(ctl->redis, (int)count, (const char **)words, NULL);
    *ended = !reply && (ctl->redis->err == REDIS_ERR_EOF ||
                        (ctl->redis->err == REDIS_ERR_IO && (errno == ECONNRESET || errno == EPIPE)));
    if (!reply && !*ended)
        ctl_fail(ctl, "%s: %s", ctl->address,
                 ctl->redis->err == REDIS_ERR_IO && errno == EAGAIN
                     ? "no answer in time (--timeout=SECONDS gives it longer)"
                     : ctl->redis->errstr);
    if (reply && !look_at(ctl, reply)) {
        freeReplyObject(reply);
        return NULL;
    }
    return reply;
}

redisReply *ctl_ask(struct ctl *ctl, const char *const *words, size_t count)
{
    bool ended;
    redisReply *reply = ctl_ask_ending(ctl, words, count, &ended);
    if (ended)
        ctl_fail(ctl, "%s has closed the connection: the gateway has ended", ctl->address);
    return reply;
}
