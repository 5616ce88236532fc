/* Read from /proc, line by line. */
#include "gateway/base/usage.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { LINE_BYTES = 512 };

static FILE *open_below(const char *root, const char *path)
{
    char whole[LINE_BYTES];
    snprintf(whole, sizeof whole, "%s%s", root, path);
    return fopen(whole, "re");
}

/* The second field of statm is resident pages. */
uint64_t usage_resident_bytes(void)
{
    char line[LINE_BYTES];
    FILE *file = fopen("/proc/self/statm", "re");
    if (!file)
        return 0;
    const char *second = fgets(line, sizeof line, file) ? strchr(line, ' ') : NULL;
    uint64_t pages = second ? strtoull(second, NULL, 10) : 0;
    fclose(file);
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

uint64_t usage_cpu_us(void)
{
    struct rusage usage;
    if (getrusage(RUSAGE_SELF, &usage) != 0)
        return 0;
    return (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000 +
           (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

uint64_t usage_socket_bytes(const char *root)
{
    /* The socket, its inode, name and file, and its places in an epoll set; kernels that keep one of the last
     * in a cache with another name lose a hundred bytes here. */
    static const char *const objects[] = {"TCP",           "sock_inode_cache", "dentry", "filp",
                                          "eventpoll_epi", "eventpoll_pwq",    "ep_head"};
    char line[LINE_BYTES];
    uint64_t bytes = 0;
    bool socket = false;
    FILE *file = open_below(root, "/proc/slabinfo");
    while (file && fgets(line, sizeof line, file)) {
        char *at = strchr(line, ' ');
        if (!at)
            continue;
        *at++ = '\0';
        for (size_t i = 0; i < sizeof objects / sizeof *objects; i++) {
            if (strcmp(line, objects[i]) != 0)
                continue;
            (void)strtoull(at, &at, 10); /* in use */
            (void)strtoull(at, &at, 10); /* in all */
            bytes += strtoull(at, NULL, 10);
            socket |= i == 0;
        }
    }
    if (file)
        fclose(file);
    return socket ? bytes : 0;
}

/* A number behind a word of the line. */
static uint64_t number_after(const char *line, const char *word)
{
    const char *at = strstr(line, word);
    return at ? strtoull(at + strlen(word), NULL, 10) : 0;
}

bool usage_tcp_read(const char *root, struct usage_tcp *out)
{
    char line[LINE_BYTES];
    bool found = false;
    FILE *file = open_below(root, "/proc/net/sockstat");
    while (file && !found && fgets(line, sizeof line, file)) {
        if (strncmp(line, "TCP:", 4) != 0)
            continue;
        out->sockets = number_after(line, " alloc ");
        out->buffer_bytes = number_after(line, " mem ") * (uint64_t)sysconf(_SC_PAGESIZE);
        found = true;
    }
    if (file)
        fclose(file);
    return found;
}
