/* Prints what /proc/kpageflags, /proc/kpagecount and pagemap say of pages whose history is known. Bits that depend on
   when the kernel drains its lists (LRU, ACTIVE, REFERENCED), on the file system (PRIVATE, MAPPEDTODISK) and on large
   folios are masked out. argv[1]: a file to make. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct { int bit; const char *name; } known[] = {
    {3, "uptodate"}, {4, "dirty"}, {10, "buddy"}, {11, "mmap"}, {12, "anon"}, {13, "swapcache"}, {14, "swapbacked"},
    {18, "unevictable"}, {20, "nopage"}, {21, "ksm"}, {24, "zero_page"}, {26, "pgtable"}, {32, "reserved"},
    {33, "mlocked"},
};
static int pagemap, flags, count;

static void show(const char *what, void *address)
{
    uint64_t entry = 0, bits = 0, users = 0;
    pread(pagemap, &entry, 8, ((uintptr_t)address >> 12) * 8);
    if (!(entry >> 63)) {
        printf("%s: absent\n", what);
        return;
    }
    uint64_t pfn = entry & ((1ull << 55) - 1);
    pread(flags, &bits, 8, pfn * 8);
    pread(count, &users, 8, pfn * 8);
    printf("%s: mapped %d times,", what, (int)users);
    for (unsigned i = 0; i < sizeof known / sizeof *known; i++)
        if (bits >> known[i].bit & 1)
            printf(" %s", known[i].name);
    if (bits >> 12 & 1)
        printf(bits >> 34 & 1 ? ", exclusive" : ", not exclusive");
    printf(", pagemap %d %d\n", (int)(entry >> 56 & 1), (int)(entry >> 61 & 1));
}

int main(int argc, char **argv)
{
    volatile char sink;
    pagemap = open("/proc/self/pagemap", O_RDONLY);
    flags = open("/proc/kpageflags", O_RDONLY);
    count = open("/proc/kpagecount", O_RDONLY);
    if (pagemap < 0 || flags < 0 || count < 0)
        return 2;
    char *anon = mmap(0, 1 << 16, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    anon[0] = 1;
    show("written", anon);
    sink = anon[4096];
    show("read", anon + 4096);
    show("untouched", anon + 8192);
    anon[4096] = 1;
    show("read, then written", anon + 4096);
    mlock(anon, 4096);
    show("locked", anon);
    munlock(anon, 4096);
    show("unlocked", anon);

    char *shared = mmap(0, 1 << 16, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    shared[0] = 1;
    show("shared, written", shared);
    char *again = mremap(shared, 0, 4096, MREMAP_MAYMOVE);
    sink = again[0];
    show("shared, mapped twice", shared);
    munmap(again, 4096);
    show("shared, mapped once more", shared);

    int fd = open(argv[1], O_RDWR | O_CREAT | O_TRUNC, 0600);
    char page[4096];
    memset(page, 1, sizeof page);
    write(fd, page, sizeof page);
    fsync(fd);
    char *file = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    sink = file[0];
    show("file, clean", file);
    file[0] = 1;
    show("file, written", file);
    msync(file, 4096, MS_SYNC);
    show("file, written back", file);
    char *copy = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    sink = copy[0];
    show("file, mapped twice", copy);
    copy[0] = 1;
    show("file, copied", copy);
    show("file, what was copied", file);
    uint64_t word;
    for (int pfn = 0; pfn < 4; pfn++) {
        pread(flags, &word, 8, pfn * 8);
        printf("frame %d: %llx\n", pfn, (unsigned long long)word);
    }
    printf("odd read: %d\n", (int)pread(flags, &word, 4, 0));
    return 0;
}
