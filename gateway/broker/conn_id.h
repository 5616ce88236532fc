/* What names a connection for as long as the gateway runs, in logs and for operators: its reactor, its slot
 * there, and which of that reactor's connections it is. "3-1042-77" as text.
 *
 * A slot is used again; the same id is not (for 2^32 connections of a reactor). So a connection is found
 * without a table, and one that has gone is never taken for another.
 *
 * Thread: any; pure. Owner: nobody.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct conn_id {
    uint32_t slot, generation;
    uint16_t reactor;
};

enum { CONN_ID_TEXT_BYTES = 28 }; /* three numbers, two dashes, a zero */

void conn_id_format(struct conn_id id, char out[CONN_ID_TEXT_BYTES]);
/* False when the text is none of conn_id_format()'s. */
bool conn_id_parse(const char *text, size_t bytes, struct conn_id *out) __attribute__((warn_unused_result));
