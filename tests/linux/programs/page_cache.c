/* What write(2), ftruncate(2), holes and faults do to the page cache and to page tables that show a file: folios of
   several pages, failed writes, the page at the end. usage: page_cache WORKDIR folios|failing|edges [FIRST LAST] */
#include "calls.h"

#define SHOWN 48UL
#define WATCH 0x400000000000UL
#define SHARED 0x200000001000UL /* so that folios and aligned windows of the page table do not agree */
#define PRIVATE 0x300000000000UL

static int fd;
static char bytes[64 * PAGE];

/* Cached and up to date (mincore), cached and dirty (cachestat), present in the page table at map. */
static void show(const char *what, ul map)
{
	static ul range[2], counts[5], entries[SHOWN];
	unsigned char in[SHOWN];
	char cached[SHOWN + 1] = { 0 }, present[SHOWN + 1] = { 0 };
	struct stat st;
	SC(SYS_fstat, fd, &st);
	MMAP(WATCH, SHOWN * PAGE, PROT_NONE, MAP_SHARED | FIX, fd, 0);
	MINCORE(WATCH, SHOWN * PAGE, in);
	MUNMAP(WATCH, SHOWN * PAGE);
	for (ul i = 0; i < SHOWN; i++) {
		range[0] = i * PAGE;
		range[1] = PAGE;
		SC(451 /* cachestat */, fd, range, counts, 0);
		cached[i] = counts[1] ? 'D' : counts[0] ? 'c' : '.';
	}
	say("  %s size %#lx ", what, (ul)st.st_size);
	for (ul i = 0; i < SHOWN; i++)
		say("%d", in[i] & 1);
	say(" %s", cached);
	if (map) {
		int pagemap = SC(SYS_open, "/proc/self/pagemap", O_RDONLY, 0);
		SC(SYS_pread64, pagemap, entries, sizeof entries, map / PAGE * 8);
		SC(SYS_close, pagemap);
		for (ul i = 0; i < SHOWN; i++)
			present[i] = entries[i] >> 63 ? 'P' : '.';
		say(" %s", present);
	}
	say("\n");
}

/* A file of size bytes: written page by page, a hole, or a hole whose pages have been read. */
static void fresh(ul size, int holes)
{
	if (fd)
		SC(SYS_close, fd);
	SC(SYS_unlink, in_work("file"));
	fd = SC(SYS_open, in_work("file"), O_RDWR | O_CREAT | O_TRUNC, 0644);
	SC(SYS_fadvise64, fd, 0, 0, 1 /* RANDOM: nothing is read ahead */);
	if (holes)
		SC(SYS_ftruncate, fd, size);
	for (ul at = 0; at < size && holes != 1; at += PAGE) {
		if (holes)
			SC(SYS_pread64, fd, bytes + 40 * PAGE, PAGE, at);
		else
			SC(SYS_pwrite64, fd, bytes, size - at < PAGE ? size - at : PAGE, at);
	}
	SC(SYS_fsync, fd);
}

/* ------------------------------------------------------------- writes whose source is missing, or ends too early */
static void contents(void)
{
	char text[2 * 32 + 1] = { 0 };
	for (int i = 0; i < 64; i++) {
		unsigned char byte = 0;
		long n = SC(SYS_pread64, fd, &byte, 1, i % 32 * PAGE + (i < 32 ? 8 : 4000));
		text[i] = n <= 0 ? '-' : byte ? 'd' : '0';
	}
	say("  %s\n", text);
}

static void failing(void)
{
	static const ul sizes[] = { 0x6000, 0x5ad7, 0 }, lengths[] = { 8, PAGE, 3 * PAGE - 5 };
	static const ul offsets[] = { 0x2000, 0x2123, 0x5000, 0x5800, 0x6000, 0x6100, 0x9000, 0x9010 };
	static const struct { const char *name; ul before; int again; } sources[] = {
		{ "missing", 0, 1 }, { "100 bytes", 100, 1 }, { "1 byte", 1, 0 }, { "a page", PAGE, 0 },
	};
	MMAP(A(0), PAGE, RW, ANON | FIX, -1, 0);
	memset((void *)A(0), 7, PAGE);
	for (int i = 0; i < 3 * 3 * 3 * 8 * 4; i++) {
		ul size = sizes[i / 96 % 3], length = lengths[i / 32 % 3], at = offsets[i / 4 % 8];
		int k = i % 4;
		fresh(size, i / 288);
		say("%s at the end of %#lx (%d): %ld\n", sources[k].name, size, i / 288,
		    SC(SYS_pwrite64, fd, A(1) - sources[k].before, length, at));
		show("written", 0);
		contents();
		if (!sources[k].again)
			continue;
		SC(SYS_ftruncate, fd, 0xb123);
		show("longer", 0);
		contents();
		SC(SYS_fsync, fd);
		SC(SYS_ftruncate, fd, 0x1234);
		show("shorter", 0);
		SC(SYS_fsync, fd);
		SC(SYS_fadvise64, fd, 0, 0, 4 /* DONTNEED */);
		SC(SYS_ftruncate, fd, 0x3333);
		show("cold", 0);
	}
}

