/* Records against RFC 8448's trace, against themselves, and against everything that a stranger may do to
 * them. */
#include "tls_trace.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

static const enum tls_suite suites[] = {TLS_SUITE_AES_128_GCM_SHA256, TLS_SUITE_CHACHA20_POLY1305_SHA256};
enum { SUITES = sizeof suites / sizeof *suites };

static struct tls_direction some_direction(struct tls_crypto *crypto, enum tls_suite suite, uint8_t seed)
{
    uint8_t secret[TLS_SECRET_BYTES];
    struct tls_direction dir;
    memset(secret, seed, sizeof secret);
    assert_true(tls_direction_init(crypto, &dir, suite, secret, 0));
    return dir;
}

static size_t seal(struct tls_crypto *crypto, struct tls_direction *dir, enum tls_suite suite, uint8_t type,
                   const void *data, size_t len, uint8_t *out)
{
    struct tls_slice part = {data, len};
    size_t bytes = tls_record_seal(crypto, dir, suite, (enum tls_content_type)type, &part, 1, out);
    assert_int_equal(bytes, len + TLS_RECORD_OVERHEAD);
    return bytes;
}

static void the_trace_gives_its_keys_and_ivs(void **state)
{
    struct tls_direction client = trace_direction(*state, TRACE_CLIENT_SECRET, 0);
    assert_hex(client.key, 16, TRACE_CLIENT_KEY);
    assert_hex(client.iv, 12, TRACE_CLIENT_IV);
    assert_hex(client.secret, 32, TRACE_CLIENT_SECRET);
    struct tls_direction server = trace_direction(*state, TRACE_SERVER_SECRET, 7);
    assert_hex(server.key, 16, TRACE_SERVER_KEY);
    assert_hex(server.iv, 12, TRACE_SERVER_IV);
    assert_int_equal(tls_direction_seq(&server), 7);
}

static void expect_record(struct tls_crypto *crypto, struct tls_direction *dir, const char *record_hex,
                          enum tls_content_type type, const void *content, size_t len)
{
    uint8_t record[512];
    size_t bytes = hex(record_hex, record);
    struct tls_opened opened;
    assert_int_equal(tls_record_open(crypto, dir, TRACE_SUITE, record, bytes, &opened), PARSE_OK);
    assert_int_equal(opened.record_bytes, bytes);
    assert_int_equal(opened.type, type);
    assert_int_equal(opened.content_bytes, len);
    if (content)
        assert_memory_equal(opened.content, content, len);
}

static void the_trace_opens(void **state)
{
    uint8_t fifty[50];
    for (size_t i = 0; i < sizeof fifty; i++)
        fifty[i] = (uint8_t)i;
    static const uint8_t close_notify[] = {1, 0};
    struct tls_direction client = trace_direction(*state, TRACE_CLIENT_SECRET, 0);
    expect_record(*state, &client, TRACE_CLIENT_DATA, TLS_CONTENT_APPLICATION_DATA, fifty, sizeof fifty);
    expect_record(*state, &client, TRACE_CLIENT_ALERT, TLS_CONTENT_ALERT, close_notify, 2);
    assert_int_equal(tls_direction_seq(&client), 2);
    struct tls_direction server = trace_direction(*state, TRACE_SERVER_SECRET, 0);
    expect_record(*state, &server, TRACE_TICKET, TLS_CONTENT_HANDSHAKE, NULL, 205);
    expect_record(*state, &server, TRACE_SERVER_DATA, TLS_CONTENT_APPLICATION_DATA, fifty, sizeof fifty);
    expect_record(*state, &server, TRACE_SERVER_ALERT, TLS_CONTENT_ALERT, close_notify, 2);
}

