/* Networks out of text, and sorted ranges of them. */
#include "gateway/base/cidr.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { WORD_MAX = 64, FILE_MAX = 128 * 1024 * 1024 };

static const char between[] = " ,\t\r\n";

/* Both ends belong to it. */
struct range4 {
    uint32_t first, last;
};
struct number6 {
    uint64_t high, low;
};
struct range6 {
    struct number6 first, last;
};

struct cidr_set {
    struct range4 *v4;
    struct range6 *v6;
    size_t v4_count, v4_room, v6_count, v6_room;
    bool has_unix;
};

/* Numbers
 * -------------------------------------------------------------------------------------------------------------
 */

static uint32_t number4(const uint8_t ip[4])
{
    return (uint32_t)ip[0] << 24 | (uint32_t)ip[1] << 16 | (uint32_t)ip[2] << 8 | ip[3];
}

static struct number6 number6(const uint8_t ip[16])
{
    return (struct number6){(uint64_t)number4(ip) << 32 | number4(ip + 4),
                            (uint64_t)number4(ip + 8) << 32 | number4(ip + 12)};
}

static int compare6(struct number6 a, struct number6 b)
{
    if (a.high != b.high)
        return a.high < b.high ? -1 : 1;
    return a.low < b.low ? -1 : a.low > b.low;
}

/* a + 1; of the last number the first. */
static struct number6 next6(struct number6 a)
{
    a.low++;
    a.high += a.low == 0;
    return a;
}

/* The bits behind a prefix of so many. */
static uint32_t host_bits4(unsigned prefix)
{
    return prefix == 0 ? UINT32_MAX : prefix >= 32 ? 0 : UINT32_MAX >> prefix;
}

static struct number6 host_bits6(unsigned prefix)
{
    uint64_t high = prefix >= 64 ? 0 : UINT64_MAX >> prefix;
    uint64_t low = prefix <= 64 ? UINT64_MAX : prefix >= 128 ? 0 : UINT64_MAX >> (prefix - 64);
    return (struct number6){high, low};
}

/* Adding
 * --------------------------------------------------------------------------------------------------------------
 */

/* Room for one more of `bytes`. */
static bool reserve(void **items, size_t count, size_t *room, size_t bytes)
{
    if (count < *room)
        return true;
    size_t wanted = *room ? *room * 2 : 8;
    void *more = realloc(*items, wanted * bytes);
    if (!more)
        return false;
    *items = more;
    *room = wanted;
    return true;
}

static bool add4(struct cidr_set *set, uint32_t first, uint32_t last)
{
    if (!reserve((void **)&set->v4, set->v4_count, &set->v4_room, sizeof *set->v4))
        return false;
    set->v4[set->v4_count++] = (struct range4){first, last};
    return true;
}

static bool add6(struct cidr_set *set, struct number6 first, struct number6 last)
{
    if (!reserve((void **)&set->v6, set->v6_count, &set->v6_room, sizeof *set->v6))
        return false;
    set->v6[set->v6_count++] = (struct range6){first, last};
    return true;
}

/* 1 to 3 digits without a sign or a leading zero, up to `most`. */
static bool read_prefix(const char *text, unsigned most, unsigned *out)
{
    size_t len = strlen(text);
    unsigned value = 0;
    if (len == 0 || len > 3 || strspn(text, "0123456789") != len || (len > 1 && *text == '0'))
        return false;
    for (; *text; text++)
        value = value * 10 + (unsigned)(*text - '0');
    *out = value;
    return value <= most;
}

static const char *const form = "write 10.0.0.0/8, 192.0.2.7, 2001:db8::/32 or unix";

static bool bits_behind(const char *word, unsigned prefix, const void *ip, int family, char *error,
                        size_t size)
{
    char network[INET6_ADDRSTRLEN];
    if (!inet_ntop(family, ip, network, sizeof network))
        *network = '\0';
    snprintf(error, size, "\"%s\" has bits behind its prefix of %u: write %s/%u, or the address alone", word,
             prefix, network, prefix);
    return false;
}

static bool no_memory(char *error, size_t size)
{
    snprintf(error, size, "out of memory");
    return false;
}

static bool add_word4(struct cidr_set *set, const char *word, const uint8_t ip[4], unsigned prefix,
                      char *error, size_t size)
{
    uint32_t host = host_bits4(prefix), first = number4(ip);
    if (first & host) {
        uint32_t masked = htonl(first & ~host);
        return bits_behind(word, prefix, &masked, AF_INET, error, size);
    }
    return add4(set, first, first | host) || no_memory(error, size);
}

