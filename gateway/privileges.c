/* The order matters: groups and the bounding set while we still may, then the user, then what is left. */
#include "gateway/privileges.h"

#include "gateway/base/log.h"
#include "gateway/base/owner.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CAPABILITIES_MAX = 64 }; /* the kernel's sets have 64 bits */

/* Planning
 * ----------------------------------------------------------------------------------------------------------
 */

bool privileges_plan(const struct settings *settings, struct privileges *plan, char *error, size_t error_size)
{
    const char *user = settings->process.user, *group = settings->process.group;
    char why[160];
    *plan = (struct privileges){0};
    if (!*user)
        return true; /* settings_check() refuses a group alone */
    plan->change = true;
    if (!owner_user(user, &plan->user, &plan->group, why, sizeof why)) {
        snprintf(error, error_size, "process.user: %s", why);
        return false;
    }
    if (plan->user == 0) { /* asked for by name: no warning */
        *plan = (struct privileges){.root = true};
        return true;
    }
    if (*group && !owner_group(group, &plan->group, why, sizeof why)) {
        snprintf(error, error_size, "process.group: %s", why);
        return false;
    }
    if (plan->group == OWNER_SAME) {
        snprintf(error, error_size,
                 "process.user: the system does not know user %s, so process.group must name its group",
                 user);
        return false;
    }
    if (geteuid() != 0 && (plan->user != geteuid() || plan->group != getegid())) {
        snprintf(error, error_size,
                 "process.user: only root can become user %lu, and this process is user %lu: start it as "
                 "root, or as that user and without process.user",
                 (unsigned long)plan->user, (unsigned long)geteuid());
        return false;
    }
    return true;
}

/* Dropping
 * ----------------------------------------------------------------------------------------------------------
 */

static bool failed(const char *what, char *error, size_t error_size)
{
    snprintf(error, error_size, "cannot give up privileges: %s: %s", what, strerror(errno));
    return false;
}

/* Nothing can be gained back by execve of a file with capabilities. Allowed to root only; others lose
 * nothing, because no_new_privs says the same. */
static void clear_bounding_set(void)
{
    for (unsigned long capability = 0; capability < CAPABILITIES_MAX; capability++)
        if (prctl(PR_CAPBSET_READ, capability, 0, 0, 0) == 1)
            (void)prctl(PR_CAPBSET_DROP, capability, 0, 0, 0);
}

static bool become(const struct privileges *plan, char *error, size_t error_size)
{
    if (geteuid() != 0)
        return true; /* it is that user already, by privileges_plan() */
    if (setgroups(0, NULL) != 0)
        return failed("setgroups", error, error_size);
    if (setresgid(plan->group, plan->group, plan->group) != 0)
        return failed("setresgid", error, error_size);
    clear_bounding_set();
    if (setresuid(plan->user, plan->user, plan->user) != 0)
        return failed("setresuid", error, error_size);
    return true;
}

static bool clear_capabilities(char *error, size_t error_size)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {0};
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0)
        return failed("ambient capabilities", error, error_size);
    clear_bounding_set(); /* for who is not root and has CAP_SETPCAP */
    if (syscall(SYS_capset, &header, none) != 0)
        return failed("capset", error, error_size);
    return true;
}

static bool has_capabilities(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {0};
    if (syscall(SYS_capget, &header, data) != 0)
        return true;
    for (unsigned i = 0; i < _LINUX_CAPABILITY_U32S_3; i++)
        if (data[i].permitted || data[i].effective || data[i].inheritable)
            return true;
    return false;
}

