/* The system calls that a running gateway needs, and no others (seccomp(2)): whoever finds a way to run code
 * in it finds no way to start a program, trace another process, mount, load or change who it is.
 *
 * Three kinds of call beside those that are allowed: what only an attacker would ask for ends the process
 * (SIGSYS; the kernel's audit log has the number), what the system's libraries may try on other machines than
 * ours fails with EPERM and is logged by name, and what is newer than the list fails with ENOSYS, so that
 * libraries take the older way.
 *
 * Thread: main, once, when all threads have started and been set up; it holds for all of them and for those
 * that come (the resolver's). Owner: nobody; there is no way back.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* In the order of process.seccomp's choices. */
enum seccomp_mode {
    SECCOMP_ON,
    SECCOMP_OFF,
    SECCOMP_LOG, /* refuses nothing; the kernel logs what SECCOMP_ON would refuse */
};

/* False with a sentence when the kernel will not: the process is as it was. */
bool seccomp_install(enum seccomp_mode mode, char *error, size_t error_size)
    __attribute__((warn_unused_result));