static void the_trace_is_sealed_byte_for_byte(void **state)
{
    uint8_t fifty[50], record[128];
    for (size_t i = 0; i < sizeof fifty; i++)
        fifty[i] = (uint8_t)i;
    struct tls_direction server = trace_direction(*state, TRACE_SERVER_SECRET, 1); /* after the ticket */
    struct tls_slice parts[] = {{fifty, 3}, {NULL, 0}, {fifty + 3, 47}};
    size_t bytes =
        tls_record_seal(*state, &server, TRACE_SUITE, TLS_CONTENT_APPLICATION_DATA, parts, 3, record);
    assert_hex(record, bytes, TRACE_SERVER_DATA);
    static const uint8_t close_notify[] = {1, 0};
    bytes = seal(*state, &server, TRACE_SUITE, TLS_CONTENT_ALERT, close_notify, 2, record);
    assert_hex(record, bytes, TRACE_SERVER_ALERT);
    struct tls_direction client = trace_direction(*state, TRACE_CLIENT_SECRET, 0);
    bytes = seal(*state, &client, TRACE_SUITE, TLS_CONTENT_APPLICATION_DATA, fifty, 50, record);
    assert_hex(record, bytes, TRACE_CLIENT_DATA);
}

static void every_length_comes_back_whole_from_any_parts(void **state)
{
    static const size_t lengths[] = {0, 1, 15, 16, 17, 125, 4096, 16383, TLS_RECORD_PLAINTEXT_MAX};
    uint8_t *data = malloc(TLS_RECORD_PLAINTEXT_MAX);
    uint8_t *record = malloc(TLS_RECORD_PLAINTEXT_MAX + TLS_RECORD_OVERHEAD);
    assert_true(data && record);
    for (size_t i = 0; i < TLS_RECORD_PLAINTEXT_MAX; i++)
        data[i] = (uint8_t)(i * 31 >> 3);
    for (unsigned s = 0; s < SUITES; s++) {
        struct tls_direction ours = some_direction(*state, suites[s], 9), theirs = ours;
        for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++) {
            size_t len = lengths[l], first = len / 3, second = len / 2;
            struct tls_slice parts[] = {
                {data, first}, {data + first, second}, {data + first + second, len - first - second}};
            size_t bytes =
                tls_record_seal(*state, &ours, suites[s], TLS_CONTENT_APPLICATION_DATA, parts, 3, record);
            assert_int_equal(bytes, len + TLS_RECORD_OVERHEAD);
            struct tls_opened opened;
            assert_int_equal(tls_record_open(*state, &theirs, suites[s], record, bytes, &opened), PARSE_OK);
            assert_int_equal(opened.content_bytes, len);
            assert_ptr_equal(opened.content, record + TLS_RECORD_HEADER_BYTES);
            assert_memory_equal(opened.content, data, len);
        }
    }
    free(data);
    free(record);
}

/* RFC 8446 §5.2 and §5.3 to the letter, with a context of its own for each record. */
static size_t naive_seal(const struct tls_direction *dir, enum tls_suite suite, uint8_t type,
                         const uint8_t *data, size_t len, uint8_t *out)
{
    uint8_t nonce[12] = {0}, inner[256];
    uint64_t seq = tls_direction_seq(dir);
    for (int i = 11; i >= 4; i--, seq >>= 8)
        nonce[i] = (uint8_t)seq;
    for (int i = 0; i < 12; i++)
        nonce[i] ^= dir->iv[i];
    memcpy(inner, data, len);
    inner[len] = type;
    size_t body = len + 1 + 16;
    const uint8_t header[] = {23, 3, 3, (uint8_t)(body >> 8), (uint8_t)body};
    memcpy(out, header, sizeof header);
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    assert_non_null(ctx);
    int written;
    assert_int_equal(EVP_EncryptInit_ex(ctx, suite == suites[0] ? EVP_aes_128_gcm() : EVP_chacha20_poly1305(),
                                        NULL, dir->key, nonce),
                     1);
    assert_int_equal(EVP_EncryptUpdate(ctx, NULL, &written, header, sizeof header), 1);
    assert_int_equal(EVP_EncryptUpdate(ctx, out + 5, &written, inner, (int)len + 1), 1);
    assert_int_equal(EVP_EncryptFinal_ex(ctx, inner, &written), 1);
    assert_int_equal(EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, 16, out + 5 + len + 1), 1);
    EVP_CIPHER_CTX_free(ctx);
    return 5 + body;
}

