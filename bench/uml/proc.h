/* What both programs of this folder need: /proc read without the C library's buffers, and anonymous memory. */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE 4096UL

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

/* One read of a file in /proc, without the C library's buffers. */
static const char *text_of(const char *path)
{
    static char text[1 << 15];
    int fd = open(path, O_RDONLY);
    size_t got = 0;
    ssize_t n;
    if (fd < 0)
        fail(path);
    while ((n = read(fd, text + got, sizeof text - 1 - got)) > 0)
        got += n;
    close(fd);
    text[got] = 0;
    return text;
}

/* The number behind a name in such a text; 0 where it is not there. */
static long field(const char *text, const char *name)
{
    size_t length = strlen(name);
    for (const char *line = text; line && *line; line = strchr(line, '\n'), line = line ? line + 1 : line)
        if (!strncmp(line, name, length) && (line[length] == ' ' || line[length] == ':'))
            return strtol(line + length + 1, 0, 10);
    return 0;
}

/* KiB of page blocks that are kept for urgent requests, and that no program gets: of the only zone. */
static unsigned long reserved_kb(void)
{
    const char *text = text_of("/proc/pagetypeinfo"), *blocks = strstr(text, "Number of blocks type");
    unsigned long unmovable, movable, reclaimable, urgent = 0;
    blocks = blocks ? strstr(blocks, "Normal") : 0;
    if (blocks && sscanf(blocks, "Normal %lu %lu %lu %lu", &unmovable, &movable, &reclaimable, &urgent) != 4)
        urgent = 0;
    return urgent * field(text, "Pages per block") * (PAGE / 1024);
}

/* KiB that wait on the CPUs' own lists: free pages, too, which MemFree leaves out. */
static unsigned long pcp_kb(void)
{
    unsigned long count, sum = 0;
    for (const char *line = text_of("/proc/zoneinfo"); line; line = strchr(line, '\n'), line = line ? line + 1 : line)
        if (sscanf(line, " count: %lu", &count) == 1)
            sum += count;
    return sum * (PAGE / 1024);
}

static volatile uint64_t *anonymous(uint64_t pages)
{
    void *p = mmap(0, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        fail("mmap");
    return p;
}
