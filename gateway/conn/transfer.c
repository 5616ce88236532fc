/* Moves descriptors and their state between threads with private descriptor tables. */
#include "gateway/conn/transfer.h"

#include "gateway/base/assert.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define TRANSFER_MAGIC 0x70677472u /* "pgtr" */

struct transfer_header {
    uint32_t magic;
    uint32_t version;
    uint32_t count;
    uint32_t tail_bytes;
};

union control {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(sizeof(int) * TRANSFER_BATCH_MAX)];
};

bool transfer_pair(int fds[2])
{
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) != 0)
        return false;
    int bytes = 1 << 20; /* several full messages; the kernel caps it at wmem_max */
    (void)setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
    return true;
}

void transfer_batch_init(struct transfer_batch *batch)
{
    batch->count = 0;
    batch->tail_start = batch->tail_bytes = 0;
    batch->lost = 0;
    batch->message_bytes = sizeof(struct transfer_header);
}

bool transfer_add(struct transfer_batch *batch, const struct transfer_item *item)
{
    const struct transfer_record *record = &item->record;
    size_t tail =
        (size_t)record->topics_bytes + record->identity_bytes + record->plain_bytes + record->raw_bytes;
    if (batch->count == TRANSFER_BATCH_MAX ||
        batch->message_bytes + sizeof *record + tail > TRANSFER_MESSAGE_MAX)
        return false;
    batch->fds[batch->count] = item->fd;
    batch->records[batch->count] = *record;
    batch->records[batch->count].version = TRANSFER_VERSION;
    batch->records[batch->count].record_bytes = sizeof *record;
    batch->count++;
    uint8_t *to = batch->tail + batch->tail_bytes;
    if (record->topics_bytes)
        memcpy(to, item->topics, record->topics_bytes);
    to += record->topics_bytes;
    if (record->identity_bytes)
        memcpy(to, item->identity, record->identity_bytes);
    to += record->identity_bytes;
    if (record->plain_bytes)
        memcpy(to, item->plain, record->plain_bytes);
    to += record->plain_bytes;
    if (record->raw_bytes)
        memcpy(to, item->raw, record->raw_bytes);
    batch->tail_bytes += (uint32_t)tail;
    batch->message_bytes += (uint32_t)(sizeof *record + tail);
    return true;
}

void transfer_wipe(struct transfer_batch *batch)
{
    OPENSSL_cleanse(batch->records, (batch->count + batch->lost) * sizeof batch->records[0]);
    OPENSSL_cleanse(batch->tail, batch->tail_start + batch->tail_bytes);
    transfer_batch_init(batch);
}

void transfer_abandon(struct transfer_batch *batch)
{
    for (uint32_t i = 0; i < batch->count; i++)
        close(batch->fds[i]);
    transfer_wipe(batch);
}

enum io_result transfer_send(struct transfer_batch *batch, int socket)
{
    struct transfer_header header = {.magic = TRANSFER_MAGIC,
                                     .version = TRANSFER_VERSION,
                                     .count = batch->count,
                                     .tail_bytes = batch->tail_bytes};
    struct iovec parts[] = {
        {.iov_base = &header, .iov_len = sizeof header},
        {.iov_base = batch->records, .iov_len = batch->count * sizeof batch->records[0]},
        {.iov_base = batch->tail, .iov_len = batch->tail_bytes},
    };
    union control control;
    memset(&control, 0, sizeof control);
    struct msghdr message = {.msg_iov = parts,
                             .msg_iovlen = 3,
                             .msg_control = &control,
                             .msg_controllen = CMSG_SPACE(sizeof(int) * batch->count)};
    struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof(int) * batch->count);
    memcpy(CMSG_DATA(rights), batch->fds, sizeof(int) * batch->count);
    ssize_t n;
    do {
        n = sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
        /* ETOOMANYREFS: too many descriptors are under way; it passes as the receivers catch up, like a full
         * queue. */
        bool later = errno == EAGAIN || errno == ENOBUFS || errno == ENOMEM || errno == ETOOMANYREFS;
        return later ? IO_AGAIN : IO_ERROR;
    }
    transfer_abandon(batch); /* the receiver has descriptors and keys of its own now */
    return IO_OK;
}

