/* Lists of names, so that libseccomp knows the numbers of each architecture; a name that it or the
 * architecture does not have is passed over. */
#include "gateway/seccomp.h"

#include "gateway/base/log.h"

#include <errno.h>
#include <linux/netlink.h>
#include <linux/seccomp.h>
#include <linux/sockios.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <ucontext.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41
#endif

enum {
    NAMES = 600, /* numbers of calls that may be known by name */
    INT_MASK = 0x7fffffff,
    SOCKET_TYPE_MASK = 0xf, /* less SOCK_NONBLOCK and SOCK_CLOEXEC */
    NAMESPACES = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID |
                 CLONE_NEWNET,
};

/* Lists
 * -------------------------------------------------------------------------------------------------------------
 */

static const char *const allowed[] = {
    /* Bytes. */
    "read",
    "readv",
    "pread64",
    "write",
    "writev",
    "pwrite64",
    "lseek",
    "close",
    "close_range",
    "fcntl",
    "dup",
    "pipe2",
    "eventfd2",
    /* Sockets. Listeners are open by now. */
    "accept4",
    "accept",
    "bind",
    "connect",
    "getpeername",
    "getsockname",
    "getsockopt",
    "recvfrom",
    "recvmmsg",
    "recvmsg",
    "sendmmsg",
    "sendmsg",
    "sendto",
    "setsockopt",
    "shutdown",
    "socketpair",
    /* Waiting. */
    "epoll_create1",
    "epoll_ctl",
    "epoll_pwait",
    "epoll_pwait2",
    "epoll_wait",
    "poll",
    "ppoll",
    "pselect6",
    "select",
    "restart_syscall",
    "timerfd_create",
    "timerfd_settime",
    "signalfd4",
    /* Memory. */
    "brk",
    "madvise",
    "mincore",
    "mlock",
    "mlock2",
    "mremap",
    "munlock",
    "munmap",
    /* Threads and signals. */
    "arch_prctl",
    "exit",
    "exit_group",
    "futex",
    "get_robust_list",
    "getcpu",
    "gettid",
    "membarrier",
    "rseq",
    "rt_sigaction",
    "rt_sigprocmask",
    "rt_sigreturn",
    "rt_sigtimedwait",
    "sched_getaffinity",
    "sched_getparam",
    "sched_getscheduler",
    "sched_yield",
    "set_robust_list",
    "set_tid_address",
    "sigaltstack",
    /* Files, read anew on SIGHUP: certificates, keys, resolver's and name services' configuration; and the
       log. */
    "access",
    "faccessat",
    "faccessat2",
    "fadvise64",
    "fstat",
    "fstatfs",
    "getcwd",
    "getdents64",
    "lstat",
    "newfstatat",
    "open",
    "openat",
    "readlink",
    "readlinkat",
    "stat",
    "statfs",
    "statx",
    "unlink",
    "unlinkat",
    /* Clocks, chance, and who we are. */
    "clock_getres",
    "clock_gettime",
    "clock_nanosleep",
    "getegid",
    "geteuid",
    "getgid",
    "getpgrp",
    "getpid",
    "getppid",
    "getrandom",
    "getresgid",
    "getresuid",
    "getrlimit",
    "getrusage",
    "gettimeofday",
    "getuid",
    "nanosleep",
    "sysinfo",
    "time",
    "times",
    "uname",
};

/* What no library of ours asks for, on any machine. */
static const char *const deadly[] = {
    "execve",
    "execveat",
    "ptrace",
    "process_vm_readv",
    "process_vm_writev",
    "process_madvise",
    "pidfd_getfd",
    "mount",
    "umount",
    "umount2",
    "mount_setattr",
    "move_mount",
    "fsopen",
    "fsconfig",
    "fsmount",
    "fspick",
    "open_tree",
    "pivot_root",
    "chroot",
    "setns",
    "bpf",
    "perf_event_open",
    "userfaultfd",
    "init_module",
    "finit_module",
    "delete_module",
    "kexec_load",
    "kexec_file_load",
    "reboot",
    "swapon",
    "swapoff",
    "acct",
    "quotactl",
    "quotactl_fd",
    "iopl",
    "ioperm",
    "modify_ldt",
    "settimeofday",
    "clock_settime",
    "adjtimex",
    "clock_adjtime",
    "sethostname",
    "setdomainname",
    "syslog",
    "lookup_dcookie",
    "open_by_handle_at",
    "fanotify_init",
    "vhangup",
    "mknod",
    "mknodat",
    "uselib",
    "nfsservctl",
    "personality",
    "vmsplice",
    "memfd_secret",
};

/* What sanitizers do beside: LeakSanitizer stops all threads from a process of its own, reports call a
 * symbolizer. */
