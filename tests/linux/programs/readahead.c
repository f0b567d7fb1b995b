/* What one access after the other brings into the page cache, and how many faults it takes. The disk gets the time to
   finish before the next one. usage: readahead WORKDIR */
#include "calls.h"
#include <time.h>

#define PAGES 600UL
#define WATCH 0x300000000000UL

static int fd, pagemap;
static struct rusage before;

/* Waits until what is being read has come: a page on its way is in the cache, but not in memory for mincore. */
static void settle(void)
{
	static unsigned char in[PAGES];
	ul range[2] = { 0, PAGES * PAGE }, counts[5], resident;
	struct timespec time = { 0, 1000000 };
	int left = 2000;
	do {
		SC(SYS_nanosleep, &time, 0);
		if (SC(451 /* cachestat */, fd, range, counts, 0) || MINCORE(WATCH, PAGES * PAGE, in))
			return;
		resident = 0;
		for (ul i = 0; i < PAGES; i++)
			resident += in[i] & 1;
	} while (resident != counts[0] && left--);
}

/* The cached pages as ranges. */
static void seen(const char *what, ul page, long r)
{
	static unsigned char in[PAGES];
	struct rusage after;
	SC(SYS_getrusage, RUSAGE_SELF, &after);
	settle();
	MINCORE(WATCH, PAGES * PAGE, in);
	say("%s %lu: %ld, faults %ld %ld, cached", what, page, r, after.ru_minflt - before.ru_minflt, after.ru_majflt - before.ru_majflt);
	for (ul i = 0; i < PAGES; i++)
		if (in[i] && (i == 0 || !in[i - 1])) {
			ul end = i;
			while (end < PAGES && in[end])
				end++;
			say(" %lu-%lu", i, end - 1);
		}
	say("\n");
	SC(SYS_getrusage, RUSAGE_SELF, &before);
}

/* The file, cold, newly opened. */
static void cold(const char *name)
{
	group(name);
	MUNMAP(WATCH, PAGES * PAGE);
	SC(SYS_close, fd);
	fd = SC(SYS_open, in_work("cold"), O_RDWR, 0);
	SC(SYS_fadvise64, fd, 0, 0, 4);
	MMAP(WATCH, PAGES * PAGE, PROT_NONE, MAP_SHARED | FIX, fd, 0);
	seen("start", 0, 0);
}

static void rd(ul at, ul len)
{
	static unsigned char buffer[PAGES * PAGE];
	static int touched;
	if (!touched++)
		memset(buffer, 1, sizeof buffer);
	SC(SYS_getrusage, RUSAGE_SELF, &before);
	long r = SC(SYS_pread64, fd, buffer, len, at);
	char what[40];
	snprintf(what, sizeof what, "read %lu bytes at +%lu of", len, at % PAGE);
	seen(what, at / PAGE, r);
}

static void touch(ul page)
{
	seen("touch", page, probe(A(page), 0));
}

static void map(int prot)
{
	MMAP(A(0), PAGES * PAGE, prot, MAP_SHARED | FIX, fd, 0);
}

/* Which entries one fault fills: folios come from the reads before. */
static void filled(const char *what, ul at, ul n, int flags, ul page, int write)
{
	static ul entries[PAGES];
	MMAP(A(0), n * PAGE, RW, flags | FIX, fd, at * PAGE);
	int code = probe(A(page), write);
	SC(SYS_pread64, pagemap, entries, n * 8, ARENA / PAGE * 8);
	say("%s, %lu pages from %lu on, page %lu: %d, present", what, n, at, page, code);
	for (ul i = 0; i < n; i++)
		if (entries[i] >> 63)
			say(" %lu", at + i);
	say("\n");
	MUNMAP(A(0), n * PAGE);
}

static ul state = 12345;
static ul rnd(ul n)
{
	state = state * 6364136223846793005UL + 1442695040888963407UL;
	return (state >> 33) % n;
}

