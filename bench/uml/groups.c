/* What limits and protection of memory cgroups do, and zswap: the same program on a real kernel and in the model.
 *
 *   groups protect KIND PROTECTED KEPT GREEDY ROUNDS   one group idles beside one that takes more than RAM holds
 *   groups high LIMIT PAGES SWAP          a group grows beyond memory.high; SWAP 0: nothing can be reclaimed
 *   groups oom LIMIT WHOLE ADJ            three processes grow in a group until one is killed, or all (memory.oom.group)
 *   groups swap LIMIT SWAP PAGES MORE     a group reaches memory.swap.max, with PAGES and with MORE pages
 *   groups stat ANON FILE                 what memory.stat tells of anonymous pages and of a file read twice
 *   groups zswap PAGES ROUNDS POOL        more than RAM holds, with zswap in front of the device, in a pool of about POOL
 *
 * Sizes in pages. Prints "name number" lines; the contents of every page are checked.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "proc.h"
#define TREE "/sys/fs/cgroup"

static void set(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY);
    if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
        fail(path);
    close(fd);
}

static const char *path_in(const char *group, const char *file)
{
    static char path[128];
    snprintf(path, sizeof path, TREE "/%s/%s", group, file);
    return path;
}

/* A limit in pages. */
static void limit(const char *group, const char *file, unsigned long pages)
{
    char text[32];
    snprintf(text, sizeof text, "%lu", pages * PAGE);
    set(path_in(group, file), text);
}

static void make_group(const char *name)
{
    set(TREE "/cgroup.subtree_control", "+memory");
    if (mkdir(path_in(name, ""), 0755))
        fail(name);
}

/* A line of the group's: a figure of a file of its, in pages where that is one of bytes. */
static void tell(const char *group, const char *file, const char *name, int bytes)
{
    long value = field(text_of(path_in(group, file)), name);
    printf("%s_%s %ld\n", group, name, bytes ? value / (long)PAGE : value);
}

static void tell_number(const char *group, const char *file, const char *name)
{
    printf("%s_%s %ld\n", group, name, strtol(text_of(path_in(group, file)), 0, 10) / (long)PAGE);
}

static long milliseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

#define NOISE 212  /* words of a page that no compressor makes smaller: 1,696 bytes; the others are nearly all 0 */

/* Each page holds its number, or nothing yet. A store comes before the look at what is there, so that the fault that
 * brings a page back is one for a store, and gives its slot up (bench/uml/patterns.c). */
static void fill(volatile uint64_t *area, uint64_t from, uint64_t pages)
{
    static uint64_t noise = 20261121;
    for (uint64_t i = from; i < pages; i++) {
        volatile uint64_t *page = area + i * (PAGE / 8), *word = page + 256 + i % 256;
        page[NOISE] = i;
        if (*word != 0 && *word != i + 1) {
            fprintf(stderr, "page %lu holds %lu\n", (unsigned long)i, (unsigned long)*word);
            _exit(2);
        }
        for (int at = 0; *word == 0 && at < NOISE; at++) {
            noise ^= noise << 13;
            noise ^= noise >> 7;
            noise ^= noise << 17;
            page[at] = noise;
        }
        *word = i + 1;
    }
}

struct child { pid_t pid; int told, done; };

/* A child in a group waits until it is told how many pages it is to have, fills them, and says so; 0 pages: it ends. */
static struct child start(const char *group, uint64_t most)
{
    int down[2], up[2];
    struct child child;
    if (pipe(down) || pipe(up))
        fail("pipe");
    fflush(stdout);
    child.pid = fork();
    if (child.pid < 0)
        fail("fork");
    if (child.pid == 0) {
        volatile uint64_t *area = anonymous(most);
        uint64_t pages;
        close(down[1]);
        close(up[0]);
        set(path_in(group, "cgroup.procs"), "0");
        while (read(down[0], &pages, sizeof pages) == sizeof pages && pages) {
            fill(area, 0, pages);
            if (write(up[1], "", 1) != 1)
                _exit(1);
        }
        _exit(0);
    }
    close(down[0]);
    close(up[1]);
    child.told = down[1];
    child.done = up[0];
    return child;
}

