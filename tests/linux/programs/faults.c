/* Minor and major page faults of one operation after the other, as getrusage(2) counts them.
 *
 * usage: faults WORKDIR
 * prints one line per measurement: name minor major
 *
 * The program's own pages are touched first, so that only the measured operation faults.
 */
#include "say.h"

struct record { const char *name; long minor, major; };
static struct record records[1024];
static int nr_records;
static struct rusage before, after;

#define START() SC(SYS_getrusage, RUSAGE_SELF, &before)
#define STOP(label) \
	do { \
		SC(SYS_getrusage, RUSAGE_SELF, &after); \
		records[nr_records].name = label; \
		records[nr_records].minor = after.ru_minflt - before.ru_minflt; \
		records[nr_records++].major = after.ru_majflt - before.ru_majflt; \
	} while (0)
#define MEASURE(label, ...) do { START(); __VA_ARGS__; STOP(label); } while (0)

static void rd(ul a, ul n) { for (ul i = 0; i < n; i++) (void)*(vu8 *)(a + i * PAGE); }
static void wr(ul a, ul n) { for (ul i = 0; i < n; i++) *(vu8 *)(a + i * PAGE) = i; }
static void rd_down(ul a, ul n) { for (ul i = n; i-- > 0;) (void)*(vu8 *)(a + i * PAGE); }
static void wr_down(ul a, ul n) { for (ul i = n; i-- > 0;) *(vu8 *)(a + i * PAGE) = i; }
static void rd_step(ul a, ul n, ul step) { for (ul i = 0; i < n; i += step) (void)*(vu8 *)(a + i * PAGE); }
static void wr_step(ul a, ul n, ul step) { for (ul i = 0; i < n; i += step) *(vu8 *)(a + i * PAGE) = i; }

static ul map(ul len, int prot, int flags, int fd, ul off)
{
	long r = MMAP(0, len, prot, flags, fd, off);
	if (failed(r))
		die("mmap", r);
	return r;
}
static ul map_at(ul addr, ul len, int prot, int flags, int fd, ul off)
{
	long r = MMAP(addr, len, prot, flags | MAP_FIXED, fd, off);
	if (failed(r))
		die("mmap fixed", r);
	return r;
}
static void must(const char *what, long r) { if (failed(r)) die(what, r); }
static void unmap(ul a, ul len) { must("munmap", MUNMAP(a, len)); }

static ul random_state;
static ul rnd(ul below)
{
	random_state = random_state * 6364136223846793005UL + 1442695040888963407UL;
	return (random_state >> 33) % below;
}

/* ------------------------------------------------------------------------------------------ anonymous private */
static void anonymous(void)
{
	ul n = 100, a;
	a = map(n * PAGE, RW, ANON, -1, 0);
	MEASURE("anon read 100", rd(a, n));
	MEASURE("anon read again", rd(a, n));
	MEASURE("anon write after read", wr(a, n));
	MEASURE("anon write again", wr(a, n));
	unmap(a, n * PAGE);
	a = map(n * PAGE, RW, ANON, -1, 0);
	MEASURE("anon write 100", wr(a, n));
	MEASURE("anon read after write", rd(a, n));
	must("madvise", MADVISE(a, n * PAGE, MADV_DONTNEED));
	MEASURE("anon write after DONTNEED", wr(a, n));
	must("madvise", MADVISE(a + 10 * PAGE, 30 * PAGE, MADV_DONTNEED));
	MEASURE("anon read after partial DONTNEED", rd(a, n));
	MEASURE("anon write after that", wr(a, n));
	MEASURE("DONTNEED itself", MADVISE(a, n * PAGE, MADV_DONTNEED));
	MEASURE("anon every 3rd page", wr_step(a, n, 3));
	MEASURE("anon the rest downwards", wr_down(a, n));
	unmap(a, n * PAGE);
	a = map(n * PAGE, RW, ANON, -1, 0);
	unmap(a, n * PAGE);
	ul b = map(n * PAGE, RW, ANON, -1, 0);
	MEASURE("anon unmapped and mapped again", wr(b, n));
	must("mmap over", MMAP(b + 20 * PAGE, 20 * PAGE, RW, ANON | MAP_FIXED, -1, 0));
	MEASURE("anon after mapping over 20", wr(b, n));
	unmap(b, n * PAGE);
	a = map(2 * PAGE, RW, ANON, -1, 0);
	MEASURE("one write across two pages", *(volatile ul *)(a + PAGE - 4) = 1);
	unmap(a, 2 * PAGE);
	a = map(2 * PAGE, RW, ANON, -1, 0);
	MEASURE("one read across two pages", (void)*(volatile ul *)(a + PAGE - 4));
	MEASURE("then one write across", *(volatile ul *)(a + PAGE - 4) = 1);
	unmap(a, 2 * PAGE);
	a = map(PAGE, RW, ANON, -1, 0);
	MEASURE("read-modify-write", (*(volatile ul *)a)++);
	unmap(a, PAGE);
	a = map(PAGE, RW, ANON, -1, 0);
	MEASURE("locked add of zero", __sync_fetch_and_add((ul *)a, 0));
	unmap(a, PAGE);
	a = map(PAGE, RW, ANON, -1, 0);
	MEASURE("failing cmpxchg", __sync_bool_compare_and_swap((ul *)a, 5, 6));
	unmap(a, PAGE);
	a = map(64 * PAGE, W, ANON, -1, 0);
	MEASURE("write-only mapping, read", rd(a, 64));
	MEASURE("write-only mapping, write", wr(a, 64));
	unmap(a, 64 * PAGE);
	a = map(64 * PAGE, RW | X, ANON, -1, 0);
	MEASURE("rwx mapping, write", wr(a, 64));
	*(vu8 *)a = 0xc3;
	MEASURE("execute a written page", ((void (*)(void))a)());
	unmap(a, 64 * PAGE);
	a = map(2 * PAGE, R | X, ANON, -1, 0);
	MEASURE("read of r-x anon", rd(a, 2));
	unmap(a, 2 * PAGE);
	a = map(8 * MB, RW, ANON, -1, 0);
	MEASURE("8 MB anon, every 512th page", wr_step(a, 2048, 512));
	MEASURE("8 MB anon, pages either side of 2 MB lines", for (ul k = 1; k < 4; k++) wr((a & -(2 * MB)) + k * 2 * MB - PAGE, 2));
	unmap(a, 8 * MB);
	a = map(n * PAGE, RW, ANON | MAP_NORESERVE, -1, 0);
	MEASURE("noreserve write", wr(a, n));
	unmap(a, n * PAGE);
	a = map(n * PAGE, RW, ANON | MAP_STACK, -1, 0);
	MEASURE("MAP_STACK write", wr(a, n));
	unmap(a, n * PAGE);
}

