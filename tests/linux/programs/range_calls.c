/* munmap, mprotect, pkey_mprotect, mremap and brk: valid and invalid arguments. usage: range_calls WORKDIR */
#include "calls.h"

static const ul odd_lengths[] = { 0, 1, 4095, 4096, 4097, 1UL << 47, 1UL << 48, 1UL << 63, -1UL, -4095UL, -4096UL, -8192UL };
static const ul odd_addresses[] = {
	0, 1, PAGE, ARENA + 1, ARENA + PAGE, ARENA + 100 * PAGE, TASK_SIZE - PAGE, TASK_SIZE, TASK_SIZE + PAGE, 1UL << 47,
	1UL << 48, 1UL << 63, 0xffff800000000000, 0xffffffffff600000, -PAGE, -1UL,
};
#define COUNT(x) (sizeof(x) / sizeof *(x))

static void unmapping(void)
{
	group("munmap: odd addresses and lengths");
	for (unsigned i = 0; i < COUNT(odd_addresses); i++) {
		if (odd_addresses[i] == TASK_SIZE - PAGE)
			continue; /* the stack */
		for (unsigned k = 0; k < 3; k++) {
			say("munmap(%#lx, %#lx)", odd_addresses[i], odd_lengths[k]);
			say_result("", MUNMAP(odd_addresses[i], odd_lengths[k]));
		}
	}
	for (unsigned k = 0; k < COUNT(odd_lengths); k++) {
		say("munmap(%#lx, %#lx)", ARENA + 100 * PAGE, odd_lengths[k]);
		if (odd_lengths[k] < 1UL << 46 || odd_lengths[k] > 1UL << 47)
			say_result("", MUNMAP(ARENA + 100 * PAGE, odd_lengths[k]));
		say("munmap(0, %#lx)", odd_lengths[k]);
		if (odd_lengths[k] < 1UL << 20 || odd_lengths[k] > 1UL << 47)
			say_result("", MUNMAP(0, odd_lengths[k]));
	}
	group("munmap: parts");
	anon(0, 20, RW);
	V(MUNMAP(A(0), PAGE));
	V(MUNMAP(A(0), PAGE));
	V(MUNMAP(A(5), 3 * PAGE));
	V(MUNMAP(A(4), 5 * PAGE));
	V(MUNMAP(A(19), 1));
	V(MUNMAP(A(17), PAGE + 1));
	maps();
	anon(30, 10, RW);
	anon(40, 10, R);
	V(MMAP(A(50), 8 * PAGE, R, MAP_SHARED | FIX, fd_rw, 0));
	V(MUNMAP(A(35), 17 * PAGE));
	V(MUNMAP(A(54), PAGE));
	maps();
	V(MUNMAP(A(0), ARENA_PAGES * PAGE));
	V(MUNMAP(A(0), ARENA_PAGES * PAGE));
	maps();
}