static void a_naive_model_seals_the_same_at_any_sequence_number(void **state)
{
    uint8_t ours[256], model[256], data[100], secret[TLS_SECRET_BYTES] = {7};
    memset(data, 'd', sizeof data);
    for (unsigned s = 0; s < SUITES; s++) {
        for (unsigned shift = 0; shift < 64; shift++) {
            struct tls_direction dir;
            assert_true(tls_direction_init(*state, &dir, suites[s], secret, 0x9e3779b97f4a7c15U >> shift));
            size_t wanted = naive_seal(&dir, suites[s], TLS_CONTENT_APPLICATION_DATA, data, shift, model);
            size_t bytes = seal(*state, &dir, suites[s], TLS_CONTENT_APPLICATION_DATA, data, shift, ours);
            assert_int_equal(bytes, wanted);
            assert_memory_equal(ours, model, bytes);
        }
    }
}

static void connections_in_turn_do_not_disturb_each_other(void **state)
{
    enum { CONNECTIONS = 5, ROUNDS = 40 };
    struct tls_direction ours[SUITES][CONNECTIONS], theirs[SUITES][CONNECTIONS];
    for (unsigned s = 0; s < SUITES; s++)
        for (unsigned c = 0; c < CONNECTIONS; c++)
            ours[s][c] = theirs[s][c] = some_direction(*state, suites[s], (uint8_t)c);
    for (unsigned round = 0; round < ROUNDS; round++) {
        unsigned s = round / 3 % SUITES,
                 c = round * round / 2 % CONNECTIONS; /* some connections twice in a row */
        uint8_t record[64];
        size_t bytes =
            seal(*state, &ours[s][c], suites[s], TLS_CONTENT_APPLICATION_DATA, &round, sizeof round, record);
        struct tls_opened opened;
        assert_int_equal(tls_record_open(*state, &theirs[s][c], suites[s], record, bytes, &opened), PARSE_OK);
        assert_memory_equal(opened.content, &round, sizeof round);
    }
}

static void a_split_record_waits_and_harms_nothing(void **state)
{
    uint8_t record[512];
    size_t bytes = hex(TRACE_CLIENT_DATA, record);
    struct tls_direction client = trace_direction(*state, TRACE_CLIENT_SECRET, 0);
    struct tls_opened opened;
    for (size_t len = 0; len < bytes; len++) {
        uint8_t *exact = malloc(len ? len : 1);
        assert_non_null(exact);
        memcpy(exact, record, len);
        assert_int_equal(tls_record_open(*state, &client, TRACE_SUITE, exact, len, &opened), PARSE_MORE);
        free(exact);
    }
    assert_int_equal(tls_direction_seq(&client), 0);
    assert_int_equal(tls_record_open(*state, &client, TRACE_SUITE, record, bytes, &opened), PARSE_OK);
}

static void coalesced_records_open_one_by_one(void **state)
{
    uint8_t stream[512];
    size_t first = hex(TRACE_CLIENT_DATA, stream);
    size_t second = hex(TRACE_CLIENT_ALERT, stream + first);
    struct tls_direction client = trace_direction(*state, TRACE_CLIENT_SECRET, 0);
    struct tls_opened opened;
    assert_int_equal(tls_record_open(*state, &client, TRACE_SUITE, stream, first + second, &opened),
                     PARSE_OK);
    assert_int_equal(opened.record_bytes, first);
    assert_int_equal(tls_record_open(*state, &client, TRACE_SUITE, stream + first, second, &opened),
                     PARSE_OK);
    assert_int_equal(opened.type, TLS_CONTENT_ALERT);
}

/* Any flip is refused, moves no sequence number, and leaves the thread's contexts fit for the next record. */
static void tampering_with_any_byte_is_refused(void **state)
{
    uint8_t good[128], record[128];
    struct tls_opened opened;
    for (unsigned s = 0; s < SUITES; s++) {
        struct tls_direction ours = some_direction(*state, suites[s], 3), theirs = ours;
        size_t bytes =
            seal(*state, &ours, suites[s], TLS_CONTENT_APPLICATION_DATA, "twenty bytes of text", 20, good);
        for (size_t at = 0; at < bytes; at++) {
            for (unsigned bit = 0; bit < 8; bit++) {
                memcpy(record, good, bytes);
                record[at] ^= (uint8_t)(1U << bit);
                enum parse_result result =
                    tls_record_open(*state, &theirs, suites[s], record, bytes, &opened);
                if (result == PARSE_MORE) { /* a greater length */
                    assert_true(at == 3 || at == 4);
                    continue;
                }
                assert_int_equal(result, PARSE_BAD);
                assert_int_equal(opened.alert, at == 0               ? TLS_ALERT_UNEXPECTED_MESSAGE
                                               : at == 3 && bit >= 6 ? TLS_ALERT_RECORD_OVERFLOW
                                                                     : TLS_ALERT_BAD_RECORD_MAC);
                assert_int_equal(tls_direction_seq(&theirs), 0);
            }
        }
        memcpy(record, good, bytes);
        assert_int_equal(tls_record_open(*state, &theirs, suites[s], record, bytes, &opened), PARSE_OK);
    }
}

