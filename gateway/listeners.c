/* TCP listeners of acceptors share their port (SO_REUSEPORT); a unix socket has one listener, which acceptors
 * share. */
#include "gateway/listeners.h"

#include "gateway/base/log.h"
#include "gateway/base/net.h"
#include "gateway/base/owner.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

static bool is_unix(const struct net_address *address)
{
    return address->storage.ss_family == AF_UNIX;
}

static void remember_file(struct listeners *listeners, const struct net_address *address)
{
    const struct sockaddr_un *un = (const struct sockaddr_un *)&address->storage;
    struct stat st;
    if (listeners->unix_count == LISTENERS_MAX || lstat(un->sun_path, &st) != 0)
        return;
    struct unix_file *file = &listeners->unix_files[listeners->unix_count++];
    snprintf(file->path, sizeof file->path, "%s", un->sun_path);
    file->device = st.st_dev;
    file->inode = st.st_ino;
}

static bool read_access(const struct settings *settings, struct net_unix_access *unix_access, char *error,
                        size_t error_size)
{
    char why[160];
    if (!owner_mode(settings->listen.unix_mode, &unix_access->mode, why, sizeof why))
        snprintf(error, error_size, "listen.unix_mode: %s", why);
    else if (!owner_pair(settings->listen.unix_owner, &unix_access->user, &unix_access->group, why,
                         sizeof why))
        snprintf(error, error_size, "listen.unix_owner: %s", why);
    else
        return true;
    return false;
}

static int open_listener(struct listeners *listeners, const char *key, const char *text, bool reuse_port,
                         char *error, size_t error_size)
{
    struct net_address address;
    struct net_unix_access unix_access;
    char why[256];
    int fd = -1;
    if (!read_access(listeners->settings, &unix_access, error, error_size))
        return -1;
    if (net_parse(text, &address, why, sizeof why))
        fd = net_listen_as(&address, (int)listeners->settings->listen.backlog, reuse_port, &unix_access, why,
                           sizeof why);
    if (fd < 0)
        snprintf(error, error_size, "%s=%s: %s", key, text, why);
    else if (is_unix(&address))
        remember_file(listeners, &address);
    return fd;
}

static void note(struct listeners *listeners, const char *name, int fd)
{
    struct net_address address;
    if (listeners->opened_count == LISTENERS_MAX || !net_local_address(fd, &address))
        return;
    listeners->opened[listeners->opened_count].name = name;
    net_format(&address, listeners->opened[listeners->opened_count].address,
               sizeof listeners->opened[0].address);
    listeners->opened_count++;
}

static bool open_publish(struct listeners *listeners, char *error, size_t error_size)
{
    char list[512];
    snprintf(list, sizeof list, "%s", listeners->settings->listen.publish);
    char *rest = list;
    for (char *one; (one = strsep(&rest, " ,\t"));) {
        if (!*one)
            continue;
        if (listeners->publish_count == PUBLISH_LISTENERS_MAX) {
            snprintf(error, error_size, "listen.publish names more than %d addresses", PUBLISH_LISTENERS_MAX);
            return false;
        }
        int fd = open_listener(listeners, "listen.publish", one, false, error, error_size);
        if (fd < 0)
            return false;
        note(listeners, "publish", fd);
        listeners->publish[listeners->publish_count++] = fd;
    }
    return true;
}

/* One transport, for all acceptors. With port 0 the first one's choice holds for all. */
static bool open_transport(struct listeners *listeners, enum transport transport, const char *key,
                           const char *text, char *error, size_t error_size)
{
    struct net_address address;
    char chosen[128];
    int first = open_listener(listeners, key, text, true, error, error_size);
    if (first < 0)
        return false;
    listeners->acceptors[0][transport] = first;
    note(listeners, key + strlen("listen."), first);
    if (!net_local_address(first, &address)) {
        snprintf(error, error_size, "%s=%s: %s", key, text, strerror(errno));
        return false;
    }
    net_format(&address, chosen, sizeof chosen);
    for (uint32_t i = 1; i < listeners->acceptor_count; i++) {
        int fd;
        if (is_unix(&address)) {
            fd = fcntl(first, F_DUPFD_CLOEXEC, 0);
            if (fd < 0)
                snprintf(error, error_size, "%s=%s: %s", key, text, strerror(errno));
        } else {
            fd = open_listener(listeners, key, chosen, true, error, error_size);
        }
        if (fd < 0)
            return false;
        listeners->acceptors[i][transport] = fd;
    }
    return true;
}

bool listeners_open(struct listeners *listeners, const struct settings *settings, uint32_t acceptors,
                    char *error, size_t error_size)
{
    *listeners = (struct listeners){.settings = settings, .acceptor_count = acceptors, .admin = -1};
    listeners->acceptors = calloc(acceptors, sizeof *listeners->acceptors);
    if (!listeners->acceptors) {
        snprintf(error, error_size, "out of memory");
        return false;
    }
    for (uint32_t i = 0; i < acceptors; i++)
        for (int transport = 0; transport < TRANSPORT_COUNT; transport++)
            listeners->acceptors[i][transport] = -1;
    if (!open_publish(listeners, error, error_size))
        return false;
    if (*settings->listen.ws &&
        !open_transport(listeners, TRANSPORT_WS, "listen.ws", settings->listen.ws, error, error_size))
        return false;
    if (*settings->listen.wss &&
        !open_transport(listeners, TRANSPORT_WSS, "listen.wss", settings->listen.wss, error, error_size))
        return false;
    if (!*settings->listen.admin)
        return true;
    listeners->admin =
        open_listener(listeners, "listen.admin", settings->listen.admin, false, error, error_size);
    if (listeners->admin >= 0)
        note(listeners, "admin", listeners->admin);
    return listeners->admin >= 0;
}

void listeners_log(const struct listeners *listeners)
{
    for (size_t i = 0; i < listeners->opened_count; i++)
        log_event(LOG_INFO, "listening", "listener=%s address=%s", listeners->opened[i].name,
                  listeners->opened[i].address);
}

int listener_take(int *fd)
{
    int taken = *fd;
    *fd = -1;
    return taken;
}

static void close_one(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

void listeners_fini(struct listeners *listeners)
{
    if (!listeners->settings)
        return;
    for (size_t i = 0; i < listeners->publish_count; i++)
        close_one(&listeners->publish[i]);
    for (uint32_t i = 0; listeners->acceptors && i < listeners->acceptor_count; i++)
        for (int transport = 0; transport < TRANSPORT_COUNT; transport++)
            close_one(&listeners->acceptors[i][transport]);
    close_one(&listeners->admin);
    for (size_t i = 0; i < listeners->unix_count; i++) {
        const struct unix_file *file = &listeners->unix_files[i];
        struct stat st;
        bool ours = lstat(file->path, &st) == 0 && S_ISSOCK(st.st_mode) && st.st_dev == file->device &&
                    st.st_ino == file->inode;
        if (ours && unlink(file->path) != 0)
            log_event(LOG_INFO, "socket_left", "path=%s error=%s advice=%s", file->path, strerror(errno),
                      "the next start replaces it, if its user may write there");
    }
    free(listeners->acceptors);
    *listeners = (struct listeners){0};
}
