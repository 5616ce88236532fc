/* What tests of auth share: a scratch folder, an auth from a configuration, and one-line checks. Include it
 * after cmocka. */
#pragma once

#include "gateway/auth/auth.h"

#include "tests/unit/auth/signer.h"

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECRET                                                                                               \
    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef" /* long enough for HS512              \
                                                                        */
enum { NOW = 1700000000 };

struct fixture {
    char folder[128];
    char path[256]; /* of the file last asked for */
    struct auth_config config;
    struct auth *auth;
    struct auth_identity identity;
    char error[512];
};

static inline int fixture_set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    snprintf(f->folder, sizeof f->folder, "%s/pushgate-auth-XXXXXX",
             getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
    f->config = (struct auth_config){"", "", "", "", "", "", 0};
    *state = f;
    return mkdtemp(f->folder) ? 0 : -1;
}

static inline int fixture_tear_down(void **state)
{
    struct fixture *f = *state;
    auth_identity_fini(&f->identity);
    auth_destroy(f->auth);
    DIR *folder = opendir(f->folder);
    for (struct dirent *entry; folder && (entry = readdir(folder));)
        if (entry->d_name[0] != '.')
            unlinkat(dirfd(folder), entry->d_name, 0);
    closedir(folder);
    rmdir(f->folder);
    free(f);
    return 0;
}

/* A path in the scratch folder; good until the next is asked for. */
static inline const char *fixture_file(struct fixture *f, const char *name)
{
    snprintf(f->path, sizeof f->path, "%s/%s", f->folder, name);
    return f->path;
}

static inline void fixture_open(struct fixture *f)
{
    auth_destroy(f->auth);
    f->auth = auth_create(&f->config, f->error, sizeof f->error);
    if (!f->auth)
        fail_msg("%s", f->error);
}

static inline void fixture_open_secret(struct fixture *f)
{
    f->config.hmac_secret = SECRET;
    fixture_open(f);
}

/* Fills f->identity. */
static inline enum auth_result fixture_check(struct fixture *f, const char *token)
{
    auth_identity_fini(&f->identity);
    return auth_check_connection(f->auth, token, strlen(token), NOW, &f->identity);
}

static inline void fixture_accepts(struct fixture *f, const char *token)
{
    if (fixture_check(f, token) != AUTH_OK)
        fail_msg("refused: %s", f->identity.reason);
    assert_null(f->identity.reason);
    assert_non_null(f->identity.bytes);
}

static inline void fixture_refuses(struct fixture *f, const char *token, enum auth_result result,
                                   const char *words)
{
    enum auth_result got = fixture_check(f, token);
    if (got != result || !f->identity.reason || !strstr(f->identity.reason, words))
        fail_msg("%d, \"%s\" is not %d, \"%s\"", got, f->identity.reason ? f->identity.reason : "", result,
                 words);
    assert_null(f->identity.bytes);
    assert_int_equal(f->identity.expires_at, 0);
}

/* Signed with SECRET. */
static inline void fixture_accepts_claims(struct fixture *f, const char *claims)
{
    char *token = signer_plain("HS256", NULL, SECRET, NULL, claims);
    fixture_accepts(f, token);
    free(token);
}

static inline void fixture_refuses_claims(struct fixture *f, const char *claims, enum auth_result result,
                                          const char *words)
{
    char *token = signer_plain("HS256", NULL, SECRET, NULL, claims);
    fixture_refuses(f, token, result, words);
    free(token);
}
