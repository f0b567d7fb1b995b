/* The least that a replay has to do, by hand for one geometry: DTLB and ITLB 64 entries x 4 ways, STLB 1536 x 12, LRU;
   walk caches for three upper levels; x86-64 4-level tables in memory, Accessed and Dirty set; demand faults.

   replay FILE ROUNDS: FILE holds the number of accesses, then that many 64-bit addresses, then as many bytes (0 read,
   1 write, 2 fetch). Prints for each round nanoseconds an access; then look-ups, first-level misses, walks, faults. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

enum { P = 1, W = 2, U = 4, A = 32, D = 64 };
#define NX (1ull << 63)
#define FRAME 0x000ffffffffff000ull

typedef struct { uint64_t tag, stamp, writable; } Entry;
typedef struct { Entry way[16][4]; } First;
typedef struct { uint64_t tag[128][12], stamp[128][12]; uint8_t writable[128][12]; } Second;
typedef struct { uint64_t tag[8][4], stamp[8][4], table[8][4]; } Pmds;
typedef struct { uint64_t tag[4], stamp[4], table[4]; } Upper;

static First first[2];
static Second second;
static Pmds pmds;
static Upper upper[2];
static uint64_t *ram, next_frame, root, now;
static uint64_t misses, walks, faults;

/* The way with the least stamp, without branches. */
static inline int oldest(const uint64_t *stamp, int ways) {
    uint64_t best = stamp[0] << 4;
    for (int way = 1; way < ways; way++) {
        uint64_t one = stamp[way] << 4 | way;
        best = one < best ? one : best;
    }
    return best & 15;
}

static uint64_t *table_of(uint64_t entry) { return ram + ((entry & FRAME) >> 3); }

static void fault(uint64_t addr, int write) {
    uint64_t *table = ram + (root << 9);
    faults++;
    for (int shift = 39; shift > 12; shift -= 9) {
        uint64_t *entry = table + (addr >> shift & 511);
        if (!(*entry & P))
            *entry = next_frame++ << 12 | P | W | U | A;
        table = table_of(*entry);
    }
    uint64_t *entry = table + (addr >> 12 & 511);
    if (!(*entry & P))
        *entry = next_frame++ << 12 | P | W | U | A;
    if (write)
        *entry |= D;
}

/* The leaf, marked; 0 where there is none. */
static uint64_t walk(uint64_t addr, int write) {
    uint64_t set = addr >> 21 & 7, tag = addr >> 21, *table = 0;
    int from = 3;
    walks++;
    for (int way = 0; way < 4; way++)
        if (pmds.tag[set][way] == tag) {
            pmds.stamp[set][way] = ++now;
            table = ram + pmds.table[set][way];
            from = 0;
        }
    for (int level = 0; !table && level < 2; level++)
        for (int way = 0; way < 4; way++)
            if (upper[level].tag[way] == addr >> (30 + 9 * level)) {
                upper[level].stamp[way] = ++now;
                table = ram + upper[level].table[way];
                from = level + 1;
            }
    if (!table)
        table = ram + (root << 9);
    for (int level = from; level > 0; level--) {
        uint64_t *entry = table + (addr >> (12 + 9 * level) & 511);
        if (!(*entry & P))
            return 0;
        *entry |= A;
        table = table_of(*entry);
        if (level > 1) {
            Upper *cache = &upper[level - 2];
            int way = oldest(cache->stamp, 4);
            cache->tag[way] = addr >> (12 + 9 * level);
            cache->stamp[way] = ++now;
            cache->table[way] = table - ram;
        } else {
            int way = oldest(pmds.stamp[set], 4);
            pmds.tag[set][way] = tag;
            pmds.stamp[set][way] = ++now;
            pmds.table[set][way] = table - ram;
        }
    }
    uint64_t *leaf = table + (addr >> 12 & 511);
    if (!(*leaf & P))
        return 0;
    *leaf |= A | (write ? D : 0);
    return *leaf;
}

