/* The demo page (index.html beside this file), embedded at build time; served on / when demo.enabled is on.
 *
 * Thread: any; read-only. Owner: nobody, it lives in the program's image.
 */
#pragma once

#include <stddef.h>

/* What the inline style and script, the WebSocket and the fetch need, and nothing more. */
#define DEMO_PAGE_CSP                                                                                        \
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "                            \
    "connect-src 'self' wss: ws:; base-uri 'none'; frame-ancestors 'none'"

extern const unsigned char demo_page[];
extern const size_t demo_page_bytes;