static void a_replayed_or_reordered_record_is_refused(void **state)
{
    uint8_t first[64], second[64], copy[64];
    struct tls_direction ours = some_direction(*state, suites[0], 3), theirs = ours;
    size_t bytes = seal(*state, &ours, suites[0], TLS_CONTENT_APPLICATION_DATA, "one", 3, first);
    seal(*state, &ours, suites[0], TLS_CONTENT_APPLICATION_DATA, "two", 3, second);
    struct tls_opened opened;
    memcpy(copy, second, bytes);
    assert_int_equal(tls_record_open(*state, &theirs, suites[0], copy, bytes, &opened), PARSE_BAD);
    memcpy(copy, first, bytes);
    assert_int_equal(tls_record_open(*state, &theirs, suites[0], copy, bytes, &opened), PARSE_OK);
    memcpy(copy, first, bytes);
    assert_int_equal(tls_record_open(*state, &theirs, suites[0], copy, bytes, &opened), PARSE_BAD);
    assert_int_equal(opened.alert, TLS_ALERT_BAD_RECORD_MAC);
}

/* Seals `inner` as it stands, its last byte in the place of the content type, so that padding and wrong types
 * can be made. */
static enum parse_result open_inner(struct tls_crypto *crypto, const uint8_t *inner, size_t len,
                                    struct tls_opened *opened)
{
    static uint8_t record[TLS_RECORD_CIPHERTEXT_MAX + TLS_RECORD_HEADER_BYTES];
    struct tls_direction ours = some_direction(crypto, suites[1], 5), theirs = ours;
    size_t bytes = seal(crypto, &ours, suites[1], inner[len - 1], inner, len - 1, record);
    return tls_record_open(crypto, &theirs, suites[1], record, bytes, opened);
}

static void padding_is_stripped(void **state)
{
    uint8_t inner[TLS_RECORD_PLAINTEXT_MAX + 1] = {'h', 'i', 0, TLS_CONTENT_APPLICATION_DATA};
    struct tls_opened opened;
    static const size_t lengths[] = {4, 5, 64, TLS_RECORD_PLAINTEXT_MAX + 1};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        assert_int_equal(open_inner(*state, inner, lengths[i], &opened), PARSE_OK);
        assert_int_equal(opened.type, TLS_CONTENT_APPLICATION_DATA);
        assert_int_equal(opened.content_bytes, 3);
        assert_memory_equal(opened.content, "hi", 3); /* a zero that is content stays */
    }
}

static void padding_alone_is_an_unexpected_message(void **state)
{
    static const uint8_t zeros[20] = {0};
    struct tls_opened opened;
    for (size_t len = 1; len <= sizeof zeros; len += 19) {
        assert_int_equal(open_inner(*state, zeros, len, &opened), PARSE_BAD);
        assert_int_equal(opened.alert, TLS_ALERT_UNEXPECTED_MESSAGE);
    }
}

