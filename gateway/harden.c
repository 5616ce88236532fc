/* A core dump of a TLS server holds its private keys and everybody's traffic: there is none unless asked for.
 */
#include "gateway/harden.h"

#include "gateway/base/log.h"

#include <errno.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>

void harden_again(bool core_dumps)
{
    /* The limit below does not count where cores are piped to a program (core(5)). */
    if (prctl(PR_SET_DUMPABLE, core_dumps ? 1 : 0, 0, 0, 0) != 0)
        log_event(LOG_WARN, "hardening_failed", "what=PR_SET_DUMPABLE error=%s", strerror(errno));
}

void harden_process(bool core_dumps)
{
    if (core_dumps) {
        log_event(LOG_WARN, "core_dumps", "debug.core_dumps=on");
        return;
    }
    const struct rlimit none = {0, 0};
    if (setrlimit(RLIMIT_CORE, &none) != 0)
        log_event(LOG_WARN, "hardening_failed", "what=RLIMIT_CORE error=%s", strerror(errno));
    harden_again(false);
}