static void protecting(void)
{
	group("mprotect: odd arguments");
	anon(1, 4, RW);
	for (unsigned i = 0; i < COUNT(odd_addresses); i++) {
		if (odd_addresses[i] == TASK_SIZE - PAGE)
			continue;
		for (unsigned k = 0; k < 4; k++) {
			say("mprotect(%#lx, %#lx, R)", odd_addresses[i], odd_lengths[k]);
			say_result("", MPROTECT(odd_addresses[i], odd_lengths[k], R));
		}
	}
	for (unsigned k = 5; k < COUNT(odd_lengths); k++) {
		say("mprotect(A(100), %#lx, R)", odd_lengths[k]);
		say_result("", MPROTECT(A(100), odd_lengths[k], R));
	}
	for (int bit = 0; bit < 32; bit++) {
		say("bit %d: ", bit);
		V(MPROTECT(A(2), PAGE, 1 << bit));
	}
	V(MPROTECT(A(2), PAGE, -1));
	V(MPROTECT(A(2), PAGE, 1L << 33 | R));
	V(MPROTECT(A(2), 0, -1));
	V(MPROTECT(A(2), 0, R | PROT_GROWSDOWN | PROT_GROWSUP));
	V(MPROTECT(A(2) + 1, 0, R));
	V(MPROTECT(A(2) + 1, 0, 0x80));
	V(MPROTECT(A(900), 0, R));
	V(MPROTECT(A(900), PAGE, 0x80));
	maps();
	group("mprotect: splitting and merging");
	anon(0, 20, RW);
	V(MPROTECT(A(5), PAGE, R));
	maps();
	V(MPROTECT(A(6), PAGE, R));
	V(MPROTECT(A(4), PAGE, R));
	maps();
	V(MPROTECT(A(4), 3 * PAGE, RW));
	maps();
	V(MPROTECT(A(0), 20 * PAGE, R));
	V(MPROTECT(A(0), PAGE, RW));
	V(MPROTECT(A(19), PAGE, RW));
	maps();
	V(MPROTECT(A(1), 18 * PAGE, RW));
	maps();
	for (int i = 0; i < 20; i += 2)
		MPROTECT(A(i), PAGE, R);
	maps();
	V(MPROTECT(A(0), 20 * PAGE, RW | X));
	maps();
	group("mprotect: holes");
	anon(0, 5, RW);
	anon(7, 5, RW);
	V(MPROTECT(A(0), 12 * PAGE, R));
	maps();
	V(MPROTECT(A(3), 4 * PAGE, X));
	V(MPROTECT(A(5), PAGE, R));
	V(MPROTECT(A(6), 2 * PAGE, R));
	V(MPROTECT(A(11), 2 * PAGE, RW));
	maps();
	group("mprotect: PROT_GROWSDOWN and GROWSUP");
	V(MMAP(A(20), 4 * PAGE, RW, ANON | FIX | MAP_GROWSDOWN, -1, 0));
	anon(30, 4, RW);
	V(MPROTECT(A(30), PAGE, R | PROT_GROWSDOWN));
	V(MPROTECT(A(30), PAGE, R | PROT_GROWSUP));
	V(MPROTECT(A(22), PAGE, R | PROT_GROWSDOWN));
	maps();
	V(MPROTECT(A(23), PAGE, R | PROT_GROWSDOWN));
	maps();
	V(MPROTECT(A(19), PAGE, RW | PROT_GROWSDOWN));
	V(MPROTECT(A(15), 6 * PAGE, RW | PROT_GROWSDOWN));
	V(MPROTECT(A(15), PAGE, RW | PROT_GROWSDOWN));
	V(MPROTECT(A(20), PAGE, RW | PROT_GROWSUP));
	V(MPROTECT(A(900), PAGE, RW | PROT_GROWSDOWN));
	maps();
	group("mprotect: files");
	V(MMAP(A(0), 4 * PAGE, R, MAP_SHARED | FIX, fd_ro, 0));
	V(MMAP(A(10), 4 * PAGE, R, MAP_PRIVATE | FIX, fd_ro, 0));
	V(MMAP(A(20), 4 * PAGE, R, MAP_SHARED | FIX, fd_rw, 0));
	V(MMAP(A(30), 4 * PAGE, R, MAP_SHARED | FIX, fd_mem, 0));
	V(MPROTECT(A(0), PAGE, RW));
	V(MPROTECT(A(0), PAGE, R | X));
	V(MPROTECT(A(1), PAGE, W));
	V(MPROTECT(A(10), PAGE, RW));
	V(MPROTECT(A(11), PAGE, RW | X));
	V(MPROTECT(A(20), 2 * PAGE, RW));
	V(MPROTECT(A(30), 2 * PAGE, RW | X));
	V(MPROTECT(A(2), 12 * PAGE, RW));
	maps();
	group("mprotect: after touching");
	anon(0, 10, RW);
	for (int i = 0; i < 10; i++)
		probe(A(i), i & 1);
	V(MPROTECT(A(2), 3 * PAGE, PROT_NONE));
	PROBE(A(3));
	V(MPROTECT(A(2), 3 * PAGE, R));
	PROBE(A(3));
	V(MPROTECT(A(2), 3 * PAGE, RW));
	PROBE(A(3));
	say("byte %d\n", *(vu8 *)A(3));
	maps();
	anon(20, 2, PROT_NONE);
	V(MPROTECT(A(20), 2 * PAGE, W));
	PROBE(A(20));
	V(MPROTECT(A(20), 2 * PAGE, X));
	PROBE(A(20));
	group("pkeys");
	anon(0, 4, RW);
	V(SC(SYS_pkey_mprotect, A(0), PAGE, R, -1));
	V(SC(SYS_pkey_mprotect, A(0), PAGE, R, 0));
	V(SC(SYS_pkey_mprotect, A(0), PAGE, R, 1));
	V(SC(SYS_pkey_mprotect, A(0), PAGE, R, 16));
	V(SC(SYS_pkey_mprotect, A(0), PAGE, R, -2));
	V(SC(SYS_pkey_mprotect, A(0) + 1, PAGE, R, -1));
	V(SC(SYS_pkey_mprotect, A(900), PAGE, R, -1));
	V(SC(SYS_pkey_mprotect, A(0), 0, R, 5));
	V(SC(SYS_pkey_alloc, 0, 0));
	V(SC(SYS_pkey_alloc, 1, 0));
	V(SC(SYS_pkey_alloc, 0, 8));
	V(SC(SYS_pkey_free, 0));
	V(SC(SYS_pkey_free, 1));
	V(SC(SYS_pkey_free, -1));
	maps();
	group("writable and executable text");
	extern char __executable_start;
	ul text = (ul)&__executable_start;
	V(MPROTECT(text, PAGE, RW));
	V(MPROTECT(text, PAGE, R));
	say_maps(text, text + 64 * PAGE);
}

