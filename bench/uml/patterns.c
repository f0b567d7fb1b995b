/* Patterns of access under memory pressure, the same program on a real kernel and in the model.
 *
 *   patterns cyclic PAGES ROUNDS          every page in turn, more than RAM holds
 *   patterns zipf PAGES STEPS             popular pages often, the others seldom
 *   patterns scan HOT COLD STEPS          a hot set at random, and now and then once through a cold one
 *   patterns stream PAGES FILE STEPS      a file is read from end to end beside an anonymous set in use
 *   patterns sets PAGES FILE FIRST STEPS  the first pages of a file are read at random beside an anonymous set in use
 *   patterns fork PAGES CHILDREN STEPS    children write to what they share with their parent
 *
 * Prints what /proc/vmstat counted meanwhile ("name difference"), what was free and the page cache when it began, and how
 * memory was divided between files and anonymous pages, as the mean over the run. The contents of every page are checked.
 *
 * What is accessed again and again is written: a user-mode Linux takes the rights to read and to write off a page whose
 * accessed bit it has cleared, but not that to execute, and a processor without protection keys lets one read what one
 * may execute. There it learns of stores only. And it takes code away that is in use: the program's own is locked.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proc.h"

static uint64_t seed = 20261121;

static uint64_t random_below(uint64_t limit)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (seed >> 33) % limit;
}

static char before[1 << 15];  /* /proc/vmstat when the pattern began */
static uint64_t samples, reserved;

/* What memory is used for, as means over the run: two fields of /proc/meminfo each. */
static struct { const char *name, *first, *second; uint64_t sum; } uses[] = {
    {"anon_kb", "Active(anon)", "Inactive(anon)", 0}, {"file_kb", "Active(file)", "Inactive(file)", 0},
    {"free_kb", "MemFree", "-", 0}, {"slab_kb", "Slab", "-", 0}, {"tables_kb", "PageTables", "KernelStack", 0},
    {"swapcached_kb", "SwapCached", "-", 0},
};
enum { USES = sizeof uses / sizeof *uses };

static void sample(void)
{
    const char *text;
    reserved += reserved_kb();
    text = text_of("/proc/meminfo");
    samples++;
    for (int i = 0; i < USES; i++)
        uses[i].sum += field(text, uses[i].first) + field(text, uses[i].second);
}

static void begin(void)
{
    const char *text;
    printf("min_free_kbytes %lu\n", strtoul(text_of("/proc/sys/vm/min_free_kbytes"), 0, 10));
    text = text_of("/proc/meminfo");
    printf("memfree_kb %lu\n", (unsigned long)field(text, "MemFree"));
    printf("cache_kb %lu\n", (unsigned long)(field(text, "Active(file)") + field(text, "Inactive(file)")));
    printf("pcp_kb %lu\n", pcp_kb());
    fflush(stdout);
    strcpy(before, text_of("/proc/vmstat"));
}

static void end(void)
{
    char name[64];
    sample();
    for (const char *line = text_of("/proc/vmstat"); line; line = strchr(line, '\n'), line = line ? line + 1 : line)
        if (sscanf(line, "%63s", name) == 1)
            printf("%s %ld\n", name, (long)(field(line, name) - field(before, name)));
    for (int i = 0; i < USES; i++)
        printf("%s %lu\n", uses[i].name, (unsigned long)(uses[i].sum / samples));
    printf("reserved_kb %lu\n", (unsigned long)(reserved / samples));
}

static volatile uint64_t *word(volatile uint64_t *area, uint64_t page)
{
    return area + page * (PAGE / 8) + page % 512;
}

static void check(volatile uint64_t *area, uint64_t page)
{
    uint64_t got = *word(area, page);
    if (got != 0 && got != page + 1) {
        fprintf(stderr, "page %lu holds %lu\n", (unsigned long)page, (unsigned long)got);
        exit(2);
    }
}

/* A store comes before the look at what is there, so that the fault that brings a page back is one for a store: then
 * every kernel gives its slot up. After a read it stays: on a port whose swap entries have no bit for "nobody else's",
 * as that to user mode, until the first store, elsewhere longer. */
static void touch(volatile uint64_t *area, uint64_t page, int write)
{
    if (write)
        area[page * (PAGE / 8) + (page + 1) % 512] = page;
    check(area, page);
    if (write)
        *word(area, page) = page + 1;
}

static void fill(volatile uint64_t *area, uint64_t pages)
{
    for (uint64_t i = 0; i < pages; i++)
        touch(area, i, 1);
}

static void cyclic(uint64_t pages, uint64_t rounds)
{
    volatile uint64_t *area = anonymous(pages);
    for (uint64_t round = 0; round < rounds; round++) {
        for (uint64_t i = 0; i < pages; i++)
            touch(area, i, round % 2 == 0);
        sample();
    }
}

