/* madvise, mincore, msync, mlock and their kin on every kind of mapping. usage: advice_calls WORKDIR */
#include "calls.h"
#define COUNT(x) (sizeof(x) / sizeof *(x))

static int sixteen;
static unsigned char vector[4096];

static void say_vector(const char *what, ul page, ul n)
{
	char text[130];
	memset(vector, 0x77, sizeof vector);
	long r = MINCORE(A(page), n * PAGE, vector);
	for (ul i = 0; i < n && i < 128; i++)
		text[i] = "0123456789abcdef"[vector[i] & 15];
	text[n < 128 ? n : 128] = 0;
	say("%s: mincore %ld %s\n", what, r, text);
}

/* The flags line of the mapping at addr, as smaps shows it. */
static void say_flags(ul addr)
{
	static char text[1 << 19];
	char head[40];
	read_whole("/proc/self/smaps", text, sizeof text);
	snprintf(head, sizeof head, "\n%lx-", addr);
	char *at = strstr(text, head);
	if (!at) {
		say("  no mapping begins at %lx\n", addr);
		return;
	}
	char *flags = strstr(at, "VmFlags:");
	*strchr(flags, '\n') = 0;
	say("  %s\n", flags);
}

struct kind { const char *name; int prot, flags, *fd; };
static int none = -1;
static struct kind kinds[] = {
	{ "private anon", RW, ANON, &none },       { "read-only anon", R, ANON, &none },
	{ "inaccessible anon", 0, ANON, &none },   { "shared anon", RW, SHANON, &none },
	{ "private file", RW, MAP_PRIVATE, &sixteen }, { "shared file", RW, MAP_SHARED, &sixteen },
	{ "shared read-only file", R, MAP_SHARED, &sixteen }, { "private memfd", RW, MAP_PRIVATE, &fd_mem },
	{ "shared memfd", RW, MAP_SHARED, &fd_mem }, { "locked anon", RW, ANON | MAP_LOCKED, &none },
	{ "grows-down anon", RW, ANON | MAP_GROWSDOWN, &none }, { "private /dev/zero", RW, MAP_PRIVATE, &fd_zero },
	{ "noreserve anon", RW, ANON | MAP_NORESERVE, &none }, { "shared file, ro descriptor", R, MAP_SHARED, &fd_ro },
};

static void every_advice(void)
{
	int others[] = { 26, 27, 50, 99, 100, 101, 102, 103, 104, 1000, -1, -4096 };
	for (unsigned k = 0; k < COUNT(kinds); k++) {
		group(kinds[k].name);
		for (int advice = 0; advice <= 25 + (int)COUNT(others); advice++) {
			int value = advice <= 25 ? advice : others[advice - 26];
			if (value == 100 || value == 101)
				continue; /* hwpoison, where privileged, would really do it */
			long r = MMAP(A(32), 8 * PAGE, kinds[k].prot, kinds[k].flags | FIX, *kinds[k].fd, 0);
			if (failed(r))
				die("kind", r);
			int read_before = probe(A(33), 0);
			int wrote_before = probe(A(35), 1);
			say("advice %d: ", value);
			say_result("whole", MADVISE(A(32), 8 * PAGE, value));
			if (value == MADV_PAGEOUT)
				continue; /* what goes depends on what is dirty, and on swap */
			say("  then read %d write %d byte %d", probe(A(35), 0), probe(A(36), 1),
			    probe(A(35), 0) ? -1 : *(vu8 *)A(35));
			say_vector("", 32, 8);
			say("  part: ");
			say_result("", MADVISE(A(34), 2 * PAGE, value));
			say("  nothing %ld, odd address %ld, odd length %ld, hole %ld, negative length %ld, past the end %ld\n",
			    MADVISE(A(34), 0, value), MADVISE(A(34) + 1, PAGE, value), MADVISE(A(34), 1, value),
			    MADVISE(A(38), 4 * PAGE, value), MADVISE(A(34), -1, value), MADVISE(A(900), PAGE, value));
			if (k < 2) {
				maps();
				say_flags(A(32));
				say_flags(A(34));
			}
			MUNMAP(A(0), 100 * PAGE);
			if (kinds[k].fd == &fd_mem) {
				SC(SYS_ftruncate, fd_mem, 0);
				SC(SYS_ftruncate, fd_mem, 16 * PAGE);
			}
		}
	}
}

