/* config: values, files, arguments, help and sample against a small table of their own. */
#include "gateway/base/config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

struct sample_settings {
    char *name, *word;
    bool flag;
    uint64_t count, bytes, time;
    int choice;
    struct place *places;
    size_t place_count;
};

struct place {
    char *name, *road;
    uint64_t number;
};

#define AT(field) offsetof(struct sample_settings, field)
static const struct config_key keys[] = {
    {.name = "text.name",
     .type = CONFIG_STRING,
     .offset = AT(name),
     .default_value = "none",
     .help = "A name."},
    {.name = "text.word", .type = CONFIG_SECRET, .offset = AT(word), .default_value = "", .help = "A word."},
    {.name = "switch.flag",
     .type = CONFIG_BOOL,
     .offset = AT(flag),
     .default_value = "on",
     .help = "A flag."},
    {.name = "number.count",
     .type = CONFIG_UINT,
     .offset = AT(count),
     .default_value = "7",
     .min = 2,
     .max = 9,
     .help = "A count."},
    {.name = "number.bytes",
     .type = CONFIG_SIZE,
     .offset = AT(bytes),
     .default_value = "64KiB",
     .min = 1,
     .max = 1073741824,
     .help = "A size."},
    {.name = "number.time",
     .type = CONFIG_DURATION,
     .offset = AT(time),
     .default_value = "90s",
     .min = 1000,
     .max = 86400000,
     .zero = "never",
     .help = "A time."},
    {.name = "switch.choice",
     .type = CONFIG_ENUM,
     .offset = AT(choice),
     .default_value = "two",
     .choices = "one|two|three",
     .help = "A choice."},
};
enum { KEY_COUNT = sizeof keys / sizeof *keys };

static const struct config_key place_keys[] = {
    {.name = "place.road",
     .type = CONFIG_STRING,
     .offset = offsetof(struct place, road),
     .default_value = "",
     .help = "A road."},
    {.name = "place.number",
     .type = CONFIG_UINT,
     .offset = offsetof(struct place, number),
     .default_value = "1",
     .min = 1,
     .max = 99,
     .help = "A number."},
};
static const struct config_section places = {
    .name = "place",
    .placeholder = "NAME",
    .help = "A place.",
    .keys = place_keys,
    .key_count = 2,
    .item_bytes = sizeof(struct place),
    .items_offset = AT(places),
    .count_offset = AT(place_count),
    .max = 3,
};

struct fixture {
    struct sample_settings settings;
    struct config *config;
    char error[512];
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    f->config = config_create(keys, KEY_COUNT, &f->settings);
    if (f->config && !config_add_section(f->config, &places))
        return -1;
    *state = f;
    return f->config ? 0 : -1;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    config_destroy(f->config);
    free(f);
    return 0;
}

static bool read_text(struct fixture *f, const char *text)
{
    *f->error = '\0';
    return config_read_text(f->config, "test.conf", text, strlen(text), f->error, sizeof f->error);
}

static bool read_argument(struct fixture *f, const char *argument)
{
    *f->error = '\0';
    return config_read_argument(f->config, argument, f->error, sizeof f->error);
}

static void refuses(struct fixture *f, const char *text, const char *sentence)
{
    assert_false(read_text(f, text));
    assert_string_equal(f->error, sentence);
}

static void refuses_argument(struct fixture *f, const char *argument, const char *sentence)
{
    assert_false(read_argument(f, argument));
    assert_string_equal(f->error, sentence);
}

static void defaults_stand_before_anything_is_read(void **state)
{
    struct fixture *f = *state;
    assert_string_equal(f->settings.name, "none");
    assert_string_equal(f->settings.word, "");
    assert_true(f->settings.flag);
    assert_int_equal(f->settings.count, 7);
    assert_int_equal(f->settings.bytes, 65536);
    assert_int_equal(f->settings.time, 90000);
    assert_int_equal(f->settings.choice, 1);
}