/* --------------------------------------------------------------------------------------------------- protection */
static void protection(void)
{
	ul n = 50, a = map(n * PAGE, RW, ANON, -1, 0);
	wr(a, n);
	must("mprotect", MPROTECT(a, n * PAGE, R));
	MEASURE("written, PROT_READ, read", rd(a, n));
	must("mprotect", MPROTECT(a, n * PAGE, RW));
	MEASURE("written, READ and back, write", wr(a, n));
	must("mprotect", MPROTECT(a, n * PAGE, PROT_NONE));
	must("mprotect", MPROTECT(a, n * PAGE, RW));
	MEASURE("written, NONE and back, read", rd(a, n));
	MEASURE("written, NONE and back, write", wr(a, n));
	must("mprotect", MPROTECT(a, n * PAGE, PROT_NONE));
	must("mprotect", MPROTECT(a, n * PAGE, RW));
	MEASURE("written, NONE and back, write first", wr(a, n));
	must("mprotect", MPROTECT(a + 10 * PAGE, 10 * PAGE, R));
	must("mprotect", MPROTECT(a + 10 * PAGE, 10 * PAGE, RW));
	MEASURE("middle READ and back, write", wr(a, n));
	unmap(a, n * PAGE);
	a = map(n * PAGE, RW, ANON, -1, 0);
	rd(a, n);
	must("mprotect", MPROTECT(a, n * PAGE, R));
	MEASURE("zero pages, PROT_READ, read", rd(a, n));
	must("mprotect", MPROTECT(a, n * PAGE, RW));
	MEASURE("zero pages, READ and back, write", wr(a, n));
	unmap(a, n * PAGE);
	a = map(n * PAGE, R, ANON, -1, 0);
	MEASURE("read-only anon, read", rd(a, n));
	must("mprotect", MPROTECT(a, n * PAGE, RW));
	MEASURE("made writable, write", wr(a, n));
	unmap(a, n * PAGE);
	a = map(n * PAGE, PROT_NONE, ANON, -1, 0);
	must("mprotect", MPROTECT(a + 5 * PAGE, 20 * PAGE, RW));
	MEASURE("reserved, part made writable, write", wr(a + 5 * PAGE, 20));
	must("mprotect", MPROTECT(a, n * PAGE, RW));
	MEASURE("all made writable, write", wr(a, n));
	must("mprotect", MPROTECT(a, n * PAGE, R | X));
	must("mprotect", MPROTECT(a, n * PAGE, RW | X));
	MEASURE("r-x and back to rwx, write", wr(a, n));
	unmap(a, n * PAGE);
}

/* ----------------------------------------------------------------------------------------------------- populate */
static void populate(void)
{
	ul n = 60, a;
	MEASURE("POPULATE private rw: mmap", a = map(n * PAGE, RW, ANON | MAP_POPULATE, -1, 0));
	MEASURE("POPULATE private rw: write", wr(a, n));
	unmap(a, n * PAGE);
	MEASURE("POPULATE private r: mmap", a = map(n * PAGE, R, ANON | MAP_POPULATE, -1, 0));
	MEASURE("POPULATE private r: read", rd(a, n));
	must("mprotect", MPROTECT(a, n * PAGE, RW));
	MEASURE("POPULATE private r: made rw, write", wr(a, n));
	unmap(a, n * PAGE);
	MEASURE("POPULATE private none: mmap", a = map(n * PAGE, PROT_NONE, ANON | MAP_POPULATE, -1, 0));
	unmap(a, n * PAGE);
	MEASURE("POPULATE private x: mmap", a = map(n * PAGE, X, ANON | MAP_POPULATE, -1, 0));
	unmap(a, n * PAGE);
	MEASURE("POPULATE private w: mmap", a = map(n * PAGE, W, ANON | MAP_POPULATE, -1, 0));
	MEASURE("POPULATE private w: write", wr(a, n));
	unmap(a, n * PAGE);
	MEASURE("POPULATE shared rw: mmap", a = map(n * PAGE, RW, SHANON | MAP_POPULATE, -1, 0));
	MEASURE("POPULATE shared rw: write", wr(a, n));
	unmap(a, n * PAGE);
	MEASURE("POPULATE shared r: mmap", a = map(n * PAGE, R, SHANON | MAP_POPULATE, -1, 0));
	MEASURE("POPULATE shared r: read", rd(a, n));
	must("mprotect", MPROTECT(a, n * PAGE, RW));
	MEASURE("POPULATE shared r: made rw, write", wr(a, n));
	unmap(a, n * PAGE);
	MEASURE("POPULATE|NONBLOCK: mmap", a = map(n * PAGE, RW, ANON | MAP_POPULATE | MAP_NONBLOCK, -1, 0));
	MEASURE("POPULATE|NONBLOCK: write", wr(a, n));
	unmap(a, n * PAGE);
	MEASURE("MAP_LOCKED: mmap", a = map(n * PAGE, RW, ANON | MAP_LOCKED, -1, 0));
	MEASURE("MAP_LOCKED: write", wr(a, n));
	must("munlock", MUNLOCK(a, n * PAGE));
	must("madvise", MADVISE(a, n * PAGE, MADV_DONTNEED));
	MEASURE("unlocked and DONTNEED: write", wr(a, n));
	unmap(a, n * PAGE);
	a = map(n * PAGE, RW, ANON, -1, 0);
	MEASURE("POPULATE_READ anon", must("popread", MADVISE(a, n * PAGE, MADV_POPULATE_READ)));
	MEASURE("POPULATE_READ anon: read", rd(a, n));
	MEASURE("POPULATE_WRITE after READ", must("popwrite", MADVISE(a, n * PAGE, MADV_POPULATE_WRITE)));
	MEASURE("POPULATE_WRITE: write", wr(a, n));
	MEASURE("POPULATE_WRITE again", must("popwrite", MADVISE(a, n * PAGE, MADV_POPULATE_WRITE)));
	must("madvise", MADVISE(a, n * PAGE, MADV_DONTNEED));
	wr_step(a, n, 2);
	MEASURE("POPULATE_READ, every second there", must("popread", MADVISE(a, n * PAGE, MADV_POPULATE_READ)));
	MEASURE("POPULATE_WRITE, every second there", must("popwrite", MADVISE(a, n * PAGE, MADV_POPULATE_WRITE)));
	unmap(a, n * PAGE);
	a = map(n * PAGE, RW, ANON, -1, 0);
	unmap(a + 20 * PAGE, 10 * PAGE);
	MEASURE("POPULATE_WRITE into a hole", MADVISE(a, n * PAGE, MADV_POPULATE_WRITE));
	MEASURE("what it left: write", wr(a, 20); wr(a + 30 * PAGE, 30));
	unmap(a, n * PAGE);
	a = map(n * PAGE, RW, ANON, -1, 0);
	must("mprotect", MPROTECT(a + 20 * PAGE, 10 * PAGE, R));
	MEASURE("POPULATE_WRITE into read-only", MADVISE(a, n * PAGE, MADV_POPULATE_WRITE));
	MEASURE("what the failed one left: write", wr(a, 20); wr(a + 30 * PAGE, 30));
	unmap(a, n * PAGE);
}

