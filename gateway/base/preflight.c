/* Reads limits, judges them, words what to change. */
#include "gateway/base/preflight.h"
#include "gateway/base/grouped.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PATH_BYTES = 4096, PERCENT = 100, ROUND = 1000, PORTS_USED_PERCENT = 45, PORTS_USUAL = 28232 };

/* Reading */

static FILE *open_under(const char *root, const char *path)
{
    char full[PATH_BYTES];
    int len = snprintf(full, sizeof full, "%s%s", root, path);
    return len > 0 && (size_t)len < sizeof full ? fopen(full, "re") : NULL;
}

/* Reads a number, or the word "unlimited"; *at moves past it. */
static uint64_t take_number(char **at)
{
    static const char unlimited[] = "unlimited";
    char *text = *at + strspn(*at, " \t"), *end;
    if (strncmp(text, unlimited, sizeof unlimited - 1) == 0) {
        *at = text + sizeof unlimited - 1;
        return PREFLIGHT_UNLIMITED;
    }
    if (*text < '0' || *text > '9')
        return PREFLIGHT_UNKNOWN;
    uint64_t value = strtoull(text, &end, 10);
    *at = end;
    return value < PREFLIGHT_UNLIMITED ? value : PREFLIGHT_UNLIMITED;
}

/* The first numbers of a file; those that are missing are unknown. */
static void read_numbers(const char *root, const char *path, uint64_t *values, size_t count)
{
    char line[256];
    FILE *file = open_under(root, path);
    bool read = file && fgets(line, sizeof line, file);
    char *at = line;
    for (size_t i = 0; i < count; i++)
        values[i] = read ? take_number(&at) : PREFLIGHT_UNKNOWN;
    if (file)
        fclose(file);
}

static uint64_t read_number(const char *root, const char *path)
{
    uint64_t value;
    read_numbers(root, path, &value, 1);
    return value;
}

/* The numbers after `label` at the beginning of a line. */
static void read_labelled(const char *root, const char *path, const char *label, uint64_t *values,
                          size_t count)
{
    char line[256];
    FILE *file = open_under(root, path);
    for (size_t i = 0; i < count; i++)
        values[i] = PREFLIGHT_UNKNOWN;
    while (file && fgets(line, sizeof line, file)) {
        if (strncmp(line, label, strlen(label)) != 0)
            continue;
        char *at = line + strlen(label);
        for (size_t i = 0; i < count; i++)
            values[i] = take_number(&at);
        break;
    }
    if (file)
        fclose(file);
}

/* In a network namespace that shares the table of the one it was made from, the number is negative. */
static uint64_t read_ehash_buckets(const char *root)
{
    char line[64];
    uint64_t value = PREFLIGHT_UNKNOWN;
    FILE *file = open_under(root, "/proc/sys/net/ipv4/tcp_ehash_entries");
    if (file && fgets(line, sizeof line, file)) {
        char *at = line + strspn(line, "-");
        value = take_number(&at);
    }
    if (file)
        fclose(file);
    return value;
}

void preflight_read(const char *root, struct preflight_machine *machine)
{
    uint64_t pair[2];
    long page = sysconf(_SC_PAGESIZE);

    memset(machine, 0, sizeof *machine);
    read_labelled(root, "/proc/self/limits", "Max open files", pair, 2);
    machine->nofile_soft = pair[0];
    machine->nofile_hard = pair[1];
    read_labelled(root, "/proc/self/limits", "Max processes", &machine->processes, 1);
    machine->nr_open = read_number(root, "/proc/sys/fs/nr_open");
    machine->file_max = read_number(root, "/proc/sys/fs/file-max");
    machine->files_used = read_number(root, "/proc/sys/fs/file-nr");
    machine->epoll_watches = read_number(root, "/proc/sys/fs/epoll/max_user_watches");
    machine->somaxconn = read_number(root, "/proc/sys/net/core/somaxconn");
    read_numbers(root, "/proc/sys/net/ipv4/tcp_mem", machine->tcp_mem, 3);
    machine->ehash_buckets = read_ehash_buckets(root);
    read_numbers(root, "/proc/sys/net/ipv4/ip_local_port_range", pair, 2);
    machine->port_first = pair[0];
    machine->port_last = pair[1];
    machine->conntrack_max = read_number(root, "/proc/sys/net/netfilter/nf_conntrack_max");
    machine->conntrack_count = read_number(root, "/proc/sys/net/netfilter/nf_conntrack_count");
    machine->threads_max = read_number(root, "/proc/sys/kernel/threads-max");
    machine->pid_max = read_number(root, "/proc/sys/kernel/pid_max");
    read_labelled(root, "/proc/meminfo", "MemAvailable:", &machine->memory_available, 1);
    if (machine->memory_available < PREFLIGHT_UNLIMITED / 1024)
        machine->memory_available *= 1024;
    machine->page_bytes = page > 0 ? (uint64_t)page : 4096;
}

