/* Where a broken invariant ends: one line that says which, then a core dump. */
#include "gateway/base/assert.h"

#include <stdlib.h>

#include "gateway/base/log.h"
#include "gateway/base/log_writer.h"

enum { FLUSH_MS = 200 };

void pg_assert_failed(const char *expression, const char *file, int line)
{
    log_event(LOG_ERROR, "assert_failed", "expression=%s file=%s line=%d", expression, file, line);
    log_writer_flush(FLUSH_MS);
    abort();
}