/* ------------------------------------------------------------------------------------------------------- mremap */
static void remap(void)
{
	ul n = 40, a = map(4 * n * PAGE, RW, ANON, -1, 0);
	unmap(a + n * PAGE, 3 * n * PAGE);
	wr(a, n);
	MEASURE("mremap grow in place: call", must("mremap", MREMAP(a, n * PAGE, 2 * n * PAGE, 0, 0)));
	MEASURE("mremap grow in place: write", wr(a, 2 * n));
	ul wall = map_at(a + 2 * n * PAGE, PAGE, R, ANON, -1, 0);
	long b;
	MEASURE("mremap grow moving: call", b = MREMAP(a, 2 * n * PAGE, 3 * n * PAGE, MREMAP_MAYMOVE, 0); must("mremap", b));
	MEASURE("mremap grow moving: write", wr(b, 3 * n));
	unmap(wall, PAGE);
	MEASURE("mremap shrink: call", must("mremap", MREMAP(b, 3 * n * PAGE, n * PAGE, 0, 0)));
	MEASURE("mremap shrink: write", wr(b, n));
	MEASURE("mremap grow back: write", must("mremap", MREMAP(b, n * PAGE, 2 * n * PAGE, 0, 0)); wr(b, 2 * n));
	ul target = map(2 * n * PAGE, PROT_NONE, ANON, -1, 0);
	MEASURE("mremap FIXED: call",
		must("mremap", MREMAP(b, 2 * n * PAGE, 2 * n * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, target)));
	MEASURE("mremap FIXED: read", rd(target, 2 * n));
	MEASURE("mremap DONTUNMAP: call",
		b = MREMAP(target, 2 * n * PAGE, 2 * n * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, 0); must("mremap", b));
	MEASURE("mremap DONTUNMAP: read new", rd(b, 2 * n));
	MEASURE("mremap DONTUNMAP: write old", wr(target, 2 * n));
	unmap(target, 2 * n * PAGE);
	unmap(b, 2 * n * PAGE);
	a = map((n + 1) * PAGE, RW, ANON, -1, 0);
	rd(a, n);
	wall = map_at(a + n * PAGE, PAGE, R, ANON, -1, 0);
	MEASURE("mremap of zero pages: call", b = MREMAP(a, n * PAGE, 2 * n * PAGE, MREMAP_MAYMOVE, 0); must("mremap", b));
	MEASURE("mremap of zero pages: read", rd(b, 2 * n));
	MEASURE("mremap of zero pages: write", wr(b, 2 * n));
	unmap(wall, PAGE);
	unmap(b, 2 * n * PAGE);
	a = map(n * PAGE, RW, SHANON, -1, 0);
	wr(a, n);
	MEASURE("mremap old size 0 shared: call", b = MREMAP(a, 0, n * PAGE, MREMAP_MAYMOVE, 0); must("mremap", b));
	MEASURE("mremap old size 0 shared: read", rd(b, n));
	MEASURE("mremap old size 0 shared: write", wr(b, n));
	unmap(a, n * PAGE);
	unmap(b, n * PAGE);
	a = map(8 * MB, RW, ANON, -1, 0);
	wr(a, 2048);
	target = map(8 * MB, PROT_NONE, ANON, -1, 0);
	MEASURE("mremap 8 MB: call", must("mremap", MREMAP(a, 8 * MB, 8 * MB, MREMAP_MAYMOVE | MREMAP_FIXED, target)));
	MEASURE("mremap 8 MB: write", wr(target, 2048));
	unmap(target, 8 * MB);
	a = map(n * PAGE, RW, ANON | MAP_LOCKED, -1, 0);
	MEASURE("mremap of locked, growing: call", b = MREMAP(a, n * PAGE, 2 * n * PAGE, MREMAP_MAYMOVE, 0); must("mremap", b));
	MEASURE("mremap of locked, growing: write", wr(b, 2 * n));
	unmap(b, 2 * n * PAGE);
}

/* -------------------------------------------------------------------------------------------------------- files */
static void file_private(void)
{
	ul n = 100, a;
	int fd = make_file("private", n * PAGE);
	a = map(n * PAGE, RW, MAP_PRIVATE, fd, 0);
	MEASURE("private file read", rd(a, n));
	MEASURE("private file write after read", wr(a, n));
	MEASURE("private file write again", wr(a, n));
	must("madvise", MADVISE(a, n * PAGE, MADV_DONTNEED));
	MEASURE("private file read after DONTNEED", rd(a, n));
	unmap(a, n * PAGE);
	a = map(n * PAGE, RW, MAP_PRIVATE, fd, 0);
	MEASURE("private file write", wr(a, n));
	MEASURE("private file read after write", rd(a, n));
	unmap(a, n * PAGE);
	a = map(n * PAGE, RW, MAP_PRIVATE, fd, 0);
	MEASURE("private file read downwards", rd_down(a, n));
	unmap(a, n * PAGE);
	a = map(n * PAGE, RW, MAP_PRIVATE, fd, 0);
	MEASURE("private file read every 5th", rd_step(a, n, 5));
	MEASURE("private file read all", rd(a, n));
	MEASURE("private file write every 7th", wr_step(a, n, 7));
	must("mprotect", MPROTECT(a, n * PAGE, R));
	must("mprotect", MPROTECT(a, n * PAGE, RW));
	MEASURE("private file READ and back, write every 7th", wr_step(a, n, 7));
	MEASURE("private file READ and back, write all", wr(a, n));
	unmap(a, n * PAGE);
	a = map(n * PAGE, RW, MAP_PRIVATE, fd, 0);
	wr_step(a, n, 4);
	MEASURE("private file, every 4th written, read", rd(a, n));
	unmap(a, n * PAGE);
	MEASURE("POPULATE private file r: mmap", a = map(n * PAGE, R, MAP_PRIVATE | MAP_POPULATE, fd, 0));
	MEASURE("POPULATE private file r: read", rd(a, n));
	unmap(a, n * PAGE);
	MEASURE("POPULATE private file rw: mmap", a = map(n * PAGE, RW, MAP_PRIVATE | MAP_POPULATE, fd, 0));
	MEASURE("POPULATE private file rw: write", wr(a, n));
	unmap(a, n * PAGE);
	a = map(n * PAGE, RW, MAP_PRIVATE, fd, 0);
	MEASURE("private file POPULATE_READ", must("popread", MADVISE(a, n * PAGE, MADV_POPULATE_READ)));
	MEASURE("private file POPULATE_WRITE", must("popwrite", MADVISE(a, n * PAGE, MADV_POPULATE_WRITE)));
	MEASURE("private file populated: write", wr(a, n));
	unmap(a, n * PAGE);
	a = map(n * PAGE, RW, MAP_PRIVATE, fd, 0);
	MEASURE("private file WILLNEED", must("willneed", MADVISE(a, n * PAGE, MADV_WILLNEED)));
	MEASURE("private file WILLNEED: read", rd(a, n));
	unmap(a, n * PAGE);
	a = map(n * PAGE, RW, MAP_PRIVATE, fd, 0);
	must("random", MADVISE(a, n * PAGE, MADV_RANDOM));
	MEASURE("private file MADV_RANDOM: read", rd(a, n));
	unmap(a, n * PAGE);
	a = map(n * PAGE, RW, MAP_PRIVATE, fd, 0);
	must("sequential", MADVISE(a, n * PAGE, MADV_SEQUENTIAL));
	MEASURE("private file MADV_SEQUENTIAL: read", rd(a, n));
	unmap(a, n * PAGE);
	a = map(n * PAGE, R | X, MAP_PRIVATE, fd, 0);
	MEASURE("private file r-x: read", rd(a, n));
	unmap(a, n * PAGE);
	SC(SYS_close, fd);
}