static const char *const for_sanitizers[] = {
    "clone", "dup2",      "execve", "getdents",  "kill",   "mmap",  "mprotect", "personality", "pipe",
    "prctl", "prlimit64", "ptrace", "setrlimit", "tgkill", "tkill", "vfork",    "fork",        "wait4",
};

/* Allowed when all conditions hold: (argument & mask) == value. */
struct condition {
    const char *name;
    struct {
        unsigned argument;
        uint64_t mask, value;
    } is[2];
    unsigned count;
};

static const struct condition conditions[] = {
    /* A thread, not a process; and no namespace of its own. */
    {"clone", {{0, CLONE_THREAD | NAMESPACES, CLONE_THREAD}}, 1},
    /* Nothing is both written and run; libraries that name services load are mapped from files. */
    {"mmap", {{2, PROT_EXEC, 0}}, 1},
    {"mmap", {{2, PROT_WRITE, 0}}, 1},
    {"mprotect", {{2, PROT_EXEC, 0}}, 1},
    /* TCP, UDP for the resolver, unix sockets, and the list of addresses that getaddrinfo() sorts by. */
    {"socket", {{0, INT_MASK, AF_UNIX}}, 1},
    {"socket", {{0, INT_MASK, AF_INET}, {1, SOCKET_TYPE_MASK, SOCK_STREAM}}, 2},
    {"socket", {{0, INT_MASK, AF_INET}, {1, SOCKET_TYPE_MASK, SOCK_DGRAM}}, 2},
    {"socket", {{0, INT_MASK, AF_INET6}, {1, SOCKET_TYPE_MASK, SOCK_STREAM}}, 2},
    {"socket", {{0, INT_MASK, AF_INET6}, {1, SOCKET_TYPE_MASK, SOCK_DGRAM}}, 2},
    {"socket", {{0, INT_MASK, AF_NETLINK}, {2, INT_MASK, NETLINK_ROUTE}}, 2},
    {"ioctl", {{1, INT_MASK, FIONBIO}}, 1},
    {"ioctl", {{1, INT_MASK, FIONREAD}}, 1},
    {"ioctl", {{1, INT_MASK, TCGETS}}, 1},
    {"ioctl", {{1, INT_MASK, SIOCOUTQ}}, 1},
    {"ioctl", {{1, INT_MASK, SIOCGIFINDEX}}, 1},
    {"prctl", {{0, INT_MASK, PR_SET_NAME}}, 1},
    {"prctl", {{0, INT_MASK, PR_GET_NAME}}, 1},
    {"prctl", {{0, INT_MASK, PR_SET_VMA}}, 1},
    {"prctl", {{0, INT_MASK, PR_GET_DUMPABLE}}, 1},
    /* Limits are read, not set. */
    {"prlimit64", {{2, UINT64_MAX, 0}}, 1},
};

/* Refused calls
 * -------------------------------------------------------------------------------------------------------------
 */

/* By number; filled before the handler is there. A signal's handler has no other way to what it needs. */
static const char *names[NAMES];

/* True when a call's result can be set from the handler of its SIGSYS. */
#if defined(__x86_64__)
#define CAN_ANSWER 1
static void set_result(ucontext_t *context, int error)
{
    context->uc_mcontext.gregs[REG_RAX] = -error;
}
#elif defined(__aarch64__)
#define CAN_ANSWER 1
static void set_result(ucontext_t *context, int error)
{
    context->uc_mcontext.regs[0] = (unsigned long long)-(long long)error;
}
#else
#define CAN_ANSWER 0
static void set_result(ucontext_t *context, int error)
{
    (void)context;
    (void)error;
}
#endif

/* Runs in the middle of the call that was refused, in its thread, as if it were that call: what a line needs
 * (no memory, no lock) may be done here. */
static void refused(int signal, siginfo_t *info, void *context)
{
    static struct log_limit limit;
    (void)signal;
    int number = info->si_syscall;
    const char *name = number >= 0 && number < NAMES ? names[number] : NULL;
    log_limited(&limit, LOG_ERROR, "syscall_refused", "syscall=%s number=%d answer=%s advice=%s",
                name ? name : "unknown", number, name ? "EPERM" : "ENOSYS",
                "if this is not an attack, report it, and run with process.seccomp=log meanwhile");
    set_result(context, name ? EPERM : ENOSYS);
}

static bool prepare_refusal(void)
{
    struct sigaction action = {.sa_sigaction = refused, .sa_flags = SA_SIGINFO | SA_RESTART};
    sigset_t sigsys;
    for (int number = 0; number < NAMES; number++)
        if (!names[number])
            names[number] = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, number);
    sigemptyset(&action.sa_mask);
    sigemptyset(&sigsys);
    sigaddset(&sigsys, SIGSYS);
    return sigaction(SIGSYS, &action, NULL) == 0 && pthread_sigmask(SIG_UNBLOCK, &sigsys, NULL) == 0;
}

