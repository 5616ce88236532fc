/* Draws axes, lines, areas and bars. */
#include "loadtest/plot.h"

#include <math.h>
#include <string.h>

enum { TICKS_MAX = 12, BAR_STEPS = 4 /* of a power of two */, HOVER_MAX = 200 };

struct shape {
    const char *class;
    double width, height, left, right, top, bottom;
    int x_ticks, y_ticks;
};

static const struct shape shapes[] = {
    {"wide", 800, 230, 62, 14, 22, 30, 9, 5},
    {"narrow", 440, 240, 62, 14, 22, 30, 5, 5},
};

struct frame {
    const struct shape *shape;
    double x_min, x_max, y_min, y_max; /* y in decades when log_y */
    bool log_y;
    FILE *out;
};

/* Values */

static const char *with_unit(double value, const char *const *units, double factor, char out[PLOT_TEXT_BYTES])
{
    int unit = 0;
    while (units[unit + 1] && fabs(value) >= factor) {
        value /= factor;
        unit++;
    }
    bool whole = fabs(value) >= 100 || fabs(value - nearbyint(value)) < 0.005;
    snprintf(out, PLOT_TEXT_BYTES, "%.*f%s", whole ? 0 : fabs(value) >= 10 ? 1 : 2, value, units[unit]);
    return out;
}

const char *plot_count(double value, char out[PLOT_TEXT_BYTES])
{
    static const char *const units[] = {"", "k", "M", "G", NULL};
    return with_unit(value, units, 1000, out);
}

const char *plot_bytes(double value, char out[PLOT_TEXT_BYTES])
{
    static const char *const units[] = {" B", " KiB", " MiB", " GiB", " TiB", NULL};
    return with_unit(value, units, 1024, out);
}

const char *plot_duration(double value, char out[PLOT_TEXT_BYTES])
{
    static const char *const units[] = {" µs", " ms", " s", NULL};
    return with_unit(value, units, 1000, out);
}

const char *plot_number(double value, char out[PLOT_TEXT_BYTES])
{
    snprintf(out, PLOT_TEXT_BYTES, "%.3g", value);
    return out;
}

static const char *clock_time(double seconds, double step, char out[PLOT_TEXT_BYTES])
{
    if (step >= 60)
        snprintf(out, PLOT_TEXT_BYTES, "%.4g min", seconds / 60);
    else
        snprintf(out, PLOT_TEXT_BYTES, "%.4g s", seconds);
    return out;
}

void html_text(const char *text, FILE *out)
{
    for (; *text; text++) {
        const char *entity = *text == '<'    ? "&lt;"
                             : *text == '>'  ? "&gt;"
                             : *text == '&'  ? "&amp;"
                             : *text == '"'  ? "&quot;"
                             : *text == '\'' ? "&#39;"
                                             : NULL;
        if (entity)
            fputs(entity, out);
        else
            fputc(*text, out);
    }
}

/* Axes */

static double nice_step(double span, int ticks, bool time, bool bytes)
{
    static const double times[] = {0.1, 0.2, 0.5, 1,   2,    5,    10,   15,    30,   60,
                                   120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200};
    if (time) {
        for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++)
            if (span / times[i] <= ticks)
                return times[i];
        return 86400;
    }
    double unit = bytes ? pow(1024, floor(log(span / ticks) / log(1024))) : 1, raw = span / ticks / unit;
    double power = pow(10, floor(log10(raw)));
    double head = raw / power;
    return unit * power * (head <= 1 ? 1 : head <= 2 ? 2 : head <= 5 ? 5 : 10);
}

static double px(const struct frame *frame, double x)
{
    const struct shape *s = frame->shape;
    return s->left + (x - frame->x_min) / (frame->x_max - frame->x_min) * (s->width - s->left - s->right);
}

static double py(const struct frame *frame, double y)
{
    const struct shape *s = frame->shape;
    double value = frame->log_y ? (y > 0 ? log10(y) : frame->y_min) : y;
    value = value < frame->y_min ? frame->y_min : value > frame->y_max ? frame->y_max : value;
    return s->height - s->bottom -
           (value - frame->y_min) / (frame->y_max - frame->y_min) * (s->height - s->top - s->bottom);
}

