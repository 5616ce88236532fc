/* The status page: the files beside this one, embedded at build time; served by the admin listener.
 *
 * Thread: any; read-only. Owner: nobody, they live in the program's image.
 */
#pragma once

#include "gateway/base/embedded_file.h"

/* Nothing that is not this listener's own. */
#define STATUS_CSP                                                                                           \
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:; "    \
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

extern const struct embedded_file status_files[];
extern const size_t status_file_count;
