#include "gateway/base/series.h"

#include "gateway/base/assert.h"

void series_push(struct series *series, uint64_t second, const double *values, size_t rows)
{
    PG_ASSERT(rows <= SERIES_ROWS_MAX);
    if (series->count > 0 && second <= series->newest)
        return;
    uint64_t seconds = series->count > 0 ? second - series->newest : 1;
    if (seconds > SERIES_SECONDS)
        seconds = SERIES_SECONDS;
    for (uint64_t at = second + 1 - seconds; at <= second; at++)
        for (size_t row = 0; row < rows; row++)
            series->places[row][at % SERIES_SECONDS] = values[row];
    series->newest = second;
    series->count += (uint32_t)seconds;
    if (series->count > SERIES_SECONDS)
        series->count = SERIES_SECONDS;
}

double series_at(const struct series *series, size_t row, uint32_t age)
{
    PG_ASSERT(row < SERIES_ROWS_MAX && age < series->count);
    return series->places[row][(series->newest - age) % SERIES_SECONDS];
}