int main(int argc, char **argv)
{
	begin(argc, argv);
	pagemap = SC(SYS_open, "/proc/self/pagemap", O_RDONLY, 0);
	fd = make_file("cold", PAGES * PAGE);
	SC(SYS_fsync, fd);
	settle();
	SC(SYS_getrusage, RUSAGE_SELF, &before);
	rd(0, PAGES * PAGE);

	cold("sequential reads of a page");
	for (ul i = 0; i < 70; i++)
		rd(i * PAGE, PAGE);
	cold("sequential reads of 10000 bytes");
	for (ul i = 0; i < 60; i++)
		rd(i * 10000, 10000);
	cold("sequential reads of 40 pages");
	for (ul i = 0; i < 12; i++)
		rd(i * 40 * PAGE, 40 * PAGE);
	cold("one large read");
	rd(5 * PAGE + 7, 300 * PAGE);
	rd(305 * PAGE + 7, 300 * PAGE);
	cold("backwards");
	for (ul i = 60; i > 40; i--)
		rd(i * PAGE, PAGE);
	cold("random reads");
	for (int i = 0; i < 60; i++)
		rd(rnd(PAGES) * PAGE + rnd(PAGE), 1 + rnd(5 * PAGE));
	cold("two streams");
	for (ul i = 0; i < 40; i++) {
		rd(i * PAGE, PAGE);
		rd((300 + i) * PAGE, PAGE);
	}
	cold("posix_fadvise random");
	V(SC(SYS_fadvise64, fd, 0, 0, 1));
	for (ul i = 10; i < 20; i++)
		rd(i * PAGE, PAGE);
	rd(100 * PAGE, 60 * PAGE);
	V(SC(SYS_fadvise64, fd, 0, 0, 0));
	for (ul i = 20; i < 30; i++)
		rd(i * PAGE, PAGE);
	cold("posix_fadvise sequential");
	V(SC(SYS_fadvise64, fd, 0, 0, 2));
	for (ul i = 0; i < 100; i++)
		rd(i * PAGE, PAGE);
	cold("posix_fadvise willneed");
	V(SC(SYS_fadvise64, fd, 10 * PAGE + 5, 20 * PAGE, 3));
	seen("willneed", 10, 0);
	V(SC(SYS_fadvise64, fd, 100 * PAGE, 0, 3));
	seen("willneed", 100, 0);
	cold("readahead");
	V(SC(SYS_readahead, fd, 10 * PAGE + 5, 50 * PAGE));
	seen("readahead", 10, 0);

	cold("mapping, touched in order");
	map(R);
	for (ul i = 0; i < 150; i++)
		touch(i);
	cold("mapping, touched backwards");
	map(R);
	for (ul i = 599; i > 500; i--)
		touch(i);
	cold("mapping, touched at random");
	map(R);
	for (int i = 0; i < 150; i++)
		touch(rnd(PAGES));
	cold("mapping of code");
	map(R | X);
	for (int i = 0; i < 60; i++)
		touch(rnd(PAGES));
	cold("mapping, MADV_RANDOM");
	map(R);
	V(MADVISE(A(0), PAGES * PAGE, 1));
	for (ul i = 10; i < 30; i++)
		touch(i);
	cold("mapping, MADV_SEQUENTIAL");
	map(R);
	V(MADVISE(A(0), PAGES * PAGE, 2));
	for (ul i = 0; i < 150; i++)
		touch(i);
	for (int i = 0; i < 10; i++)
		touch(rnd(PAGES));
	cold("mapping, MADV_WILLNEED");
	map(R);
	V(MADVISE(A(5), 20 * PAGE, 3));
	seen("willneed", 5, 0);
	for (ul i = 0; i < 40; i++)
		touch(i);
	cold("reads and a mapping");
	map(R);
	for (ul i = 0; i < 40; i++) {
		rd(i * 2 * PAGE, PAGE);
		touch(i * 3);
	}
	cold("entries");
	for (ul i = 0; i < 512; i++)
		SC(SYS_pread64, fd, &state, 1, i * PAGE);
	static const ul places[] = { 1, 34, 100, 116, 200, 300, 509 };
	for (int i = 0; i < 7; i++) {
		filled("read", 0, PAGES, MAP_SHARED, places[i], 0);
		filled("shared write", 0, PAGES, MAP_SHARED, places[i], 1);
		filled("private read", 0, PAGES, MAP_PRIVATE, places[i], 0);
		filled("private write", 0, PAGES, MAP_PRIVATE, places[i], 1);
		filled("read", places[i] - 1, 10, MAP_SHARED, 1, 0);
		filled("shared write", places[i] - 1, 10, MAP_SHARED, 1, 1);
	}
	quit(0);
}
