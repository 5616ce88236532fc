/* Transfers: records, tails and descriptors arrive whole; broken messages are refused and leak nothing. */
#include "gateway/conn/transfer.h"

#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static int open_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    assert_non_null(dir);
    int count = 0;
    while (readdir(dir))
        count++;
    closedir(dir);
    return count;
}

static struct transfer_batch *batch_new(void)
{
    struct transfer_batch *batch = malloc(sizeof *batch);
    assert_non_null(batch);
    transfer_batch_init(batch);
    return batch;
}

static void a_batch_arrives_with_records_tails_and_descriptors(void **state)
{
    (void)state;
    int before = open_descriptors();
    int pair[2];
    assert_true(transfer_pair(pair));
    struct transfer_batch *out = batch_new(), *in = batch_new();
    for (int i = 0; i < TRANSFER_BATCH_MAX; i++) {
        int ends[2];
        assert_int_equal(pipe(ends), 0);
        char byte = (char)i, topics[3] = {2, 'a', (char)i}, plain[5] = "plai", raw[4] = "raw";
        plain[4] = (char)i;
        raw[3] = (char)i;
        assert_int_equal(write(ends[1], &byte, 1), 1);
        close(ends[1]);
        struct transfer_item item = {.fd = ends[0],
                                     .record = {.adapter = ADAPTER_RAW,
                                                .transport = TRANSPORT_WSS,
                                                .topic_count = 1,
                                                .topics_bytes = 3,
                                                .plain_bytes = 5,
                                                .raw_bytes = 4,
                                                .ip_handle = (uint32_t)i},
                                     .topics = (uint8_t *)topics,
                                     .plain = (uint8_t *)plain,
                                     .raw = (uint8_t *)raw};
        memset(item.record.write.secret, i, sizeof item.record.write.secret);
        assert_true(transfer_add(out, &item));
    }
    struct transfer_item one_more = {.fd = -1};
    assert_false(transfer_add(out, &one_more));
    assert_int_equal(transfer_send(out, pair[0]), IO_OK);
    assert_int_equal(out->count, 0);
    assert_int_equal(transfer_receive(in, pair[1]), IO_OK);
    assert_int_equal(in->count, TRANSFER_BATCH_MAX);
    uint32_t cursor = 0;
    for (int i = 0; i < TRANSFER_BATCH_MAX; i++) {
        struct transfer_item item;
        transfer_item_at(in, (uint32_t)i, &cursor, &item);
        char byte;
        assert_int_equal(read(item.fd, &byte, 1), 1);
        assert_int_equal(byte, i);
        assert_int_equal(item.record.ip_handle, i);
        assert_int_equal(item.record.write.secret[31], i);
        assert_int_equal(item.topics[2], i);
        assert_int_equal(item.plain[4], i);
        assert_int_equal(item.raw[3], i);
    }
    transfer_abandon(in);
    assert_int_equal(transfer_receive(in, pair[1]), IO_AGAIN);
    close(pair[0]);
    assert_int_equal(transfer_receive(in, pair[1]), IO_CLOSED);
    close(pair[1]);
    free(out);
    free(in);
    assert_int_equal(open_descriptors(), before);
}

static void a_full_receiver_says_again_and_nothing_is_lost(void **state)
{
    (void)state;
    int before = open_descriptors();
    int pair[2];
    assert_true(transfer_pair(pair));
    struct transfer_batch *out = batch_new(), *in = batch_new();
    uint32_t sent = 0, received = 0;
    for (;;) {
        if (!out->count) {
            struct transfer_item item = {.fd = dup(0), .record = {.ip_handle = sent}};
            assert_true(item.fd >= 0);
            assert_true(transfer_add(out, &item));
        }
        enum io_result result = transfer_send(out, pair[0]);
        if (result == IO_AGAIN)
            break;
        assert_int_equal(result, IO_OK);
        assert_true(++sent < 10000);
    }
    for (;;) {
        enum io_result result = transfer_receive(in, pair[1]);
        if (result == IO_AGAIN)
            break;
        assert_int_equal(result, IO_OK);
        assert_int_equal(in->records[0].ip_handle, received++);
        transfer_abandon(in);
    }
    assert_int_equal(received, sent);
    assert_int_equal(transfer_send(out, pair[0]), IO_OK);
    assert_int_equal(transfer_receive(in, pair[1]), IO_OK);
    transfer_abandon(in);
    close(pair[0]);
    close(pair[1]);
    free(out);
    free(in);
    assert_int_equal(open_descriptors(), before);
}

/* Sends `bytes` with one descriptor, as a broken or newer sender might. */
static void send_raw(int socket, const void *data, size_t bytes)
{
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int))];
    } control;
    memset(&control, 0, sizeof control);
    struct iovec part = {.iov_base = (void *)(uintptr_t)data, .iov_len = bytes};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof(int));
    int fd = 0;
    memcpy(CMSG_DATA(rights), &fd, sizeof fd);
    assert_int_equal(sendmsg(socket, &message, 0), bytes);
}

static void messages_that_do_not_add_up_are_refused_and_leak_no_descriptor(void **state)
{
    (void)state;
    int pair[2];
    assert_true(transfer_pair(pair));
    struct transfer_batch *in = batch_new();
    int before = open_descriptors();
    struct {
        uint32_t magic, version, count, tail;
        struct transfer_record record;
    } message;
    for (int fault = 0; fault < 8; fault++) {
        memset(&message, 0, sizeof message);
        message.magic = 0x70677472u;
        message.version = TRANSFER_VERSION;
        message.count = 1;
        message.record.version = TRANSFER_VERSION;
        message.record.record_bytes = sizeof message.record;
        size_t bytes = sizeof message;
        switch (fault) {
        case 1:
            message.magic++;
            break;
        case 2:
            message.version++;
            break;
        case 3:
            message.count = 2;
            break;
        case 4:
            message.count = UINT32_MAX;
            break;
        case 5:
            message.record.plain_bytes = 7;
            break;
        case 6:
            message.record.adapter = ADAPTER_COUNT;
            break;
        case 7:
            bytes = 9;
            break;
        default:
            break;
        }
        send_raw(pair[0], &message, bytes);
        enum io_result result = transfer_receive(in, pair[1]);
        assert_int_equal(result, fault == 0 ? IO_OK : IO_ERROR);
        transfer_abandon(in);
        assert_int_equal(open_descriptors(), before);
    }
    close(pair[0]);
    close(pair[1]);
    free(in);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_batch_arrives_with_records_tails_and_descriptors),
        cmocka_unit_test(a_full_receiver_says_again_and_nothing_is_lost),
        cmocka_unit_test(messages_that_do_not_add_up_are_refused_and_leak_no_descriptor),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
