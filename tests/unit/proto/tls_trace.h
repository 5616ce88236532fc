/* The application phase of RFC 8448 §3 ("Simple 1-RTT Handshake"), as hex, and what tests of records share.
 *
 * Thread: one. Owner: the test; hex() writes into its argument.
 */
#pragma once

#include "proto/tls_record.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#define TRACE_SUITE         TLS_SUITE_AES_128_GCM_SHA256
#define TRACE_CLIENT_SECRET "9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5"
#define TRACE_CLIENT_KEY    "17422dda596ed5d9acd890e3c63f5051"
#define TRACE_CLIENT_IV     "5b78923dee08579033e523d9"
#define TRACE_SERVER_SECRET "a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643"
#define TRACE_SERVER_KEY    "9f02283b6c9c07efc26bb9f2ac92e356"
#define TRACE_SERVER_IV     "cf782b88dd83549aadf1e984"

/* Server's first record under its application key. */
#define TRACE_TICKET                                                                                         \
    "17030300de"                                                                                             \
    "3a6b8f90414a97d6959c3487680de5134a2b240e6cffac116e95d41d6af8f6b580dcf3d11d63c758db289a015940252f55713e" \
    "061dc1"                                                                                                 \
    "3e078891a38efbcf5753ad8ef170ad3c7353d16d9da773b9ca7f2b9fa1b6c0d4a3d03f75e09c30ba1e62972ac46f75f7b981be" \
    "63439b"                                                                                                 \
    "2999ce13064615139891d5e4c5b406f16e3fc181a77ca475840025db2f0a77f81b5ab05b94c01346755f69232c86519d86cbee" \
    "ac87aa"                                                                                                 \
    "c347d143f9605d64f650db4d023e70e952ca49fe5137121c74bc2697687e248746d6df353005f3bce18696129c8153556b3b6c" \
    "6779b3"                                                                                                 \
    "7bf15985684f"
/* Fifty bytes, 0 to 49, then close_notify: in each direction. */
#define TRACE_CLIENT_DATA                                                                                    \
    "1703030043"                                                                                             \
    "a23f7054b62c94d0affafe8228ba55cbefacea42f914aa66bcab3f2b9819a8a5b46b395bd54a9a20441e2b62974e1f5a6292a2" \
    "977014"                                                                                                 \
    "bd1e3deae63aeebb21694915e4"
#define TRACE_SERVER_DATA                                                                                    \
    "1703030043"                                                                                             \
    "2e937e11ef4ac740e538ad36005fc4a46932fc3225d05f82aa1b36e30efaf97d90e6dffc602dcb501a59a8fcc49c4bf2e5f0a2" \
    "1c0047"                                                                                                 \
    "c2abf332540dd032e167c2955d"
#define TRACE_CLIENT_ALERT "1703030013c9872760655666b74d7ff1153efd6db6d0b0e3"
#define TRACE_SERVER_ALERT "1703030013b58fd67166ebf599d24720cfbe7efa7a8864a9"

static inline size_t hex(const char *text, uint8_t *out)
{
    size_t len = strlen(text) / 2;
    for (size_t i = 0; i < len; i++) {
        const char digits[3] = {text[2 * i], text[2 * i + 1], '\0'};
        out[i] = (uint8_t)strtoul(digits, NULL, 16);
    }
    return len;
}

static inline void assert_hex(const uint8_t *bytes, size_t len, const char *text)
{
    uint8_t wanted[512];
    assert_int_equal(len, hex(text, wanted));
    assert_memory_equal(bytes, wanted, len);
}

static inline struct tls_direction trace_direction(struct tls_crypto *crypto, const char *secret_hex,
                                                   uint64_t seq)
{
    uint8_t secret[TLS_SECRET_BYTES];
    struct tls_direction dir;
    hex(secret_hex, secret);
    assert_true(tls_direction_init(crypto, &dir, TRACE_SUITE, secret, seq));
    return dir;
}

static inline int crypto_set_up(void **state)
{
    *state = tls_crypto_create();
    return *state ? 0 : -1;
}

static inline int crypto_tear_down(void **state)
{
    tls_crypto_destroy(*state);
    return 0;
}