/* Asks the kernel, and `tried`: also tries, since a way back that is still open must not stay unnoticed. */
static bool verify(const struct privileges *plan, bool tried, char *error, size_t error_size)
{
    uid_t users[3];
    gid_t groups[3];
    const char *left = NULL;
    if (has_capabilities())
        left = "there are capabilities left";
    else if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1)
        left = "no_new_privs is not set";
    else if (plan->change && (getresuid(&users[0], &users[1], &users[2]) != 0 ||
                              getresgid(&groups[0], &groups[1], &groups[2]) != 0 || users[0] != plan->user ||
                              users[1] != plan->user || users[2] != plan->user || groups[0] != plan->group ||
                              groups[1] != plan->group || groups[2] != plan->group))
        left = "the kernel says that this is another user or group";
    else if (tried && (setuid(0) == 0 || seteuid(0) == 0 || setgid(0) == 0 || setegid(0) == 0))
        left = "this process can become root again";
    if (left)
        snprintf(error, error_size, "privileges were not given up as they should be: %s", left);
    return !left;
}

bool privileges_drop(const struct privileges *plan, char *error, size_t error_size)
{
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return failed("no_new_privs", error, error_size);
    if (plan->change && !become(plan, error, error_size))
        return false;
    if (geteuid() == 0) {
        if (!plan->root)
            log_event(LOG_WARN, "running_as_root", "advice=%s",
                      "set process.user to a user of its own, or start it as one");
        return true;
    }
    /* Who never had any makes no call that a service manager's filter may end the process for. */
    bool had = plan->change || has_capabilities();
    if ((had && !clear_capabilities(error, error_size)) || !verify(plan, had, error, error_size))
        return false;
    if (plan->change)
        log_event(LOG_INFO, "privileges_dropped", "user=%lu group=%lu", (unsigned long)plan->user,
                  (unsigned long)plan->group);
    return true;
}

/* Files
 * ----------------------------------------------------------------------------------------------------------
 */

int privileges_try(const struct privileges *plan, int (*attempt)(const char *path), const char *path)
{
    char why[160];
    int status;
    if (!plan->change || geteuid() != 0)
        return attempt(path);
    (void)signal(SIGCHLD, SIG_DFL); /* whoever started us may have had it ignored: nothing to wait for then */
    pid_t child = fork();
    if (child < 0)
        return errno;
    if (child == 0)
        _exit(become(plan, why, sizeof why) ? attempt(path) : EPERM);
    pid_t ended;
    do
        ended = waitpid(child, &status, 0);
    while (ended < 0 && errno == EINTR);
    return ended == child && WIFEXITED(status) ? WEXITSTATUS(status) : ECHILD;
}

static void check_file(const char *key, const char *path)
{
    if (*path && access(path, R_OK) != 0)
        log_event(LOG_WARN, "not_readable_again", "setting=%s path=%s error=%s user=%lu group=%lu advice=%s",
                  key, path, strerror(errno), (unsigned long)geteuid(), (unsigned long)getegid(),
                  "SIGHUP cannot read it again: let this user or group read it");
}

void privileges_check_files(const struct settings *settings)
{
    char one[4096];
    if (*settings->listen.wss) {
        check_file("tls.certificate", settings->tls.certificate);
        check_file("tls.private_key", settings->tls.private_key);
        check_file("tls.ticket_key_file", settings->tls.ticket_key_file);
        for (size_t i = 0; i < settings->tls.host_count; i++) {
            check_file("tls.certificate", settings->tls.hosts[i].certificate_file);
            check_file("tls.private_key", settings->tls.hosts[i].private_key_file);
        }
    }
    check_file("access.allow_file", settings->access.allow_file);
    check_file("access.deny_file", settings->access.deny_file);
    check_file("auth.jwks_file", settings->auth.jwks_file);
    if (settings_use_proxy(settings))
        check_file("proxy.ca_file", settings->proxy.ca_file);
    for (const char *at = settings->auth.public_keys; *at;) {
        size_t len = strcspn(at, " ");
        if (len > 0 && len < sizeof one) {
            memcpy(one, at, len);
            one[len] = '\0';
            check_file("auth.public_keys", one);
        }
        at += len + (at[len] == ' ');
    }
}