static void empty_data_is_allowed_but_no_empty_handshake_or_alert(void **state)
{
    struct tls_opened opened;
    const uint8_t data[] = {TLS_CONTENT_APPLICATION_DATA, 0, 0};
    assert_int_equal(open_inner(*state, data, 1, &opened), PARSE_OK);
    assert_int_equal(opened.content_bytes, 0);
    assert_int_equal(open_inner(*state, data, 3, &opened), PARSE_OK);
    assert_int_equal(opened.content_bytes, 0);
    static const uint8_t others[] = {TLS_CONTENT_ALERT, TLS_CONTENT_HANDSHAKE};
    for (size_t i = 0; i < 2; i++) {
        const uint8_t empty[] = {others[i], 0};
        assert_int_equal(open_inner(*state, empty, 1, &opened), PARSE_BAD);
        assert_int_equal(opened.alert, TLS_ALERT_UNEXPECTED_MESSAGE);
        assert_int_equal(open_inner(*state, empty, 2, &opened), PARSE_BAD);
        assert_int_equal(opened.alert, TLS_ALERT_UNEXPECTED_MESSAGE);
    }
}

static void unknown_inner_types_are_unexpected_messages(void **state)
{
    for (unsigned type = 1; type < 256; type++) {
        const uint8_t inner[] = {'x', (uint8_t)type};
        struct tls_opened opened;
        bool known = type == TLS_CONTENT_APPLICATION_DATA || type == TLS_CONTENT_ALERT ||
                     type == TLS_CONTENT_HANDSHAKE;
        assert_int_equal(open_inner(*state, inner, 2, &opened), known ? PARSE_OK : PARSE_BAD);
        if (!known)
            assert_int_equal(opened.alert, TLS_ALERT_UNEXPECTED_MESSAGE);
    }
}

static void outer_types_but_application_data_are_refused_at_the_first_byte(void **state)
{
    struct tls_direction dir = some_direction(*state, suites[0], 1);
    for (unsigned type = 0; type < 256; type++) {
        uint8_t header[1] = {(uint8_t)type};
        struct tls_opened opened;
        enum parse_result result = tls_record_open(*state, &dir, suites[0], header, 1, &opened);
        assert_int_equal(result, type == TLS_CONTENT_APPLICATION_DATA ? PARSE_MORE : PARSE_BAD);
        if (result == PARSE_BAD)
            assert_int_equal(opened.alert, TLS_ALERT_UNEXPECTED_MESSAGE);
    }
}

static void expect_length(struct tls_crypto *crypto, size_t body, enum parse_result wanted,
                          enum tls_alert alert)
{
    struct tls_direction dir = some_direction(crypto, suites[0], 1);
    uint8_t header[] = {TLS_CONTENT_APPLICATION_DATA, 3, 3, (uint8_t)(body >> 8), (uint8_t)body};
    struct tls_opened opened;
    assert_int_equal(tls_record_open(crypto, &dir, suites[0], header, sizeof header, &opened), wanted);
    assert_int_equal(opened.alert, alert);
}

static void lengths_are_judged_by_the_header_alone(void **state)
{
    expect_length(*state, 0, PARSE_BAD, TLS_ALERT_BAD_RECORD_MAC);
    expect_length(*state, 15, PARSE_BAD, TLS_ALERT_BAD_RECORD_MAC);
    expect_length(*state, 16, PARSE_MORE, TLS_ALERT_NONE);
    expect_length(*state, TLS_RECORD_PLAINTEXT_MAX + 1 + 16, PARSE_MORE, TLS_ALERT_NONE);
    expect_length(*state, TLS_RECORD_PLAINTEXT_MAX + 2 + 16, PARSE_BAD, TLS_ALERT_RECORD_OVERFLOW);
    expect_length(*state, TLS_RECORD_CIPHERTEXT_MAX, PARSE_BAD, TLS_ALERT_RECORD_OVERFLOW);
    expect_length(*state, TLS_RECORD_CIPHERTEXT_MAX + 1, PARSE_BAD, TLS_ALERT_RECORD_OVERFLOW);
    expect_length(*state, 65535, PARSE_BAD, TLS_ALERT_RECORD_OVERFLOW);
}

static void peek_tells_the_size_before_the_body_is_here(void **state)
{
    (void)state;
    struct tls_opened opened;
    const uint8_t hello[] = {TLS_CONTENT_HANDSHAKE, 3, 1, 2, 0};
    for (size_t len = 0; len < sizeof hello; len++)
        assert_int_equal(tls_record_peek(hello, len, TLS_RECORD_PLAINTEXT_MAX, &opened), PARSE_MORE);
    assert_int_equal(tls_record_peek(hello, sizeof hello, TLS_RECORD_PLAINTEXT_MAX, &opened), PARSE_OK);
    assert_int_equal(opened.record_bytes, 5 + 512);
    assert_int_equal(tls_record_peek(hello, sizeof hello, 511, &opened), PARSE_BAD);
    assert_int_equal(opened.alert, TLS_ALERT_RECORD_OVERFLOW);
    assert_int_equal(tls_record_peek((const uint8_t *)"G", 1, TLS_RECORD_PLAINTEXT_MAX, &opened), PARSE_BAD);
    assert_int_equal(opened.alert, TLS_ALERT_UNEXPECTED_MESSAGE);
}