static void advising(void)
{
	group("madvise: odd arguments");
	anon(1, 4, RW);
	ul lengths[] = { 0, 1, PAGE - 1, PAGE + 1, 4 * PAGE, 5 * PAGE, 1UL << 46, 1UL << 47, 1UL << 63, -1UL, -PAGE, -2 * PAGE };
	int advices[] = { 0, 4, 8, 10, 14, 22, 99 };
	for (unsigned i = 0; i < COUNT(lengths); i++)
		for (unsigned k = 0; k < COUNT(advices); k++) {
			say("madvise(A(1), %#lx, %d)", lengths[i], advices[k]);
			say_result("", MADVISE(A(1), lengths[i], advices[k]));
		}
	ul addresses[] = { 0, 1, PAGE, TASK_SIZE, TASK_SIZE + PAGE, 1UL << 48, 1UL << 63, 0xffff800000000000, -PAGE };
	for (unsigned i = 0; i < COUNT(addresses); i++)
		for (unsigned k = 0; k < COUNT(advices); k++) {
			say("madvise(%#lx, PAGE, %d)", addresses[i], advices[k]);
			say_result("", MADVISE(addresses[i], PAGE, advices[k]));
			say("madvise(%#lx, 0, %d)", addresses[i], advices[k]);
			say_result("", MADVISE(addresses[i], 0, advices[k]));
		}
	maps();
	group("madvise: holes are passed over");
	anon(0, 3, RW);
	anon(5, 3, RW);
	for (int i = 0; i < 3; i++)
		probe(A(i), 1), probe(A(5 + i), 1);
	V(MADVISE(A(0), 8 * PAGE, MADV_DONTNEED));
	say("bytes %d %d\n", *(vu8 *)A(0), *(vu8 *)A(5));
	V(MADVISE(A(0), 8 * PAGE, MADV_DONTFORK));
	maps();
	say_flags(A(0));
	say_flags(A(5));
	V(MADVISE(A(3), 2 * PAGE, MADV_DONTNEED));
	V(MADVISE(A(3), 3 * PAGE, MADV_SEQUENTIAL));
	say_flags(A(5));
	V(MADVISE(A(0), 8 * PAGE, MADV_POPULATE_WRITE));
	V(MADVISE(A(3), 8 * PAGE, MADV_POPULATE_READ));
	group("madvise: splitting and merging");
	anon(0, 12, RW);
	V(MADVISE(A(3), 3 * PAGE, MADV_DONTFORK));
	maps();
	V(MADVISE(A(6), 3 * PAGE, MADV_DONTFORK));
	maps();
	V(MADVISE(A(0), 12 * PAGE, MADV_DOFORK));
	maps();
	V(MADVISE(A(0), 6 * PAGE, MADV_HUGEPAGE));
	maps();
	say_flags(A(0));
	V(MADVISE(A(0), 12 * PAGE, MADV_NOHUGEPAGE));
	maps();
	say_flags(A(0));
	V(MADVISE(A(2), PAGE, MADV_RANDOM));
	V(MADVISE(A(3), PAGE, MADV_SEQUENTIAL));
	V(MADVISE(A(4), PAGE, MADV_DONTDUMP));
	V(MADVISE(A(5), PAGE, MADV_WIPEONFORK));
	V(MADVISE(A(6), PAGE, MADV_MERGEABLE));
	V(MADVISE(A(7), PAGE, MADV_COLD));
	V(MADVISE(A(8), PAGE, MADV_FREE));
	maps();
	for (int i = 0; i < 8; i++)
		say_flags(A(i));
	V(MADVISE(A(0), 12 * PAGE, MADV_NORMAL));
	V(MADVISE(A(0), 12 * PAGE, MADV_DODUMP));
	V(MADVISE(A(0), 12 * PAGE, MADV_KEEPONFORK));
	V(MADVISE(A(0), 12 * PAGE, MADV_UNMERGEABLE));
	maps();
	say_flags(A(0));
	group("MADV_FREE and the contents");
	anon(0, 4, RW);
	for (int i = 0; i < 4; i++)
		*(vu8 *)A(i) = 9;
	V(MADVISE(A(0), 4 * PAGE, MADV_FREE));
	say("bytes %d %d\n", *(vu8 *)A(0), *(vu8 *)A(3));
	*(vu8 *)A(0) = 10;
	say("byte %d\n", *(vu8 *)A(0));
	V(MADVISE(A(0), 4 * PAGE, MADV_PAGEOUT));
	group("MADV_REMOVE");
	V(MMAP(A(0), 8 * PAGE, RW, MAP_SHARED | FIX, sixteen, 0));
	*(vu8 *)A(2) = 9;
	V(MADVISE(A(2), 2 * PAGE, MADV_REMOVE));
	say("bytes %d %d %d\n", *(vu8 *)A(2), *(vu8 *)(A(3) + 100), *(vu8 *)(A(4) + 3));
	V(MMAP(A(10), 8 * PAGE, RW, MAP_PRIVATE | FIX, sixteen, 0));
	V(MADVISE(A(12), PAGE, MADV_REMOVE));
	V(MMAP(A(20), 8 * PAGE, RW, MAP_SHARED | MAP_LOCKED | FIX, fd_mem, 0));
	V(MADVISE(A(22), PAGE, MADV_REMOVE));
	V(MMAP(A(30), 8 * PAGE, R, MAP_SHARED | FIX, fd_mem, 0));
	V(MADVISE(A(32), PAGE, MADV_REMOVE));
	V(MMAP(A(40), 8 * PAGE, R, MAP_SHARED | FIX, fd_ro, 0));
	V(MADVISE(A(42), PAGE, MADV_REMOVE));
	group("guard pages");
	anon(0, 8, RW);
	probe(A(2), 1);
	V(MADVISE(A(2), 2 * PAGE, 102));
	PROBE(A(2));
	PROBE(A(3));
	PROBE(A(4));
	V(MADVISE(A(0), 8 * PAGE, MADV_POPULATE_WRITE));
	V(MADVISE(A(0), 8 * PAGE, MADV_DONTNEED));
	PROBE(A(2));
	V(MADVISE(A(0), 8 * PAGE, 103));
	PROBE(A(2));
	V(MMAP(A(10), 2 * PAGE, RW, ANON | MAP_LOCKED | FIX, -1, 0));
	V(MADVISE(A(10), PAGE, 102));
	maps();
}

