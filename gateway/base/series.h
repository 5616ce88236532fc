/* What several measures were in each of the last seconds: a fixed ring, one row a measure, all on one axis.
 *
 * Thread: one owner. Owner: embedded; all zero is empty.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum { SERIES_SECONDS = 300, SERIES_ROWS_MAX = 24 };

struct series {
    uint64_t newest; /* which second the newest place is; counted from any beginning */
    uint32_t count;  /* seconds that have a place, up to SERIES_SECONDS */
    double places[SERIES_ROWS_MAX][SERIES_SECONDS];
};

/* What holds from behind the newest second to `second`: a place for each of them, all with these values. The
 * first one ever makes one place. A second that is not newer than the newest changes nothing. */
void series_push(struct series *series, uint64_t second, const double *values, size_t rows);
/* A row's value so many seconds before the newest one; `age` < count. */
double series_at(const struct series *series, size_t row, uint32_t age);
