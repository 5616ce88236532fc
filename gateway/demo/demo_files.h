/* The demo page and what it consists of (the files beside this one, and the SDK that its chat runs on),
 * embedded at build time; served when demo.enabled is on.
 *
 * Thread: any; read-only. Owner: nobody, they live in the program's image.
 */
#pragma once

#include "gateway/base/embedded_file.h"

/* Scripts and styles of its own only; the WebSockets and the fetch of its own host (older browsers do not
 * take 'self' for a WebSocket). */
#define DEMO_CSP                                                                                             \
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self' wss: ws:; "                 \
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

extern const struct embedded_file demo_files[];
extern const size_t demo_file_count;