static void coring(void)
{
	group("mincore");
	anon(0, 16, RW);
	probe(A(1), 1);
	probe(A(3), 0);
	say_vector("anon, 1 written, 3 read", 0, 16);
	V(MADVISE(A(0), 2 * PAGE, MADV_DONTNEED));
	say_vector("after DONTNEED", 0, 16);
	V(MMAP(A(20), 16 * PAGE, RW, SHANON | FIX, -1, 0));
	probe(A(22), 1);
	probe(A(24), 0);
	say_vector("shared anon", 20, 16);
	V(MADVISE(A(20), 16 * PAGE, MADV_DONTNEED));
	say_vector("shared anon after DONTNEED", 20, 16);
	V(MMAP(A(40), 20 * PAGE, RW, MAP_SHARED | FIX, sixteen, 0));
	say_vector("file, untouched", 40, 20);
	probe(A(41), 0);
	say_vector("file, touched", 40, 20);
	V(MMAP(A(60), 20 * PAGE, RW, MAP_PRIVATE | FIX, sixteen, 0));
	say_vector("private file, untouched", 60, 20);
	probe(A(62), 1);
	say_vector("private file, one written", 60, 20);
	V(MMAP(A(80), 8 * PAGE, R, MAP_SHARED | FIX, fd_ro, 0));
	say_vector("read-only descriptor", 80, 8);
	V(MMAP(A(90), 8 * PAGE, R, MAP_PRIVATE | FIX, fd_exe, 0));
	say_vector("the program's file", 90, 8);
	anon(100, 4, PROT_NONE);
	say_vector("inaccessible", 100, 4);
	V(MINCORE(A(0), PAGE, 0));
	V(MINCORE(A(0), PAGE, -1));
	V(MINCORE(A(0), PAGE, A(900)));
	V(MINCORE(A(0), 0, 0));
	V(MINCORE(A(0), 0, vector));
	V(MINCORE(A(0) + 1, 0, vector));
	V(MINCORE(A(0) + 1, PAGE, vector));
	V(MINCORE(A(0), 1, vector));
	V(MINCORE(A(0), -1, vector));
	V(MINCORE(A(0), 1UL << 63, vector));
	V(MINCORE(A(0), 1UL << 47, vector));
	V(MINCORE(A(900), PAGE, vector));
	V(MINCORE(A(900), 0, vector));
	V(MINCORE(A(15), 2 * PAGE, vector));
	V(MINCORE(A(16), 2 * PAGE, vector));
	V(MINCORE(TASK_SIZE, PAGE, vector));
	V(MINCORE(TASK_SIZE - PAGE, 2 * PAGE, vector));
	V(MINCORE(-PAGE, PAGE, vector));
	V(MINCORE(0, PAGE, vector));
	V(MINCORE(A(0), 4 * PAGE, A(2)));
	say_vector("after writing its vector into itself", 0, 16);
}