/* An access that the first level's hint does not answer; the entry that answers it then. */
static Entry *slow(uint64_t addr, int kind, First *one) {
    uint64_t vpn = addr >> 12, set2 = vpn & 127;
    Entry *set1 = one->way[vpn & 15], *stale = 0;
    int write = kind == 1, found = -1;
    for (int way = 0; way < 4; way++)
        if (set1[way].tag == vpn)
            stale = &set1[way];
    if (stale && (!write || stale->writable)) {
        stale->stamp = ++now;
        return stale;
    }
    misses++;
    for (int way = 0; way < 12; way++)
        if (second.tag[set2][way] == vpn)
            found = way;
    if (found >= 0 && write && !second.writable[set2][found]) {
        second.tag[set2][found] = -1;
        second.stamp[set2][found] = 0;
        found = -1;
    }
    if (stale) {
        stale->tag = -1;
        stale->stamp = 0;
    }
    int writable;
    if (found >= 0) {
        second.stamp[set2][found] = ++now;
        writable = second.writable[set2][found];
    } else {
        uint64_t leaf;
        while (!(leaf = walk(addr, write)))
            fault(addr, write);
        writable = (leaf & (W | D)) == (W | D);
        found = oldest(second.stamp[set2], 12);
        second.tag[set2][found] = vpn;
        second.stamp[set2][found] = ++now;
        second.writable[set2][found] = writable;
    }
    uint64_t best = -1;
    for (int way = 0; way < 4; way++) {
        uint64_t one = set1[way].stamp << 4 | way;
        best = one < best ? one : best;
    }
    Entry *entry = &set1[best & 15];
    entry->tag = vpn;
    entry->stamp = ++now;
    entry->writable = writable;
    return entry;
}

/* By kind of access, where a page was found in the first level before: believed if it is still there. */
static Entry nothing = {-1, 0, 0}, *hints[3][1024];

static void replay(const uint64_t *addrs, const uint8_t *kinds, uint64_t count) {
    uint64_t clock = now; /* in a register */
    for (int each = 0; each < 3 * 1024; each++)
        hints[each / 1024][each % 1024] = &nothing;
    for (uint64_t at = 0; at < count; at++) {
        uint64_t vpn = addrs[at] >> 12;
        Entry *entry = hints[kinds[at]][vpn & 1023];
        if (entry->tag == vpn) {
            entry->stamp = ++clock;
            continue;
        }
        now = clock;
        entry = slow(addrs[at], kinds[at], &first[kinds[at] >> 1]);
        clock = now;
        if (kinds[at] == 2)
            hints[2][vpn & 1023] = entry;
        else {
            hints[0][vpn & 1023] = entry;
            hints[1][vpn & 1023] = entry->writable ? entry : &nothing;
        }
    }
}

int main(int argc, char **argv) {
    FILE *file = fopen(argv[1], "rb");
    uint64_t count;
    if (argc < 3 || !file || fread(&count, 8, 1, file) != 1)
        return 1;
    uint64_t *addrs = malloc(count * 8);
    uint8_t *kinds = malloc(count);
    if (fread(addrs, 8, count, file) != count || fread(kinds, 1, count, file) != count)
        return 1;
    size_t size = 1ull << 33;
    for (int round = 0; round < atoi(argv[2]); round++) {
        ram = mmap(0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        memset(first, 0, sizeof first);
        memset(&second, 0, sizeof second);
        memset(&pmds, 0, sizeof pmds);
        memset(upper, 0, sizeof upper);
        now = misses = walks = faults = 0;
        root = 1;
        next_frame = 2;
        struct timespec start, end;
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &start);
        replay(addrs, kinds, count);
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
        munmap(ram, size);
        printf("%f\n", ((end.tv_sec - start.tv_sec) * 1e9 + (end.tv_nsec - start.tv_nsec)) / count);
    }
    printf("%lu %lu %lu %lu\n", count, misses, walks, faults);
    return 0;
}