static void file_shared(void)
{
	ul n = 100, a;
	int fd = make_file("shared", n * PAGE);
	a = map(n * PAGE, RW, MAP_SHARED, fd, 0);
	MEASURE("shared file read", rd(a, n));
	MEASURE("shared file write after read", wr(a, n));
	MEASURE("shared file write again", wr(a, n));
	MEASURE("msync SYNC", must("msync", MSYNC(a, n * PAGE, MS_SYNC)));
	MEASURE("shared file write after msync", wr(a, n));
	MEASURE("msync ASYNC", must("msync", MSYNC(a, n * PAGE, MS_ASYNC)));
	MEASURE("shared file write after msync ASYNC", wr(a, n));
	MEASURE("msync of 10 pages", must("msync", MSYNC(a, 10 * PAGE, MS_SYNC)));
	MEASURE("shared file write after that", wr(a, n));
	MEASURE("fsync", must("fsync", SC(SYS_fsync, fd)));
	MEASURE("shared file write after fsync", wr(a, n));
	MEASURE("shared file read after", rd(a, n));
	must("madvise", MADVISE(a, n * PAGE, MADV_DONTNEED));
	MEASURE("shared file dirty, DONTNEED, write", wr(a, n));
	must("msync", MSYNC(a, n * PAGE, MS_SYNC));
	must("madvise", MADVISE(a, n * PAGE, MADV_DONTNEED));
	MEASURE("shared file clean, DONTNEED, read", rd(a, n));
	unmap(a, n * PAGE);
	a = map(n * PAGE, RW, MAP_SHARED, fd, 0);
	MEASURE("shared file write, clean cache", wr(a, n));
	unmap(a, n * PAGE);
	a = map(n * PAGE, RW, MAP_SHARED, fd, 0);
	MEASURE("shared file write, dirty cache", wr(a, n));
	unmap(a, n * PAGE);
	a = map(n * PAGE, RW, MAP_SHARED, fd, 0);
	MEASURE("shared file read, dirty cache", rd(a, n));
	MEASURE("shared file write, dirty cache, mapped by read", wr(a, n));
	unmap(a, n * PAGE);
	must("fsync", SC(SYS_fsync, fd));
	a = map(n * PAGE, R, MAP_SHARED, fd, 0);
	MEASURE("shared file r: read", rd(a, n));
	must("mprotect", MPROTECT(a, n * PAGE, RW));
	MEASURE("shared file made rw: write", wr(a, n));
	must("mprotect", MPROTECT(a, n * PAGE, R));
	must("mprotect", MPROTECT(a, n * PAGE, RW));
	MEASURE("shared file READ and back, write", wr(a, n));
	must("mprotect", MPROTECT(a, n * PAGE, PROT_NONE));
	must("mprotect", MPROTECT(a, n * PAGE, RW));
	MEASURE("shared file NONE and back, write", wr(a, n));
	unmap(a, n * PAGE);
	must("fsync", SC(SYS_fsync, fd));
	MEASURE("POPULATE shared file rw: mmap", a = map(n * PAGE, RW, MAP_SHARED | MAP_POPULATE, fd, 0));
	MEASURE("POPULATE shared file rw: write", wr(a, n));
	unmap(a, n * PAGE);
	must("fsync", SC(SYS_fsync, fd));
	MEASURE("POPULATE shared file r: mmap", a = map(n * PAGE, R, MAP_SHARED | MAP_POPULATE, fd, 0));
	MEASURE("POPULATE shared file r: read", rd(a, n));
	unmap(a, n * PAGE);
	a = map(n * PAGE, RW, MAP_SHARED, fd, 0);
	MEASURE("shared file POPULATE_READ", must("popread", MADVISE(a, n * PAGE, MADV_POPULATE_READ)));
	MEASURE("shared file populated r: write", wr(a, n));
	unmap(a, n * PAGE);
	must("fsync", SC(SYS_fsync, fd));
	a = map(n * PAGE, RW, MAP_SHARED, fd, 0);
	MEASURE("shared file POPULATE_WRITE", must("popwrite", MADVISE(a, n * PAGE, MADV_POPULATE_WRITE)));
	MEASURE("shared file populated w: write", wr(a, n));
	ul b = map(n * PAGE, RW, MAP_SHARED, fd, 0);
	MEASURE("second mapping of the same: read", rd(b, n));
	MEASURE("second mapping of the same: write", wr(b, n));
	must("fsync", SC(SYS_fsync, fd));
	MEASURE("after fsync, first: write", wr(a, n));
	MEASURE("after fsync, second: write", wr(b, n));
	MEASURE("mremap of file: call", long m = MREMAP(b, n * PAGE, 2 * n * PAGE, MREMAP_MAYMOVE, 0); must("mremap", m); b = m);
	MEASURE("mremap of file: write", wr(b, n));
	unmap(a, n * PAGE);
	unmap(b, 2 * n * PAGE);
	a = map(n * PAGE, RW, MAP_SHARED, fd, 0);
	wr(a, n);
	must("truncate", SC(SYS_ftruncate, fd, 50 * PAGE));
	MEASURE("after truncate: write", wr(a, 50));
	must("truncate", SC(SYS_ftruncate, fd, 50 * PAGE - 100));
	MEASURE("after truncate within a page: write", wr(a, 50));
	must("pwrite", SC(SYS_pwrite64, fd, "x", 1, 60 * PAGE + 5));
	MEASURE("extended by write(2): read of that page", rd(a + 60 * PAGE, 1));
	unmap(a, n * PAGE);
	SC(SYS_close, fd);
	fd = make_file("odd", 10 * PAGE + 100);
	a = map(16 * PAGE, RW, MAP_SHARED, fd, 0);
	MEASURE("partial last page: read", rd(a, 11));
	MEASURE("partial last page: write", wr(a, 11));
	must("fsync", SC(SYS_fsync, fd));
	MEASURE("write(2) to a mapped clean file", must("pwrite", SC(SYS_pwrite64, fd, "x", 1, 5)));
	MEASURE("then write", wr(a, 11));
	unmap(a, 16 * PAGE);
	a = map(16 * PAGE, RW, MAP_PRIVATE, fd, 0);
	MEASURE("private partial last page: write", wr(a, 11));
	unmap(a, 16 * PAGE);
	SC(SYS_close, fd);
}

/* ------------------------------------------------------------------------------------------------ fault-around */
static void fault_around(void)
{
	ul size = 4 * MB, pages = size / PAGE, a, b;
	int fd = make_file("big", size);
	must("fsync", SC(SYS_fsync, fd));
	a = map(size, R, MAP_PRIVATE, fd, 0);
	random_state = 1;
	MEASURE("4 MB file, 40 random reads", for (int i = 0; i < 40; i++) rd(a + rnd(pages) * PAGE, 1));
	MEASURE("4 MB file, 40 more", for (int i = 0; i < 40; i++) rd(a + rnd(pages) * PAGE, 1));
	MEASURE("4 MB file, all", rd(a, pages));
	unmap(a, size);
	a = map(size, RW, MAP_PRIVATE, fd, 0);
	MEASURE("4 MB file, 100 random writes or reads", for (int i = 0; i < 100; i++) {
		ul p = a + rnd(pages) * PAGE;
		if (rnd(2)) wr(p, 1); else rd(p, 1);
	});
	unmap(a, size);
	a = map(size, RW, MAP_SHARED, fd, 0);
	MEASURE("4 MB shared, 100 random writes or reads", for (int i = 0; i < 100; i++) {
		ul p = a + rnd(pages) * PAGE;
		if (rnd(2)) wr(p, 1); else rd(p, 1);
	});
	unmap(a, size);
	must("fsync", SC(SYS_fsync, fd));
	static const char *names[16][2] = {
#define TWO(k) { "window, file offset " #k ": read", "window, address offset " #k ": read" }
		TWO(0), TWO(1), TWO(2), TWO(3), TWO(4), TWO(5), TWO(6), TWO(7), TWO(8), TWO(9), TWO(10), TWO(11), TWO(12),
		TWO(13), TWO(14), TWO(15),
	};
	b = map(size, PROT_NONE, ANON, -1, 0);
	ul base = (b + 2 * MB) & -(2 * MB);
	for (int k = 0; k < 16; k++) {
		map_at(base, 40 * PAGE, R, MAP_PRIVATE, fd, k * PAGE);
		MEASURE(names[k][0], rd(base + 20 * PAGE, 1); rd(base, 40));
		map_at(base, 2 * MB - PAGE, PROT_NONE, ANON, -1, 0);
		map_at(base + k * PAGE, 40 * PAGE, R, MAP_PRIVATE, fd, 0);
		MEASURE(names[k][1], rd(base + (k + 3) * PAGE, 1); rd_down(base + k * PAGE, 40));
		map_at(base, 2 * MB - PAGE, PROT_NONE, ANON, -1, 0);
	}
	map_at(base + 7 * PAGE, 5 * PAGE, R, MAP_PRIVATE, fd, 64 * KB);
	MEASURE("short VMA: read one", rd(base + 9 * PAGE, 1));
	MEASURE("short VMA: read all", rd(base + 7 * PAGE, 5));
	map_at(base + 14 * PAGE, 4 * PAGE, R, MAP_PRIVATE, fd, 64 * KB);
	MEASURE("short VMA over a window line: read last", rd(base + 17 * PAGE, 1));
	MEASURE("short VMA over a window line: read all", rd(base + 14 * PAGE, 4));
	map_at(base + 2 * MB - 8 * PAGE, 16 * PAGE, R, MAP_PRIVATE, fd, 128 * KB);
	MEASURE("VMA over a 2 MB line: read below", rd(base + 2 * MB - PAGE, 1));
	MEASURE("VMA over a 2 MB line: read all", rd(base + 2 * MB - 8 * PAGE, 16));
	map_at(base, 32 * PAGE, RW, MAP_PRIVATE, fd, 0);
	wr(base + 4 * PAGE, 1);
	MEASURE("around a private copy: read next", rd(base + 5 * PAGE, 1));
	MEASURE("around a private copy: read all", rd(base, 32));
	map_at(base, 32 * PAGE, R, MAP_PRIVATE, fd, 0);
	must("mprotect", MPROTECT(base + 8 * PAGE, PAGE, PROT_NONE));
	MEASURE("window cut by a protected page: read below", rd(base + 2 * PAGE, 1));
	MEASURE("window cut by a protected page: read above", rd(base + 12 * PAGE, 1));
	map_at(base, 64 * PAGE, R, MAP_PRIVATE, fd, size - 4 * PAGE);
	MEASURE("window at the file's end: read", rd(base + 2 * PAGE, 1));
	MEASURE("window at the file's end: read rest", rd(base, 4));
	map_at(base, 64 * PAGE, R, MAP_PRIVATE, fd, 0);
	rd(base, 1);
	must("mprotect", MPROTECT(base, 64 * PAGE, PROT_NONE));
	must("mprotect", MPROTECT(base, 64 * PAGE, R));
	MEASURE("fault-around, NONE and back: read", rd(base, 32));
	map_at(base, 64 * PAGE, R, MAP_SHARED, fd, 0);
	MEASURE("shared window: read one", rd(base + 3 * PAGE, 1));
	MEASURE("shared window: read its 16", rd(base, 16));
	unmap(b, size);
	SC(SYS_close, fd);
}