static void moving(void)
{
	group("mremap: odd arguments");
	anon(0, 10, RW);
	for (int flags = 0; flags < 16; flags++) {
		say("flags %d: ", flags);
		V(MREMAP(A(900), PAGE, PAGE, flags, A(500)));
		say("flags %d: ", flags);
		V(MREMAP(A(0), 2 * PAGE, 2 * PAGE, flags, A(100 + 4 * flags)));
		anon(0, 10, RW);
	}
	maps();
	group("mremap: more odd arguments");
	anon(0, 10, RW);
	V(MREMAP(A(0), PAGE, PAGE, 0x10, 0));
	V(MREMAP(A(0), PAGE, PAGE, -1, 0));
	V(MREMAP(A(0) + 1, PAGE, PAGE, 0, 0));
	V(MREMAP(A(0), PAGE, 0, 0, 0));
	V(MREMAP(A(0), PAGE, 0, MREMAP_MAYMOVE, 0));
	V(MREMAP(A(0), 0, PAGE, 0, 0));
	V(MREMAP(A(0), 0, PAGE, MREMAP_MAYMOVE, 0));
	V(MREMAP(A(0), 0, 0, MREMAP_MAYMOVE, 0));
	V(MREMAP(A(0), 0, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, A(50)));
	V(MREMAP(A(0), -1, PAGE, 0, 0));
	V(MREMAP(A(0), PAGE, -1, 0, 0));
	V(MREMAP(A(0), PAGE, -1, MREMAP_MAYMOVE, 0));
	V(MREMAP(A(0), PAGE, -PAGE, MREMAP_MAYMOVE, 0));
	V(MREMAP(A(0), PAGE, 1UL << 63, MREMAP_MAYMOVE, 0));
	V(MREMAP(A(0), PAGE, 1UL << 47, MREMAP_MAYMOVE, 0));
	V(MREMAP(A(0), 1UL << 47, PAGE, MREMAP_MAYMOVE, 0));
	V(MREMAP(A(10), 5 * PAGE, PAGE, 0, 0));
	V(MREMAP(TASK_SIZE, PAGE, PAGE, 0, 0));
	V(MREMAP(-PAGE, PAGE, PAGE, 0, 0));
	V(MREMAP(1UL << 48, PAGE, 2 * PAGE, MREMAP_MAYMOVE, 0));
	V(MREMAP(0, PAGE, PAGE, MREMAP_MAYMOVE, 0));
	V(MREMAP(A(0), PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, A(50) + 1));
	V(MREMAP(A(0), PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, TASK_SIZE));
	V(MREMAP(A(0), PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, TASK_SIZE - PAGE + 1));
	V(MREMAP(A(0), PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, -PAGE));
	V(MREMAP(A(0), PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, A(0)));
	V(MREMAP(A(0), 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, A(1)));
	V(MREMAP(A(1), 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, A(0)));
	V(MREMAP(A(0), PAGE, 3 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, A(1)));
	V(MREMAP(A(0), 1, 1, 0, 0));
	V(MREMAP(A(0), 1, 2, 0, 0));
	V(MREMAP(A(0), PAGE + 1, 2 * PAGE, 0, 0));
	maps();
	group("mremap: in place");
	anon(0, 10, RW);
	V(MREMAP(A(0), 10 * PAGE, 12 * PAGE, 0, 0));
	maps();
	V(MREMAP(A(0), 12 * PAGE, 5 * PAGE, 0, 0));
	maps();
	V(MREMAP(A(1), 2 * PAGE, PAGE, 0, 0));
	maps();
	V(MREMAP(A(0), 2 * PAGE, 3 * PAGE, 0, 0));
	maps();
	V(MREMAP(A(0), PAGE, 4 * PAGE, 0, 0));
	V(MREMAP(A(0), 3 * PAGE, 4 * PAGE, 0, 0));
	V(MREMAP(A(3), 2 * PAGE, 4 * PAGE, 0, 0));
	V(MREMAP(A(4), PAGE, 8 * PAGE, 0, 0));
	maps();
	V(MREMAP(A(0), 20 * PAGE, 30 * PAGE, 0, 0));
	V(MREMAP(A(0), 20 * PAGE, 3 * PAGE, 0, 0));
	maps();
	group("mremap: shrinking over several areas");
	anon(0, 5, RW);
	anon(5, 5, R);
	anon(12, 5, RW);
	V(MREMAP(A(0), 10 * PAGE, 7 * PAGE, 0, 0));
	maps();
	V(MREMAP(A(0), 17 * PAGE, 3 * PAGE, 0, 0));
	maps();
	V(MREMAP(A(0), 10 * PAGE, 10 * PAGE, 0, 0));
	V(MREMAP(A(0), 10 * PAGE, 11 * PAGE, 0, 0));
	group("mremap: moving");
	anon(0, 10, RW);
	for (int i = 0; i < 10; i++)
		*(vu8 *)A(i) = i + 1;
	V(MREMAP(A(0), 10 * PAGE, 12 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, A(20)));
	say("bytes %d %d %d\n", *(vu8 *)A(20), *(vu8 *)A(29), *(vu8 *)A(30));
	maps();
	V(MREMAP(A(22), 3 * PAGE, 3 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, A(40)));
	maps();
	V(MREMAP(A(25), PAGE, 2 * PAGE, MREMAP_MAYMOVE, 0));
	maps();
	V(MREMAP(A(40), 3 * PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, A(60)));
	maps();
	V(MREMAP(A(60), PAGE, 5 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, A(26)));
	maps();
	anon(100, 5, RW);
	V(MREMAP(A(100), 5 * PAGE, 5 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, A(31)));
	maps();
	V(MREMAP(A(31), 5 * PAGE, 5 * PAGE, MREMAP_MAYMOVE, A(300)));
	V(MREMAP(A(31), 5 * PAGE, 6 * PAGE, MREMAP_MAYMOVE, A(300)));
	say_maps(ARENA, TASK_SIZE);
	group("mremap: back to where it was, merging");
	anon(0, 10, RW);
	for (int i = 0; i < 10; i++)
		*(vu8 *)A(i) = i + 1;
	V(MREMAP(A(3), 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, A(50)));
	maps();
	V(MREMAP(A(50), 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, A(3)));
	maps();
	V(MREMAP(A(3), 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, A(50)));
	V(MREMAP(A(50), 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, A(10)));
	maps();
	anon(60, 2, RW);
	V(MREMAP(A(60), 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, A(3)));
	maps();
	group("mremap: DONTUNMAP");
	anon(0, 4, RW);
	for (int i = 0; i < 4; i++)
		*(vu8 *)A(i) = i + 1;
	V(MREMAP(A(0), 4 * PAGE, 4 * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP | MREMAP_FIXED, A(20)));
	say("bytes %d %d\n", *(vu8 *)A(0), *(vu8 *)A(20));
	maps();
	V(MREMAP(A(0), 4 * PAGE, 5 * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, 0));
	V(MREMAP(A(0), 4 * PAGE, 3 * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, 0));
	V(MREMAP(A(0), 4 * PAGE, 4 * PAGE, MREMAP_DONTUNMAP, 0));
	V(MREMAP(A(0), 4 * PAGE, 4 * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, A(100)));
	V(MREMAP(A(1), PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP | MREMAP_FIXED, A(30)));
	maps();
	V(MMAP(A(40), 4 * PAGE, RW, MAP_SHARED | FIX, fd_rw, 0));
	V(MREMAP(A(40), 4 * PAGE, 4 * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP | MREMAP_FIXED, A(50)));
	V(MMAP(A(60), 4 * PAGE, RW, ANON | MAP_LOCKED | FIX, -1, 0));
	V(MREMAP(A(60), 4 * PAGE, 4 * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP | MREMAP_FIXED, A(70)));
	maps();
	group("mremap: files and shared memory");
	V(MMAP(A(0), 4 * PAGE, RW, MAP_SHARED | FIX, fd_rw, 2 * PAGE));
	V(MREMAP(A(0), 4 * PAGE, 6 * PAGE, 0, 0));
	V(MREMAP(A(0), 6 * PAGE, 100 * PAGE, 0, 0));
	PROBE(A(5));
	PROBE(A(6));
	V(MREMAP(A(2), PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, A(120)));
	maps();
	V(MREMAP(A(120), 0, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, A(130)));
	V(MREMAP(A(120), 0, 2 * PAGE, MREMAP_MAYMOVE, 0));
	V(MMAP(A(140), 4 * PAGE, RW, MAP_PRIVATE | FIX, fd_rw, 0));
	V(MREMAP(A(140), 0, 2 * PAGE, MREMAP_MAYMOVE, 0));
	V(MMAP(A(150), 4 * PAGE, RW, SHANON | FIX, -1, 0));
	V(MREMAP(A(150), 4 * PAGE, 8 * PAGE, 0, 0));
	PROBE(A(153));
	PROBE(A(155));
	V(MREMAP(A(151), 0, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, A(170)));
	*(vu8 *)A(151) = 77;
	say("byte %d\n", *(vu8 *)A(170));
	V(MMAP(A(180), 2 * PAGE, RW, MAP_SHARED | FIX, fd_mem, (1UL << 43)));
	V(MREMAP(A(180), 2 * PAGE, 4 * PAGE, 0, 0));
	maps();
	group("mremap: grows-down and locked areas");
	V(MMAP(A(20), 4 * PAGE, RW, ANON | FIX | MAP_GROWSDOWN, -1, 0));
	V(MREMAP(A(20), 4 * PAGE, 6 * PAGE, 0, 0));
	V(MREMAP(A(20), 6 * PAGE, 6 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, A(60)));
	V(MMAP(A(100), 4 * PAGE, RW, ANON | FIX | MAP_LOCKED, -1, 0));
	V(MREMAP(A(100), 4 * PAGE, 6 * PAGE, 0, 0));
	V(MREMAP(A(100), 6 * PAGE, 8 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, A(120)));
	maps();
	group("mremap: several areas at once");
	anon(0, 4, RW);
	anon(4, 4, R);
	anon(9, 4, RW);
	V(MREMAP(A(0), 8 * PAGE, 8 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, A(50)));
	maps();
	anon(0, 4, RW);
	anon(4, 4, R);
	V(MREMAP(A(0), 13 * PAGE, 13 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, A(80)));
	maps();
	V(MREMAP(A(79), 5 * PAGE, 5 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, A(100)));
	V(MREMAP(A(80), 8 * PAGE, 9 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, A(100)));
	V(MREMAP(A(80), 8 * PAGE, 8 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, A(100)));
	V(MREMAP(A(80), 8 * PAGE, 8 * PAGE, MREMAP_MAYMOVE, 0));
	V(MREMAP(A(80), 8 * PAGE, 8 * PAGE, 0, 0));
	maps();
}

