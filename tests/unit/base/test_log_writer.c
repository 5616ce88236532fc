/* The log's thread: nobody waits for it, and what it is given is written whole and once. */
#include "gateway/base/log_writer.h"

#include "gateway/base/clock.h"
#include "gateway/base/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum { THREADS = 4, LINES = 3000, FILES_MAX = 64, TEXT = 512 };

static char folder[] = "/tmp/pushgate-test-XXXXXX", path[TEXT];

static int set_up(void **state)
{
    (void)state;
    log_setup(LOG_INFO, LOG_FORMAT_LOGFMT);
    snprintf(folder, sizeof folder, "/tmp/pushgate-test-XXXXXX");
    if (!mkdtemp(folder))
        return -1;
    snprintf(path, sizeof path, "%s/log", folder);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    char command[TEXT];
    log_writer_stop();
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command); // NOLINT(concurrency-mt-unsafe,cert-env33-c)
}

static void start(const char *file)
{
    char error[TEXT];
    assert_true(log_writer_start(file, error, sizeof error));
}

/* Whole text of a file; the caller frees it. */
static char *text_of(const char *file)
{
    FILE *in = fopen(file, "re");
    assert_non_null(in);
    char *text = NULL;
    size_t size = 0;
    if (getdelim(&text, &size, '\0', in) < 0) {
        free(text);
        text = strdup("");
    }
    fclose(in);
    return text;
}

static uint64_t lost(void)
{
    struct log_counts counts = log_writer_counts();
    return counts.lost_full + counts.lost_write;
}

static _Atomic bool go_on;

static void *chatter(void *argument)
{
    const int thread = *(const int *)argument;
    for (int i = 0; i < LINES; i++) {
        log_event(LOG_INFO, "line", "thread=%d number=%d filler=%s", thread, i,
                  "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");
        if (i % 100 == 99)
            log_writer_flush(5000); /* no faster than the disk, so that nothing may be lost */
    }
    return NULL;
}

static void *rotate(void *argument)
{
    int *files = argument;
    while (atomic_load(&go_on) && *files < FILES_MAX) {
        char old[TEXT + 8];
        struct stat st;
        snprintf(old, sizeof old, "%s.%d", path, *files);
        if (rename(path, old) != 0)
            continue; /* not there yet */
        (*files)++;
        log_writer_reopen();
        while (atomic_load(&go_on) && stat(path, &st) != 0)
            usleep(200);
    }
    return NULL;
}