static void a_file_sets_every_type(void **state)
{
    struct fixture *f = *state;
    assert_true(
        read_text(f, "# comment\n; comment\n\n[text]\nname = two words\n  word=p=1;2 ;3 #4\n"
                     "[switch]\r\nflag = off\r\nchoice=three\r\n[number]\ncount = 2\nbytes: 1GiB\ntime = 0"));
    assert_string_equal(f->settings.name, "two words");
    assert_string_equal(f->settings.word, "p=1;2 ;3 #4");
    assert_false(f->settings.flag);
    assert_int_equal(f->settings.choice, 2);
    assert_int_equal(f->settings.count, 2);
    assert_int_equal(f->settings.bytes, 1073741824);
    assert_int_equal(f->settings.time, 0);
}

static void sizes_and_durations_take_their_units(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *argument;
        uint64_t bytes, time;
    } rows[] = {
        {"--number.bytes=512", 512, 90000},         {"--number.bytes=512B", 512, 90000},
        {"--number.bytes=3KiB", 3072, 90000},       {"--number.bytes=2MiB", 2097152, 90000},
        {"--number.bytes=1GiB", 1073741824, 90000}, {"--number.time=1500ms", 1073741824, 1500},
        {"--number.time=30s", 1073741824, 30000},   {"--number.time=5m", 1073741824, 300000},
        {"--number.time=2h", 1073741824, 7200000},  {"--number.time=1d", 1073741824, 86400000},
        {"--number.time=0s", 1073741824, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_true(read_argument(f, rows[i].argument));
        assert_int_equal(f->settings.bytes, rows[i].bytes);
        assert_int_equal(f->settings.time, rows[i].time);
    }
}

static void errors_name_file_line_key_and_range(void **state)
{
    struct fixture *f = *state;
    refuses(f, "[number]\n\n  bytes = 70000000000\n",
            "test.conf:3: number.bytes: 70000000000 is too large; allowed: 1B … 1GiB");
    refuses(f, "[number]\nbytes = 0\n", "test.conf:2: number.bytes: 0 is too small; allowed: 1B … 1GiB");
    refuses(f, "[number]\ncount = 10\n", "test.conf:2: number.count: 10 is too large; allowed: 2 … 9");
    refuses(f, "[number]\ncount = 99999999999999999999\n",
            "test.conf:2: number.count: 99999999999999999999 is too large; allowed: 2 … 9");
    refuses(f, "[number]\nbytes = 18446744073709551615KiB\n",
            "test.conf:2: number.bytes: 18446744073709551615KiB is too large; allowed: 1B … 1GiB");
    refuses(f, "[number]\ntime = 999ms\n",
            "test.conf:2: number.time: 999ms is too small; allowed: 0: never, or 1s … 1d");
    refuses(f, "[number]\ntime = 5\n",
            "test.conf:2: number.time: \"5\" is not a duration (500ms, 30s, 5m, 2h, 1d); did you mean 5s? "
            "Allowed: 0: never, or 1s … 1d");
    refuses(f, "[number]\nbytes = 5kb\n",
            "test.conf:2: number.bytes: \"5kb\" is not a size (512, 64KiB, 1MiB, 2GiB); did you mean 5KiB? "
            "Allowed: 1B … 1GiB");
    refuses(f, "[number]\ncount = -3\n",
            "test.conf:2: number.count: \"-3\" is not a whole number; allowed: 2 … 9");
    refuses(f, "[number]\ncount =\n", "test.conf:2: number.count: the value is missing; allowed: 2 … 9");
    refuses(f, "[switch]\nflag = yes\n",
            "test.conf:2: switch.flag: \"yes\" is neither on nor off; did you mean on?");
    refuses(f, "[switch]\nchoice = tw\n",
            "test.conf:2: switch.choice: \"tw\" is not one of one, two, three; did you mean two?");
    refuses(f, "[switch]\nchoice = THREE\n",
            "test.conf:2: switch.choice: \"THREE\" is not one of one, two, three; did you mean three?");
    refuses(f, "[switch]\nchoice = two|three\n",
            "test.conf:2: switch.choice: \"two|three\" is not one of one, two, three; did you mean two?");
    refuses(f, "[text]\nname = a\tb\n", "test.conf:2: text.name: the value contains a control character");
}

