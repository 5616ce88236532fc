/* Sets of ticket keys, in memory that no core dump holds. */
#include "gateway/tls/tls_tickets.h"

#include "gateway/base/assert.h"
#include "gateway/base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/params.h>
#include <openssl/rand.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { IV_BYTES = 16, SECRET_BYTES = 32 };

struct key {
    unsigned char name[TLS_TICKET_NAME_BYTES];
    unsigned char hmac[SECRET_BYTES];
    unsigned char aes[SECRET_BYTES];
};
_Static_assert(sizeof(struct key) == TLS_TICKET_KEY_BYTES, "a key is read from its file as it stands");

struct tls_ticket_keys {
    _Atomic unsigned references;
    size_t count;
    struct key keys[TLS_TICKET_KEYS_MAX];
};

static struct tls_ticket_keys *allocate(void)
{
    struct tls_ticket_keys *keys =
        mmap(NULL, sizeof *keys, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (keys == MAP_FAILED)
        return NULL;
    (void)madvise(keys, sizeof *keys, MADV_DONTDUMP);
    /* Never swapped out, where the limit of locked memory allows it. */
    (void)mlock(keys, sizeof *keys);
    atomic_init(&keys->references, 1);
    return keys;
}

struct tls_ticket_keys *tls_ticket_keys_create(const struct tls_ticket_keys *previous)
{
    struct tls_ticket_keys *keys = allocate();
    if (!keys)
        return NULL;
    if (RAND_priv_bytes((unsigned char *)&keys->keys[0], TLS_TICKET_KEY_BYTES) != 1) {
        tls_ticket_keys_release(keys);
        return NULL;
    }
    keys->count = 1;
    if (previous && previous->count > 0)
        keys->keys[keys->count++] = previous->keys[0];
    return keys;
}

/* Everything that is said of a file before it is read. */
static bool check_file(int fd, const char *path, off_t *bytes, char *error, size_t error_size)
{
    struct stat status;
    if (fstat(fd, &status) != 0) {
        snprintf(error, error_size, "ticket keys %s: %s", path, strerror(errno));
        return false;
    }
    if (!S_ISREG(status.st_mode)) {
        snprintf(error, error_size, "ticket keys %s: this is not a file", path);
        return false;
    }
    if (status.st_mode & (S_IWGRP | S_IXGRP | S_IRWXO)) {
        snprintf(error, error_size,
                 "ticket keys %s: its mode %03o lets others at the keys; set it with chmod 600 (or 640)",
                 path, (unsigned)status.st_mode & 0777);
        return false;
    }
    *bytes = status.st_size;
    if (*bytes == 0 || *bytes % TLS_TICKET_KEY_BYTES != 0 ||
        *bytes / TLS_TICKET_KEY_BYTES > TLS_TICKET_KEYS_MAX) {
        snprintf(error, error_size,
                 "ticket keys %s: %lld bytes are not 1 to %d keys of %d bytes; make one with openssl rand "
                 "-out %s %d",
                 path, (long long)*bytes, TLS_TICKET_KEYS_MAX, TLS_TICKET_KEY_BYTES, path,
                 TLS_TICKET_KEY_BYTES);
        return false;
    }
    return true;
}

static bool names_differ(const struct tls_ticket_keys *keys)
{
    for (size_t i = 0; i < keys->count; i++)
        for (size_t j = 0; j < i; j++)
            if (memcmp(keys->keys[i].name, keys->keys[j].name, TLS_TICKET_NAME_BYTES) == 0)
                return false;
    return true;
}

struct tls_ticket_keys *tls_ticket_keys_read(const char *path, char *error, size_t error_size)
{
    /* Not blocking, should it be a FIFO. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        snprintf(error, error_size, "ticket keys %s: %s", path, strerror(errno));
        return NULL;
    }
    off_t bytes = 0;
    struct tls_ticket_keys *keys = NULL;
    if (!check_file(fd, path, &bytes, error, error_size))
        goto out;
    keys = allocate();
    if (!keys) {
        snprintf(error, error_size, "out of memory");
        goto out;
    }
    keys->count = (size_t)bytes / TLS_TICKET_KEY_BYTES;
    const char *wrong = NULL;
    if (!file_read_all(fd, keys->keys, (size_t)bytes))
        wrong = "cannot read it whole";
    else if (!names_differ(keys))
        wrong = "two of its keys have the same name (their first 16 bytes)";
    if (wrong) {
        snprintf(error, error_size, "ticket keys %s: %s", path, wrong);
        tls_ticket_keys_release(keys);
        keys = NULL;
    }
out:
    close(fd);
    return keys;
}

struct tls_ticket_keys *tls_ticket_keys_retain(struct tls_ticket_keys *keys)
{
    unsigned before = atomic_fetch_add_explicit(&keys->references, 1, memory_order_relaxed);
    PG_ASSERT(before > 0);
    return keys;
}

void tls_ticket_keys_release(struct tls_ticket_keys *keys)
{
    if (!keys || atomic_fetch_sub_explicit(&keys->references, 1, memory_order_acq_rel) != 1)
        return;
    OPENSSL_cleanse(keys, sizeof *keys);
    munmap(keys, sizeof *keys);
}

size_t tls_ticket_keys_count(const struct tls_ticket_keys *keys)
{
    return keys->count;
}

static bool set_mac(EVP_MAC_CTX *mac_ctx, const struct key *key)
{
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *)"SHA256", 0),
        OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, (void *)(uintptr_t)key->hmac, SECRET_BYTES),
        OSSL_PARAM_construct_end(),
    };
    return EVP_MAC_CTX_set_params(mac_ctx, params) == 1;
}

int tls_ticket_keys_apply(const struct tls_ticket_keys *keys, const EVP_CIPHER *cipher,
                          unsigned char name[TLS_TICKET_NAME_BYTES], unsigned char *iv,
                          EVP_CIPHER_CTX *cipher_ctx, EVP_MAC_CTX *mac_ctx, bool making)
{
    if (making) {
        const struct key *key = &keys->keys[0];
        if (RAND_bytes(iv, IV_BYTES) != 1)
            return -1;
        memcpy(name, key->name, TLS_TICKET_NAME_BYTES);
        return EVP_EncryptInit_ex2(cipher_ctx, cipher, key->aes, iv, NULL) == 1 && set_mac(mac_ctx, key) ? 1
                                                                                                         : -1;
    }
    for (size_t i = 0; i < keys->count; i++) {
        const struct key *key = &keys->keys[i];
        /* The name is public: it stands in every ticket. */
        if (memcmp(name, key->name, TLS_TICKET_NAME_BYTES) == 0)
            return EVP_DecryptInit_ex2(cipher_ctx, cipher, key->aes, iv, NULL) == 1 && set_mac(mac_ctx, key)
                       ? 1
                       : -1;
    }
    return 0;
}