static void y_tick(const struct frame *frame, double y, const char *text)
{
    const struct shape *s = frame->shape;
    fprintf(
        frame->out,
        "<line class=grid x1=%.1f x2=%.1f y1=%.1f y2=%.1f /><text x=%.1f y=%.1f text-anchor=end>%s</text>\n",
        s->left, s->width - s->right, py(frame, y), py(frame, y), s->left - 7, py(frame, y) + 4, text);
}

static void x_tick(const struct frame *frame, double x, const char *text)
{
    const struct shape *s = frame->shape;
    double at = px(frame, x);
    const char *anchor = at > s->width - s->right - 20 ? "end" : "middle";
    fprintf(frame->out, "<text x=%.1f y=%.1f text-anchor=%s>%s</text>\n", at, s->height - s->bottom + 18,
            anchor, text);
}

static void draw_y_axis(const struct frame *frame, plot_format *format)
{
    char text[PLOT_TEXT_BYTES];

    if (frame->log_y) {
        for (int i = 0; frame->y_min + i <= frame->y_max; i++) {
            double value = pow(10, frame->y_min + i);
            y_tick(frame, value, format(value, text));
        }
        return;
    }
    double step = nice_step(frame->y_max, frame->shape->y_ticks, false, format == plot_bytes);
    for (int i = 0; i <= TICKS_MAX && step * i <= frame->y_max * 1.001; i++)
        y_tick(frame, step * i, format(step * i, text));
}

static void draw_time_axis(const struct frame *frame)
{
    char text[PLOT_TEXT_BYTES];
    double step = nice_step(frame->x_max - frame->x_min, frame->shape->x_ticks, true, false);

    for (int i = 0; i <= TICKS_MAX && frame->x_min + step * i <= frame->x_max; i++)
        x_tick(frame, frame->x_min + step * i, clock_time(step * i, step, text));
}

/* Labels stand beside their lines in two rows; what has no room is left to the tooltip. */
static void draw_marks(const struct frame *frame, const struct plot_mark *marks, size_t count)
{
    const struct shape *s = frame->shape;
    double free_from = s->left;

    for (size_t i = 0; i < count; i++) {
        double x = px(frame, marks[i].x), width = (double)strlen(marks[i].text) * 6.6 + 8;
        fprintf(frame->out, "<line class=mark x1=%.1f x2=%.1f y1=%.1f y2=%.1f><title>", x, x, s->top - 4,
                s->height - s->bottom);
        html_text(marks[i].text, frame->out);
        fprintf(frame->out, "</title></line>\n");
        bool left = x + width > s->width;
        double from = left ? x - width : x;
        if (from < free_from)
            continue;
        fprintf(frame->out, "<text class=note x=%.1f y=%.1f%s>", left ? x - 3 : x + 3, s->top - 8,
                left ? " text-anchor=end" : "");
        html_text(marks[i].text, frame->out);
        fputs("</text>\n", frame->out);
        free_from = from + width;
    }
}

/* Lines over time */

static double stacked_to(const struct plot *plot, size_t series, size_t i)
{
    double sum = 0;
    for (size_t s = 0; s <= series; s++)
        sum += isfinite(plot->series[s].y[i]) ? plot->series[s].y[i] : 0;
    return sum;
}

static double value_at(const struct plot *plot, size_t series, size_t i)
{
    return plot->stacked ? stacked_to(plot, series, i) : plot->series[series].y[i];
}

static struct frame frame_of(const struct plot *plot, const struct shape *shape, FILE *out)
{
    struct frame frame = {.shape = shape, .out = out, .log_y = plot->log_y};
    double low = INFINITY, high = 0;

    frame.x_min = plot->x[0] < 0 ? plot->x[0] : 0;
    frame.x_max = plot->x[plot->count - 1];
    if (frame.x_max <= frame.x_min)
        frame.x_max = frame.x_min + 1;
    for (size_t s = 0; s < plot->series_count; s++)
        for (size_t i = 0; i < plot->count; i++) {
            double y = value_at(plot, s, i);
            if (!isfinite(y) || (plot->log_y && y <= 0))
                continue;
            low = y < low ? y : low;
            high = y > high ? y : high;
        }
    if (plot->log_y) {
        frame.y_min = isfinite(low) ? floor(log10(low)) : 0;
        frame.y_max = high > 0 ? ceil(log10(high)) : 1;
        if (frame.y_max <= frame.y_min)
            frame.y_max = frame.y_min + 1;
    } else {
        high = high > 0 ? high : 1;
        double step = nice_step(high * 1.02, shape->y_ticks, false, plot->format == plot_bytes);
        frame.y_max = ceil(high * 1.02 / step) * step;
    }
    return frame;
}

