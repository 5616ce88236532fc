/* Opens without truncating; truncates when there is something to write. */
#include "loadtest/output.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool output_open(struct output *output, const char *option, const char *path, char *error, size_t error_size)
{
    *output = (struct output){.option = option, .path = path};
    if (!path)
        return true;
    if (strcmp(path, "-") == 0) {
        output->file = stdout;
        return true;
    }
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    output->created = fd >= 0;
    if (fd < 0 && errno == EEXIST)
        fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
    output->file = fd >= 0 ? fdopen(fd, "w") : NULL;
    if (output->file)
        return true;
    snprintf(error, error_size, "%s=%s: %s", option, path, strerror(errno));
    if (fd >= 0)
        close(fd);
    return false;
}

/* A pipe or a terminal is empty already. */
static bool empty(FILE *file)
{
    struct stat about;
    return fstat(fileno(file), &about) != 0 || !S_ISREG(about.st_mode) || ftruncate(fileno(file), 0) == 0;
}

bool output_write(struct output *output, const struct load_result *result,
                  bool (*write)(const struct load_result *result, FILE *out))
{
    FILE *file = output->file;

    if (!file)
        return true;
    bool good = (file == stdout || empty(file)) && write(result, file) && fflush(file) == 0;
    int error = errno;
    output->file = NULL;
    if (file != stdout && fclose(file) != 0 && good) {
        good = false;
        error = errno;
    }
    if (!good)
        fprintf(stderr, "pushgate-load: %s=%s: %s\n", output->option, output->path, strerror(error));
    return good;
}

void output_discard(struct output *output)
{
    if (!output->file || output->file == stdout)
        return;
    fclose(output->file);
    output->file = NULL;
    if (output->created)
        unlink(output->path);
}