static void too_much_content_is_not_sealed(void **state)
{
    static uint8_t data[TLS_RECORD_PLAINTEXT_MAX], out[TLS_RECORD_PLAINTEXT_MAX + TLS_RECORD_OVERHEAD];
    struct tls_direction dir = some_direction(*state, suites[0], 1);
    struct tls_slice parts[] = {{data, sizeof data}, {data, 1}};
    assert_int_equal(tls_record_seal(*state, &dir, suites[0], TLS_CONTENT_APPLICATION_DATA, parts, 2, out),
                     0);
    struct tls_slice wraps[] = {{data, 2}, {data, SIZE_MAX}};
    assert_int_equal(tls_record_seal(*state, &dir, suites[0], TLS_CONTENT_APPLICATION_DATA, wraps, 2, out),
                     0);
    assert_int_equal(tls_direction_seq(&dir), 0);
    assert_int_equal(tls_record_seal(*state, &dir, suites[0], TLS_CONTENT_APPLICATION_DATA, parts, 1, out),
                     sizeof out);
}

static void sequence_numbers_cross_32_bits_and_never_wrap(void **state)
{
    uint8_t record[64], copy[64];
    uint8_t secret[TLS_SECRET_BYTES] = {1};
    struct tls_direction ours, theirs;
    struct tls_opened opened;
    assert_true(tls_direction_init(*state, &ours, suites[0], secret, UINT32_MAX));
    theirs = ours;
    for (int i = 0; i < 3; i++) {
        size_t bytes = seal(*state, &ours, suites[0], TLS_CONTENT_APPLICATION_DATA, "x", 1, record);
        assert_int_equal(tls_record_open(*state, &theirs, suites[0], record, bytes, &opened), PARSE_OK);
    }
    assert_true(tls_direction_seq(&ours) == (uint64_t)UINT32_MAX + 3);
    assert_true(tls_direction_seq(&theirs) == (uint64_t)UINT32_MAX + 3);

    assert_true(tls_direction_init(*state, &ours, suites[0], secret, UINT64_MAX - 1));
    theirs = ours;
    size_t bytes = seal(*state, &ours, suites[0], TLS_CONTENT_APPLICATION_DATA, "x", 1, record);
    memcpy(copy, record, bytes);
    struct tls_slice part = {"x", 1};
    assert_int_equal(
        tls_record_seal(*state, &ours, suites[0], TLS_CONTENT_APPLICATION_DATA, &part, 1, record), 0);
    assert_int_equal(tls_record_open(*state, &theirs, suites[0], copy, bytes, &opened), PARSE_OK);
    assert_int_equal(tls_record_open(*state, &theirs, suites[0], copy, bytes, &opened), PARSE_BAD);
    assert_int_equal(opened.alert, TLS_ALERT_INTERNAL_ERROR);
}

static void a_key_update_is_due_before_the_aead_limit(void **state)
{
    uint8_t secret[TLS_SECRET_BYTES] = {1};
    struct tls_direction dir;
    static const struct {
        uint64_t seq;
        bool due;
    } cases[] = {{0, false},       {23726564, false},  {23726565, true},
                 {23726566, true}, {1ULL << 32, true}, {UINT64_MAX, true}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_true(tls_direction_init(*state, &dir, suites[0], secret, cases[i].seq));
        assert_int_equal(tls_direction_needs_update(*state, &dir), cases[i].due);
    }
    assert_true(tls_direction_update(*state, &dir, suites[0]));
    assert_false(tls_direction_needs_update(*state, &dir));
}