static void an_unknown_key_suggests_the_nearest(void **state)
{
    struct fixture *f = *state;
    refuses(f, "[number]\ncuont = 3\n", "test.conf:2: number.cuont: unknown key; did you mean number.count?");
    refuses(f, "[numbers]\ncount = 3\n", "test.conf:1: [numbers]: unknown section; did you mean [number]?");
    refuses(f, "[text]\nflag = on\n", "test.conf:2: text.flag: unknown key; did you mean switch.flag?");
    refuses(f, "[teapot]\nshort = yes\n",
            "test.conf:1: [teapot]: unknown section; there are [text], [switch], [number], [switch], [place "
            "NAME]");
    refuses(f, "[text]\nquantity = 3\n", "test.conf:2: text.quantity: unknown key; [text] has name, word");
    refuses_argument(f, "--bytes=3", "--bytes: unknown key; did you mean number.bytes?");
}

static void a_section_that_repeats_makes_an_item_of_each_name(void **state)
{
    struct fixture *f = *state;
    char text[512], name[260];
    memset(name, 'n', sizeof name);
    name[255] = '\0';
    snprintf(
        text, sizeof text,
        "\xef\xbb\xbf[place north]\nroad = High Street\n[text]\nname = x\n[place \t south:*]\nnumber = 7\n"
        "[place north]\nnumber = 12\n[place %s]\nroad = long\n",
        name);
    if (!read_text(f, text))
        fail_msg("%s", f->error);
    assert_int_equal(f->settings.place_count, 3);
    assert_string_equal(f->settings.places[0].name, "north");
    assert_string_equal(f->settings.places[0].road, "High Street");
    assert_int_equal(f->settings.places[0].number, 12);
    assert_string_equal(f->settings.places[1].name, "south:*");
    assert_string_equal(f->settings.places[1].road, "");
    assert_int_equal(f->settings.places[1].number, 7);
    assert_string_equal(f->settings.places[2].name, name);
    assert_string_equal(f->settings.places[2].road, "long");
    assert_string_equal(f->settings.name, "x");
    /* A second text may say it differently. */
    assert_true(read_text(f, "[place north]\nroad = Low Road\n"));
    assert_string_equal(f->settings.places[0].road, "Low Road");
    refuses(f, "[place fourth]\nnumber = 1\n", "test.conf:1: [place fourth]: there may be 3 such sections");
}

static void a_section_without_keys_is_an_item_too(void **state)
{
    struct fixture *f = *state;
    assert_true(read_text(f, "[place b[a-z]]\n[place a]\nroad = x\n"));
    assert_int_equal(f->settings.place_count, 2);
    assert_string_equal(f->settings.places[0].name, "b[a-z]");
    assert_string_equal(f->settings.places[0].road, "");
    assert_int_equal(f->settings.places[0].number, 1);
    assert_string_equal(f->settings.places[1].name, "a");
}

static void a_complaint_says_where_each_of_its_settings_stands(void **state)
{
    struct fixture *f = *state;
    assert_true(read_text(f, "[number]\n\ncount = 3\ntime = 90000ms\n[text]\nword = secret\n[place "
                             "north]\nnumber = 5\n"));
    assert_true(read_argument(f, "--number.bytes=2048"));
    snprintf(f->error, sizeof f->error,
             "number.time and number.count disagree with number.bytes, text.word, switch.choice.");
    config_blame(f->config, f->error, sizeof f->error);
    assert_string_equal(
        f->error,
        "test.conf:4: number.time and number.count disagree with number.bytes, text.word, switch.choice."
        "\n  test.conf:3: number.count = 3"
        "\n  command line: --number.bytes=2KiB"
        "\n  test.conf:6: text.word = (secret)"
        "\n  by default: switch.choice = two");
    snprintf(f->error, sizeof f->error, "number.bytes: this is not good");
    config_blame(f->config, f->error, sizeof f->error);
    assert_string_equal(f->error, "--number.bytes: this is not good");
    /* Names within names are others', and a section that repeats has lines of its own. */
    snprintf(f->error, sizeof f->error,
             "test.conf:8: [place north] number: xnumber.count number.counter number.count.x");
    config_blame(f->config, f->error, sizeof f->error);
    assert_string_equal(f->error,
                        "test.conf:8: [place north] number: xnumber.count number.counter number.count.x"
                        "\n  test.conf:8: [place north] number = 5");
    /* What does not fit is cut. */
    snprintf(f->error, 48, "too much: number.count, text.word");
    config_blame(f->config, f->error, 48);
    assert_string_equal(f->error, "too much: number.count, text.word\n  test.conf:3");
}