/* --------------------------------------------------------------------------- faults behind the end of the file */
static void edges(void)
{
	for (ul size = 20 * PAGE; size < 23 * PAGE; size += PAGE / 2)
		for (ul from = 8; from < 24; from++) {
			fresh(size, 0);
			for (ul at = (size + PAGE - 1) / PAGE; at < from + 30; at += 7)
				if (at >= from) {
					MMAP(PRIVATE, SHOWN * PAGE, R, MAP_SHARED | FIX, fd, from * PAGE);
					say("size %#lx from %lu page %lu: %d\n", size, from, at, probe(PRIVATE + (at - from) * PAGE, 0));
					show("", PRIVATE);
				}
		}
}

/* -------------------------------------------------------------------------------------- random calls and accesses */
static ul state;
static ul rnd(ul n)
{
	state = state * 6364136223846793005UL + 1442695040888963407UL;
	return (state >> 33) % n;
}

static void touch(const char *what, ul addr, int write)
{
	struct rusage before, after;
	SC(SYS_getrusage, RUSAGE_SELF, &before);
	int code = probe(addr, write);
	SC(SYS_getrusage, RUSAGE_SELF, &after);
	say("%s page %lu: %d, faults %ld\n", what, addr / PAGE % 0x1000, code, after.ru_minflt - before.ru_minflt);
}

static void folios(ul first, ul last)
{
	for (ul round = first; round < last; round++) {
		state = round * 7919 + 1;
		say("round %lu\n", round);
		fresh(0, 0);
		MMAP(SHARED, SHOWN * PAGE, RW, MAP_SHARED | FIX, fd, 0);
		MMAP(PRIVATE, SHOWN * PAGE, RW, MAP_PRIVATE | FIX, fd, 0);
		for (int k = 0; k < 30; k++) {
			ul at = rnd(SHOWN), n = 1 + rnd(8);
			switch (rnd(12)) {
			case 0 ... 3: {
				ul off = rnd(30) * PAGE + (rnd(3) ? 0 : rnd(PAGE)), len = 1 + rnd(rnd(2) ? 16 * PAGE : 3 * PAGE);
				if (rnd(2))
					len = (len + PAGE - 1) & -PAGE;
				say("pwrite %#lx at %#lx: %ld\n", len, off, SC(SYS_pwrite64, fd, bytes, len, off));
				break;
			}
			case 4: say("fsync: %ld\n", SC(SYS_fsync, fd)); break;
			case 5: {
				ul size = at * PAGE + (rnd(2) ? 0 : rnd(PAGE));
				say("ftruncate %#lx: %ld\n", size, SC(SYS_ftruncate, fd, size));
				break;
			}
			case 6: touch("store", SHARED + at * PAGE, 1); break;
			case 7: touch("load", SHARED + at * PAGE, 0); break;
			case 8: touch("private", PRIVATE + at * PAGE, rnd(2)); break;
			case 9: say("read %lu: %ld\n", at, SC(SYS_pread64, fd, bytes + 40 * PAGE, PAGE, at * PAGE)); break;
			case 10:
				MMAP(SHARED + at * PAGE, n * PAGE, RW, MAP_SHARED | FIX, fd, at * PAGE);
				say("mapped anew: %lu from %lu\n", n, at);
				break;
			case 11: {
				ul off = at * PAGE + (rnd(2) ? 0 : rnd(PAGE));
				SC(SYS_fsync, fd); /* or a folio may stay dirty for ever: split, it has no buffers to be written */
				say("a hole of %lu pages at %#lx: %ld\n", n, off, SC(SYS_fallocate, fd, 3, off, n * PAGE));
				break;
			}
			}
			show("shared", SHARED);
			show("private", PRIVATE);
		}
	}
}

int main(int argc, char **argv)
{
	begin(argc, argv);
	memset(bytes, 5, sizeof bytes);
	const char *part = argc > 2 ? argv[2] : "folios";
	if (!strcmp(part, "failing"))
		failing();
	else if (!strcmp(part, "edges"))
		edges();
	else
		folios(argc > 3 ? atol(argv[3]) : 0, argc > 4 ? atol(argv[4]) : 40);
	quit(0);
}