/* ------------------------------------------------------------------------------------- shared anonymous, memfd, shm */
static void shared_memory(void)
{
	ul n = 100, a, b;
	a = map(n * PAGE, RW, SHANON, -1, 0);
	MEASURE("shared anon read", rd(a, n));
	MEASURE("shared anon write after read", wr(a, n));
	must("madvise", MADVISE(a, n * PAGE, MADV_DONTNEED));
	MEASURE("shared anon DONTNEED, read", rd(a, n));
	must("madvise", MADVISE(a, n * PAGE, MADV_DONTNEED));
	MEASURE("shared anon DONTNEED, write", wr(a, n));
	must("madvise", MADVISE(a, n * PAGE, MADV_REMOVE));
	MEASURE("shared anon REMOVE, read", rd(a, n));
	MEASURE("shared anon REMOVE, write", wr(a, n));
	must("mprotect", MPROTECT(a, n * PAGE, R));
	must("mprotect", MPROTECT(a, n * PAGE, RW));
	MEASURE("shared anon READ and back, write", wr(a, n));
	must("mprotect", MPROTECT(a, n * PAGE, PROT_NONE));
	must("mprotect", MPROTECT(a, n * PAGE, RW));
	MEASURE("shared anon NONE and back, read", rd(a, n));
	unmap(a, n * PAGE);
	a = map(n * PAGE, RW, SHANON, -1, 0);
	MEASURE("shared anon write", wr(a, n));
	unmap(a, n * PAGE);
	a = map(n * PAGE, RW, SHANON, -1, 0);
	MEASURE("shared anon every 9th write", wr_step(a, n, 9));
	MEASURE("shared anon read all", rd(a, n));
	MEASURE("shared anon write all", wr(a, n));
	unmap(a, n * PAGE);
	int fd = SC(SYS_memfd_create, "faults", 0);
	must("memfd_create", fd);
	must("ftruncate", SC(SYS_ftruncate, fd, n * PAGE));
	a = map(n * PAGE, RW, MAP_SHARED, fd, 0);
	MEASURE("memfd read", rd(a, n));
	MEASURE("memfd write after read", wr(a, n));
	b = map(n * PAGE, RW, MAP_PRIVATE, fd, 0);
	MEASURE("memfd private read", rd(b, n));
	MEASURE("memfd private write", wr(b, n));
	unmap(b, n * PAGE);
	b = map(n * PAGE, RW, MAP_PRIVATE, fd, 0);
	MEASURE("memfd private write first", wr(b, n));
	unmap(b, n * PAGE);
	b = map(n * PAGE, RW, MAP_SHARED, fd, 0);
	MEASURE("memfd second shared mapping write", wr(b, n));
	must("punch", SC(SYS_fallocate, fd, 3, 10 * PAGE, 10 * PAGE));
	MEASURE("memfd hole punched: read", rd(a, n));
	MEASURE("memfd hole punched: write", wr(a, n));
	MEASURE("memfd hole punched: write second", wr(b, n));
	unmap(a, n * PAGE);
	unmap(b, n * PAGE);
	SC(SYS_close, fd);
	fd = SC(SYS_memfd_create, "hole", 0);
	must("ftruncate", SC(SYS_ftruncate, fd, n * PAGE));
	b = map(n * PAGE, RW, MAP_PRIVATE, fd, 0);
	MEASURE("memfd of holes, private read", rd(b, n));
	MEASURE("memfd of holes, private write", wr(b, n));
	unmap(b, n * PAGE);
	SC(SYS_close, fd);
	fd = SC(SYS_memfd_create, "alloc", 0);
	must("fallocate", SC(SYS_fallocate, fd, 0, 0, n * PAGE));
	b = map(n * PAGE, RW, MAP_SHARED, fd, 0);
	MEASURE("memfd fallocated, write", wr(b, n));
	unmap(b, n * PAGE);
	SC(SYS_close, fd);
	int id = SC(SYS_shmget, IPC_PRIVATE, n * PAGE, IPC_CREAT | 0600);
	must("shmget", id);
	a = SC(SYS_shmat, id, 0, 0);
	must("shmat", a);
	MEASURE("shm read", rd(a, n));
	MEASURE("shm write", wr(a, n));
	b = SC(SYS_shmat, id, 0, SHM_RDONLY);
	must("shmat", b);
	MEASURE("shm second, read-only: read", rd(b, n));
	SC(SYS_shmctl, id, IPC_RMID, 0);
	SC(SYS_shmdt, a);
	SC(SYS_shmdt, b);
	fd = SC(SYS_open, "/dev/zero", O_RDWR, 0);
	must("open /dev/zero", fd);
	a = map(n * PAGE, RW, MAP_PRIVATE, fd, 0);
	MEASURE("/dev/zero private read", rd(a, n));
	MEASURE("/dev/zero private write", wr(a, n));
	unmap(a, n * PAGE);
	a = map(n * PAGE, RW, MAP_SHARED, fd, 0);
	MEASURE("/dev/zero shared write", wr(a, n));
	unmap(a, n * PAGE);
	SC(SYS_close, fd);
}

