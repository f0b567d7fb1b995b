/* The least that a replay has to do, by hand for one geometry: DTLB and ITLB 64 entries x 4 ways, STLB 1536 x 12, LRU;
   walk caches for three upper levels; x86-64 4-level tables in memory, Accessed and Dirty set by walks; demand faults of
   anonymous memory: the zero page for a read, a page of its own for a write, an invalidation where that takes the zero
   page's place. All memory is mapped: there are no mappings to find, no frames to free, no books of them to keep.
   It counts what the report counts, and on a trace of such memory alone it counts the same.

   replay FILE ROUNDS: FILE holds the number of accesses, then that many 64-bit addresses, 16-bit sizes, and bytes (0
   read, 1 write, 2 fetch). Prints for each round nanoseconds an access; then the counts, a name and numbers a line. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

enum { P = 1, W = 2, U = 4, A = 32, D = 64, PAGE = 4096 };
#define FRAME 0x000ffffffffff000ull
#define ZERO_PAGE (1ull << 12)

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
static uint64_t missed_first[2], misses[2], refused, walks, failed, faults, copies, resident, flushed;
static uint64_t references[4], walk_hits[4], fills[6], evictions[6]; /* by level; dtlb, itlb, stlb, pmd, pud, pgd */

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

static inline void filled(int array, uint64_t stamp) {
    fills[array]++;
    evictions[array] += stamp != 0;
}

/* Empties what is known of the page and of the way to it, or of all ways; how many entries. */
static int invalidate(uint64_t addr, int all_ways) {
    uint64_t vpn = addr >> 12;
    int gone = 0;
    for (int side = 0; side < 2; side++)
        for (int way = 0; way < 4; way++) {
            Entry *entry = &first[side].way[vpn & 15][way];
            if (entry->tag == vpn && entry->stamp) {
                *entry = (Entry){-1, 0, 0};
                gone++;
            }
        }
    for (int way = 0; way < 12; way++)
        if (second.tag[vpn & 127][way] == vpn && second.stamp[vpn & 127][way]) {
            second.tag[vpn & 127][way] = -1;
            second.stamp[vpn & 127][way] = 0;
            gone++;
        }
    for (int set = 0; set < 8; set++)
        for (int way = 0; way < 4; way++)
            if (pmds.stamp[set][way] && (all_ways || pmds.tag[set][way] == addr >> 21)) {
                pmds.tag[set][way] = -1;
                pmds.stamp[set][way] = 0;
                gone++;
            }
    for (int level = 0; level < 2; level++)
        for (int way = 0; way < 4; way++)
            if (upper[level].stamp[way] && (all_ways || upper[level].tag[way] == addr >> (30 + 9 * level))) {
                upper[level].tag[way] = -1;
                upper[level].stamp[way] = 0;
                gone++;
            }
    return gone;
}

static void fault(uint64_t addr, int write) {
    uint64_t *table = ram + (root << 9);
    faults++;
    for (int shift = 39; shift > 12; shift -= 9) {
        uint64_t *entry = table + (addr >> shift & 511);
        if (!(*entry & P))
            *entry = next_frame++ << 12 | P | W | U | A;
        table = table_of(*entry);
    }
    uint64_t *entry = table + (addr >> 12 & 511), before = *entry;
    if (!write)
        *entry = ZERO_PAGE | P | U | A;
    else { /* a frame that was never used is zero already */
        *entry = next_frame++ << 12 | P | W | U | A | D;
        resident++;
        if (before & P) {
            copies++;
            flushed += invalidate(addr, 1);
        }
    }
}

/* The leaf, marked; 0 where the access is not granted. */
static uint64_t walk(uint64_t addr, int write) {
    uint64_t set = addr >> 21 & 7, tag = addr >> 21, *table = 0, *tables[4];
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
    if (table)
        walk_hits[from + 1]++;
    else
        table = ram + (root << 9);
    for (int level = from; level > 0; level--) {
        uint64_t *entry = table + (addr >> (12 + 9 * level) & 511);
        references[level]++;
        if (!(*entry & P))
            return 0;
        *entry |= A;
        tables[level] = table = table_of(*entry);
    }
    uint64_t *leaf = table + (addr >> 12 & 511);
    references[0]++;
    if (!(*leaf & P) || (write && !(*leaf & W)))
        return 0;
    for (int level = from; level > 1; level--) {
        Upper *cache = &upper[level - 2];
        int way = oldest(cache->stamp, 4);
        filled(level + 2, cache->stamp[way]);
        cache->tag[way] = addr >> (12 + 9 * level);
        cache->stamp[way] = ++now;
        cache->table[way] = tables[level] - ram;
    }
    if (from) {
        int way = oldest(pmds.stamp[set], 4);
        filled(3, pmds.stamp[set][way]);
        pmds.tag[set][way] = tag;
        pmds.stamp[set][way] = ++now;
        pmds.table[set][way] = tables[1] - ram;
    }
    *leaf |= A | (write ? D : 0);
    return *leaf;
}