static bool shown(const struct plot *plot, size_t series, size_t i)
{
    double y = plot->series[series].y[i];
    return isfinite(y) && (!plot->log_y || y > 0);
}

static void draw_line(const struct plot *plot, const struct frame *frame, size_t series)
{
    bool pen = false;

    fprintf(frame->out, "<path class='line c%zu%s' d='", series + 1,
            plot->series[series].dashed ? " dashed" : "");
    for (size_t i = 0; i < plot->count; i++) {
        if (!shown(plot, series, i)) {
            pen = false;
            continue;
        }
        bool alone = !pen && (i + 1 == plot->count || !shown(plot, series, i + 1));
        fprintf(frame->out, "%c%.1f %.1f", pen ? 'L' : 'M', px(frame, plot->x[i]),
                py(frame, value_at(plot, series, i)));
        if (alone)
            fputs("h.1", frame->out); /* a dot, by its round cap */
        pen = true;
    }
    fputs("'/>\n", frame->out);
}

static void draw_area(const struct plot *plot, const struct frame *frame, size_t series)
{
    fprintf(frame->out, "<path class='fill c%zu' d='", series + 1);
    for (size_t i = 0; i < plot->count; i++)
        fprintf(frame->out, "%c%.1f %.1f", i ? 'L' : 'M', px(frame, plot->x[i]),
                py(frame, value_at(plot, series, i)));
    for (size_t i = plot->count; i-- > 0;)
        fprintf(frame->out, "L%.1f %.1f", px(frame, plot->x[i]),
                py(frame, plot->stacked && series > 0 ? stacked_to(plot, series - 1, i) : 0));
    fputs("Z'/>\n", frame->out);
}

/* Invisible columns that tell their values to the pointer. */
static void draw_hover(const struct plot *plot, const struct frame *frame)
{
    const struct shape *s = frame->shape;
    size_t stride = plot->count / HOVER_MAX + 1;
    char text[PLOT_TEXT_BYTES];

    for (size_t i = 0; i < plot->count; i += stride) {
        double from = px(frame, plot->x[i]), before = i ? px(frame, plot->x[i - 1]) : s->left;
        double next = i + stride < plot->count ? px(frame, plot->x[i + stride]) : s->width - s->right;
        double left = (from + before) / 2, right = (from + next) / 2;
        fprintf(frame->out, "<rect class=hover x=%.1f y=%.1f width=%.1f height=%.1f><title>%.1f s", left,
                s->top, right > left ? right - left : 0.1, s->height - s->top - s->bottom, plot->x[i]);
        for (size_t series = 0; series < plot->series_count; series++)
            if (shown(plot, series, i))
                fprintf(frame->out, "&#10;%s %s", plot->series[series].name,
                        plot->format(plot->series[series].y[i], text));
        fputs("</title></rect>\n", frame->out);
    }
}

static void open_svg(const struct shape *shape, const char *title, FILE *out)
{
    fprintf(out, "<svg class=%s viewBox='0 0 %.0f %.0f' role=img aria-label=\"", shape->class, shape->width,
            shape->height);
    html_text(title, out);
    fputs("\">\n", out);
}

void plot_write(const struct plot *plot, FILE *out)
{
    if (plot->count < 2)
        return;
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
        struct frame frame = frame_of(plot, &shapes[i], out);
        open_svg(&shapes[i], plot->title, out);
        draw_y_axis(&frame, plot->format);
        draw_time_axis(&frame);
        for (size_t s = 0; s < plot->series_count; s++)
            if (plot->stacked || plot->area)
                draw_area(plot, &frame, s);
        for (size_t s = plot->series_count; s-- > 0;)
            draw_line(plot, &frame, s);
        draw_hover(plot, &frame);
        draw_marks(&frame, plot->marks, plot->mark_count);
        fputs("</svg>\n", out);
    }
}

/* Bars over a logarithmic axis */

struct bars {
    unsigned first, last; /* bars that hold something, and all between; bar b ends at 2^(b / BAR_STEPS) */
    uint64_t counts[64 * BAR_STEPS];
    uint64_t total, highest;
};