static void errors_in_a_section_that_repeats_are_named(void **state)
{
    struct fixture *f = *state;
    refuses(f, "[place a b]\nroad = x\n", "test.conf:1: [place a b]: a name has no blanks");
    refuses(f, "[place ]\nroad = x\n", "test.conf:1: [place ]: this section needs a name: [place NAME]");
    refuses(f, "[place]\nroad = x\n", "test.conf:1: [place]: this section needs a name: [place NAME]");
    refuses(f, "[place a]\nnumber = 100\n",
            "test.conf:2: [place a] number: 100 is too large; allowed: 1 … 99");
    refuses(f, "[place a]\nroda = x\n", "test.conf:2: [place a] roda: unknown key; did you mean road?");
    refuses(f, "[place a]\nroad = x\nroad = y\n", "test.conf:3: [place a] road: set twice, first on line 2");
    refuses_argument(f, "--place.road=x", "--place.road: unknown key; --help lists all keys");
    char text[512] = "[place ";
    memset(text + 7, 'n', 400);
    snprintf(text + 407, sizeof text - 407, "]\nroad = x\n");
    refuses(f, text, "test.conf:1: the section's name is too long");
}

static void malformed_lines_are_named(void **state)
{
    struct fixture *f = *state;
    refuses(f, "[text] name = x\n",
            "test.conf:1: something stands behind [section]; it needs a line of its own");
    assert_true(read_text(f, "[text] ; a comment with ]\nname = z\n"));
    assert_string_equal(f->settings.name, "z");
    refuses(f, "[text]\nname\n[number]\ncount = 99\n",
            "test.conf:2: expected \"key = value\" or \"[section]\"");
    refuses(f, "[text\nname = x\n", "test.conf:1: expected \"key = value\" or \"[section]\"");
    refuses(f, "name = x\n", "test.conf:1: name stands before any [section]");
    refuses(f, "[text extra]\nname = x\n", "test.conf:1: [text extra]: this section takes no name");
    refuses(f, "[text]\nname = a\n\nname = b\n", "test.conf:4: text.name: set twice, first on line 2");
    assert_false(config_read_text(f->config, "t", "[text]\nname=a\0b\n", 16, f->error, sizeof f->error));
    assert_string_equal(f->error, "t:2: the line contains a NUL byte");
}

static void an_indented_line_does_not_continue_the_one_above(void **state)
{
    struct fixture *f = *state;
    assert_true(read_text(f, "[number]\n  count = 3\n\tbytes = 4\n"));
    assert_int_equal(f->settings.count, 3);
    assert_int_equal(f->settings.bytes, 4);
}

static void long_lines_are_read_whole_or_refused(void **state)
{
    struct fixture *f = *state;
    char text[20000];
    /* A comment may be of any length. */
    memset(text, '#', 10000);
    memcpy(text + 10000, "\n[text]\nname = y\n", 18);
    assert_true(read_text(f, text));
    assert_string_equal(f->settings.name, "y");
    /* Values are never cut. */
    for (size_t len = 100; len < 6000; len += 97) {
        size_t at = (size_t)sprintf(text, "[text]\nname = ");
        memset(text + at, 'x', len);
        memcpy(text + at + len, "\n", 2);
        if (read_text(f, text))
            assert_int_equal(strlen(f->settings.name), len);
        else
            assert_non_null(strstr(f->error, "test.conf:2: the line is longer than"));
    }
    assert_non_null(strstr(f->error, "longer"));
}