/* Judging. Sums saturate, so that no demand, however large, looks small. */

static uint64_t plus(uint64_t a, uint64_t b)
{
    uint64_t sum;
    return __builtin_add_overflow(a, b, &sum) ? PREFLIGHT_UNLIMITED : sum;
}

static uint64_t times(uint64_t a, uint64_t b)
{
    uint64_t product;
    return __builtin_mul_overflow(a, b, &product) ? PREFLIGHT_UNLIMITED : product;
}

static uint64_t round_up(uint64_t value)
{
    return times(value / ROUND + (value % ROUND != 0), ROUND);
}

/* A tenth on top, in round figures: what to write into a sysctl file. */
static uint64_t with_room(uint64_t value)
{
    return round_up(plus(value, value / 10));
}

static uint64_t power_of_two(uint64_t at_least)
{
    uint64_t power = 1;
    while (power < at_least && power < UINT64_C(1) << 63)
        power *= 2;
    return power;
}

struct judge {
    struct preflight_row *rows;
    size_t count;
};

static struct preflight_row *judge(struct judge *judge, const char *name, uint64_t have, uint64_t need,
                                   const char *unit)
{
    struct preflight_row *row = &judge->rows[judge->count++];
    *row = (struct preflight_row){.name = name, .have = have, .need = need, .unit = unit, .effect = ""};
    if (have == PREFLIGHT_UNKNOWN)
        row->verdict = PREFLIGHT_NOT_SHOWN;
    else
        row->verdict = have < need ? PREFLIGHT_TOO_SMALL : PREFLIGHT_GOOD;
    return row;
}