/* ------------------------------------------------------------------------------------------------- stack and heap */
static void __attribute__((noinline)) deep(ul pages)
{
	/* one access per page, downwards, without depending on how the compiler lays out frames */
	register ul sp __asm__("rsp");
	ul top = sp & -PAGE;
	for (ul i = 0; i < pages; i++)
		*(vu8 *)(top - (i + 1) * PAGE) = 1;
}

static void stack_and_heap(void)
{
	MEASURE("stack, 100 more pages", deep(200));
	MEASURE("stack, again", deep(200));
	MEASURE("stack, 300 pages", deep(300));
	register ul sp __asm__("rsp");
	MEASURE("stack, one page far below", *(vu8 *)((sp & -PAGE) - 600 * PAGE) = 1);
	MEASURE("stack, the pages between: read", rd((sp & -PAGE) - 600 * PAGE, 600));
	MEASURE("stack, the pages between: write", wr((sp & -PAGE) - 600 * PAGE, 600));
	ul start = BRK(0);
	ul heap = (start + PAGE - 1) & -PAGE;
	BRK(heap + 100 * PAGE);
	MEASURE("brk grown: write", wr(heap, 100));
	BRK(heap + 50 * PAGE);
	BRK(heap + 120 * PAGE);
	MEASURE("brk shrunk and grown: write", wr(heap, 120));
	MEASURE("brk grown by a few bytes: call", BRK(heap + 120 * PAGE + 5));
	MEASURE("brk grown by a few bytes: write", wr(heap, 121));
	BRK(start);
	BRK(heap + 64 * PAGE);
	MEASURE("brk again: read", rd(heap, 64));
	MEASURE("brk again: write", wr(heap, 64));
	BRK(start);
	ul a = map(300 * PAGE, PROT_NONE, ANON, -1, 0);
	ul top = a + 299 * PAGE;
	unmap(a, 300 * PAGE);
	map_at(top, PAGE, RW, ANON | MAP_GROWSDOWN, -1, 0);
	MEASURE("GROWSDOWN: touch itself", wr(top, 1));
	MEASURE("GROWSDOWN: touch the page below", wr(top - PAGE, 1));
	MEASURE("GROWSDOWN: touch 20 below", wr_down(top - 21 * PAGE, 20));
	MEASURE("GROWSDOWN: one far below", wr(top - 30 * PAGE, 1));
	MEASURE("GROWSDOWN: read what is between", rd(top - 30 * PAGE, 30));
	unmap(top - 30 * PAGE, 31 * PAGE);
}

/* ------------------------------------------------------------------------------------------------------- mlock */
static void locking(void)
{
	ul n = 60, a;
	a = map(n * PAGE, RW, ANON, -1, 0);
	MEASURE("mlock: call", must("mlock", MLOCK(a, n * PAGE)));
	MEASURE("mlock: write", wr(a, n));
	MEASURE("munlock: call", must("munlock", MUNLOCK(a, n * PAGE)));
	MEASURE("mlock again: call", must("mlock", MLOCK(a, n * PAGE)));
	unmap(a, n * PAGE);
	a = map(n * PAGE, RW, ANON, -1, 0);
	wr_step(a, n, 2);
	MEASURE("mlock, every second there: call", must("mlock", MLOCK(a, n * PAGE)));
	unmap(a, n * PAGE);
	a = map(n * PAGE, RW, ANON, -1, 0);
	rd(a, n);
	MEASURE("mlock of zero pages: call", must("mlock", MLOCK(a, n * PAGE)));
	MEASURE("mlock of zero pages: write", wr(a, n));
	unmap(a, n * PAGE);
	a = map(n * PAGE, R, ANON, -1, 0);
	MEASURE("mlock read-only: call", must("mlock", MLOCK(a, n * PAGE)));
	MEASURE("mlock read-only: read", rd(a, n));
	must("mprotect", MPROTECT(a, n * PAGE, RW));
	MEASURE("mlock read-only made rw: write", wr(a, n));
	unmap(a, n * PAGE);
	a = map(n * PAGE, PROT_NONE, ANON, -1, 0);
	MEASURE("mlock PROT_NONE: call", MLOCK(a, n * PAGE));
	MEASURE("locked NONE made rw: mprotect", must("mprotect", MPROTECT(a, n * PAGE, RW)));
	MEASURE("locked NONE made rw: write", wr(a, n));
	unmap(a, n * PAGE);
	a = map(n * PAGE, RW, ANON, -1, 0);
	MEASURE("mlock2 ONFAULT: call", must("mlock2", MLOCK2(a, n * PAGE, 1)));
	MEASURE("mlock2 ONFAULT: write", wr(a, n));
	unmap(a, n * PAGE);
	a = map(n * PAGE, RW, SHANON, -1, 0);
	MEASURE("mlock shared anon: call", must("mlock", MLOCK(a, n * PAGE)));
	MEASURE("mlock shared anon: write", wr(a, n));
	unmap(a, n * PAGE);
	int fd = make_file("locked", n * PAGE);
	must("fsync", SC(SYS_fsync, fd));
	a = map(n * PAGE, RW, MAP_PRIVATE, fd, 0);
	MEASURE("mlock private file: call", must("mlock", MLOCK(a, n * PAGE)));
	MEASURE("mlock private file: write", wr(a, n));
	unmap(a, n * PAGE);
	a = map(n * PAGE, RW, MAP_SHARED, fd, 0);
	MEASURE("mlock shared file: call", must("mlock", MLOCK(a, n * PAGE)));
	MEASURE("mlock shared file: write", wr(a, n));
	unmap(a, n * PAGE);
	a = map(n * PAGE, R, MAP_SHARED, fd, 0);
	MEASURE("mlock shared file r: call", must("mlock", MLOCK(a, n * PAGE)));
	unmap(a, n * PAGE);
	SC(SYS_close, fd);
	must("mlockall", MLOCKALL(MCL_FUTURE));
	MEASURE("MCL_FUTURE: mmap", a = map(n * PAGE, RW, ANON, -1, 0));
	MEASURE("MCL_FUTURE: write", wr(a, n));
	ul start = BRK(0), heap = (start + PAGE - 1) & -PAGE;
	MEASURE("MCL_FUTURE: brk", BRK(heap + 50 * PAGE));
	MEASURE("MCL_FUTURE: brk write", wr(heap, 50));
	BRK(start);
	MEASURE("MCL_FUTURE: mremap", long m = MREMAP(a, n * PAGE, 2 * n * PAGE, MREMAP_MAYMOVE, 0); must("mremap", m); a = m);
	MEASURE("MCL_FUTURE: mremap write", wr(a, 2 * n));
	unmap(a, 2 * n * PAGE);
	MEASURE("MCL_FUTURE: mmap PROT_NONE", a = map(n * PAGE, PROT_NONE, ANON, -1, 0));
	MEASURE("MCL_FUTURE: mprotect rw", must("mprotect", MPROTECT(a, n * PAGE, RW)));
	MEASURE("MCL_FUTURE: write", wr(a, n));
	unmap(a, n * PAGE);
	must("mlockall", MLOCKALL(MCL_FUTURE | MCL_ONFAULT));
	MEASURE("MCL_FUTURE|ONFAULT: mmap", a = map(n * PAGE, RW, ANON, -1, 0));
	MEASURE("MCL_FUTURE|ONFAULT: write", wr(a, n));
	unmap(a, n * PAGE);
	MUNLOCKALL();
	a = map(n * PAGE, RW, ANON, -1, 0);
	ul b = map(n * PAGE, RW, SHANON, -1, 0);
	MEASURE("mlockall CURRENT: call", must("mlockall", MLOCKALL(MCL_CURRENT)));
	MEASURE("mlockall CURRENT: write", wr(a, n); wr(b, n));
	MUNLOCKALL();
	unmap(a, n * PAGE);
	unmap(b, n * PAGE);
}

