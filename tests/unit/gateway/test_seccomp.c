/* The gateway's own filter of system calls, tried in children: there is no way back from it. */
#include "gateway/seccomp.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <netdb.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* It delivers signals when it sees fit: the line of a refused call comes too late, and the gateway runs
 * without the filter there. */
#ifdef __SANITIZE_THREAD__
enum { LINES_COME = 0 };
#else
enum { LINES_COME = 1 };
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

enum { SUCCEEDED = 0, NOT_INSTALLED = 250, OUTPUT = 4096 };

/* What a call ended with: 0, its errno, or minus the signal that ended the process. */
typedef int call_fn(void);

struct outcome {
    int result;
    char output[OUTPUT]; /* on stderr */
};

static struct outcome filtered(enum seccomp_mode mode, call_fn *call)
{
    struct outcome outcome = {0};
    int pair[2], status;
    assert_int_equal(pipe(pair), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        const struct rlimit no_core = {0, 0};
        char error[256];
        setrlimit(RLIMIT_CORE, &no_core);
        dup2(pair[1], STDERR_FILENO);
        _exit(seccomp_install(mode, error, sizeof error) ? call() : NOT_INSTALLED);
    }
    close(pair[1]);
    size_t len = 0;
    for (ssize_t n; (n = read(pair[0], outcome.output + len, OUTPUT - 1 - len)) > 0;)
        len += (size_t)n;
    close(pair[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    outcome.result = WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
    assert_int_not_equal(outcome.result, NOT_INSTALLED);
    return outcome;
}

static int result_of(long value)
{
    return value < 0 ? errno : SUCCEEDED;
}

/* --- What an attacker would ask for --- */

static int start_a_program(void)
{
    return result_of(execl("/bin/true", "true", (char *)NULL));
}
static int start_a_program_by_descriptor(void)
{
    return result_of(syscall(SYS_execveat, -1, "/bin/true", NULL, NULL, 0));
}
static int trace(void)
{
    return result_of(syscall(SYS_ptrace, 0, 0, 0, 0));
}
static int read_another(void)
{
    return result_of(syscall(SYS_process_vm_readv, getppid(), NULL, 0, NULL, 0, 0));
}
static int mount_something(void)
{
    return result_of(syscall(SYS_mount, "none", "/tmp", "tmpfs", 0, NULL));
}
static int load_a_program_into_the_kernel(void)
{
    return result_of(syscall(SYS_bpf, 0, NULL, 0));
}
static int enter_a_namespace(void)
{
    return result_of(syscall(SYS_setns, -1, 0));
}
#ifdef __x86_64__
static int use_another_abi(void)
{
    return result_of(syscall(0x40000000 | SYS_getpid)); /* x32 */
}
#endif

/* --- What is refused --- */

static int packets(void)
{
    return result_of(socket(AF_PACKET, SOCK_RAW, 0));
}
static int raw_ip(void)
{
    return result_of(socket(AF_INET, SOCK_RAW, IPPROTO_ICMP));
}
static int other_netlink(void)
{
    return result_of(socket(AF_NETLINK, SOCK_RAW, 16)); /* generic */
}
static int another_process(void)
{
    return result_of(syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL));
}
static int namespaces(void)
{
    return result_of(unshare(CLONE_NEWUSER));
}
static int writable_code(void)
{
    return mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ==
                   MAP_FAILED
               ? errno
               : SUCCEEDED;
}
static int data_become_code(void)
{
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return page == MAP_FAILED ? NOT_INSTALLED : result_of(mprotect(page, 4096, PROT_READ | PROT_EXEC));
}
static int core_dumps(void)
{
    return result_of(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0));
}
static int limits(void)
{
    struct rlimit limit = {10, 10};
    return result_of(setrlimit(RLIMIT_CORE, &limit));
}
static int signals_to_others(void)
{
    return result_of(kill(getppid(), 0));
}
static int thread_signals_to_others(void)
{
    return result_of(syscall(SYS_tgkill, getppid(), getppid(), 0));
}
static int another_user(void)
{
    return result_of(syscall(SYS_setuid, getuid()));
}
static int a_listener(void)
{
    return result_of(listen(socket(AF_INET, SOCK_STREAM, 0), 1));
}
static int typing_into_a_terminal(void)
{
    return result_of(syscall(SYS_ioctl, 0, 0x5412 /* TIOCSTI */, "x"));
}
static int a_call_from_the_future(void)
{
    return result_of(syscall(4000));
}

/* --- What goes on working --- */

static void *in_a_thread(void *argument)
{
    return argument;
}