static void advise(struct preflight_row *row, const char *effect, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static void advise(struct preflight_row *row, const char *effect, const char *format, ...)
{
    size_t used = strlen(row->remedy);
    va_list arguments;
    if (row->verdict != PREFLIGHT_TOO_SMALL)
        return;
    row->effect = effect;
    va_start(arguments, format);
    vsnprintf(row->remedy + used, sizeof row->remedy - used, format, arguments);
    va_end(arguments);
}

static void judge_descriptors(struct judge *all, const struct preflight_machine *machine,
                              const struct preflight_demand *demand)
{
    static const char effect[] = "further connections are refused";
    uint64_t wanted = round_up(demand->table_fds);
    /* The programs raise the soft limit to the hard one themselves. */
    struct preflight_row *row =
        judge(all, "RLIMIT_NOFILE", machine->nofile_hard, demand->table_fds, "descriptors in one table");
    advise(row, effect,
           "systemd unit, [Service]: LimitNOFILE=%" PRIu64 "\nshell, as root: ulimit -n %" PRIu64 "\n",
           wanted, wanted);
    if (demand->descriptors_advice)
        advise(row, effect, "%s\n", demand->descriptors_advice);
    row = judge(all, "fs.nr_open", machine->nr_open, demand->table_fds, "descriptors in one table");
    advise(row, "RLIMIT_NOFILE cannot be raised as far as that", "fs.nr_open = %" PRIu64 "\n", wanted);

    uint64_t used = machine->files_used < PREFLIGHT_UNLIMITED ? machine->files_used : 0;
    row = judge(all, "fs.file-max", machine->file_max, plus(used, times(demand->connections, demand->ends)),
                "open files of the whole machine");
    advise(row, effect, "fs.file-max = %" PRIu64 "\n", with_room(row->need));
    row = judge(all, "fs.epoll.max_user_watches", machine->epoll_watches,
                times(demand->connections, demand->ends), "sockets that one user watches");
    advise(row, effect, "fs.epoll.max_user_watches = %" PRIu64 "\n", with_room(row->need));
}

/* A message to all at once charges each connection one page, measured, until its peer has acknowledged it (on
 * loopback: read it); a client that is stopped keeps it. */
static void judge_tcp_memory(struct judge *all, const struct preflight_machine *machine,
                             const struct preflight_demand *demand)
{
    struct preflight_row *row =
        judge(all, "net.ipv4.tcp_mem", machine->tcp_mem[2], demand->connections, "pages for data under way");
    uint64_t most = with_room(demand->connections);
    advise(row, "a message to all at once may be slowed down",
           "net.ipv4.tcp_mem = %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", most / 2, most / 4 * 3, most);
}

/* Every segment that arrives walks a chain of that table, and each socket on it costs a cache miss: with
 * eight on a chain a fan-out on loopback took 18 % longer, measured, than with one on every other. The remedy
 * makes it one; two are let pass, so that nobody starts a machine anew for a few per cent. */
static void judge_ehash(struct judge *all, const struct preflight_machine *machine,
                        const struct preflight_demand *demand)
{
    uint64_t sockets = times(demand->connections, demand->ends), wanted = power_of_two(sockets);
    struct preflight_row *row = judge(all, "net.ipv4.tcp_ehash_entries", machine->ehash_buckets,
                                      sockets / 2 + sockets % 2, "buckets for established TCP sockets");
    advise(row, "finding the socket of each packet takes CPU",
           "kernel command line, read at boot only: thash_entries=%" PRIu64
           "\nor a network namespace that is made while net.ipv4.tcp_child_ehash_entries is %" PRIu64 "\n",
           wanted, wanted);
}

/* Unknown where the machine does not show them. */
static uint64_t ports_of_an_address(const struct preflight_machine *machine)
{
    bool shown = machine->port_first < PREFLIGHT_UNLIMITED && machine->port_last < PREFLIGHT_UNLIMITED &&
                 machine->port_last >= machine->port_first;
    return shown ? machine->port_last - machine->port_first + 1 : PREFLIGHT_UNKNOWN;
}

uint64_t preflight_sources(const struct preflight_machine *machine, uint64_t connections)
{
    uint64_t ports = ports_of_an_address(machine);
    if (ports == PREFLIGHT_UNKNOWN)
        ports = PORTS_USUAL;
    /* The kernel skips some at random, so not quite a half. */
    uint64_t each = times(ports, PORTS_USED_PERCENT) / PERCENT;
    return connections / (each > 0 ? each : 1) + 1;
}

static void judge_ports(struct judge *all, const struct preflight_machine *machine,
                        const struct preflight_demand *demand)
{
    uint64_t each = demand->connections / demand->sources + (demand->connections % demand->sources != 0);
    uint64_t wanted = preflight_sources(machine, demand->connections);
    struct preflight_row *row =
        judge(all, "net.ipv4.ip_local_port_range", ports_of_an_address(machine), times(each, 2),
              "ports of each source address, of which half are found at once");
    advise(row,
           row->have < each ? "further connections find no port" : "connect() takes a hundred times as long",
           "net.ipv4.ip_local_port_range = 1024 65535\nor more source addresses: "
           "--sources=127.0.0.1-127.0.%" PRIu64 ".%" PRIu64 " for a target on this machine\n",
           wanted / 256 % 256, wanted % 256);
}

static void judge_network(struct judge *all, const struct preflight_machine *machine,
                          const struct preflight_demand *demand)
{
    struct preflight_row *row;
    if (demand->backlog > 0) {
        row = judge(all, "net.core.somaxconn", machine->somaxconn, demand->backlog,
                    "connections that wait to be accepted");
        advise(row, "listen.backlog is cut; clients that come all at once wait a second and longer",
               "net.core.somaxconn = %" PRIu64 "\n", demand->backlog);
    }
    judge_tcp_memory(all, machine, demand);
    judge_ehash(all, machine, demand);
    if (demand->sources > 0)
        judge_ports(all, machine, demand);
    /* A table that stays empty although the machine has connections belongs to a kernel that tracks none. */
    if (machine->conntrack_max != PREFLIGHT_UNKNOWN && machine->conntrack_count != PREFLIGHT_UNKNOWN &&
        machine->conntrack_count > 0) {
        row = judge(all, "net.netfilter.nf_conntrack_max", machine->conntrack_max,
                    plus(machine->conntrack_count, demand->connections), "tracked connections");
        advise(row, "packets of further connections are dropped",
               "net.netfilter.nf_conntrack_max = %" PRIu64
               "\nor a NOTRACK rule in the raw table for the listeners' ports\n",
               with_room(row->need));
    }
}

static void judge_threads(struct judge *all, const struct preflight_machine *machine,
                          const struct preflight_demand *demand)
{
    static const char effect[] = "threads cannot be started", unit[] = "threads";
    struct preflight_row *row = judge(all, "RLIMIT_NPROC", machine->processes, demand->threads, unit);
    advise(row, effect, "systemd unit, [Service]: LimitNPROC=%" PRIu64 " and TasksMax=%" PRIu64 "\n",
           round_up(demand->threads), round_up(demand->threads));
    row = judge(all, "kernel.threads-max", machine->threads_max, demand->threads, unit);
    advise(row, effect, "kernel.threads-max = %" PRIu64 "\n", round_up(plus(demand->threads, ROUND)));
    row = judge(all, "kernel.pid_max", machine->pid_max, demand->threads, unit);
    advise(row, effect, "kernel.pid_max = %" PRIu64 "\n", round_up(plus(demand->threads, ROUND)));
}

static void judge_memory(struct judge *all, const struct preflight_machine *machine,
                         const struct preflight_demand *demand)
{
    uint64_t kernel = plus(times(demand->ends, PREFLIGHT_SOCKET_BYTES), demand->message_bytes);
    uint64_t each = plus(kernel, demand->user_bytes), available = machine->memory_available;
    uint64_t have = available == PREFLIGHT_UNKNOWN ? PREFLIGHT_UNKNOWN : available >> 20;
    uint64_t need = plus(times(demand->connections, each), demand->fixed_bytes);
    struct preflight_row *row = judge(all, "MemAvailable", have, need >> 20, "MiB of memory");
    if (row->verdict != PREFLIGHT_TOO_SMALL)
        return;
    uint64_t left = available > demand->fixed_bytes ? available - demand->fixed_bytes : 0;
    if (each == 0 || left < each) {
        advise(row, "the kernel kills processes",
               "more memory, or smaller bounds of what is kept for all together, %" PRIu64 " MiB now\n",
               demand->fixed_bytes >> 20);
        return;
    }
    advise(row, "the kernel kills processes",
           "more memory, or at most %" PRIu64 " connections of %" PRIu64
           " bytes, of which the kernel's sockets take %" PRIu64 "\n",
           left / each >= ROUND ? left / each / ROUND * ROUND : left / each, each, kernel);
}

size_t preflight_judge(const struct preflight_machine *machine, const struct preflight_demand *demand,
                       struct preflight_row rows[PREFLIGHT_ROWS])
{
    struct judge all = {.rows = rows};
    judge_descriptors(&all, machine, demand);
    judge_network(&all, machine, demand);
    judge_threads(&all, machine, demand);
    judge_memory(&all, machine, demand);
    return all.count;
}

size_t preflight_too_small(const struct preflight_row *rows, size_t count)
{
    size_t found = 0;
    for (size_t i = 0; i < count; i++)
        found += rows[i].verdict == PREFLIGHT_TOO_SMALL;
    return found;
}

/* Printing */

const char *preflight_number(uint64_t value, char out[32])
{
    if (value < PREFLIGHT_UNLIMITED)
        return grouped(value, out);
    snprintf(out, 32, "%s", value == PREFLIGHT_UNKNOWN ? "not shown" : "unlimited");
    return out;
}

void preflight_print(const struct preflight_row *rows, size_t count, bool only_too_small, FILE *out)
{
    static const char *const verdicts[] = {"ok", "not shown", "TOO SMALL"};
    for (size_t i = 0; i < count; i++) {
        const struct preflight_row *row = &rows[i];
        char have[32], need[32];
        if (only_too_small && row->verdict != PREFLIGHT_TOO_SMALL)
            continue;
        fprintf(out, "  %-9s  %-30s %13s, needed %11s  %s\n", verdicts[row->verdict], row->name,
                preflight_number(row->have, have), preflight_number(row->need, need), row->unit);
        if (row->verdict != PREFLIGHT_TOO_SMALL)
            continue;
        fprintf(out, "             Else %s. To change it:\n", row->effect);
        for (const char *line = row->remedy; *line;) {
            size_t len = strcspn(line, "\n");
            fprintf(out, "                 %.*s\n", (int)len, line);
            line += len + (line[len] == '\n');
        }
    }
}