/* An access that the first level's hint does not answer; the entry that answers it then. */
static Entry *slow(uint64_t addr, int kind) {
    uint64_t vpn = addr >> 12, set2 = vpn & 127;
    int write = kind == 1, side = kind >> 1, found = -1;
    Entry *set1 = first[side].way[vpn & 15], *stale = 0;
    for (int way = 0; way < 4; way++)
        if (set1[way].tag == vpn)
            stale = &set1[way];
    if (stale && (!write || stale->writable)) {
        stale->stamp = ++now;
        return stale;
    }
    missed_first[side]++;
    for (int way = 0; way < 12; way++)
        if (second.tag[set2][way] == vpn)
            found = way;
    int unfit = stale || (found >= 0 && write && !second.writable[set2][found]);
    if (unfit) {
        refused++;
        if (found >= 0) {
            second.tag[set2][found] = -1;
            second.stamp[set2][found] = 0;
            found = -1;
        }
        if (stale) {
            stale->tag = -1;
            stale->stamp = 0;
        }
    }
    int writable;
    if (found >= 0) {
        second.stamp[set2][found] = ++now;
        writable = second.writable[set2][found];
    } else {
        uint64_t leaf;
        misses[side]++;
        while (!(leaf = walk(addr, write))) {
            failed++;
            invalidate(addr, 0);
            fault(addr, write);
            missed_first[side]++;
            misses[side]++;
        }
        writable = (leaf & (W | D)) == (W | D);
        found = oldest(second.stamp[set2], 12);
        filled(2, second.stamp[set2][found]);
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
    filled(side, entry->stamp);
    entry->tag = vpn;
    entry->stamp = ++now;
    entry->writable = writable;
    return entry;
}

/* By kind of access, where a page was found in the first level before: believed if it is still there. */
static Entry nothing = {-1, 0, 0}, *hints[3][1024];
static uint64_t lookups[2], writes, fetches, crossing;

static void unhinted(uint64_t addr, int kind) {
    uint64_t vpn = addr >> 12;
    Entry *entry = slow(addr, kind);
    if (kind == 2)
        hints[2][vpn & 1023] = entry;
    else {
        hints[0][vpn & 1023] = entry;
        hints[1][vpn & 1023] = entry->writable ? entry : &nothing;
    }
}

static void replay(const uint64_t *addrs, const uint16_t *sizes, const uint8_t *kinds, uint64_t count) {
    uint64_t clock = now, written = 0, fetched = 0; /* in registers */
    for (int each = 0; each < 3 * 1024; each++)
        hints[each / 1024][each % 1024] = &nothing;
    for (uint64_t at = 0; at < count; at++) {
        uint64_t addr = addrs[at], vpn = addr >> 12;
        uint8_t kind = kinds[at];
        Entry *entry = hints[kind][vpn & 1023];
        written += kind & 1;
        fetched += kind >> 1;
        if (entry->tag == vpn)
            entry->stamp = ++clock;
        else {
            now = clock;
            unhinted(addr, kind);
            clock = now;
        }
        if ((addr & (PAGE - 1)) + sizes[at] > PAGE) {
            now = clock;
            unhinted((addr + sizes[at] - 1) & -PAGE, kind);
            clock = now;
            crossing++;
            lookups[kind >> 1]++;
        }
    }
    writes = written;
    fetches = fetched;
    lookups[0] += count - fetched;
    lookups[1] += fetched;
}

int main(int argc, char **argv) {
    FILE *file = fopen(argv[1], "rb");
    uint64_t count;
    if (argc < 3 || !file || fread(&count, 8, 1, file) != 1)
        return 1;
    uint64_t *addrs = malloc(count * 8);
    uint16_t *sizes = malloc(count * 2);
    uint8_t *kinds = malloc(count);
    if (fread(addrs, 8, count, file) != count || fread(sizes, 2, count, file) != count ||
        fread(kinds, 1, count, file) != count)
        return 1;
    size_t size = 1ull << 33;
    for (int round = 0; round < atoi(argv[2]); round++) {
        ram = mmap(0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        memset(first, 0, sizeof first);
        memset(&second, 0, sizeof second);
        memset(&pmds, 0, sizeof pmds);
        memset(upper, 0, sizeof upper);
        memset(missed_first, 0, sizeof missed_first);
        memset(misses, 0, sizeof misses);
        memset(lookups, 0, sizeof lookups);
        memset(references, 0, sizeof references);
        memset(walk_hits, 0, sizeof walk_hits);
        memset(fills, 0, sizeof fills);
        memset(evictions, 0, sizeof evictions);
        now = refused = walks = failed = faults = copies = resident = flushed = crossing = 0;
        root = 2;
        next_frame = 3;
        struct timespec start, end;
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &start);
        replay(addrs, sizes, kinds, count);
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
        munmap(ram, size);
        printf("%f\n", ((end.tv_sec - start.tv_sec) * 1e9 + (end.tv_nsec - start.tv_nsec)) / count);
    }
    uint64_t retried = failed; /* those accesses were looked up again */
    printf("writes %lu\nfetches %lu\ncrossing %lu\n", writes, fetches, crossing);
    printf("misses %lu %lu\nrefused %lu\n", misses[0], misses[1], refused);
    printf("first_level_misses %lu %lu\n", missed_first[0], missed_first[1]);
    printf("lookups %lu\n", lookups[0] + lookups[1] + retried);
    printf("walks %lu\nfaults %lu\nminor %lu\npages %lu\nflushed %lu\n", walks, failed, faults, resident, flushed);
    printf("references %lu %lu %lu %lu\n", references[3], references[2], references[1], references[0]);
    printf("walk_hits %lu %lu %lu\n", walk_hits[3], walk_hits[2], walk_hits[1]);
    for (int array = 0; array < 6; array++)
        printf("array%d %lu %lu\n", array, fills[array], evictions[array]);
    return 0;
}