static bool add_word6(struct cidr_set *set, const char *word, const uint8_t ip[16], unsigned prefix,
                      char *error, size_t size)
{
    struct number6 host = host_bits6(prefix), first = number6(ip);
    if ((first.high & host.high) || (first.low & host.low)) {
        uint8_t masked[16];
        for (unsigned i = 0; i < 16; i++) {
            unsigned kept = prefix > 8 * i ? prefix - 8 * i : 0;
            masked[i] = kept >= 8 ? ip[i] : (uint8_t)(ip[i] & ~(0xff >> kept));
        }
        return bits_behind(word, prefix, masked, AF_INET6, error, size);
    }
    struct number6 last = {first.high | host.high, first.low | host.low};
    return add6(set, first, last) || no_memory(error, size);
}

/* One network. */
static bool add_word(struct cidr_set *set, const char *text, size_t len, char *error, size_t size)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    char word[WORD_MAX], host[WORD_MAX];
    uint8_t ip[16];
    unsigned prefix = 128;
    if (len == 4 && memcmp(text, "unix", 4) == 0) {
        set->has_unix = true;
        return true;
    }
    if (set->v4_count + set->v6_count >= CIDR_NETWORKS_MAX) {
        snprintf(error, size, "more than %d networks", CIDR_NETWORKS_MAX);
        return false;
    }
    snprintf(word, sizeof word, "%.*s", (int)(len < WORD_MAX ? len : WORD_MAX), text);
    memcpy(host, word, sizeof host);
    char *slash = strchr(host, '/');
    if (slash)
        *slash = '\0';
    bool is4 = inet_pton(AF_INET, host, ip) == 1, is6 = !is4 && inet_pton(AF_INET6, host, ip) == 1;
    if (len >= WORD_MAX || (!is4 && !is6)) {
        snprintf(error, size, "\"%s\" is no network: %s (names are not looked up)", word, form);
        return false;
    }
    if (slash && !read_prefix(slash + 1, is4 ? 32 : 128, &prefix)) {
        snprintf(error, size, "\"%s\": the prefix must be a number from 0 to %d; %s", word, is4 ? 32 : 128,
                 form);
        return false;
    }
    if (is4)
        return add_word4(set, word, ip, slash ? prefix : 32, error, size);
    if (prefix >= 96 && memcmp(ip, mapped, sizeof mapped) == 0)
        return add_word4(set, word, ip + sizeof mapped, prefix - 96, error, size);
    return add_word6(set, word, ip, prefix, error, size);
}

static bool add_list(struct cidr_set *set, const char *at, const char *end, char *error, size_t size)
{
    while (at < end) {
        const char *start = at;
        while (at < end && !strchr(between, *at))
            at++;
        if (at > start && !add_word(set, start, (size_t)(at - start), error, size))
            return false;
        at += at < end;
    }
    return true;
}

/* Sorting
 * -------------------------------------------------------------------------------------------------------------
 */

static int by_first4(const void *a, const void *b)
{
    uint32_t x = ((const struct range4 *)a)->first, y = ((const struct range4 *)b)->first;
    return x < y ? -1 : x > y;
}

static int by_first6(const void *a, const void *b)
{
    return compare6(((const struct range6 *)a)->first, ((const struct range6 *)b)->first);
}

/* Makes one range of those that overlap or touch. */
static void settle4(struct cidr_set *set)
{
    if (set->v4_count < 2)
        return;
    qsort(set->v4, set->v4_count, sizeof *set->v4, by_first4);
    size_t kept = 0;
    for (size_t i = 1; i < set->v4_count; i++) {
        struct range4 *last = &set->v4[kept], one = set->v4[i];
        if (last->last == UINT32_MAX || one.first <= last->last + 1)
            last->last = one.last > last->last ? one.last : last->last;
        else
            set->v4[++kept] = one;
    }
    set->v4_count = kept + 1;
}

static void settle6(struct cidr_set *set)
{
    if (set->v6_count < 2)
        return;
    qsort(set->v6, set->v6_count, sizeof *set->v6, by_first6);
    size_t kept = 0;
    for (size_t i = 1; i < set->v6_count; i++) {
        struct range6 *last = &set->v6[kept], one = set->v6[i];
        struct number6 next = next6(last->last);
        bool at_end = next.high == 0 && next.low == 0;
        if (at_end || compare6(one.first, next) <= 0)
            last->last = compare6(one.last, last->last) > 0 ? one.last : last->last;
        else
            set->v6[++kept] = one;
    }
    set->v6_count = kept + 1;
}

