/* Reads ends of validity out of a context, which its thread replaces, into rows that stay. */
#include "gateway/tls/tls_certificates.h"

#include "gateway/tls/tls_internal.h"

#include <openssl/x509.h>
#include <stdlib.h>
#include <time.h>

static int64_t end_of(const X509 *certificate)
{
    struct tm when;
    return ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &when) == 1 ? (int64_t)timegm(&when) : 0;
}

/* Clients stop trusting a chain with its first link that has ended. */
static int64_t end_of_chain(SSL_CTX *ssl)
{
    STACK_OF(X509) *chain = NULL;
    const X509 *leaf = SSL_CTX_get0_certificate(ssl);
    int64_t first = leaf ? end_of(leaf) : 0;
    if (SSL_CTX_get0_chain_certs(ssl, &chain) != 1)
        return first;
    for (int i = 0; i < sk_X509_num(chain); i++) {
        int64_t end = end_of(sk_X509_value(chain, i));
        if (end != 0 && (first == 0 || end < first))
            first = end;
    }
    return first;
}

bool tls_certificates_init(struct tls_certificates *certificates, const struct tls_host *hosts,
                           size_t host_count)
{
    certificates->count = 0;
    certificates->rows = calloc(1 + host_count, sizeof *certificates->rows);
    if (!certificates->rows)
        return false;
    certificates->count = 1 + host_count;
    certificates->rows[0].host = "*"; /* no host may be called that */
    for (size_t i = 0; i < host_count; i++)
        certificates->rows[1 + i].host = hosts[i].name;
    return true;
}

void tls_certificates_note(struct tls_certificates *certificates, const struct tls_context *context)
{
    for (size_t i = 0; i < certificates->count; i++) {
        struct tls_certificate *row = &certificates->rows[i];
        SSL_CTX *ssl = i == 0 ? tls_context_ssl(context) : tls_context_host_ssl(context, row->host);
        atomic_store_explicit(&row->not_after_s, ssl ? end_of_chain(ssl) : 0, memory_order_relaxed);
    }
}

void tls_certificates_fini(struct tls_certificates *certificates)
{
    free(certificates->rows);
    *certificates = (struct tls_certificates){0};
}
