/* Number k of n is due after (k + (share + ½) / of) / n of the span: half a step of room at either end. */
#include "gateway/base/pace.h"

typedef unsigned __int128 wide; /* a day of milliseconds times connections times threads */

uint32_t pace_due(const struct pace *pace, uint64_t now_ms)
{
    uint64_t elapsed = now_ms > pace->began_ms ? now_ms - pace->began_ms : 0;
    if (elapsed >= pace->span_ms)
        return pace->total - pace->done;
    wide step = 2 * (wide)pace->of, first = 2 * (wide)pace->share + 1;
    wide reached = (wide)elapsed * step * pace->total / pace->span_ms;
    wide due = reached < first ? 0 : (reached - first) / step + 1;
    return due > pace->done ? (uint32_t)(due - pace->done) : 0;
}

uint64_t pace_next_ms(const struct pace *pace)
{
    if (pace->done >= pace->total)
        return UINT64_MAX;
    wide step = 2 * (wide)pace->of, first = 2 * (wide)pace->share + 1;
    wide whole = step * pace->total;
    return pace->began_ms + (uint64_t)((pace->span_ms * (step * pace->done + first) + whole - 1) / whole);
}
