/* THPeligible in smaps of mappings that nobody touches. argv[1]: a file to make. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void show(const char *what, char *address)
{
    char line[512];
    unsigned long start, end;
    int inside = 0;
    FILE *in = fopen("/proc/self/smaps", "r");
    while (fgets(line, sizeof line, in)) {
        if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
            inside = start <= (unsigned long)address && (unsigned long)address < end;
        else if (inside && (!strncmp(line, "THPeligible", 11) || !strncmp(line, "VmFlags", 7)))
            printf("%s: %s", what, line);
    }
    fclose(in);
}

int main(int argc, char **argv)
{
    size_t mb = 1 << 20;
    int rw = PROT_READ | PROT_WRITE, anonymous = MAP_PRIVATE | MAP_ANONYMOUS;
    char *arena = mmap(0, 64 * mb, PROT_NONE, anonymous | MAP_NORESERVE, -1, 0);
    char *base = (char *)(((unsigned long)arena + 2 * mb - 1) & -(2 * mb));
    char *plain = mmap(base, 8 * mb, rw, anonymous | MAP_FIXED, -1, 0);
    show("plain", plain);
    madvise(plain, 8 * mb, MADV_HUGEPAGE);
    show("asked for", plain);
    madvise(plain, 8 * mb, MADV_NOHUGEPAGE);
    show("declined", plain);
    char *small = mmap(base + 16 * mb, mb, rw, anonymous | MAP_FIXED, -1, 0);
    madvise(small, mb, MADV_HUGEPAGE);
    show("too small", small);
    char *across = mmap(base + 21 * mb, 2 * mb, rw, anonymous | MAP_FIXED, -1, 0);
    madvise(across, 2 * mb, MADV_HUGEPAGE);
    show("no whole block", across);
    char *exact = mmap(base + 26 * mb, 2 * mb, rw, anonymous | MAP_FIXED, -1, 0);
    madvise(exact, 2 * mb, MADV_HUGEPAGE);
    show("one block", exact);
    char *none = mmap(base + 30 * mb, 4 * mb, PROT_NONE, anonymous | MAP_FIXED, -1, 0);
    madvise(none, 4 * mb, MADV_HUGEPAGE);
    show("no access", none);
    char *shared = mmap(base + 36 * mb, 4 * mb, rw, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    madvise(shared, 4 * mb, MADV_HUGEPAGE);
    show("shared", shared);
    int fd = open(argv[1], O_RDWR | O_CREAT | O_TRUNC, 0600);
    ftruncate(fd, 8 * mb);
    char *file = mmap(base + 44 * mb, 4 * mb, rw, MAP_PRIVATE | MAP_FIXED, fd, 0);
    madvise(file, 4 * mb, MADV_HUGEPAGE);
    show("private file", file);
    return 0;
}