static void arguments_win_over_the_file(void **state)
{
    struct fixture *f = *state;
    assert_true(read_text(f, "[number]\ncount = 3\n"));
    assert_true(read_argument(f, "--number.count=4"));
    assert_int_equal(f->settings.count, 4);
    assert_true(read_argument(f, "--text.name="));
    assert_string_equal(f->settings.name, "");
    assert_true(read_argument(f, "--text.name=a=b"));
    assert_string_equal(f->settings.name, "a=b");
}

static void bad_arguments_get_one_sentence(void **state)
{
    struct fixture *f = *state;
    refuses_argument(f, "--number.count=1", "--number.count: 1 is too small; allowed: 2 … 9");
    refuses_argument(f, "--number.bytes", "--number.bytes needs a value: --number.bytes=SIZE");
    refuses_argument(f, "--", "--: expected --section.key=value");
    refuses_argument(f, "number.count=3", "number.count: expected --section.key=value");
    char longest[3000] = "--";
    memset(longest + 2, 'k', sizeof longest - 3);
    assert_false(read_argument(f, longest));
}

static void files_that_cannot_be_read_say_why(void **state)
{
    struct fixture *f = *state;
    assert_false(config_read_file(f->config, "/nonexistent/x.conf", f->error, sizeof f->error));
    assert_string_equal(f->error, "/nonexistent/x.conf: cannot open it: No such file or directory");
    assert_false(config_read_file(f->config, "/", f->error, sizeof f->error));
    assert_string_equal(f->error, "/: cannot read it: Is a directory");
    assert_false(config_read_file(f->config, "/dev/zero", f->error, sizeof f->error));
    assert_string_equal(f->error, "/dev/zero: the file is longer than 1 MiB");
}

