/* Reads figures out of /proc. */
#include "loadtest/measure.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LINE_BYTES = 512, PATH_BYTES = 64 };

/* The number of kB after `label` at the beginning of a line, in bytes; 0 without. */
static bool take_kilobytes(const char *line, const char *label, uint64_t *out)
{
    size_t len = strlen(label);
    if (strncmp(line, label, len) != 0)
        return false;
    *out = strtoull(line + len, NULL, 10) * 1024;
    return true;
}

static FILE *open_of(pid_t pid, const char *name)
{
    char path[PATH_BYTES];
    if (pid > 0)
        snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
    else
        snprintf(path, sizeof(path), "/proc/self/%s", name);
    return fopen(path, "re");
}

static bool read_memory(pid_t pid, struct process_use *use)
{
    char line[LINE_BYTES];
    bool resident = false, private = false;
    FILE *file = open_of(pid, "status");

    if (!file)
        return false;
    while (fgets(line, sizeof(line), file)) {
        resident = take_kilobytes(line, "VmRSS:", &use->resident) || resident;
        private = take_kilobytes(line, "RssAnon:", &use->private) || private;
    }
    fclose(file);
    return resident && private;
}

static bool read_cpu(pid_t pid, struct process_use *use)
{
    char line[LINE_BYTES], *at = NULL;
    FILE *file = open_of(pid, "stat");
    long ticks = sysconf(_SC_CLK_TCK);

    if (!file)
        return false;
    if (fgets(line, sizeof(line), file))
        at = strrchr(line, ')'); /* the name may contain anything */
    fclose(file);
    for (int field = 2; at && field < 14; field++) { /* proc(5): utime is field 14, stime field 15 */
        at = strchr(at + 1, ' ');
    }
    if (!at || ticks <= 0)
        return false;
    uint64_t user = strtoull(at, &at, 10), system = strtoull(at, NULL, 10);
    use->cpu_seconds = (double)(user + system) / (double)ticks;
    return true;
}

bool measure_process(pid_t pid, struct process_use *use)
{
    *use = (struct process_use){0};
    return read_memory(pid, use) && read_cpu(pid, use);
}

static void read_meminfo(struct kernel_use *use)
{
    char line[LINE_BYTES];
    FILE *file = fopen("/proc/meminfo", "re");

    while (file && fgets(line, sizeof(line), file)) {
        (void)take_kilobytes(line, "Slab:", &use->slab_bytes);
        (void)take_kilobytes(line, "MemAvailable:", &use->available);
    }
    if (file)
        fclose(file);
}

static uint64_t read_tcp(void)
{
    char line[LINE_BYTES];
    uint64_t bytes = 0;
    FILE *file = fopen("/proc/net/sockstat", "re");

    while (file && fgets(line, sizeof(line), file)) {
        const char *mem = strncmp(line, "TCP:", 4) == 0 ? strstr(line, " mem ") : NULL;
        if (mem)
            bytes = strtoull(mem + 5, NULL, 10) * (uint64_t)sysconf(_SC_PAGESIZE);
    }
    if (file)
        fclose(file);
    return bytes;
}

void measure_kernel(struct kernel_use *use)
{
    *use = (struct kernel_use){.tcp_bytes = read_tcp()};
    read_meminfo(use);
}