static void syncing(void)
{
	group("msync");
	anon(0, 4, RW);
	V(MMAP(A(10), 8 * PAGE, RW, MAP_SHARED | FIX, sixteen, 0));
	V(MMAP(A(20), 8 * PAGE, RW, MAP_PRIVATE | FIX, sixteen, 0));
	V(MMAP(A(30), 8 * PAGE, RW, SHANON | FIX, -1, 0));
	V(MMAP(A(40), 8 * PAGE, RW, MAP_SHARED | FIX | MAP_LOCKED, sixteen, 0));
	ul where[] = { A(0), A(10), A(20), A(30), A(40), A(900) };
	for (unsigned i = 0; i < COUNT(where); i++)
		for (int flags = 0; flags < 10; flags++) {
			say("msync(%#lx, 2 pages, %d)", where[i], flags);
			say_result("", MSYNC(where[i], 2 * PAGE, flags));
		}
	V(MSYNC(A(10), 0, MS_SYNC));
	V(MSYNC(A(10) + 1, PAGE, MS_SYNC));
	V(MSYNC(A(10) + 1, 0, MS_SYNC));
	V(MSYNC(A(10), 1, MS_SYNC));
	V(MSYNC(A(10), -1, MS_SYNC));
	V(MSYNC(A(10), -PAGE, MS_SYNC));
	V(MSYNC(A(10), -2 * PAGE, MS_SYNC));
	V(MSYNC(A(10), 1UL << 63, MS_SYNC));
	V(MSYNC(A(16), 4 * PAGE, MS_SYNC));
	V(MSYNC(A(18), PAGE, MS_SYNC));
	V(MSYNC(A(8), 4 * PAGE, MS_ASYNC));
	V(MSYNC(A(38), 4 * PAGE, MS_INVALIDATE));
	V(MSYNC(A(38), 4 * PAGE, MS_SYNC | MS_INVALIDATE));
	V(MSYNC(TASK_SIZE, PAGE, MS_SYNC));
	V(MSYNC(-PAGE, PAGE, MS_SYNC));
	V(MSYNC(-PAGE, PAGE + 1, MS_SYNC));
	V(MSYNC(0, PAGE, MS_SYNC));
	V(MSYNC(A(900), 0, MS_SYNC));
	V(MSYNC(A(900), 0, 99));
	*(vu8 *)A(11) = 123;
	unsigned char byte = 0;
	V(SC(SYS_pread64, sixteen, &byte, 1, PAGE));
	say("read(2) sees %d\n", byte);
	byte = 45;
	V(SC(SYS_pwrite64, sixteen, &byte, 1, PAGE + 1));
	say("the mapping sees %d, the private one %d\n", *(vu8 *)(A(11) + 1), *(vu8 *)(A(21) + 1));
	*(vu8 *)A(21) = 99;
	V(SC(SYS_pread64, sixteen, &byte, 1, PAGE));
	say("read(2) sees %d\n", byte);
}