/* ------------------------------------------------------------------------------------------------ other advice */
static void advice(void)
{
	ul n = 60, a;
	a = map(n * PAGE, RW, ANON, -1, 0);
	wr(a, n);
	must("free", MADVISE(a, n * PAGE, MADV_FREE));
	MEASURE("MADV_FREE: write", wr(a, n));
	must("free", MADVISE(a, n * PAGE, MADV_FREE));
	MEASURE("MADV_FREE: read", rd(a, n));
	MEASURE("MADV_FREE: read then write", wr(a, n));
	must("cold", MADVISE(a, n * PAGE, MADV_COLD));
	MEASURE("MADV_COLD: write", wr(a, n));
	must("dontfork", MADVISE(a + 10 * PAGE, 10 * PAGE, MADV_DONTFORK));
	MEASURE("MADV_DONTFORK: write", wr(a, n));
	must("dofork", MADVISE(a, n * PAGE, MADV_DOFORK));
	must("wipe", MADVISE(a, n * PAGE, MADV_WIPEONFORK));
	MEASURE("MADV_WIPEONFORK: write", wr(a, n));
	must("keep", MADVISE(a, n * PAGE, MADV_KEEPONFORK));
	must("dontdump", MADVISE(a, 5 * PAGE, MADV_DONTDUMP));
	must("dodump", MADVISE(a, n * PAGE, MADV_DODUMP));
	MEASURE("MADV_DODUMP: write", wr(a, n));
	must("nohuge", MADVISE(a, n * PAGE, MADV_NOHUGEPAGE));
	MEASURE("MADV_NOHUGEPAGE: write", wr(a, n));
	MEASURE("MADV_WILLNEED anon: call", MADVISE(a, n * PAGE, MADV_WILLNEED));
	must("mergeable", MADVISE(a, n * PAGE, MADV_MERGEABLE));
	MEASURE("MADV_MERGEABLE: write", wr(a, n));
	unmap(a, n * PAGE);
	a = map(n * PAGE, RW, SHANON, -1, 0);
	wr(a, n);
	MEASURE("MADV_WILLNEED shared anon: call", MADVISE(a, n * PAGE, MADV_WILLNEED));
	MEASURE("MADV_FREE shared anon: call", MADVISE(a, n * PAGE, MADV_FREE));
	MEASURE("after it: write", wr(a, n));
	unmap(a, n * PAGE);
	a = map(n * PAGE, RW, ANON, -1, 0);
	wr(a, n);
	must("dontneed locked", MLOCK(a, n * PAGE));
	MEASURE("DONTNEED_LOCKED: call", must("dontneed_locked", MADVISE(a, n * PAGE, 24)));
	MEASURE("DONTNEED_LOCKED: write", wr(a, n));
	unmap(a, n * PAGE);
}

/* -------------------------------------------------------------------------------------- system calls as touchers */
static void by_system_calls(void)
{
	ul n = 40, a, b;
	int fd = make_file("source", n * PAGE);
	int sink = SC(SYS_open, in_work("sink"), O_RDWR | O_CREAT | O_TRUNC, 0644);
	must("open", sink);
	a = map(n * PAGE, RW, ANON, -1, 0);
	MEASURE("read(2) into fresh memory", must("pread", SC(SYS_pread64, fd, a, n * PAGE, 0)));
	MEASURE("read(2) into it again", must("pread", SC(SYS_pread64, fd, a, n * PAGE, 0)));
	unmap(a, n * PAGE);
	a = map(n * PAGE, RW, ANON, -1, 0);
	MEASURE("write(2) from fresh memory", must("pwrite", SC(SYS_pwrite64, sink, a, n * PAGE, 0)));
	MEASURE("then writing it", wr(a, n));
	unmap(a, n * PAGE);
	a = map(n * PAGE, RW, ANON, -1, 0);
	MEASURE("read(2) into an unaligned part", must("pread", SC(SYS_pread64, fd, a + 100, 3 * PAGE, 0)));
	MEASURE("read(2) of 0 bytes", must("pread", SC(SYS_pread64, fd, a + 20 * PAGE, 0, 0)));
	MEASURE("read(2) at the file's end", must("pread", SC(SYS_pread64, fd, a + 20 * PAGE, PAGE, n * PAGE)));
	MEASURE("read(2) short", must("pread", SC(SYS_pread64, fd, a + 24 * PAGE, 4 * PAGE, n * PAGE - 100)));
	MEASURE("then writing all", wr(a, n));
	unmap(a, n * PAGE);
	a = map(n * PAGE, R, ANON, -1, 0);
	MEASURE("read(2) into read-only memory", SC(SYS_pread64, fd, a, n * PAGE, 0));
	unmap(a, n * PAGE);
	a = map(n * PAGE, RW, MAP_SHARED, fd, 0);
	must("fsync", SC(SYS_fsync, fd));
	MEASURE("write(2) from a file mapping", must("pwrite", SC(SYS_pwrite64, sink, a, n * PAGE, 0)));
	MEASURE("written from, then writing it", wr(a, n));
	unmap(a, n * PAGE);
	b = map(n * PAGE, RW, MAP_PRIVATE, fd, 0);
	MEASURE("read(2) into a private file mapping", must("pread", SC(SYS_pread64, sink, b, n * PAGE, 0)));
	unmap(b, n * PAGE);
	a = map(n * PAGE, RW, ANON, -1, 0);
	struct iovec v[3] = { { (void *)a, 100 }, { (void *)(a + 10 * PAGE), 2 * PAGE }, { (void *)(a + 20 * PAGE), 1 } };
	MEASURE("readv into three parts", must("preadv", SC(SYS_preadv, fd, v, 3, 0, 0)));
	MEASURE("getrandom-like: uname", must("uname", SC(SYS_uname, a + 30 * PAGE)));
	MEASURE("getcwd", must("getcwd", SC(SYS_getcwd, a + 31 * PAGE, PAGE)));
	MEASURE("stat", must("fstat", SC(SYS_fstat, fd, a + 32 * PAGE)));
	MEASURE("open of a fresh path", SC(SYS_open, a + 33 * PAGE, O_RDONLY, 0));
	unmap(a, n * PAGE);
	int p[2];
	must("pipe", SC(SYS_pipe, p));
	a = map(n * PAGE, RW, ANON, -1, 0);
	MEASURE("write to a pipe from fresh memory", must("write", SC(SYS_write, p[1], a, 2 * PAGE)));
	MEASURE("read from a pipe into fresh memory", must("read", SC(SYS_read, p[0], a + 10 * PAGE, 2 * PAGE)));
	unmap(a, n * PAGE);
	SC(SYS_close, p[0]);
	SC(SYS_close, p[1]);
	a = map(n * PAGE, RW, ANON, -1, 0);
	MEASURE("mincore's vector", must("mincore", MINCORE(a, n * PAGE, a)));
	MEASURE("mincore of untouched", must("mincore", MINCORE(a + PAGE, 10 * PAGE, a)));
	unmap(a, n * PAGE);
	SC(SYS_close, fd);
	SC(SYS_close, sink);
}