static void breaking(void)
{
	group("brk");
	ul start = BRK(0);
	say("brk(0) = %#lx\n", start);
#define BREAK(x) say("brk(" #x ") = start%+ld\n", (long)(BRK(x) - start))
	ul end = (start + PAGE - 1) & -PAGE;
	BREAK(1);
	BREAK(start);
	BREAK(start + 1);
	BREAK(start + PAGE);
	BREAK(end + 10 * PAGE);
	say_maps(start & -PAGE, end + 100 * PAGE);
	BREAK(end + 10 * PAGE + 1);
	BREAK(end + 9 * PAGE);
	BREAK(-1UL);
	BREAK(1UL << 46);
	BREAK(1UL << 47);
	BREAK(TASK_SIZE);
	BREAK(TASK_SIZE + PAGE);
	BREAK(0x400000);
	BREAK(start - 1);
	BREAK(start - PAGE);
	V(MMAP(end + 20 * PAGE, PAGE, R, ANON | FIX, -1, 0));
	BREAK(end + 19 * PAGE);
	BREAK(end + 20 * PAGE);
	BREAK(end + 21 * PAGE);
	BREAK(end + 15 * PAGE);
	say_maps(start & -PAGE, end + 100 * PAGE);
	V(MUNMAP(end + 5 * PAGE, PAGE));
	BREAK(end + 16 * PAGE);
	say_maps(start & -PAGE, end + 100 * PAGE);
	BREAK(end + 2 * PAGE);
	say_maps(start & -PAGE, end + 100 * PAGE);
	V(MPROTECT(end, PAGE, R));
	BREAK(end + 4 * PAGE);
	say_maps(start & -PAGE, end + 100 * PAGE);
	BREAK(end + 300 * PAGE);
	BREAK(start);
	say_maps(start & -PAGE, end + 100 * PAGE);
	BREAK(end + 4 * PAGE);
	say("byte %d\n", *(vu8 *)end);
	*(vu8 *)end = 1;
	BREAK(start);
	BREAK(end + 4 * PAGE);
	say("byte %d\n", *(vu8 *)end);
	V(MADVISE(end, 4 * PAGE, MADV_DONTFORK));
	BREAK(end + 8 * PAGE);
	say_maps(start & -PAGE, end + 100 * PAGE);
	V(MREMAP(end, 8 * PAGE, 8 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, A(0)));
	BREAK(end + 2 * PAGE);
	BREAK(end + 12 * PAGE);
	say_maps(start & -PAGE, end + 100 * PAGE);
	V(MUNMAP(end + 20 * PAGE, PAGE));
	BREAK(start);
	V(MLOCKALL(MCL_FUTURE));
	BREAK(end + 4 * PAGE);
	V(MUNLOCKALL());
	BREAK(end + 8 * PAGE);
	say_maps(start & -PAGE, end + 100 * PAGE);
}

int main(int argc, char **argv)
{
	begin(argc, argv);
	unmapping();
	protecting();
	moving();
	breaking();
	quit(0);
}