/* Files
 * ---------------------------------------------------------------------------------------------------------------
 */

/* The whole file, or NULL with a sentence. */
static char *read_file(const char *path, size_t *bytes, char *error, size_t size)
{
    struct stat st;
    char *text = NULL;
    size_t have = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0 || fstat(fd, &st) != 0) {
        snprintf(error, size, "%s: %s", path, strerror(errno));
    } else if (!S_ISREG(st.st_mode) || st.st_size > FILE_MAX) {
        snprintf(error, size, "%s: must be a file of at most %d MiB", path, FILE_MAX / 1024 / 1024);
    } else if (!(text = malloc((size_t)st.st_size + 1))) {
        no_memory(error, size);
    } else {
        ssize_t n = 1;
        while (have < (size_t)st.st_size && n > 0) {
            n = read(fd, text + have, (size_t)st.st_size - have);
            have += n > 0 ? (size_t)n : 0;
        }
        if (n < 0 || have != (size_t)st.st_size) {
            snprintf(error, size, "%s: %s", path,
                     n < 0 ? strerror(errno) : "it became shorter while it was read: replace it by rename");
            free(text);
            text = NULL;
        }
    }
    if (fd >= 0)
        close(fd);
    *bytes = have;
    return text;
}

static bool add_file(struct cidr_set *set, const char *path, char *error, size_t size)
{
    size_t bytes;
    char *text = read_file(path, &bytes, error, size);
    if (!text)
        return false;
    bool good = true;
    const char *at = text, *end = text + bytes;
    for (unsigned line = 1; good && at < end; line++) {
        char why[192];
        const char *newline = memchr(at, '\n', (size_t)(end - at)), *stop = newline ? newline : end;
        const char *comment = memchr(at, '#', (size_t)(stop - at));
        good = add_list(set, at, comment ? comment : stop, why, sizeof why);
        if (!good)
            snprintf(error, size, "%s:%u: %s", path, line, why);
        at = newline ? newline + 1 : end;
    }
    free(text);
    return good;
}

/* Sets
 * ----------------------------------------------------------------------------------------------------------------
 */

struct cidr_set *cidr_set_create(const char *list, const char *file, char *error, size_t error_size)
{
    struct cidr_set *set = calloc(1, sizeof *set);
    if (!set) {
        no_memory(error, error_size);
        return NULL;
    }
    if (!add_list(set, list, list + strlen(list), error, error_size) ||
        (*file && !add_file(set, file, error, error_size))) {
        cidr_set_destroy(set);
        return NULL;
    }
    settle4(set);
    settle6(set);
    return set;
}

void cidr_set_destroy(struct cidr_set *set)
{
    if (!set)
        return;
    free(set->v4);
    free(set->v6);
    free(set);
}

bool cidr_list_check(const char *list, char *error, size_t error_size)
{
    struct cidr_set *set = cidr_set_create(list, "", error, error_size);
    cidr_set_destroy(set);
    return set != NULL;
}

static bool has4(const struct cidr_set *set, uint32_t number)
{
    size_t low = 0,
           high = set->v4_count; /* the last range that begins at or before `number` is before `high` */
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (set->v4[middle].first <= number)
            low = middle + 1;
        else
            high = middle;
    }
    return low > 0 && set->v4[low - 1].last >= number;
}

static bool has6(const struct cidr_set *set, struct number6 number)
{
    size_t low = 0, high = set->v6_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (compare6(set->v6[middle].first, number) <= 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low > 0 && compare6(set->v6[low - 1].last, number) >= 0;
}

bool cidr_set_has(const struct cidr_set *set, const struct address *address)
{
    switch (address->family) {
    case ADDRESS_IPV4:
        return has4(set, number4(address->ip));
    case ADDRESS_IPV6:
        return has6(set, number6(address->ip));
    case ADDRESS_UNIX:
        return set->has_unix;
    default:
        return false;
    }
}

bool cidr_set_empty(const struct cidr_set *set)
{
    return set->v4_count == 0 && set->v6_count == 0 && !set->has_unix;
}

size_t cidr_set_ranges(const struct cidr_set *set)
{
    return set->v4_count + set->v6_count;
}
