/* Sets of keys: files, their modes, and which key fits a token. */
#include "gateway/auth/auth_keys.h"

#include "gateway/base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct file {
    char *text;
    size_t bytes;
    mode_t mode;
};

static bool fail(char *error, size_t error_size, const char *why)
{
    snprintf(error, error_size, "%s", why);
    return false;
}

static void file_wipe(struct file *file)
{
    if (file->text)
        OPENSSL_cleanse(file->text, file->bytes);
    free(file->text);
    file->text = NULL;
}

static bool read_open_file(int fd, struct file *file, char *error, size_t error_size)
{
    struct stat status;
    if (fstat(fd, &status) != 0)
        return fail(error, error_size, strerror(errno));
    if (!S_ISREG(status.st_mode))
        return fail(error, error_size, "this is not a file");
    if (status.st_size == 0 || status.st_size > AUTH_FILE_MAX)
        return fail(error, error_size, status.st_size ? "it is larger than 1 MiB" : "it is empty");
    file->bytes = (size_t)status.st_size;
    file->mode = status.st_mode;
    file->text = malloc(file->bytes);
    if (!file->text)
        return fail(error, error_size, "out of memory");
    return file_read_all(fd, file->text, file->bytes) || fail(error, error_size, "cannot read it whole");
}

static bool file_read(const char *path, struct file *file, char *error, size_t error_size)
{
    *file = (struct file){0};
    /* Not blocking, should it be a FIFO. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return fail(error, error_size, strerror(errno));
    bool good = read_open_file(fd, file, error, error_size);
    close(fd);
    if (!good)
        file_wipe(file);
    return good;
}

struct auth_key *auth_keys_add(struct auth_keys *keys, char *error, size_t error_size)
{
    if (keys->count == AUTH_KEYS_MAX) {
        snprintf(error, error_size, "with it there are more than %d keys", AUTH_KEYS_MAX);
        return NULL;
    }
    return &keys->keys[keys->count++]; /* zeroed when the set was made */
}

static bool add_secret(struct auth_keys *keys, const char *secret, char *error, size_t error_size)
{
    size_t bytes = strlen(secret);
    if (bytes < AUTH_SECRET_MIN) {
        snprintf(
            error, error_size,
            "auth.hmac_secret has %zu bytes, and %d are the least that is safe (RFC 7518): make one with "
            "openssl rand -hex 32",
            bytes, AUTH_SECRET_MIN);
        return false;
    }
    struct auth_key *key = auth_keys_add(keys, error, error_size);
    if (!key)
        return false;
    key->kind = AUTH_KEY_SECRET;
    key->secret_bytes = bytes;
    key->jwk = cjose_jwk_create_oct_spec((const uint8_t *)secret, bytes, NULL);
    return key->jwk || fail(error, error_size, "out of memory");
}

static bool add_pem_file(struct auth_keys *keys, const char *path, char *error, size_t error_size)
{
    char why[256];
    struct file file;
    if (file_read(path, &file, why, sizeof why)) {
        bool good = auth_keys_add_pem(keys, file.text, file.bytes, why, sizeof why);
        file_wipe(&file);
        if (good)
            return true;
    }
    snprintf(error, error_size, "auth.public_keys: %s: %s", path, why);
    return false;
}

/* Paths with spaces or commas between. */
static bool add_pem_files(struct auth_keys *keys, const char *list, char *error, size_t error_size)
{
    static const char between[] = " ,";
    for (const char *at = list + strspn(list, between); *at; at += strspn(at, between)) {
        char path[PATH_MAX];
        size_t len = strcspn(at, between);
        if (len >= sizeof path)
            return fail(error, error_size, "auth.public_keys: a path is too long");
        memcpy(path, at, len);
        path[len] = '\0';
        if (!add_pem_file(keys, path, error, error_size))
            return false;
        at += len;
    }
    return true;
}

static bool has_secret_from(const struct auth_keys *keys, size_t first)
{
    for (size_t i = first; i < keys->count; i++)
        if (keys->keys[i].kind == AUTH_KEY_SECRET)
            return true;
    return false;
}

static bool add_jwks_file(struct auth_keys *keys, const char *path, char *error, size_t error_size)
{
    char why[256];
    struct file file;
    size_t before = keys->count;
    if (file_read(path, &file, why, sizeof why)) {
        bool good = auth_keys_add_jwks(keys, file.text, file.bytes, why, sizeof why);
        file_wipe(&file);
        if (good && has_secret_from(keys, before) && (file.mode & (S_IWGRP | S_IXGRP | S_IRWXO))) {
            snprintf(why, sizeof why,
                     "it has a secret (kty oct), and its mode %03o lets others at it; set it with chmod 600 "
                     "(or 640)",
                     (unsigned)file.mode & 0777);
            good = false;
        }
        if (good)
            return true;
    }
    snprintf(error, error_size, "auth.jwks_file: %s: %s", path, why);
    return false;
}

struct auth_keys *auth_keys_load(const struct auth_config *config, char *error, size_t error_size)
{
    struct auth_keys *keys = calloc(1, sizeof *keys);
    if (!keys) {
        fail(error, error_size, "out of memory");
        return NULL;
    }
    if ((!*config->hmac_secret || add_secret(keys, config->hmac_secret, error, error_size)) &&
        add_pem_files(keys, config->public_keys, error, error_size) &&
        (!*config->jwks_file || add_jwks_file(keys, config->jwks_file, error, error_size)))
        return keys;
    auth_keys_destroy(keys);
    return NULL;
}

void auth_keys_destroy(struct auth_keys *keys)
{
    for (size_t i = 0; keys && i < keys->count; i++) {
        struct auth_key *key = &keys->keys[i];
        /* The bytes of the secret themselves, for this kind; cjose would free them as they are. */
        if (key->jwk && key->kind == AUTH_KEY_SECRET)
            OPENSSL_cleanse(cjose_jwk_get_keydata(key->jwk, NULL), key->secret_bytes);
        (void)cjose_jwk_release(key->jwk);
        EVP_PKEY_free(key->ed25519);
        free(key->kid);
    }
    free(keys);
}

static bool fits(const struct auth_key *key, const struct auth_algorithm *algorithm, const char *kid)
{
    return key->kind == algorithm->kind && key->secret_bytes >= algorithm->secret_min &&
           (!key->only || key->only == algorithm) && (!kid || !key->kid || strcmp(kid, key->kid) == 0);
}

const struct auth_key *auth_keys_next(const struct auth_keys *keys, const struct auth_algorithm *algorithm,
                                      const char *kid, size_t *cursor)
{
    while (*cursor < keys->count) {
        const struct auth_key *key = &keys->keys[(*cursor)++];
        if (fits(key, algorithm, kid))
            return key;
    }
    return NULL;
}
