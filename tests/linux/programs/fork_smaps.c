/* What smaps, numa_maps, smaps_rollup and pagemap say of memory that processes share after fork, from both sides. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGES 12
static char *anon, *shared, *file, *copied;

static const char *fields[] = {
    "Size", "KernelPageSize", "MMUPageSize", "Rss", "Pss", "Pss_Dirty", "Shared_Clean", "Shared_Dirty", "Private_Clean",
    "Private_Dirty", "Referenced", "Anonymous", "KSM", "LazyFree", "AnonHugePages", "ShmemPmdMapped", "FilePmdMapped",
    "Shared_Hugetlb", "Private_Hugetlb", "Swap", "SwapPss", "Locked", "VmFlags",
};

/* The lines of the mapping at ``address``. */
static void smaps(char *address)
{
    char line[512];
    unsigned long start, end;
    int inside = 0;
    FILE *in = fopen("/proc/self/smaps", "r");
    while (fgets(line, sizeof line, in)) {
        if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
            inside = start == (unsigned long)address;
        else if (inside)
            for (unsigned i = 0; i < sizeof fields / sizeof *fields; i++)
                if (!strncmp(line, fields[i], strlen(fields[i])) && line[strlen(fields[i])] == ':')
                    printf("  %s", line);
    }
    fclose(in);
}

static void numa(char *address)
{
    char line[512];
    FILE *in = fopen("/proc/self/numa_maps", "r");
    while (fgets(line, sizeof line, in))
        if (strtoul(line, 0, 16) == (unsigned long)address) {
            char *name = strstr(line, "file=");
            if (name && strchr(name, ' '))
                memmove(name, strchr(name, ' '), strlen(strchr(name, ' ')) + 1);
            printf("  numa%s", strchr(line, ' '));
        }
    fclose(in);
}

static void pagemap(char *address)
{
    int fd = open("/proc/self/pagemap", O_RDONLY);
    printf("  pagemap");
    for (int i = 0; i < PAGES; i++) {
        uint64_t word = 0;
        pread(fd, &word, 8, ((uintptr_t)address / 4096 + i) * 8);
        printf(" %d%d%d", (int)(word >> 63), (int)(word >> 61 & 1), (int)(word >> 56 & 1));
    }
    printf("\n");
    close(fd);
}

static void show(const char *who)
{
    char *places[] = {anon, shared, file, copied};
    const char *names[] = {"anon", "shared", "file", "copied"};
    for (int i = 0; i < 4; i++) {
        printf("%s: %s\n", who, names[i]);
        smaps(places[i]);
        numa(places[i]);
        pagemap(places[i]);
    }
    fflush(stdout);
}

static void take_turns(int from, int to, const char *who)
{
    char byte;
    if (from >= 0)
        read(from, &byte, 1);
    show(who);
    if (to >= 0)
        write(to, "x", 1);
}

int main(int argc, char **argv)
{
    int there[2], back[2], status;
    setvbuf(stdout, malloc(1 << 16), _IOFBF, 1 << 16);
    size_t size = PAGES * 4096;
    anon = mmap(0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    shared = mmap(0, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    /* one-page files, so that large folios play no part; each mapping has one page of it */
    int fd = open(argv[1], O_RDWR | O_CREAT | O_TRUNC, 0600);
    char page[4096];
    memset(page, 1, sizeof page);
    write(fd, page, sizeof page);
    fsync(fd);
    file = mmap(0, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    copied = mmap(0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    for (int i = 0; i < 8; i++)
        anon[i * 4096] = shared[i * 4096] = 1;
    file[0] = 2;
    copied[0] = 2;
    show("before");
    pipe(there);
    pipe(back);
    pid_t child = fork();
    if (child == 0) {
        take_turns(there[0], -1, "child at first");
        anon[0] = 3;
        anon[9 * 4096] = 3;
        shared[0] = 3;
        shared[9 * 4096] = 3;
        volatile char sink = shared[4096] + file[0] + anon[10 * 4096];
        copied[0] = 3;
        take_turns(-1, back[1], "child after writing");
        char turn;
        read(there[0], &turn, 1);
        pid_t grandchild = fork();
        if (grandchild == 0) {
            take_turns(-1, -1, "grandchild");
            _exit(0);
        }
        waitpid(grandchild, &status, 0);
        take_turns(-1, back[1], "child alone");
        _exit(0);
    }
    show("parent");
    write(there[1], "x", 1);
    take_turns(back[0], there[1], "parent after the child wrote");
    char byte;
    read(back[0], &byte, 1);
    waitpid(child, &status, 0);
    show("parent alone");
    anon[4096] = 4;
    anon[0] = 4;
    show("parent writes again");
    return 0;
}