/* The filter
 * -------------------------------------------------------------------------------------------------------------
 */

static bool listed(const char *name, const char *const *list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(list[i], name) == 0)
            return true;
    return false;
}

#define COUNT(list) (sizeof(list) / sizeof *(list))

/* Calls that the architecture does not have are no failure. */
static int add(scmp_filter_ctx filter, uint32_t action, const char *name, unsigned count,
               const struct scmp_arg_cmp *is)
{
    int number = seccomp_syscall_resolve_name(name);
    return number == __NR_SCMP_ERROR ? 0 : seccomp_rule_add_array(filter, action, number, count, is);
}

static int add_list(scmp_filter_ctx filter, uint32_t action, const char *const *list, size_t count)
{
    int error = 0;
    for (size_t i = 0; i < count && error == 0; i++)
        if (action == SCMP_ACT_ALLOW || !SANITIZED || !listed(list[i], for_sanitizers, COUNT(for_sanitizers)))
            error = add(filter, action, list[i], 0, NULL);
    return error;
}

static int add_conditions(scmp_filter_ctx filter)
{
    int error = 0;
    for (size_t i = 0; i < COUNT(conditions) && error == 0; i++) {
        const struct condition *condition = &conditions[i];
        struct scmp_arg_cmp is[COUNT(condition->is)];
        if (SANITIZED && listed(condition->name, for_sanitizers, COUNT(for_sanitizers)))
            continue;
        for (unsigned n = 0; n < condition->count; n++)
            is[n] = SCMP_CMP64(condition->is[n].argument, SCMP_CMP_MASKED_EQ, condition->is[n].mask,
                               condition->is[n].value);
        error = add(filter, SCMP_ACT_ALLOW, condition->name, condition->count, is);
    }
    /* Ourselves only, for abort(). */
    struct scmp_arg_cmp self = SCMP_CMP64(0, SCMP_CMP_MASKED_EQ, INT_MASK, (uint64_t)getpid());
    if (error == 0 && !SANITIZED)
        error = add(filter, SCMP_ACT_ALLOW, "tgkill", 1, &self);
    return error;
}

static int add_rules(scmp_filter_ctx filter, enum seccomp_mode mode)
{
    int error = add_list(filter, SCMP_ACT_ALLOW, allowed, COUNT(allowed));
    if (error == 0 && SANITIZED)
        error = add_list(filter, SCMP_ACT_ALLOW, for_sanitizers, COUNT(for_sanitizers));
    if (error == 0)
        error = add_conditions(filter);
    /* Its flags lie in memory, where no filter can see them: libraries use clone() instead. */
    if (error == 0)
        error = add(filter, SCMP_ACT_ERRNO(ENOSYS), "clone3", 0, NULL);
    if (error == 0 && mode == SECCOMP_ON)
        error = add_list(filter, SCMP_ACT_KILL_PROCESS, deadly, COUNT(deadly));
    return error;
}

static int set_attributes(scmp_filter_ctx filter, enum seccomp_mode mode)
{
    int error = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
    if (error == 0)
        error = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH,
                                 mode == SECCOMP_LOG ? SCMP_ACT_LOG : SCMP_ACT_KILL_PROCESS);
    if (error == 0) {
        /* Older kernels slow down every thread that has a filter, against other code in the same process;
         * there is none here. A kernel or library that does not know these goes without. */
        (void)seccomp_attr_set(filter, SCMP_FLTATR_CTL_SSB, 1);
        (void)seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    }
    return error;
}

bool seccomp_install(enum seccomp_mode mode, char *error, size_t error_size)
{
    if (mode == SECCOMP_OFF)
        return true;
    const uint32_t refuse = mode == SECCOMP_LOG ? SCMP_ACT_LOG
                            : CAN_ANSWER        ? SCMP_ACT_TRAP
                                                : SCMP_ACT_ERRNO(EPERM);
    if (mode == SECCOMP_ON && CAN_ANSWER && !prepare_refusal()) {
        snprintf(error, error_size, "cannot handle SIGSYS: %s", strerror(errno));
        return false;
    }
    scmp_filter_ctx filter = seccomp_init(refuse);
    int failure = filter ? set_attributes(filter, mode) : -ENOMEM;
    if (failure == 0)
        failure = add_rules(filter, mode);
    if (failure == 0)
        failure = seccomp_load(filter);
    if (filter)
        seccomp_release(filter);
    if (failure != 0)
        snprintf(error, error_size, "cannot install the filter of system calls: %s", strerror(-failure));
    return failure == 0;
}
