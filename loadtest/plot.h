/* Plots as inline SVG, in two shapes each: the style sheet shows the one that fits the screen.
 *
 * Colours are the classes c1 … c4 of the page that embeds them.
 * Thread: any. Owner: the caller owns everything.
 */
#pragma once

#include "gateway/base/histogram.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum { PLOT_SERIES_MAX = 4, PLOT_TEXT_BYTES = 32 };

/* A value as people read it, into `out`. */
typedef const char *plot_format(double value, char out[PLOT_TEXT_BYTES]);
plot_format plot_count;    /* 1.2M */
plot_format plot_bytes;    /* 1.2 GiB */
plot_format plot_duration; /* from microseconds: 1.2 ms */
plot_format plot_number;   /* 1.25 */

struct plot_mark {
    double x;
    const char *text;
};

struct plot {
    const char *title; /* for screen readers */
    const double *x;   /* seconds, ascending */
    size_t count;
    struct plot_series {
        const char *name;
        const double *y; /* not finite: a gap */
        bool dashed;
    } series[PLOT_SERIES_MAX];
    size_t series_count;
    bool stacked; /* areas on top of each other */
    bool area;    /* the space below the only series is filled */
    bool log_y;
    plot_format *format;
    const struct plot_mark *marks;
    size_t mark_count;
};

/* Nothing when there are fewer than two points. */
void plot_write(const struct plot *plot, FILE *out);
/* How often each duration occurred, on a logarithmic axis, and where the given quantiles lie. */
void plot_write_histogram(const char *title, const struct histogram *histogram, FILE *out);
/* Text with <, >, & and quotes escaped. */
void html_text(const char *text, FILE *out);
