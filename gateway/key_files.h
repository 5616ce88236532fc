/* The files that settings name: certificates, ticket keys, keys of tokens; and, for --check, the others.
 *
 * Thread: main. Owner: the caller, of what it gets.
 */
#pragma once

#include "gateway/auth/auth.h"
#include "gateway/settings/settings.h"
#include "gateway/tls/tls_context.h"

/* Each reads its files, and gives NULL and a sentence when one is bad. */
struct auth *key_files_auth(const struct settings *settings, char *error, size_t error_size);
struct tls_context *key_files_tls(const struct settings *settings, char *error, size_t error_size);
struct tls_ticket_keys *key_files_ticket_keys(const struct settings *settings, char *error,
                                              size_t error_size);

/* Reads all of them, and tries as the user that the process becomes whether proxy.ca_file can be read and
 * log.file written, to say what is wrong before a start or restart. Makes nothing. False with a sentence. */
bool key_files_check(const struct settings *settings, char *error, size_t error_size)
    __attribute__((warn_unused_result));
