/* The demand of a load test on the machine. */
#include "loadtest/check.h"

#include "gateway/base/preflight.h"

enum {
    USER_BYTES = 300,     /* of a client connection; the server's are its own affair, wherever it runs */
    FDS_OF_A_WORKER = 64, /* that are no connections */
    OTHER_THREADS = 2,    /* main, publisher */
};

void load_check_machine(const struct load_options *options, unsigned workers, const char *root, FILE *out)
{
    struct preflight_machine machine;
    struct preflight_row rows[PREFLIGHT_ROWS];
    uint64_t tables = options->shared_fds || workers == 0 ? 1 : workers;
    const struct preflight_demand demand = {
        .connections = options->connections,
        .ends = target_is_loopback(&options->target) ? 2 : 1,
        .user_bytes = USER_BYTES,
        .table_fds = (options->connections + tables - 1) / tables + FDS_OF_A_WORKER,
        .threads = (uint64_t)workers + OTHER_THREADS,
        .sources = options->sources.count > 0 ? options->sources.count : 1,
        .descriptors_advice = options->shared_fds ? "or leave out --shared-fds" : NULL,
    };

    preflight_read(root, &machine);
    size_t count = preflight_judge(&machine, &demand, rows);
    if (preflight_too_small(rows, count) == 0)
        return;
    fprintf(out, "pushgate-load: this machine may not hold %llu connections:\n",
            (unsigned long long)options->connections);
    preflight_print(rows, count, true, out);
    fputs("  Lines of the form name = value: sysctl -w 'name=value'. Going on; the report shows what comes "
          "of it.\n",
          out);
}