static unsigned bar_of(uint64_t value)
{
    return value <= 1 ? 0 : (unsigned)ceil(log2((double)value) * BAR_STEPS - 1e-9);
}

static bool count_bars(const struct histogram *histogram, struct bars *bars)
{
    *bars = (struct bars){.first = UINT32_MAX};
    for (unsigned cell = 0; cell < HISTOGRAM_CELLS; cell++) {
        uint64_t count = atomic_load_explicit(&histogram->cells[cell], memory_order_relaxed);
        uint64_t end = cell + 1 < HISTOGRAM_CELLS ? histogram_cell_end(cell) : UINT64_C(1) << 40;
        unsigned bar = bar_of(end);
        if (count == 0)
            continue;
        bars->counts[bar] += count;
        bars->total += count;
        bars->first = bar < bars->first ? bar : bars->first;
        bars->last = bar;
    }
    if (bars->total == 0)
        return false;
    for (unsigned b = bars->first; b <= bars->last; b++)
        bars->highest = bars->counts[b] > bars->highest ? bars->counts[b] : bars->highest;
    return true;
}

static const char *percent(double value, char out[PLOT_TEXT_BYTES])
{
    snprintf(out, PLOT_TEXT_BYTES, value == 0 || value >= 0.01 ? "%.3g %%" : "%.1g %%", value);
    return out;
}

static void draw_bars(const struct frame *frame, const struct bars *bars)
{
    char share[PLOT_TEXT_BYTES], from[PLOT_TEXT_BYTES], to[PLOT_TEXT_BYTES];

    for (unsigned b = bars->first; b <= bars->last; b++) {
        double left = px(frame, (double)b - 1), right = px(frame, (double)b);
        double value = 100.0 * (double)bars->counts[b] / (double)bars->total;
        double top = py(frame, value), bottom = py(frame, 0);
        if (bars->counts[b] == 0)
            continue;
        top = bottom - top < 1.5 ? bottom - 1.5 : top; /* a few are not none */
        fprintf(
            frame->out,
            "<rect class='bar c1' x=%.1f y=%.1f width=%.1f height=%.1f><title>%s … %s: %s</title></rect>\n",
            left + 0.5, top, right - left - 1, bottom - top,
            plot_duration(b ? exp2(((double)b - 1) / BAR_STEPS) : 0, from),
            plot_duration(exp2((double)b / BAR_STEPS), to), percent(value, share));
    }
}

/* 1, 2 and 5 of each decade as far as there is room. */
static void draw_duration_axis(const struct frame *frame)
{
    static const int heads[] = {1, 2, 5};
    char text[PLOT_TEXT_BYTES];
    double free_from = 0;

    for (int i = 0; i < 30; i++) {
        double value = heads[i % 3] * pow(10, floor(i / 3.0)), at = log2(value) * BAR_STEPS;
        if (at <= frame->x_min || at >= frame->x_max)
            continue;
        double half = (double)strlen(plot_duration(value, text)) * 4;
        if (px(frame, at) - half < free_from)
            continue;
        x_tick(frame, at, text);
        free_from = px(frame, at) + half;
    }
}

void plot_write_histogram(const char *title, const struct histogram *histogram, FILE *out)
{
    static const double quantiles[] = {0.5, 0.9, 0.99, 0.999};
    static const char *const names[] = {"p50", "p90", "p99", "p99.9"};
    struct bars bars;

    if (!count_bars(histogram, &bars))
        return;
    double low = (double)bars.first - 2, high = (double)bars.last + 1;
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
        struct frame frame = {.shape = &shapes[i], .out = out, .x_min = low, .x_max = high};
        double top = 100.0 * (double)bars.highest / (double)bars.total;
        double step = nice_step(top, shapes[i].y_ticks, false, false);
        frame.y_max = ceil(top / step) * step;
        open_svg(&shapes[i], title, out);
        draw_y_axis(&frame, percent);
        draw_duration_axis(&frame);
        draw_bars(&frame, &bars);
        struct plot_mark marks[4];
        for (size_t q = 0; q < 4; q++) {
            double value = (double)histogram_quantile(histogram, quantiles[q]);
            marks[q] = (struct plot_mark){.x = value > 1 ? log2(value) * BAR_STEPS : 0, .text = names[q]};
            marks[q].x = marks[q].x > high ? high : marks[q].x;
        }
        draw_marks(&frame, marks, 4);
        fputs("</svg>\n", out);
    }
}