/* Whether it is still alive when it has them. */
static int has(struct child child, uint64_t pages)
{
    char answer;
    return write(child.told, &pages, sizeof pages) == sizeof pages && read(child.done, &answer, 1) == 1;
}

/* Whether it was killed. */
static int ended(struct child child)
{
    int status;
    uint64_t none = 0;
    if (write(child.told, &none, sizeof none) < 0 && errno != EPIPE)
        fail("write");
    if (waitpid(child.pid, &status, 0) != child.pid)
        fail("waitpid");
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

static void tell_events(const char *group)
{
    const char *names[] = {"low", "high", "max", "oom", "oom_kill"};
    for (int i = 0; i < 5; i++)
        tell(group, "memory.events", names[i], 0);
}

/* Pages in memory, mapped or on their way, and those that are in swap alone: whether a page in memory keeps its slot as
 * well is another matter. */
static void tell_use(const char *group)
{
    long slots = strtol(text_of(path_in(group, "memory.swap.current")), 0, 10);
    const char *text = text_of(path_in(group, "memory.stat"));
    printf("%s_anon %ld\n", group, (field(text, "inactive_anon") + field(text, "active_anon")) / (long)PAGE);
    printf("%s_swapped %ld\n", group, (slots - field(text, "swapcached")) / (long)PAGE);
}

static void protect(char **word)
{
    uint64_t kept = strtoull(word[2], 0, 10), greedy = strtoull(word[3], 0, 10), rounds = strtoull(word[4], 0, 10);
    struct child idle, busy;
    make_group("kept");
    make_group("greedy");
    limit("kept", word[0], strtoul(word[1], 0, 10));
    idle = start("kept", kept);
    busy = start("greedy", greedy);
    has(idle, kept);
    for (uint64_t i = 0; i < rounds; i++)
        has(busy, greedy);
    tell_use("kept");
    tell_use("greedy");
    tell("kept", "memory.stat", "pgsteal", 0);
    tell("greedy", "memory.stat", "pgsteal", 0);
    tell("kept", "memory.events", "low", 0);
    ended(busy);
    ended(idle);
}

static void high(char **word)
{
    uint64_t pages = strtoull(word[1], 0, 10);
    struct child child;
    long began;
    make_group("group");
    limit("group", "memory.high", strtoul(word[0], 0, 10));
    if (!strcmp(word[2], "0"))
        set(path_in("group", "memory.swap.max"), "0");
    child = start("group", pages);
    began = milliseconds();
    has(child, pages);
    printf("group_ms %ld\n", milliseconds() - began);
    tell_number("group", "memory.current", "current");
    tell_use("group");
    tell_events("group");
    ended(child);
}

static void oom(char **word)
{
    uint64_t sizes[] = {600, 2000, 1000};
    struct child child[3];
    make_group("group");
    limit("group", "memory.max", strtoul(word[0], 0, 10));
    set(path_in("group", "memory.swap.max"), "0");
    set(path_in("group", "memory.oom.group"), word[1]);
    for (int i = 0; i < 3; i++)
        child[i] = start("group", 1 << 16);
    if (strcmp(word[2], "0")) {
        char path[64];
        snprintf(path, sizeof path, "/proc/%d/oom_score_adj", child[0].pid);
        set(path, word[2]);
    }
    for (int i = 0; i < 3; i++)
        has(child[i], sizes[i]);
    has(child[2], sizes[2] + strtoul(word[0], 0, 10) - 600 - 2000 - 1000);  /* more than is left, and never the most */
    for (int i = 0; i < 3; i++)
        printf("killed_%d %d\n", i, ended(child[i]));
    tell_events("group");
    tell("group", "memory.events", "oom_group_kill", 0);
}

static void swap(char **word)
{
    uint64_t pages = strtoull(word[2], 0, 10), more = strtoull(word[3], 0, 10);
    struct child child;
    make_group("group");
    limit("group", "memory.max", strtoul(word[0], 0, 10));
    limit("group", "memory.swap.max", strtoul(word[1], 0, 10));
    child = start("group", more);
    has(child, pages);
    tell_use("group");
    has(child, more);
    printf("killed %d\n", ended(child));
    tell_events("group");
    printf("swap_max %ld\n", field(text_of(path_in("group", "memory.swap.events")), "max"));
    printf("swap_fail %ld\n", field(text_of(path_in("group", "memory.swap.events")), "fail"));
}

static void stat_file(char **word, const char *path)
{
    static char buffer[1 << 16];
    const char *bytes[] = {"file", "file_mapped", "active_anon", "inactive_anon", "active_file", "inactive_file"};
    struct child child;
    make_group("group");
    child = start("group", strtoull(word[0], 0, 10));
    has(child, strtoull(word[0], 0, 10));
    fflush(stdout);
    if (fork() == 0) {
        int fd = open(path, O_RDONLY);
        uint64_t most = strtoull(word[1], 0, 10) * PAGE;
        set(path_in("group", "cgroup.procs"), "0");
        if (fd < 0)
            _exit(1);
        for (int round = 0; round < 2; round++)
            for (uint64_t at = 0; at < most; at += sizeof buffer)
                if (pread(fd, buffer, sizeof buffer, at) != sizeof buffer)
                    _exit(1);
        _exit(0);
    }
    wait(0);
    tell_use("group");
    for (int i = 0; i < 6; i++)
        tell("group", "memory.stat", bytes[i], 1);
    tell("group", "memory.stat", "pgfault", 0);
    tell("group", "memory.stat", "pgactivate", 0);
    ended(child);
}

static void zswap(char **word)
{
    const char *names[] = {"zswpin", "zswpout", "pswpin", "pswpout", "pgmajfault"};  /* of /proc/vmstat */
    uint64_t pages = strtoull(word[0], 0, 10), rounds = strtoull(word[1], 0, 10);
    char before[1 << 15];
    unsigned long total = field(text_of("/proc/meminfo"), "MemTotal") / 4;
    char percent[8];
    struct child child;
    snprintf(percent, sizeof percent, "%lu", (strtoul(word[2], 0, 10) * 100 + total / 2) / total);
    set("/sys/module/zswap/parameters/max_pool_percent", percent);
    set("/sys/module/zswap/parameters/enabled", "1");
    make_group("group");
    child = start("group", pages);
    strcpy(before, text_of("/proc/vmstat"));
    has(child, pages);  /* the pool is as full as it becomes; later that depends on the moment */
    printf("stored %ld\n", field(text_of("/proc/meminfo"), "Zswapped") / 4);
    printf("pool %ld\n", field(text_of("/proc/meminfo"), "Zswap") / 4);
    tell_use("group");
    tell("group", "memory.stat", "zswap", 1);
    tell("group", "memory.stat", "zswapped", 1);
    for (uint64_t i = 1; i < rounds; i++)
        has(child, pages);
    for (int i = 0; i < 5; i++)
        printf("%s %ld\n", names[i], field(text_of("/proc/vmstat"), names[i]) - field(before, names[i]));
    ended(child);
}

int main(int argc, char **argv)
{
    const char *name = argc > 2 ? argv[1] : "", *text;
    printf("min_free_kbytes %lu\n", strtoul(text_of("/proc/sys/vm/min_free_kbytes"), 0, 10));
    text = text_of("/proc/meminfo");
    printf("memfree_kb %ld\n", field(text, "MemFree"));
    printf("cache_kb %ld\n", field(text, "Active(file)") + field(text, "Inactive(file)"));
    printf("pcp_kb %lu\n", pcp_kb());
    signal(SIGPIPE, SIG_IGN);
    if (!strcmp(name, "protect") && argc > 6)
        protect(argv + 2);
    else if (!strcmp(name, "high") && argc > 4)
        high(argv + 2);
    else if (!strcmp(name, "oom") && argc > 4)
        oom(argv + 2);
    else if (!strcmp(name, "swap") && argc > 5)
        swap(argv + 2);
    else if (!strcmp(name, "stat") && argc > 4)
        stat_file(argv + 2, argv[4]);
    else if (!strcmp(name, "zswap") && argc > 4)
        zswap(argv + 2);
    else {
        fprintf(stderr, "groups: expected protect, high, oom, swap, stat or zswap with their arguments\n");
        return 1;
    }
    printf("reserved_kb %lu\n", reserved_kb());
    return 0;
}