/* A file with this text under a name that lives until the next call. */
static const char *file_with(const void *text, size_t len)
{
    static char path[32];
    if (*path)
        unlink(path);
    snprintf(path, sizeof path, "%s", "/tmp/test_config_XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, len), len);
    close(fd);
    return path;
}

static void refuses_secret_in(struct fixture *f, const char *path, const char *sentence)
{
    char argument[64], expected[256];
    snprintf(argument, sizeof argument, "--text.word_file=%s", path);
    snprintf(expected, sizeof expected, "--text.word_file: %s: %s", path, sentence);
    refuses_argument(f, argument, expected);
}

static void a_secret_may_be_in_a_file_of_its_own(void **state)
{
    struct fixture *f = *state;
    char text[128];
    const char *const path = file_with("p=1;2 ;3 #4 \r\n", 14);
    snprintf(text, sizeof text, "[text]\nword_file = %s\n", path);
    assert_true(read_text(f, text));
    assert_string_equal(f->settings.word, "p=1;2 ;3 #4 ");
    assert_true(read_argument(f, "--text.word=other"));
    snprintf(text, sizeof text, "--text.word_file=%s", path);
    assert_true(read_argument(f, text));
    assert_string_equal(f->settings.word, "p=1;2 ;3 #4 ");

    refuses(f, "[text]\nword = a\nword_file = b\n",
            "test.conf:3: text.word_file: set twice, first on line 2");
    refuses(f, "[text]\nname_file = a\n",
            "test.conf:2: text.name_file: unknown key; did you mean text.name?");
    refuses_argument(f, "--text.word_file", "--text.word_file needs a value: --text.word_file=FILE");
    refuses_argument(f, "--_file=x", "--_file: unknown key; --help lists all keys");
    refuses_secret_in(f, "/nonexistent/secret", "cannot open it: No such file or directory");
    refuses_secret_in(f, file_with("", 0), "the file is empty");
    refuses_secret_in(f, file_with("\n", 1), "the file is empty");
    refuses_secret_in(f, file_with("one\ntwo\n", 8), "the file must have one line of text");
    refuses_secret_in(f, file_with("one\0two", 7), "the file must have one line of text");
    refuses_argument(f, "--text.word_file=/dev/zero",
                     "--text.word_file: /dev/zero: the file is longer than 1 MiB");
    assert_string_equal(f->settings.word, "a"); /* the last that was good */
    unlink(file_with("x", 1));
}

static void a_file_is_read_like_its_text(void **state)
{
    struct fixture *f = *state;
    char path[] = "/tmp/test_config_XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "[number]\ncount = 5\n", 19), 19);
    close(fd);
    assert_true(config_read_file(f->config, path, f->error, sizeof f->error));
    unlink(path);
    assert_int_equal(f->settings.count, 5);
}

static void no_message_overflows_a_small_buffer(void **state)
{
    struct fixture *f = *state;
    char small[8];
    memset(f->error, '!', sizeof f->error);
    assert_false(config_read_argument(f->config, "--number.count=1", small, sizeof small));
    assert_int_equal(strlen(small), sizeof small - 1);
}

/* Prints with `print` into a new string. */
static char *printed(void (*print)(const struct config_key *, size_t, FILE *), size_t *len)
{
    char *text = NULL;
    FILE *out = open_memstream(&text, len);
    print(keys, KEY_COUNT, out);
    fclose(out);
    return text;
}

static void the_sample_parses_to_the_defaults_commented_or_not(void **state)
{
    struct fixture *f = *state;
    struct sample_settings before = f->settings;
    size_t len;
    char *sample = printed(config_print_sample, &len);
    assert_true(read_text(f, sample));
    size_t settings = 0;
    for (char *line = sample; line; line = strchr(line + 1, '\n')) {
        char *hash = *line == '\n' ? line + 1 : line;
        if (hash[0] == '#' && hash[1] != ' ') {
            *hash = ' ';
            settings++;
        }
    }
    assert_int_equal(settings, KEY_COUNT);
    assert_true(read_argument(f, "--number.count=3"));
    assert_true(read_text(f, sample));
    assert_string_equal(f->settings.name, "none");
    assert_int_equal(f->settings.count, before.count);
    assert_int_equal(f->settings.time, before.time);
    free(sample);
}

static void help_names_every_key_with_range_and_default(void **state)
{
    (void)state;
    size_t len;
    char *help = printed(config_print_help, &len);
    for (size_t i = 0; i < KEY_COUNT; i++)
        assert_non_null(strstr(help, keys[i].name));
    assert_non_null(strstr(help, "--number.count=NUMBER"));
    assert_non_null(strstr(help, "(2 … 9; default 7)"));
    assert_non_null(strstr(help, "(0: never, or 1s … 1d; default 90s)"));
    assert_non_null(strstr(help, "(one, two, three; default two)"));
    free(help);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(defaults_stand_before_anything_is_read),
        TEST(a_file_sets_every_type),
        TEST(sizes_and_durations_take_their_units),
        TEST(errors_name_file_line_key_and_range),
        TEST(an_unknown_key_suggests_the_nearest),
        TEST(a_section_that_repeats_makes_an_item_of_each_name),
        TEST(a_section_without_keys_is_an_item_too),
        TEST(a_complaint_says_where_each_of_its_settings_stands),
        TEST(errors_in_a_section_that_repeats_are_named),
        TEST(malformed_lines_are_named),
        TEST(an_indented_line_does_not_continue_the_one_above),
        TEST(long_lines_are_read_whole_or_refused),
        TEST(arguments_win_over_the_file),
        TEST(bad_arguments_get_one_sentence),
        TEST(files_that_cannot_be_read_say_why),
        TEST(a_secret_may_be_in_a_file_of_its_own),
        TEST(a_file_is_read_like_its_text),
        TEST(no_message_overflows_a_small_buffer),
        TEST(the_sample_parses_to_the_defaults_commented_or_not),
        TEST(help_names_every_key_with_range_and_default),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