static void locking(void)
{
	group("mlock and munlock");
	anon(0, 10, RW);
	V(MLOCK(A(2), 3 * PAGE));
	maps();
	say_flags(A(2));
	V(MLOCK(A(2) + 100, 1));
	V(MLOCK(A(1) + 4095, 2));
	maps();
	V(MUNLOCK(A(3), 1));
	maps();
	V(MUNLOCK(A(0), 10 * PAGE));
	maps();
	V(MLOCK(A(0), 0));
	V(MLOCK(A(0), -1));
	V(MLOCK(A(0), -PAGE));
	V(MLOCK(A(0), 1UL << 63));
	V(MLOCK(A(8), 4 * PAGE));
	maps();
	V(MUNLOCK(A(8), 4 * PAGE));
	V(MLOCK(A(900), PAGE));
	V(MUNLOCK(A(900), PAGE));
	V(MLOCK(0, PAGE));
	V(MLOCK(TASK_SIZE, PAGE));
	V(MLOCK(-PAGE, PAGE));
	V(MLOCK(-PAGE, PAGE + 1));
	V(MUNLOCK(A(0), 0));
	V(MUNLOCK(A(0), -1));
	V(MUNLOCK(A(0) + 5, PAGE));
	V(MLOCK2(A(0), PAGE, 0));
	V(MLOCK2(A(1), PAGE, 1));
	V(MLOCK2(A(1), PAGE, 2));
	V(MLOCK2(A(1), PAGE, 3));
	V(MLOCK2(A(1), PAGE, -1));
	V(MLOCK2(A(1), 0, 2));
	V(MLOCK2(A(900), PAGE, 1));
	maps();
	say_flags(A(0));
	say_flags(A(1));
	V(MLOCK(A(1), PAGE));
	maps();
	V(MLOCK2(A(0), PAGE, 1));
	say_flags(A(0));
	say_vector("locked", 0, 10);
	V(MADVISE(A(0), 2 * PAGE, MADV_DONTNEED));
	V(MADVISE(A(0), 2 * PAGE, MADV_FREE));
	V(MADVISE(A(0), 2 * PAGE, MADV_COLD));
	V(MADVISE(A(0), 2 * PAGE, MADV_PAGEOUT));
	V(MADVISE(A(0), 2 * PAGE, 24));
	anon(20, 4, PROT_NONE);
	V(MLOCK(A(20), 4 * PAGE));
	say_flags(A(20));
	V(MPROTECT(A(20), 4 * PAGE, RW));
	say_vector("made accessible", 20, 4);
	V(MMAP(A(30), 20 * PAGE, RW, MAP_SHARED | FIX, sixteen, 0));
	V(MLOCK(A(30), 16 * PAGE));
	V(MLOCK(A(30), 20 * PAGE));
	V(MLOCK(A(46), 4 * PAGE));
	V(MMAP(A(60), 4 * PAGE, RW, MAP_SHARED | FIX | MAP_LOCKED, fd_short, 0));
	say_flags(A(60));
	maps();
	group("mlockall");
	anon(0, 4, RW);
	for (int flags = -1; flags < 9; flags++) {
		say("flags %d: ", flags);
		V(MLOCKALL(flags));
		anon(10, 2, RW);
		say_flags(A(0));
		say_flags(A(10));
		say_vector("resident", 10, 2);
		V(MUNLOCKALL());
		say_flags(A(0));
	}
	V(MLOCKALL(MCL_FUTURE));
	V(MMAP(A(20), 2 * PAGE, PROT_NONE, ANON | FIX, -1, 0));
	V(MMAP(A(24), 2 * PAGE, RW, MAP_SHARED | FIX, sixteen, 0));
	say_flags(A(20));
	say_flags(A(24));
	V(MREMAP(A(24), 2 * PAGE, 4 * PAGE, 0, 0));
	maps();
	V(MUNLOCKALL());
	maps();
	V(MMAP(A(40), 2 * PAGE, RW, ANON | FIX, -1, 0));
	say_flags(A(40));
}

int main(int argc, char **argv)
{
	begin(argc, argv);
	sixteen = make_file("sixteen", 16 * PAGE);
	SC(SYS_ftruncate, fd_mem, 16 * PAGE);
	every_advice();
	advising();
	coring();
	syncing();
	locking();
	quit(0);
}