static uint32_t take_descriptors(struct msghdr *message, int fds[TRANSFER_BATCH_MAX])
{
    uint32_t count = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < n && count < TRANSFER_BATCH_MAX; i++)
            memcpy(&fds[count++], CMSG_DATA(c) + i * sizeof(int), sizeof(int));
    }
    return count;
}

static bool adds_up(const struct transfer_batch *batch, const struct transfer_header *header, size_t received,
                    uint32_t fds)
{
    if (received < sizeof *header || header->magic != TRANSFER_MAGIC || header->version != TRANSFER_VERSION)
        return false;
    if (header->count == 0 || header->count > TRANSFER_BATCH_MAX || header->count < fds ||
        header->tail_bytes > TRANSFER_MESSAGE_MAX)
        return false;
    if (received != sizeof *header + header->count * sizeof batch->records[0] + header->tail_bytes)
        return false;
    uint64_t tails = 0;
    for (uint32_t i = 0; i < header->count; i++) {
        const struct transfer_record *record = &batch->records[i];
        if (record->version != TRANSFER_VERSION || record->record_bytes != sizeof *record ||
            record->adapter >= ADAPTER_COUNT || record->transport >= TRANSPORT_COUNT)
            return false;
        tails +=
            (uint64_t)record->topics_bytes + record->identity_bytes + record->plain_bytes + record->raw_bytes;
    }
    return tails == header->tail_bytes;
}

enum io_result transfer_receive(struct transfer_batch *batch, int socket)
{
    transfer_batch_init(batch);
    struct transfer_header header = {0};
    struct iovec parts[] = {
        {.iov_base = &header, .iov_len = sizeof header},
        {.iov_base = batch->tail, .iov_len = sizeof batch->tail},
    };
    union control control;
    struct msghdr message = {
        .msg_iov = parts, .msg_iovlen = 2, .msg_control = &control, .msg_controllen = sizeof control};
    ssize_t n;
    do {
        n = recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    } while (n < 0 && errno == EINTR);
    if (n <= 0)
        return n == 0 ? IO_CLOSED : errno == EAGAIN ? IO_AGAIN : IO_ERROR;
    uint32_t fds = take_descriptors(&message, batch->fds);
    size_t records_bytes = (size_t)header.count * sizeof batch->records[0];
    if (header.count <= TRANSFER_BATCH_MAX && (size_t)n >= sizeof header + records_bytes)
        memcpy(batch->records, batch->tail, records_bytes);
    bool cut = message.msg_flags & MSG_CTRUNC; /* the first descriptors are there, the others are closed */
    if ((message.msg_flags & MSG_TRUNC) || !adds_up(batch, &header, (size_t)n, fds) ||
        (fds < header.count && !cut)) {
        batch->count = fds;
        transfer_abandon(batch);
        errno = EPROTO;
        return IO_ERROR;
    }
    batch->count = fds;
    batch->lost = header.count - fds;
    batch->tail_start = (uint32_t)records_bytes;
    batch->tail_bytes = header.tail_bytes;
    return IO_OK;
}

void transfer_item_at(const struct transfer_batch *batch, uint32_t i, uint32_t *cursor,
                      struct transfer_item *out)
{
    PG_ASSERT(i < batch->count);
    out->fd = batch->fds[i];
    out->record = batch->records[i];
    const uint8_t *tail = batch->tail + batch->tail_start + *cursor;
    out->topics = tail;
    out->identity = tail + out->record.topics_bytes;
    out->plain = out->identity + out->record.identity_bytes;
    out->raw = out->plain + out->record.plain_bytes;
    *cursor += out->record.topics_bytes + out->record.identity_bytes + out->record.plain_bytes +
               out->record.raw_bytes;
}
