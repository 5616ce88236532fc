/* Tokens: any bytes, and any header and claims under a right signature, else nothing behind the signature
 * would be reached. First byte: 'r' the token as it is, 'c' and 's' header, newline, claims, to be signed
 * with HS256 and checked as a connection's or a subscription's ("ann", "chat"). An empty header is an
 * ordinary one. */
#include "gateway/auth/auth.h"

#include "tests/unit/auth/signer.h"

#include <sys/mman.h>
#include <unistd.h>

#define SECRET "0123456789abcdef0123456789abcdef"
enum { NOW = 1700000000, SIGNED_MAX = 20000 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
    if (!holds)
        abort();
}

/* With the keys of the RFCs' examples. */
static struct auth *make_auth(void)
{
    static const char set[] = "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"kid\":\"e\",\"x\":"
                              "\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\","
                              "\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"},{\"kty\":\"OKP\","
                              "\"crv\":\"Ed25519\",\"x\":\"11qYAYKxC"
                              "rfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"},{\"kty\":\"RSA\",\"n\":"
                              "\"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9"
                              "k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_"
                              "YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb"
                              "_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-"
                              "UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_"
                              "I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_"
                              "h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ\",\"e\":\"AQAB\"}]}";
    char path[64], error[256];
    int fd = memfd_create("keys", MFD_CLOEXEC);
    must(fd >= 0 && write(fd, set, sizeof set - 1) == (ssize_t)sizeof set - 1);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    const struct auth_config config = {SECRET, "", path, "", "", "", 5};
    struct auth *auth = auth_create(&config, error, sizeof error);
    must(auth && auth_key_count(auth) == 4);
    close(fd);
    return auth;
}

static enum auth_result judge(struct auth *auth, bool subscription, const char *token, size_t len)
{
    struct auth_identity identity;
    enum auth_result result =
        subscription ? auth_check_subscription(auth, token, len, NOW, "ann", 3, "chat", 4, &identity)
                     : auth_check_connection(auth, token, len, NOW, &identity);
    must((result == AUTH_OK) == (identity.bytes != NULL) && (result == AUTH_OK) == (identity.reason == NULL));
    if (result == AUTH_OK) {
        must(identity.user_bytes <= AUTH_USER_MAX && identity.info_bytes <= AUTH_INFO_MAX &&
             identity.channels_bytes <= AUTH_CHANNELS_BYTES_MAX);
        must(strlen(auth_identity_user(&identity)) == identity.user_bytes);
        must(strlen(auth_identity_info(&identity)) == identity.info_bytes);
        must(identity.expires_at == 0 || identity.expires_at > NOW);
        must(!subscription || (identity.user_bytes == 3 && identity.channel_count == 0));
        size_t at = 0, count = 0;
        for (; at < identity.channels_bytes; count++)
            at += 1u + auth_identity_channels(&identity)[at];
        must(at == identity.channels_bytes && count == identity.channel_count);
    }
    auth_identity_fini(&identity);
    auth_identity_fini(&identity);
    return result;
}

static void sign_and_judge(struct auth *auth, bool subscription, const uint8_t *data, size_t size)
{
    static const char ordinary[] = "{\"alg\":\"HS256\"}";
    const uint8_t *newline = memchr(data, '\n', size);
    if (!newline || size > SIGNED_MAX)
        return;
    size_t header = (size_t)(newline - data);
    char *token = signer_bytes("HS256", NULL, SECRET, header ? (const char *)data : ordinary,
                               header ? header : sizeof ordinary - 1, newline + 1, size - header - 1);
    size_t len = strlen(token);
    if (judge(auth, subscription, token, len) != AUTH_INVALID) {
        /* Good or expired: so it was signed, and that covers every part. */
        char *payload = strchr(token, '.') + 1;
        *payload = *payload == 'e' ? 'f' : 'e';
        must(judge(auth, subscription, token, len) == AUTH_INVALID);
    }
    free(token);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct auth *auth;
    if (!auth)
        auth = make_auth();
    if (size < 1)
        return 0;
    if (data[0] == 'c' || data[0] == 's')
        sign_and_judge(auth, data[0] == 's', data + 1, size - 1);
    else
        (void)judge(auth, false, (const char *)data + 1, size - 1);
    return 0;
}
