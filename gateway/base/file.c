#include "gateway/base/file.h"

#include <errno.h>
#include <unistd.h>

bool file_read_all(int fd, void *out, size_t bytes)
{
    size_t have = 0;
    while (have < bytes) {
        ssize_t n = read(fd, (char *)out + have, bytes - have);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        have += (size_t)n;
    }
    return true;
}