/* --------------------------------------------------------------------------------------------------- odd lengths */
static void edges(void)
{
	ul a = map(3 * PAGE, RW, ANON, -1, 0);
	MEASURE("madvise of length 0", MADVISE(a, 0, MADV_POPULATE_WRITE));
	MEASURE("mlock of length 0", MLOCK(a, 0));
	MEASURE("mlock of one byte", MLOCK(a + PAGE + 5, 1));
	MEASURE("after mlock of a byte: write", wr(a, 3));
	MEASURE("mlock of two bytes over a line", MLOCK(a + PAGE - 1, 2));
	unmap(a, 3 * PAGE);
	a = map(1, RW, ANON, -1, 0);
	MEASURE("mapping of one byte", wr(a, 1));
	unmap(a, 1);
	a = map(PAGE + 1, RW, ANON | MAP_POPULATE, -1, 0);
	MEASURE("populated page and a byte", wr(a, 2));
	unmap(a, 2 * PAGE);
	int fd = make_file("edge", 100);
	a = map(100, RW, MAP_SHARED, fd, 0);
	MEASURE("file of 100 bytes: read", rd(a, 1));
	MEASURE("file of 100 bytes: write", wr(a, 1));
	unmap(a, PAGE);
	SC(SYS_close, fd);
	fd = make_file("edge2", 3 * PAGE + 1);
	a = map(8 * PAGE, RW, MAP_PRIVATE | MAP_POPULATE, fd, 0);
	MEASURE("populated past the end: write", wr(a, 4));
	unmap(a, 8 * PAGE);
	MEASURE("populated past the end, shared: mmap", a = map(8 * PAGE, RW, MAP_SHARED | MAP_POPULATE, fd, 0));
	MEASURE("populated past the end, shared: write", wr(a, 4));
	unmap(a, 8 * PAGE);
	a = map(8 * PAGE, RW, MAP_SHARED, fd, PAGE);
	MEASURE("POPULATE_READ past the end: call", MADVISE(a, 8 * PAGE, MADV_POPULATE_READ));
	MEASURE("mlock past the end: call", MLOCK(a, 8 * PAGE));
	MEASURE("after mlock past the end: write", wr(a, 3));
	unmap(a, 8 * PAGE);
	SC(SYS_close, fd);
}

/* -------------------------------------------------------------------------------- faults that end in a handler */
static sigjmp_buf out;
static void jump(int sig) { siglongjmp(out, sig); }
static ul fix_addr;
static void repair(int sig, siginfo_t *info, void *context) { MPROTECT(fix_addr, PAGE, RW); }
static void nothing(int sig) { }

static void handled(void)
{
	struct sigaction act = { 0 };
	act.sa_handler = jump;
	sigaction(SIGSEGV, &act, 0);
	sigaction(SIGBUS, &act, 0);
	ul a = map(4 * PAGE, PROT_NONE, ANON, -1, 0);
	if (!sigsetjmp(out, 1)) wr(a, 1); /* warm: frames, handler */
	START();
	if (!sigsetjmp(out, 1))
		wr(a, 1);
	STOP("SIGSEGV on PROT_NONE");
	unmap(a, 4 * PAGE);
	START();
	if (!sigsetjmp(out, 1))
		rd(a, 1);
	STOP("SIGSEGV on nothing");
	a = map(4 * PAGE, R, ANON, -1, 0);
	START();
	if (!sigsetjmp(out, 1))
		wr(a, 1);
	STOP("SIGSEGV write to read-only, untouched");
	rd(a, 1);
	START();
	if (!sigsetjmp(out, 1))
		wr(a, 1);
	STOP("SIGSEGV write to read-only, touched");
	int fd = make_file("bus", PAGE);
	map_at(a, 4 * PAGE, RW, MAP_SHARED, fd, 0);
	START();
	if (!sigsetjmp(out, 1))
		rd(a + PAGE, 1);
	STOP("SIGBUS past the end");
	START();
	if (!sigsetjmp(out, 1))
		wr(a + 3 * PAGE, 1);
	STOP("SIGBUS write past the end");
	map_at(a, 4 * PAGE, PROT_NONE, ANON, -1, 0);
	act.sa_sigaction = repair;
	act.sa_flags = SA_SIGINFO;
	sigaction(SIGSEGV, &act, 0);
	fix_addr = a;
	MEASURE("handler makes it writable", wr(a, 1));
	act.sa_handler = nothing;
	act.sa_flags = 0;
	sigaction(SIGUSR1, &act, 0);
	MEASURE("a signal handled", SC(SYS_kill, SC(SYS_getpid), SIGUSR1));
	stack_t alternate = { .ss_sp = (void *)map(16 * PAGE, RW, ANON, -1, 0), .ss_size = 16 * PAGE };
	sigaltstack(&alternate, 0);
	act.sa_flags = SA_ONSTACK;
	sigaction(SIGUSR1, &act, 0);
	MEASURE("a signal on a fresh alternate stack", SC(SYS_kill, SC(SYS_getpid), SIGUSR1));
	unmap(a, 4 * PAGE);
	SC(SYS_close, fd);
}

/* ---------------------------------------------------------------------------------------- the page cache is cold */
static void drop(int fd)
{
	must("fsync", SC(SYS_fsync, fd));
	must("fadvise", SC(SYS_fadvise64, fd, 0, 0, 4 /* DONTNEED */));
}

static void cold(void)
{
	ul n = 64, a;
	int fd = make_file("cold", n * PAGE);
	drop(fd);
	a = map(n * PAGE, R, MAP_PRIVATE, fd, 0);
	must("random", MADVISE(a, n * PAGE, MADV_RANDOM));
	MEASURE("cold file, RANDOM: read", rd(a, n));
	MEASURE("cold file, RANDOM: read again", rd(a, n));
	unmap(a, n * PAGE);
	drop(fd);
	a = map(n * PAGE, RW, MAP_PRIVATE, fd, 0);
	must("random", MADVISE(a, n * PAGE, MADV_RANDOM));
	MEASURE("cold file, RANDOM: private write every 3rd", wr_step(a, n, 3));
	MEASURE("cold file, RANDOM: private write all", wr(a, n));
	unmap(a, n * PAGE);
	drop(fd);
	a = map(n * PAGE, RW, MAP_SHARED, fd, 0);
	must("random", MADVISE(a, n * PAGE, MADV_RANDOM));
	MEASURE("cold file, RANDOM: shared write downwards", wr_down(a, n));
	unmap(a, n * PAGE);
	drop(fd);
	a = map(8 * PAGE, R, MAP_PRIVATE, fd, 0);
	MEASURE("cold file: read of the first page", rd(a, 1));
	unmap(a, 8 * PAGE);
	drop(fd);
	static char first[8];
	must("pread", SC(SYS_pread64, fd, first, 8, 0));
	a = map(4 * PAGE, R, MAP_PRIVATE, fd, 0);
	MEASURE("brought in by read(2): read", rd(a, 1));
	unmap(a, 4 * PAGE);
	SC(SYS_ftruncate, fd, 0);
	must("truncate", SC(SYS_ftruncate, fd, 20 * PAGE));
	a = map(20 * PAGE, RW, MAP_SHARED, fd, 0);
	must("random", MADVISE(a, 20 * PAGE, MADV_RANDOM));
	MEASURE("hole, RANDOM: read", rd(a, 10));
	MEASURE("hole, RANDOM: write", wr(a, 20));
	unmap(a, 20 * PAGE);
	SC(SYS_close, fd);
}

int main(int argc, char **argv)
{
	if (argc > 1)
		work_dir = argv[1];
	prefault();
	anonymous();
	protection();
	populate();
	remap();
	file_private();
	file_shared();
	fault_around();
	shared_memory();
	locking();
	advice();
	by_system_calls();
	edges();
	handled();
	if (argc > 2)
		cold();
	stack_and_heap();
	for (int i = 0; i < nr_records; i++)
		say("%s: %ld %ld\n", records[i].name, records[i].minor, records[i].major);
	quit(0);
}