/* Rank r is drawn with weight 1/(r + 1); where the pages of the ranks lie is shuffled. */
static void zipf(uint64_t pages, uint64_t steps)
{
    volatile uint64_t *area = anonymous(pages);
    uint64_t *upto = malloc(pages * sizeof *upto), *place = malloc(pages * sizeof *place), sum = 0;
    for (uint64_t i = 0; i < pages; i++) {
        upto[i] = sum += (1u << 20) / (i + 1);
        place[i] = i;
    }
    for (uint64_t i = pages - 1; i > 0; i--) {
        uint64_t j = random_below(i + 1), kept = place[i];
        place[i] = place[j];
        place[j] = kept;
    }
    fill(area, pages);
    for (uint64_t step = 0; step < steps; step++) {
        uint64_t wanted = random_below(sum), low = 0, high = pages - 1;
        while (low < high) {
            uint64_t middle = (low + high) / 2;
            if (upto[middle] > wanted)
                high = middle;
            else
                low = middle + 1;
        }
        touch(area, place[low], 1);
        if (step % (steps / 50 + 1) == 0)
            sample();
    }
}

static void scan(uint64_t hot, uint64_t cold, uint64_t steps)
{
    volatile uint64_t *warm_area = anonymous(hot), *cold_area = anonymous(cold);
    fill(cold_area, cold);
    fill(warm_area, hot);
    for (uint64_t step = 0; step < steps; step++) {
        touch(warm_area, random_below(hot), 1);
        if (step % (steps / 4 + 1) == steps / 8) {
            for (uint64_t i = 0; i < cold; i++)
                touch(cold_area, i, 1);
            sample();
        }
        if (step % (steps / 50 + 1) == 0)
            sample();
    }
}

static void stream(uint64_t pages, const char *path, uint64_t steps)
{
    static char buffer[1 << 16];
    volatile uint64_t *area = anonymous(pages);
    int fd = open(path, O_RDONLY);
    if (fd < 0)
        fail(path);
    fill(area, pages);
    for (uint64_t step = 0; step < steps; step++) {
        ssize_t got = read(fd, buffer, sizeof buffer);
        if (got < 0)
            fail("read");
        if (got == 0)
            lseek(fd, 0, SEEK_SET);
        for (int i = 0; i < 16; i++)
            touch(area, random_below(pages), 1);
        if (step % (steps / 50 + 1) == 0)
            sample();
    }
}

/* Both sets are in use to the same degree, and do not fit together. */
static void sets(uint64_t pages, const char *path, uint64_t first, uint64_t steps)
{
    static char buffer[PAGE];
    volatile uint64_t *area = anonymous(pages);
    int fd = open(path, O_RDONLY);
    if (fd < 0 || posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM))
        fail(path);
    fill(area, pages);
    for (uint64_t step = 0; step < steps; step++) {
        if (pread(fd, buffer, PAGE, random_below(first) * PAGE) != (ssize_t)PAGE)
            fail("pread");
        touch(area, random_below(pages), 1);
        if (step % (steps / 50 + 1) == 0)
            sample();
    }
}

static void forks(uint64_t pages, uint64_t children, uint64_t steps)
{
    volatile uint64_t *area = anonymous(pages);
    fill(area, pages);
    for (uint64_t child = 0; child < children; child++) {
        int status;
        pid_t pid = fork();
        if (pid < 0)
            fail("fork");
        seed += child;
        for (uint64_t i = 0; pid == 0 && i < steps; i++)
            touch(area, random_below(pages), 1);
        if (pid == 0)
            _exit(0);
        if (waitpid(pid, &status, 0) != pid || status != 0)
            fail("a child failed");
        for (uint64_t i = 0; i < steps / 4; i++)
            touch(area, random_below(pages), 1);
        sample();
    }
}

int main(int argc, char **argv)
{
    const char *name = argc > 3 ? argv[1] : "";
    uint64_t first = argc > 2 ? strtoull(argv[2], 0, 10) : 0, second = argc > 3 ? strtoull(argv[3], 0, 10) : 0;
    uint64_t third = argc > 4 ? strtoull(argv[4], 0, 10) : 0, fourth = argc > 5 ? strtoull(argv[5], 0, 10) : 0;
    if (mlockall(MCL_CURRENT))
        fail("mlockall");
    begin();
    if (!strcmp(name, "cyclic"))
        cyclic(first, second);
    else if (!strcmp(name, "zipf"))
        zipf(first, second);
    else if (!strcmp(name, "scan"))
        scan(first, second, third);
    else if (!strcmp(name, "stream"))
        stream(first, argv[3], third);
    else if (!strcmp(name, "sets"))
        sets(first, argv[3], third, fourth);
    else if (!strcmp(name, "fork"))
        forks(first, second, third);
    else {
        fprintf(stderr, "patterns: expected cyclic, zipf, scan, stream, sets or fork with their arguments\n");
        return 1;
    }
    end();
    return 0;
}