static void no_line_is_lost_or_split_while_files_rotate_under_many_threads(void **state)
{
    (void)state;
    static unsigned char seen[THREADS][LINES];
    pthread_t threads[THREADS], rotator;
    int numbers[THREADS], files = 0, found = 0;
    uint64_t lost_before = lost();
    memset(seen, 0, sizeof seen);
    start(path);
    atomic_store(&go_on, true);
    assert_int_equal(pthread_create(&rotator, NULL, rotate, &files), 0);
    for (int i = 0; i < THREADS; i++) {
        numbers[i] = i;
        assert_int_equal(pthread_create(&threads[i], NULL, chatter, &numbers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    atomic_store(&go_on, false);
    pthread_join(rotator, NULL);
    log_writer_stop();
    assert_true(files >= 3);
    assert_int_equal(lost(), lost_before);
    for (int file = 0; file <= files; file++) {
        char name[TEXT + 8];
        snprintf(name, sizeof name, file < files ? "%s.%d" : "%s", path, file);
        if (access(name, F_OK) != 0)
            continue; /* renamed last, and nothing came after */
        char *text = text_of(name);
        for (char *line = text, *end; *line; line = end + 1) {
            char *at;
            end = strchr(line, '\n');
            assert_non_null(end);
            *end = '\0';
            assert_memory_equal(line, "time=20", 7);
            const char *fields = strstr(line, " event=line thread=");
            if (!fields) {
                assert_non_null(strstr(line, " event=log_reopened "));
                continue;
            }
            long thread = strtol(fields + strlen(" event=line thread="), &at, 10);
            assert_memory_equal(at, " number=", 8);
            long number = strtol(at + 8, &at, 10);
            assert_string_equal(at, " filler=xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");
            assert_in_range(thread, 0, THREADS - 1);
            assert_in_range(number, 0, LINES - 1);
            assert_int_equal(seen[thread][number]++, 0);
            found++;
        }
        free(text);
    }
    assert_int_equal(found, THREADS * LINES);
}

static void the_file_is_appended_to_and_is_made_for_owner_and_group(void **state)
{
    (void)state;
    struct stat st;
    for (int i = 0; i < 2; i++) {
        start(path);
        log_event(LOG_INFO, "again", "number=%d", i);
        log_writer_stop();
    }
    char *text = text_of(path);
    assert_non_null(strstr(text, "event=again number=0\ntime="));
    assert_non_null(strstr(text, "event=again number=1\n"));
    free(text);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0640);
}

static void a_full_disk_costs_lines_and_nothing_else(void **state)
{
    (void)state;
    struct log_counts before = log_writer_counts();
    start("/dev/full");
    for (int i = 0; i < 100; i++)
        log_event(LOG_INFO, "nobody_reads", "number=%d", i);
    log_writer_flush(5000);
    struct log_counts after = log_writer_counts();
    assert_int_equal(after.lines - before.lines, 100);
    assert_int_equal(after.lost_write - before.lost_write, 100);
}

static void after_a_full_disk_the_next_line_is_whole_and_losses_are_told(void **state)
{
    (void)state;
    const struct rlimit small = {.rlim_cur = 1000, .rlim_max = RLIM_INFINITY};
    struct rlimit before;
    char old[TEXT + 8];
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, SIG_IGN);
    uint64_t lost_before = lost();
    start(path);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    for (int i = 0; i < 50; i++) {
        log_event(LOG_INFO, "line", "number=%d", i);
        log_writer_flush(5000);
    }
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    uint64_t gone = lost() - lost_before;
    assert_in_range(gone, 20, 49);
    log_event(LOG_INFO, "space_again", "number=%d", 50);
    log_writer_stop();
    char *text = text_of(path), wanted[64];
    snprintf(wanted, sizeof wanted, " event=log_lost lines=%d\n", (int)gone);
    assert_non_null(strstr(text, "\ntime="));
    const char *again = strstr(text, " event=space_again number=50\n");
    assert_non_null(again);
    const char *line = memrchr(text, '\n', (size_t)(again - text));
    assert_memory_equal(line, "\ntime=20", 8); /* not behind the torn one */
    assert_non_null(strstr(again, wanted));
    free(text);
    snprintf(old, sizeof old, "%s.1", path);
    assert_int_equal(rename(path, old), 0);
}

static void a_reader_of_stderr_that_has_stopped_holds_nobody_up(void **state)
{
    (void)state;
    int pair[2], saved = dup(STDERR_FILENO);
    assert_int_equal(pipe(pair), 0);
    struct log_counts before = log_writer_counts();
    assert_true(dup2(pair[1], STDERR_FILENO) >= 0);
    start("");
    uint64_t began = clock_monotonic_ms();
    for (int i = 0; i < 30000; i++) /* more than both pipes hold */
        log_event(LOG_INFO, "nobody_reads", "number=%d filler=%s", i,
                  "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");
    uint64_t logged = clock_monotonic_ms();
    log_writer_stop();
    uint64_t stopped = clock_monotonic_ms();
    assert_true(dup2(saved, STDERR_FILENO) >= 0);
    close(saved);
    close(pair[0]);
    close(pair[1]);
    struct log_counts after = log_writer_counts();
    assert_int_equal(after.lines - before.lines + after.lost_full - before.lost_full, 30000);
    assert_true(after.lost_full > before.lost_full);
    assert_true(after.lost_write > before.lost_write);
    assert_true(logged - began < 20000); /* it would have been for ever */
    assert_true(stopped - logged < 20000);
}

static void a_file_that_cannot_be_opened_again_leaves_the_old_one_in_use(void **state)
{
    (void)state;
    char moved[TEXT], inside[TEXT + 8];
    start(path);
    snprintf(moved, sizeof moved, "%s-moved", folder);
    assert_int_equal(rename(folder, moved), 0);
    int saved = dup(STDERR_FILENO), null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    assert_true(dup2(null, STDERR_FILENO) >= 0); /* it complains there, too */
    log_writer_reopen();
    snprintf(inside, sizeof inside, "%s/log", moved);
    char *text = text_of(inside);
    for (int tries = 0; !strstr(text, "event=log_reopen_failed") && tries < 5000; tries++) {
        free(text);
        usleep(1000);
        text = text_of(inside);
    }
    assert_non_null(strstr(text, "event=log_reopen_failed"));
    free(text);
    log_event(LOG_INFO, "still_here", "number=%d", 1);
    log_writer_stop();
    assert_true(dup2(saved, STDERR_FILENO) >= 0);
    close(saved);
    close(null);
    text = text_of(inside);
    assert_non_null(strstr(text, "event=still_here"));
    free(text);
    assert_int_equal(rename(moved, folder), 0);
}

static void what_cannot_be_opened_at_the_start_is_an_error(void **state)
{
    (void)state;
    char error[TEXT];
    assert_false(log_writer_start("/nonexistent/log", error, sizeof error));
    assert_string_equal(error, "log.file: cannot open /nonexistent/log: No such file or directory");
    assert_int_equal(log_fd(), STDERR_FILENO);
}

static void priorities_stand_on_stderr_and_never_in_a_file(void **state)
{
    (void)state;
    int pair[2], saved = dup(STDERR_FILENO);
    char text[4096];
    log_set_priorities(LOG_PRIORITIES_ON);
    start(path);
    log_event(LOG_ERROR, "in_file", "number=%d", 1);
    log_writer_stop();
    char *file = text_of(path);
    assert_memory_equal(file, "time=20", 7);
    free(file);
    assert_int_equal(pipe(pair), 0);
    assert_true(dup2(pair[1], STDERR_FILENO) >= 0);
    start("");
    log_setup(LOG_DEBUG, LOG_FORMAT_JSON);
    log_event(LOG_ERROR, "a", "number=%d", 1);
    log_event(LOG_WARN, "b", "number=%d", 2);
    log_event(LOG_INFO, "c", "number=%d", 3);
    log_event(LOG_DEBUG, "d", "number=%d", 4);
    log_writer_stop();
    log_set_priorities(LOG_PRIORITIES_OFF);
    log_event(LOG_DEBUG, "e", "number=%d", 5);
    assert_true(dup2(saved, STDERR_FILENO) >= 0);
    close(saved);
    close(pair[1]);
    ssize_t len = read(pair[0], text, sizeof text - 1);
    close(pair[0]);
    assert_true(len > 0);
    text[len] = '\0';
    static const char *const starts[] = {"<3>{\"time\":\"", "<4>{\"time\":\"", "<6>{\"time\":\"",
                                         "<7>{\"time\":\"", "{\"time\":\""};
    const char *line = text;
    for (size_t i = 0; i < sizeof starts / sizeof *starts; i++) {
        assert_memory_equal(line, starts[i], strlen(starts[i]));
        line = strchr(line, '\n') + 1;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(no_line_is_lost_or_split_while_files_rotate_under_many_threads,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_file_is_appended_to_and_is_made_for_owner_and_group, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_full_disk_costs_lines_and_nothing_else, set_up, tear_down),
        cmocka_unit_test_setup_teardown(after_a_full_disk_the_next_line_is_whole_and_losses_are_told, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_reader_of_stderr_that_has_stopped_holds_nobody_up, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_file_that_cannot_be_opened_again_leaves_the_old_one_in_use, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(what_cannot_be_opened_at_the_start_is_an_error, set_up, tear_down),
        cmocka_unit_test_setup_teardown(priorities_stand_on_stderr_and_never_in_a_file, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
