/* plot: values as people read them, and drawings that hold no nonsense. */
#include "loadtest/plot.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void values_get_the_unit_that_suits_them(void **state)
{
    (void)state;
    static const struct {
        plot_format *format;
        double value;
        const char *text;
    } cases[] = {
        {plot_count, 0, "0"},           {plot_count, 999, "999"},
        {plot_count, 1500, "1.50k"},    {plot_count, 2e6, "2M"},
        {plot_bytes, 1536, "1.50 KiB"}, {plot_bytes, 50.0 * (1 << 20), "50 MiB"},
        {plot_duration, 870, "870 µs"}, {plot_duration, 12300, "12.3 ms"},
        {plot_duration, 3e6, "3 s"},    {plot_number, 0.125, "0.125"},
    };
    char text[PLOT_TEXT_BYTES];
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_string_equal(cases[i].format(cases[i].value, text), cases[i].text);
}

struct drawing {
    const struct plot *plot;
    const struct histogram *histogram;
};

static char *drawn(struct drawing drawing)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    assert_non_null(out);
    if (drawing.plot)
        plot_write(drawing.plot, out);
    else
        plot_write_histogram("times", drawing.histogram, out);
    assert_int_equal(fclose(out), 0);
    assert_null(strstr(text, "nan"));
    assert_null(strstr(text, "inf"));
    return text;
}

static size_t count_of(const char *text, const char *what)
{
    size_t count = 0;
    for (const char *p = text; (p = strstr(p, what)); p++)
        count++;
    return count;
}

static void whatever_the_values_are_every_plot_is_two_whole_svgs(void **state)
{
    (void)state;
    static const double x[] = {0, 0.2, 0.4, 0.6}, same[] = {1, 1, 1, 1};
    static const double shapes[][4] = {{0, 0, 0, 0},         {1, 2, 3, 4},       {NAN, 1, NAN, 5},
                                       {NAN, NAN, NAN, NAN}, {1e12, 0, 1e12, 3}, {-1, 0, -5, 2},
                                       {1e-9, 0, 0, 0},      {7, 7, 7, 7}};
    static const struct plot_mark marks[] = {{0.1, "a"}, {0.1, "b <&>"}, {0.59, "long text at the edge"}};
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++)
        for (unsigned kind = 0; kind < 3; kind++) {
            struct plot plot = {
                .title = "it's \"x\"",
                .x = x,
                .count = 4,
                .series_count = 2,
                .format = plot_bytes,
                .stacked = kind == 1,
                .log_y = kind == 2,
                .marks = marks,
                .mark_count = 3,
            };
            plot.series[0] = (struct plot_series){.name = "one", .y = shapes[i]};
            plot.series[1] = (struct plot_series){.name = "two", .y = same};
            char *text = drawn((struct drawing){.plot = &plot});
            assert_int_equal(count_of(text, "<svg"), 2);
            assert_int_equal(count_of(text, "</svg>"), 2);
            assert_int_equal(count_of(text, "it&#39;s &quot;x&quot;"), 2);
            assert_null(strstr(text, "b <&>"));
            free(text);
        }
}

static void one_point_is_no_plot(void **state)
{
    (void)state;
    static const double x[] = {0}, y[] = {1};
    struct plot plot = {.title = "", .x = x, .count = 1, .series_count = 1, .format = plot_count};
    plot.series[0].y = y;
    char *text = drawn((struct drawing){.plot = &plot});
    assert_string_equal(text, "");
    free(text);
}

static void a_histogram_of_any_values_is_drawn(void **state)
{
    (void)state;
    static struct histogram h;
    char *text = drawn((struct drawing){.histogram = &h});
    assert_string_equal(text, "");
    free(text);
    static const uint64_t values[] = {0, 1, 17, 1000, UINT64_MAX};
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        histogram_record(&h, values[i]);
        text = drawn((struct drawing){.histogram = &h});
        assert_int_equal(count_of(text, "</svg>"), 2);
        assert_true(count_of(text, "class='bar c1'") >= 2);
        free(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_get_the_unit_that_suits_them),
        cmocka_unit_test(whatever_the_values_are_every_plot_is_two_whole_svgs),
        cmocka_unit_test(one_point_is_no_plot),
        cmocka_unit_test(a_histogram_of_any_values_is_drawn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