static int threads(void)
{
    pthread_t thread;
    int error = pthread_create(&thread, NULL, in_a_thread, NULL);
    return error ? error : pthread_join(thread, NULL);
}
static int name_services(void)
{
    struct addrinfo *found = NULL;
    int error = getaddrinfo("localhost", "80", NULL, &found);
    if (!error)
        freeaddrinfo(found);
    return error;
}
static int files(void)
{
    char text[64];
    int fd = open("/etc/hosts", O_RDONLY | O_CLOEXEC);
    return result_of(fd < 0 ? -1 : read(fd, text, sizeof text));
}
static int reading_limits(void)
{
    struct rlimit limit;
    return result_of(getrlimit(RLIMIT_NOFILE, &limit));
}
static int aborting(void)
{
    abort();
}
static int segfault(void)
{
    signal(SIGSEGV, SIG_DFL); /* cmocka has one */
    (void)raise(SIGSEGV);
    return SUCCEEDED;
}

static void what_only_an_attacker_asks_for_ends_the_process(void **state)
{
    (void)state;
    static call_fn *const calls[] = {start_a_program_by_descriptor,
                                     read_another,
                                     mount_something,
                                     load_a_program_into_the_kernel,
                                     enter_a_namespace,
#ifdef __x86_64__
                                     use_another_abi,
#endif
                                     start_a_program,
                                     trace};
    size_t count =
        sizeof calls / sizeof *calls - (SANITIZED ? 2 : 0); /* the last two are for sanitizers, too */
    for (size_t i = 0; i < count; i++)
        assert_int_equal(filtered(SECCOMP_ON, calls[i]).result, -SIGSYS);
}

static void what_is_not_needed_fails_and_is_logged_by_name(void **state)
{
    (void)state;
    static const struct {
        call_fn *call;
        const char *name;
        bool sanitizers_may;
    } refusals[] = {
        {packets, "socket", false},
        {raw_ip, "socket", false},
        {other_netlink, "socket", false},
        {namespaces, "unshare", false},
        {another_user, "setuid", false},
        {a_listener, "listen", false},
        {typing_into_a_terminal, "ioctl", false},
        {another_process, "clone", true},
        {writable_code, "mmap", true},
        {data_become_code, "mprotect", true},
        {core_dumps, "prctl", true},
        {signals_to_others, "kill", true},
        {thread_signals_to_others, "tgkill", true},
        {limits, "prlimit64", true},
    };
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        char wanted[64];
        if (SANITIZED && refusals[i].sanitizers_may)
            continue;
        struct outcome outcome = filtered(SECCOMP_ON, refusals[i].call);
        assert_int_equal(outcome.result, EPERM);
        snprintf(wanted, sizeof wanted, "event=syscall_refused syscall=%s number=", refusals[i].name);
        assert_true(!LINES_COME || strstr(outcome.output, wanted));
    }
}

static void a_call_that_the_list_is_too_old_for_does_not_exist(void **state)
{
    (void)state;
    struct outcome outcome = filtered(SECCOMP_ON, a_call_from_the_future);
    assert_int_equal(outcome.result, ENOSYS);
    assert_true(!LINES_COME || strstr(outcome.output, "syscall=unknown number=4000 answer=ENOSYS"));
}

static void what_the_gateway_does_goes_on_working(void **state)
{
    (void)state;
    static call_fn *const calls[] = {threads, name_services, files, reading_limits};
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        struct outcome outcome = filtered(SECCOMP_ON, calls[i]);
        assert_int_equal(outcome.result, SUCCEEDED);
        assert_string_equal(outcome.output, "");
    }
}

static void a_crash_is_still_the_crash_that_it_was(void **state)
{
    (void)state;
    assert_int_equal(filtered(SECCOMP_ON, aborting).result, -SIGABRT);
    if (!SANITIZED) /* they report it in their own way */
        assert_int_equal(filtered(SECCOMP_ON, segfault).result, -SIGSEGV);
}

static void off_and_log_refuse_nothing(void **state)
{
    (void)state;
    for (int mode = SECCOMP_OFF; mode <= SECCOMP_LOG; mode++) {
        assert_int_equal(filtered((enum seccomp_mode)mode, start_a_program).result, SUCCEEDED);
        assert_int_equal(filtered((enum seccomp_mode)mode, core_dumps).result, SUCCEEDED);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_only_an_attacker_asks_for_ends_the_process),
        cmocka_unit_test(what_is_not_needed_fails_and_is_logged_by_name),
        cmocka_unit_test(a_call_that_the_list_is_too_old_for_does_not_exist),
        cmocka_unit_test(what_the_gateway_does_goes_on_working),
        cmocka_unit_test(a_crash_is_still_the_crash_that_it_was),
        cmocka_unit_test(off_and_log_refuse_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
