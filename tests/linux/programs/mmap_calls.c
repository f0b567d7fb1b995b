/* mmap(2): each flag, each kind of file, each error; the maps after each group. usage: mmap_calls WORKDIR */
#include "calls.h"

/* as V, and gives the area back */
#define TRY(len, ...) \
	do { \
		long got = (__VA_ARGS__); \
		say_result(#__VA_ARGS__, got); \
		if (!failed(got)) \
			MUNMAP(got, len); \
	} while (0)

static void addresses(void)
{
	group("addresses and lengths");
	V(MMAP(0, PAGE, RW, ANON, -1, 0));
	V(MMAP(0, 0, RW, ANON, -1, 0));
	V(MMAP(0, 1, RW, ANON, -1, 0));
	V(MMAP(0, PAGE - 1, RW, ANON, -1, 0));
	V(MMAP(0, PAGE + 1, RW, ANON, -1, 0));
	V(MMAP(0, -1, RW, ANON, -1, 0));
	V(MMAP(0, -4095L, RW, ANON, -1, 0));
	V(MMAP(0, -4096L, RW, ANON, -1, 0));
	V(MMAP(0, -8192L, RW, ANON, -1, 0));
	V(MMAP(0, 1UL << 63, RW, ANON, -1, 0));
	V(MMAP(0, (1UL << 63) - PAGE, RW, ANON, -1, 0));
	V(MMAP(0, 1UL << 48, RW, ANON, -1, 0));
	V(MMAP(0, 1UL << 47, RW, ANON, -1, 0));
	V(MMAP(0, TASK_SIZE, RW, ANON, -1, 0));
	V(MMAP(0, TASK_SIZE + PAGE, RW, ANON, -1, 0));
	TRY(TASK_SIZE - 64 * GB, MMAP(0, TASK_SIZE - 64 * GB, PROT_NONE, ANON | MAP_NORESERVE, -1, 0));
	TRY(100 * GB, MMAP(0, 100 * GB, PROT_NONE, ANON, -1, 0));
	TRY(1UL << 46, MMAP(0, 1UL << 46, PROT_NONE, ANON | MAP_NORESERVE, -1, 0));
	V(MMAP(A(0), PAGE, RW, ANON, -1, 0));
	V(MMAP(A(0) + 1, PAGE, RW, ANON, -1, 0));
	V(MMAP(A(1) + 5, PAGE, RW, ANON, -1, 0));
	V(MMAP(A(0), PAGE, RW, ANON, -1, 0));
	V(MMAP(A(3) - 1, PAGE, RW, ANON, -1, 0));
	V(MMAP(A(3), PAGE, RW, ANON | FIX, -1, 0));
	V(MMAP(A(3) + 1, PAGE, RW, ANON | FIX, -1, 0));
	V(MMAP(A(3) + 8, PAGE, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0));
	V(MMAP(PAGE, PAGE, RW, ANON, -1, 0));
	V(MMAP(1, PAGE, RW, ANON, -1, 0));
	V(MMAP(0x8000, PAGE, RW, ANON, -1, 0));
	V(MMAP(0x10000, PAGE, RW, ANON, -1, 0));
	V(MMAP(0x10000, PAGE, RW, ANON | FIX, -1, 0));
	V(MUNMAP(0x10000, PAGE));
	V(MMAP(0x1000, PAGE, RW, ANON | FIX, -1, 0));
	V(MUNMAP(0x1000, PAGE));
	V(MMAP(TASK_SIZE - PAGE, PAGE, RW, ANON, -1, 0));
	V(MMAP(TASK_SIZE - PAGE, PAGE, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0));
	V(MMAP(TASK_SIZE, PAGE, RW, ANON, -1, 0));
	V(MMAP(TASK_SIZE, PAGE, RW, ANON | FIX, -1, 0));
	V(MMAP(TASK_SIZE - PAGE, 2 * PAGE, RW, ANON | FIX, -1, 0));
	V(MMAP(TASK_SIZE + PAGE, PAGE, RW, ANON | FIX, -1, 0));
	V(MMAP(1UL << 47, PAGE, RW, ANON, -1, 0));
	V(MMAP(1UL << 48, PAGE, RW, ANON, -1, 0));
	V(MMAP(1UL << 48, PAGE, RW, ANON | FIX, -1, 0));
	V(MMAP(-PAGE, PAGE, RW, ANON, -1, 0));
	V(MMAP(-PAGE, PAGE, RW, ANON | FIX, -1, 0));
	V(MMAP(0xffff800000000000, PAGE, RW, ANON, -1, 0));
	V(MMAP(0xffff800000000000, PAGE, RW, ANON | FIX, -1, 0));
	V(MMAP(0xffffffffff600000, PAGE, RW, ANON | FIX, -1, 0));
	V(MMAP(A(8), -PAGE, RW, ANON | FIX, -1, 0));
	V(MMAP(A(8), TASK_SIZE, RW, ANON | FIX, -1, 0));
	V(MMAP(A(8), TASK_SIZE, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0));
	maps();
	all_maps();
}

static void kinds(void)
{
	group("kinds and unknown bits");
	V(MMAP(A(0), PAGE, RW, 0, -1, 0));
	V(MMAP(A(0), PAGE, RW, MAP_ANONYMOUS, -1, 0));
	V(MMAP(A(0), PAGE, RW, MAP_FILE, fd_rw, 0));
	V(MMAP(A(0), PAGE, RW, MAP_SHARED | MAP_PRIVATE, -1, 0));
	V(MMAP(A(0), PAGE, RW, MAP_SHARED_VALIDATE | MAP_ANONYMOUS, -1, 0));
	V(MMAP(A(1), PAGE, RW, MAP_SHARED_VALIDATE, fd_rw, 0));
	V(MMAP(A(2), PAGE, RW, MAP_SHARED_VALIDATE | 0x800000, fd_rw, 0));
	V(MMAP(A(2), PAGE, RW, MAP_SHARED_VALIDATE | MAP_POPULATE, fd_rw, 0));
	V(MMAP(A(3), PAGE, RW, MAP_SHARED_VALIDATE | 0x80000, fd_rw, 0));
	V(MMAP(A(3), PAGE, RW, MAP_SHARED_VALIDATE | 0x80000, fd_mem, 0));
	V(MMAP(A(3), PAGE, RW, MAP_SHARED | 0x80000, fd_rw, 0));
	V(MMAP(A(4), PAGE, RW, MAP_PRIVATE | 0x80000, fd_rw, 0));
	V(MMAP(A(5), PAGE, RW, MAP_SHARED_VALIDATE | MAP_GROWSDOWN, fd_rw, 0));
	V(MMAP(A(5), PAGE, RW, MAP_SHARED_VALIDATE | MAP_DENYWRITE, fd_rw, 0));
	V(MMAP(A(6), PAGE, RW, MAP_SHARED_VALIDATE | MAP_EXECUTABLE, fd_rw, 0));
	V(MMAP(A(7), PAGE, RW, MAP_SHARED_VALIDATE | MAP_FIXED_NOREPLACE, fd_rw, 0));
	V(MMAP(A(7), PAGE, RW, MAP_SHARED_VALIDATE | MAP_FIXED_NOREPLACE, fd_rw, 0));
	V(MMAP(A(8), PAGE, RW, MAP_SHARED_VALIDATE | 0x10000000, fd_rw, 0));
	V(MMAP(A(8), PAGE, RW, MAP_SHARED_VALIDATE | 0x40000000, fd_mem, 0));
	for (int kind = 4; kind < 16; kind++) {
		say("kind %d: ", kind);
		V(MMAP(A(9), PAGE, RW, kind | MAP_ANONYMOUS, -1, 0));
		say("kind %d: ", kind);
		V(MMAP(A(9), PAGE, RW, kind, fd_rw, 0));
	}
	maps();
	group("each flag bit, private anonymous");
	for (int bit = 4; bit < 32; bit++) {
		if (bit == 18 || bit == 17 || bit == 30)
			continue; /* MAP_HUGETLB and GROWSDOWN have groups of their own */
		say("bit %d: ", bit);
		V(MMAP(A(2 * (bit - 4)), PAGE, RW, ANON | 1 << bit, -1, 0));
	}
	maps();
	group("each flag bit, shared file");
	for (int bit = 4; bit < 32; bit++) {
		if (bit == 18)
			continue;
		say("bit %d: ", bit);
		V(MMAP(A(2 * (bit - 4)), PAGE, RW, MAP_SHARED | 1 << bit, fd_rw, 0));
	}
	maps();
	group("protection bits");
	for (int prot = 0; prot < 16; prot++) {
		say("prot %d: ", prot);
		V(MMAP(A(2 * prot), PAGE, prot, ANON | FIX, -1, 0));
		say("prot %d: ", prot);
		V(MMAP(A(100 + 2 * prot), PAGE, prot, MAP_SHARED | FIX, fd_rw, 0));
	}
	V(MMAP(A(64), PAGE, 0x10, ANON | FIX, -1, 0));
	V(MMAP(A(66), PAGE, R | PROT_GROWSDOWN, ANON | FIX, -1, 0));
	V(MMAP(A(68), PAGE, R | PROT_GROWSUP, ANON | FIX, -1, 0));
	V(MMAP(A(70), PAGE, -1, ANON | FIX, -1, 0));
	V(MMAP(A(72), PAGE, 1L << 40 | R, ANON | FIX, -1, 0));
	maps();
	for (int prot = 0; prot < 8; prot++)
		say("prot %d: read %d write %d\n", prot, probe(A(2 * prot), 0), probe(A(2 * prot), 1));
}

static void files(void)
{
	group("file descriptors and modes");
	V(MMAP(A(0), PAGE, R, MAP_SHARED, -1, 0));
	V(MMAP(A(0), PAGE, R, MAP_SHARED, fd_closed, 0));
	V(MMAP(A(0), PAGE, R, MAP_PRIVATE, -1, 0));
	V(MMAP(A(0), PAGE, R, MAP_PRIVATE, 1 << 20, 0));
	V(MMAP(A(0), PAGE, R, MAP_PRIVATE, fd_path, 0));
	struct { const char *name; int fd; } all[] = {
		{ "rw", fd_rw }, { "ro", fd_ro }, { "wo", fd_wo }, { "append", fd_append }, { "dir", fd_dir }, { "pipe", fd_pipe },
		{ "zero", fd_zero }, { "null", fd_null }, { "path", fd_path }, { "exe", fd_exe }, { "mem", fd_mem }, { "short", fd_short },
	};
	int flags[] = { MAP_PRIVATE, MAP_SHARED, MAP_SHARED_VALIDATE };
	int page = 0;
	for (unsigned f = 0; f < sizeof all / sizeof *all; f++)
		for (int prot = 0; prot < 8; prot++)
			for (int k = 0; k < 3; k++) {
				say("file %s prot %d flags %d: ", all[f].name, prot, flags[k]);
				V(MMAP(A(page), PAGE, prot, flags[k] | FIX, all[f].fd, 0));
				page += 2;
			}
	maps();
	group("offsets");
	V(MMAP(A(0), PAGE, R, MAP_SHARED, fd_rw, 1));
	V(MMAP(A(0), PAGE, R, MAP_SHARED, fd_rw, 100));
	V(MMAP(A(0), PAGE, R, MAP_SHARED, fd_rw, PAGE));
	V(MMAP(A(1), PAGE, R, MAP_SHARED, fd_rw, 8 * PAGE));
	V(MMAP(A(2), PAGE, R, MAP_SHARED, fd_rw, 1000 * GB));
	V(MMAP(A(3), PAGE, R, MAP_SHARED, fd_rw, -PAGE));
	V(MMAP(A(3), 2 * PAGE, R, MAP_SHARED, fd_rw, -PAGE));
	V(MMAP(A(5), PAGE, R, MAP_SHARED, fd_rw, 1UL << 63));
	V(MMAP(A(5), PAGE, R, MAP_SHARED, fd_rw, (1UL << 63) - PAGE));
	V(MMAP(A(6), 2 * PAGE, R, MAP_SHARED, fd_rw, (1UL << 63) - PAGE));
	V(MMAP(A(6), 2 * PAGE, R, MAP_SHARED, fd_mem, (1UL << 63) - PAGE));
	V(MMAP(A(8), PAGE, R, MAP_SHARED, fd_mem, (1UL << 63) - PAGE));
	V(MMAP(A(9), PAGE, R, MAP_SHARED, fd_rw, 1UL << 44));
	V(MMAP(A(10), PAGE, R, MAP_SHARED, fd_rw, (1UL << 44) - PAGE));
	V(MMAP(A(11), PAGE, R, MAP_SHARED, fd_zero, -PAGE));
	V(MMAP(A(12), PAGE, RW, ANON, -1, PAGE));
	V(MMAP(A(13), PAGE, RW, ANON, -1, 123));
	V(MMAP(A(13), PAGE, RW, ANON, -1, 1UL << 62));
	V(MMAP(A(14), 2 * PAGE, RW, ANON, -1, -PAGE));
	V(MMAP(A(16), PAGE, RW, SHANON, -1, PAGE));
	V(MMAP(A(17), 2 * PAGE, RW, SHANON, -1, -PAGE));
	V(MMAP(A(19), 2 * PAGE, RW, ANON, 12345, 0));
	V(MMAP(A(21), 0, R, MAP_SHARED, fd_closed, 0));
	V(MMAP(A(21), -1, R, MAP_SHARED, fd_closed, 0));
	V(MMAP(A(21), PAGE, R, 0, fd_closed, 0));
	maps();
	group("beyond the end");
	V(MMAP(A(0), 4 * PAGE, RW, MAP_SHARED, fd_short, 0));
	PROBE(A(0));
	PROBE(A(0) + 99);
	PROBE(A(0) + 100);
	PROBE(A(0) + PAGE - 1);
	PROBE(A(1));
	PROBE(A(4));
	V(MMAP(A(8), 4 * PAGE, RW, MAP_PRIVATE, fd_short, 0));
	PROBE(A(8) + 200);
	PROBE(A(9));
	V(SC(SYS_ftruncate, fd_short, PAGE + 1));
	PROBE(A(1));
	PROBE(A(9));
	PROBE(A(2));
	V(SC(SYS_ftruncate, fd_short, 100));
	PROBE(A(1));
	PROBE(A(9));
	say("byte 200 shared %d private %d\n", *(vu8 *)(A(0) + 200), *(vu8 *)(A(8) + 200));
	V(MMAP(A(16), 4 * PAGE, RW, MAP_SHARED | MAP_POPULATE, fd_short, 0));
	V(MMAP(A(24), 4 * PAGE, RW, MAP_SHARED | MAP_LOCKED, fd_short, 0));
	maps();
}

static void fixed(void)
{
	group("fixed over what is there");
	anon(0, 20, RW);
	V(MMAP(A(5), 5 * PAGE, R, ANON | FIX, -1, 0));
	maps();
	V(MMAP(A(7), PAGE, RW, MAP_SHARED | FIX, fd_rw, 3 * PAGE));
	V(MMAP(A(8), PAGE, RW, MAP_SHARED | FIX, fd_rw, 4 * PAGE));
	V(MMAP(A(6), PAGE, RW, MAP_SHARED | FIX, fd_rw, 2 * PAGE));
	V(MMAP(A(9), PAGE, RW, MAP_SHARED | FIX, fd_rw, 6 * PAGE));
	maps();
	V(MMAP(A(0), 20 * PAGE, RW, ANON | FIX, -1, 0));
	maps();
	V(MMAP(A(5), 5 * PAGE, R, ANON | MAP_FIXED_NOREPLACE, -1, 0));
	V(MMAP(A(19), 2 * PAGE, R, ANON | MAP_FIXED_NOREPLACE, -1, 0));
	V(MMAP(A(20), 2 * PAGE, R, ANON | MAP_FIXED_NOREPLACE, -1, 0));
	V(MMAP(A(22), 2 * PAGE, R, ANON | MAP_FIXED_NOREPLACE | FIX, -1, 0));
	V(MMAP(A(21), 2 * PAGE, R, ANON | MAP_FIXED_NOREPLACE | FIX, -1, 0));
	V(MMAP(A(5), 0, R, ANON | MAP_FIXED_NOREPLACE, -1, 0));
	V(MMAP(A(5), PAGE, R, ANON, -1, 0));
	V(MMAP(A(40), PAGE, R, ANON, -1, 0));
	maps();
	group("merging");
	V(MMAP(A(0), PAGE, RW, ANON | FIX, -1, 0));
	V(MMAP(A(2), PAGE, RW, ANON | FIX, -1, 0));
	V(MMAP(A(1), PAGE, RW, ANON | FIX, -1, 0));
	maps();
	V(MMAP(A(3), PAGE, RW, ANON | FIX | MAP_NORESERVE, -1, 0));
	V(MMAP(A(4), PAGE, RW, ANON | FIX | MAP_STACK, -1, 0));
	V(MMAP(A(5), PAGE, RW, ANON | FIX | MAP_LOCKED, -1, 0));
	V(MMAP(A(6), PAGE, RW, ANON | FIX | MAP_POPULATE, -1, 0));
	V(MMAP(A(7), PAGE, RW, SHANON | FIX, -1, 0));
	V(MMAP(A(8), PAGE, RW, SHANON | FIX, -1, 0));
	V(MMAP(A(9), PAGE, RW | X, ANON | FIX, -1, 0));
	V(MMAP(A(10), PAGE, RW | X, ANON | FIX, -1, 0));
	V(MMAP(A(11), PAGE, RW, MAP_PRIVATE | FIX, fd_zero, 0));
	V(MMAP(A(12), PAGE, RW, MAP_PRIVATE | FIX, fd_zero, PAGE));
	V(MMAP(A(13), PAGE, RW, ANON | FIX, -1, 0));
	maps();
	group("merging after touching");
	V(MMAP(A(0), PAGE, RW, ANON | FIX, -1, 0));
	probe(A(0), 1);
	V(MMAP(A(2), PAGE, RW, ANON | FIX, -1, 0));
	probe(A(2), 1);
	maps();
	V(MMAP(A(1), PAGE, RW, ANON | FIX, -1, 0));
	maps();
	probe(A(1), 1);
	V(MMAP(A(3), PAGE, RW, ANON | FIX, -1, 0));
	maps();
	group("merging of file mappings");
	for (int i = 0; i < 8; i++)
		V(MMAP(A(i), PAGE, R, MAP_PRIVATE | FIX, fd_rw, i * PAGE));
	V(MMAP(A(8), PAGE, R, MAP_PRIVATE | FIX, fd_ro, 8 * PAGE));
	V(MMAP(A(9), PAGE, R, MAP_SHARED | FIX, fd_rw, 9 * PAGE));
	V(MMAP(A(10), PAGE, R, MAP_SHARED | FIX, fd_ro, 10 * PAGE));
	V(MMAP(A(20), PAGE, R, MAP_SHARED | FIX, fd_ro, 0));
	V(MMAP(A(21), PAGE, R, MAP_SHARED | FIX, fd_ro, PAGE));
	V(MMAP(A(19), PAGE, R, MAP_SHARED | FIX, fd_ro, 0));
	maps();
}

static void areas(void)
{
	static ul got[24];
	group("where the kernel puts things");
	ul sizes[] = { PAGE, 3 * PAGE, 100 * PAGE, 511 * PAGE, 512 * PAGE, 513 * PAGE, 1024 * PAGE, 3 * MB, 64 * MB, GB };
	for (unsigned i = 0; i < 10; i++) {
		say("size %#lx: ", sizes[i]);
		got[i] = MMAP(0, sizes[i], RW, ANON | MAP_NORESERVE, -1, 0);
		say_result("private", got[i]);
	}
	for (unsigned i = 0; i < 10; i++) {
		say("size %#lx: ", sizes[i]);
		got[10 + i] = MMAP(0, sizes[i], R, SHANON | MAP_NORESERVE, -1, 0);
		say_result("shared", got[10 + i]);
	}
	got[20] = MMAP(0, 4 * MB, RW, MAP_PRIVATE, fd_rw, 0);
	say_result("4 MB of a file, private", got[20]);
	got[21] = MMAP(0, 4 * MB, RW, MAP_SHARED, fd_rw, PAGE);
	say_result("4 MB of a file, shared", got[21]);
	got[22] = MMAP(0, 4 * MB, RW, MAP_PRIVATE, fd_zero, 0);
	say_result("4 MB of /dev/zero, private", got[22]);
	got[23] = MMAP(0, 4 * MB, RW, MAP_SHARED, fd_mem, 0);
	say_result("4 MB of a memfd, shared", got[23]);
	all_maps();
	for (int i = 0; i < 24; i += 2)
		MUNMAP(got[i], i < 20 ? sizes[i % 10] : 4 * MB);
	for (int i = 0; i < 6; i++)
		V(MMAP(0, sizes[i], RW, ANON, -1, 0));
	V(MMAP(got[1], PAGE, RW, ANON, -1, 0));
	V(MMAP(got[1] + PAGE, PAGE, RW, ANON, -1, 0));
	V(MMAP(got[8] - PAGE, PAGE, RW, ANON, -1, 0));
	V(MMAP(got[8] + 123, PAGE, RW, ANON, -1, 0));
	V(MMAP(got[8], 64 * MB, RW, ANON, -1, 0));
	V(MMAP(0, 2 * MB, RW, ANON | MAP_STACK, -1, 0));
	V(MMAP(0, 2 * MB, RW, ANON | MAP_GROWSDOWN, -1, 0));
	V(MMAP(0, PAGE, RW, ANON | MAP_GROWSDOWN, -1, 0));
	V(MMAP(0, PAGE, RW, ANON, -1, 0));
	V(MMAP(0, 2 * PAGE, RW, ANON | MAP_GROWSDOWN, -1, 0));
	V(MMAP(0, 300 * PAGE, RW, ANON, -1, 0));
	all_maps();
	group("MAP_32BIT");
	V(MMAP(0, PAGE, RW, ANON | MAP_32BIT, -1, 0));
	V(MMAP(0, PAGE, RW, ANON | MAP_32BIT, -1, 0));
	V(MMAP(0, 4 * MB, RW, ANON | MAP_32BIT, -1, 0));
	V(MMAP(0, PAGE, RW, SHANON | MAP_32BIT, -1, 0));
	V(MMAP(0, PAGE, R, MAP_PRIVATE | MAP_32BIT, fd_rw, 0));
	V(MMAP(0x50000000, PAGE, RW, ANON | MAP_32BIT, -1, 0));
	V(MMAP(0x10000000, PAGE, RW, ANON | MAP_32BIT, -1, 0));
	V(MMAP(0x100000000, PAGE, RW, ANON | MAP_32BIT, -1, 0));
	V(MMAP(A(0), PAGE, RW, ANON | MAP_32BIT, -1, 0));
	V(MMAP(A(0), PAGE, RW, ANON | MAP_32BIT | FIX, -1, 0));
	V(MMAP(0, GB, PROT_NONE, ANON | MAP_32BIT, -1, 0));
	V(MMAP(0, GB - 64 * MB, PROT_NONE, ANON | MAP_32BIT, -1, 0));
	V(MMAP(0, GB / 2, PROT_NONE, ANON | MAP_32BIT, -1, 0));
	V(MMAP(0, 2 * GB, PROT_NONE, ANON | MAP_32BIT, -1, 0));
	V(MMAP(0x7ffff000, PAGE, RW, ANON | MAP_32BIT, -1, 0));
	V(MMAP(0x7ffff000, 2 * PAGE, RW, ANON | MAP_32BIT, -1, 0));
	V(MMAP(0, PAGE, RW, ANON | MAP_32BIT | 0x80, -1, 0));
	V(MMAP(0, PAGE, RW, ANON | 0x80, -1, 0));
	all_maps();
}

static void growsdown(void)
{
	group("MAP_GROWSDOWN");
	V(MMAP(A(512), PAGE, RW, ANON | FIX | MAP_GROWSDOWN, -1, 0));
	PROBE(A(511));
	maps();
	PROBE(A(505));
	maps();
	V(MMAP(A(100), PAGE, RW, ANON | FIX, -1, 0));
	PROBE(A(400));
	maps();
	PROBE(A(357));
	PROBE(A(356));
	maps();
	V(MMAP(A(600), PAGE, R, ANON | FIX | MAP_GROWSDOWN, -1, 0));
	PROBE(A(599));
	V(MMAP(A(700), PAGE, PROT_NONE, ANON | FIX, -1, 0));
	V(MMAP(A(710), PAGE, RW, ANON | FIX | MAP_GROWSDOWN, -1, 0));
	PROBE(A(705));
	V(MMAP(A(800), PAGE, RW, SHANON | FIX | MAP_GROWSDOWN, -1, 0));
	V(MMAP(A(820), PAGE, RW, MAP_PRIVATE | FIX | MAP_GROWSDOWN, fd_rw, 0));
	V(MMAP(A(840), PAGE, RW, MAP_SHARED | FIX | MAP_GROWSDOWN, fd_rw, 0));
	V(MMAP(A(860), 2 * PAGE, RW, ANON | FIX | MAP_GROWSDOWN | MAP_LOCKED, -1, 0));
	V(MMAP(A(880), PAGE, RW, ANON | FIX | MAP_GROWSDOWN, -1, 0));
	V(MMAP(A(881), PAGE, RW, ANON | FIX | MAP_GROWSDOWN, -1, 0));
	maps();
	V(MUNMAP(A(880), PAGE));
	PROBE(A(880));
	maps();
	V(MMAP(A(500), PAGE, RW, ANON, -1, 0));
	V(MMAP(A(300), 50 * PAGE, RW, ANON, -1, 0));
	maps();
	group("the stack's neighbourhood");
	register ul rsp __asm__("rsp");
	ul sp = rsp & -PAGE;
	say("a mapping some MB below the stack\n");
	V(MMAP(sp - 4 * MB, PAGE, RW, ANON | FIX, -1, 0));
	PROBE(sp - 4 * MB + 300 * PAGE);
	PROBE(sp - 4 * MB + 250 * PAGE);
	PROBE(sp - 4 * MB + PAGE);
	PROBE(sp - 5 * MB);
	all_maps();
	V(MUNMAP(sp - 4 * MB, PAGE));
	PROBE(sp - 7 * MB);
	PROBE(sp - 9 * MB);
	PROBE(sp - 20 * MB);
	all_maps();
}

static void huge(void)
{
	group("MAP_HUGETLB without pages");
	V(MMAP(0, 2 * MB, RW, ANON | MAP_HUGETLB, -1, 0));
	V(MMAP(0, PAGE, RW, ANON | MAP_HUGETLB, -1, 0));
	V(MMAP(0, 2 * MB, RW, SHANON | MAP_HUGETLB, -1, 0));
	V(MMAP(0, 2 * MB, RW, ANON | MAP_HUGETLB | 21 << 26, -1, 0));
	V(MMAP(0, GB, RW, ANON | MAP_HUGETLB | 30 << 26, -1, 0));
	V(MMAP(0, 2 * MB, RW, ANON | MAP_HUGETLB | 16 << 26, -1, 0));
	V(MMAP(0, 2 * MB, RW, ANON | MAP_HUGETLB | 63U << 26, -1, 0));
	V(MMAP(ARENA, 2 * MB, RW, ANON | MAP_HUGETLB | FIX, -1, 0));
	V(MMAP(A(1), 2 * MB, RW, ANON | MAP_HUGETLB | FIX, -1, 0));
	V(MMAP(0, 0, RW, ANON | MAP_HUGETLB, -1, 0));
	V(MMAP(0, -1, RW, ANON | MAP_HUGETLB, -1, 0));
	V(MMAP(0, 2 * MB, RW, MAP_PRIVATE | MAP_HUGETLB, fd_rw, 0));
	V(MMAP(0, 2 * MB, RW, MAP_SHARED | MAP_HUGETLB, fd_mem, 0));
	V(MMAP(0, 2 * MB, RW, MAP_PRIVATE | MAP_HUGETLB, fd_closed, 0));
	V(MMAP(0, 2 * MB, RW, ANON | MAP_HUGETLB, -1, 100));
	V(MMAP(0, 2 * MB, RW, 3 | MAP_HUGETLB | MAP_ANONYMOUS, -1, 0));
	all_maps();
}

static void special(void)
{
	group("over the vdso, the vsyscall page, the zero page");
	ul vdso = getauxval(AT_SYSINFO_EHDR);
	V(MMAP(vdso + PAGE, PAGE, RW, ANON | FIX, -1, 0));
	V(MUNMAP(vdso + PAGE, PAGE));
	V(MUNMAP(vdso - PAGE, PAGE));
	V(MPROTECT(vdso, PAGE, R));
	V(MPROTECT(vdso, 2 * PAGE, R));
	V(MPROTECT(vdso, 2 * PAGE, RW | X));
	V(MPROTECT(vdso, 2 * PAGE, R | X));
	V(MPROTECT(vdso - 2 * PAGE, 2 * PAGE, RW));
	V(MADVISE(vdso, PAGE, MADV_DONTNEED));
	V(MADVISE(vdso, 2 * PAGE, MADV_DONTNEED));
	V(MADVISE(vdso - PAGE, PAGE, MADV_DONTNEED));
	V(MADVISE(vdso, 2 * PAGE, MADV_DONTFORK));
	V(MADVISE(vdso, 2 * PAGE, MADV_DOFORK));
	V(MADVISE(vdso, 2 * PAGE, MADV_POPULATE_READ));
	V(MADVISE(vdso - 2 * PAGE, 2 * PAGE, MADV_POPULATE_READ));
	V(MLOCK(vdso, PAGE));
	V(MLOCK(vdso - 2 * PAGE, 4 * PAGE));
	V(MUNLOCK(vdso - 2 * PAGE, 4 * PAGE));
	V(MSYNC(vdso, PAGE, MS_SYNC));
	V(MREMAP(vdso, PAGE, 2 * PAGE, MREMAP_MAYMOVE, 0));
	V(MREMAP(vdso, 2 * PAGE, 3 * PAGE, MREMAP_MAYMOVE, 0));
	V(MREMAP(vdso, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, A(10)));
	all_maps();
	V(MREMAP(A(10), 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, vdso));
	V(MUNMAP(0xffffffffff600000, PAGE));
	V(MPROTECT(0xffffffffff600000, PAGE, R));
	V(MADVISE(0xffffffffff600000, PAGE, MADV_DONTNEED));
	PROBE(0xffffffffff600000);
	V(MMAP(0, PAGE, RW, ANON | FIX, -1, 0));
	PROBE(0);
	V(MUNMAP(0, PAGE));
	PROBE(0);
	PROBE(0xffff888000000000);
	PROBE(-8UL);
	PROBE(TASK_SIZE);
	PROBE(TASK_SIZE - 1);
	PROBE(1UL << 47);
	PROBE(0x123456789abcdef0);
}

int main(int argc, char **argv)
{
	begin(argc, argv);
	addresses();
	kinds();
	files();
	fixed();
	areas();
	growsdown();
	huge();
	special();
	quit(0);
}