static void the_bound_can_be_lower_and_both_directions_are_counted(void **state)
{
    uint8_t secret[TLS_SECRET_BYTES] = {1};
    struct tls_direction dir;
    tls_crypto_limit_records(*state, 5);
    for (uint64_t seq = 0; seq < 12; seq++) {
        assert_true(tls_direction_init(*state, &dir, suites[0], secret, seq));
        assert_int_equal(tls_direction_needs_update(*state, &dir), seq >= 4);
        assert_int_equal(tls_direction_overused(*state, &dir), seq == 5 || seq == 10);
    }
    tls_crypto_limit_records(*state, 0);
    assert_true(tls_direction_init(*state, &dir, suites[0], secret, TLS_RECORDS_PER_KEY - 2));
    assert_false(tls_direction_needs_update(*state, &dir));
}

static void an_update_changes_everything_and_starts_at_zero(void **state)
{
    struct tls_direction before = some_direction(*state, suites[0], 4), after = before;
    after.seq_low = 99;
    assert_true(tls_direction_update(*state, &after, suites[0]));
    assert_int_equal(tls_direction_seq(&after), 0);
    assert_memory_not_equal(after.secret, before.secret, sizeof after.secret);
    assert_memory_not_equal(after.key, before.key, 16);
    assert_memory_not_equal(after.iv, before.iv, sizeof after.iv);
}

static void wiping_leaves_zeros_and_unknown_suites_get_nothing(void **state)
{
    static const struct tls_direction zero;
    struct tls_direction dir = some_direction(*state, suites[0], 4);
    uint8_t out[64];
    struct tls_slice part = {"x", 1};
    struct tls_opened opened;
    assert_int_equal(tls_record_seal(*state, &dir, TLS_SUITE_NONE, TLS_CONTENT_ALERT, &part, 1, out), 0);
    assert_false(tls_direction_update(*state, &dir, (enum tls_suite)0x1302));
    size_t bytes = seal(*state, &dir, suites[0], TLS_CONTENT_APPLICATION_DATA, "x", 1, out);
    assert_int_equal(tls_record_open(*state, &dir, TLS_SUITE_NONE, out, bytes, &opened), PARSE_BAD);
    assert_false(tls_direction_init(*state, &dir, TLS_SUITE_NONE, dir.secret, 0));
    tls_direction_wipe(&dir);
    assert_memory_equal(&dir, &zero, sizeof dir);
    tls_crypto_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_trace_gives_its_keys_and_ivs),
        cmocka_unit_test(the_trace_opens),
        cmocka_unit_test(the_trace_is_sealed_byte_for_byte),
        cmocka_unit_test(every_length_comes_back_whole_from_any_parts),
        cmocka_unit_test(a_naive_model_seals_the_same_at_any_sequence_number),
        cmocka_unit_test(connections_in_turn_do_not_disturb_each_other),
        cmocka_unit_test(a_split_record_waits_and_harms_nothing),
        cmocka_unit_test(coalesced_records_open_one_by_one),
        cmocka_unit_test(tampering_with_any_byte_is_refused),
        cmocka_unit_test(a_replayed_or_reordered_record_is_refused),
        cmocka_unit_test(padding_is_stripped),
        cmocka_unit_test(padding_alone_is_an_unexpected_message),
        cmocka_unit_test(empty_data_is_allowed_but_no_empty_handshake_or_alert),
        cmocka_unit_test(unknown_inner_types_are_unexpected_messages),
        cmocka_unit_test(outer_types_but_application_data_are_refused_at_the_first_byte),
        cmocka_unit_test(lengths_are_judged_by_the_header_alone),
        cmocka_unit_test(peek_tells_the_size_before_the_body_is_here),
        cmocka_unit_test(too_much_content_is_not_sealed),
        cmocka_unit_test(sequence_numbers_cross_32_bits_and_never_wrap),
        cmocka_unit_test(a_key_update_is_due_before_the_aead_limit),
        cmocka_unit_test(the_bound_can_be_lower_and_both_directions_are_counted),
        cmocka_unit_test(an_update_changes_everything_and_starts_at_zero),
        cmocka_unit_test(wiping_leaves_zeros_and_unknown_suites_get_nothing),
    };
    return cmocka_run_group_tests(tests, crypto_set_up, crypto_tear_down);
}
