/* Time: monotonic for deadlines, wall clock for logs.
 *
 * Thread: any. Owner: nobody.
 */
#pragma once

#include <stdint.h>

uint64_t clock_monotonic_ns(void);
uint64_t clock_monotonic_ms(void);
/* Milliseconds since 1970. */
uint64_t clock_realtime_ms(void);
