/* RLIMIT_AS, DATA, STACK, MEMLOCK and max_map_count, as an unprivileged user. usage: limit_calls WORKDIR */
#include "calls.h"

static void limit(int what, long soft)
{
	struct rlimit both = { soft, RLIM_INFINITY };
	SC(SYS_prlimit64, 0, what, 0, &both);
	both.rlim_cur = soft;
	long r = SC(SYS_prlimit64, 0, what, &both, 0);
	if (failed(r))
		die("prlimit", r);
}

static ul field(const char *name)
{
	static char text[8192];
	read_whole("/proc/self/status", text, sizeof text);
	char *at = strstr(text, name);
	return at ? strtoul(at + strlen(name) + 1, 0, 10) * 1024 : -1UL;
}

static ul status_size(void) { return field("VmSize"); }

/* The lowest free part of the address space, so that results do not depend on the machine's files. */
#define TRY(...) \
	do { \
		long got = (__VA_ARGS__); \
		if (failed(got)) \
			say_result(#__VA_ARGS__, got); \
		else \
			say("%s succeeds\n", #__VA_ARGS__); \
	} while (0)

static void address_space(void)
{
	group("RLIMIT_AS");
	ul now = status_size();
	limit(RLIMIT_AS, now + 10 * PAGE);
	V(MMAP(A(0), 11 * PAGE, RW, ANON | FIX, -1, 0));
	V(MMAP(A(0), 10 * PAGE, RW, ANON | FIX, -1, 0));
	V(MMAP(A(20), PAGE, RW, ANON | FIX, -1, 0));
	V(MMAP(A(0), 10 * PAGE, R, ANON | FIX, -1, 0));
	V(MMAP(A(5), 6 * PAGE, R, ANON | FIX, -1, 0));
	V(MMAP(A(5), 5 * PAGE, RW, SHANON | FIX, -1, 0));
	V(MMAP(A(20), PAGE, PROT_NONE, ANON | FIX, -1, 0));
	V(MMAP(A(20), PAGE, R, MAP_PRIVATE | FIX, fd_rw, 0));
	V(MREMAP(A(0), 5 * PAGE, 5 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, A(50)));
	V(MREMAP(A(50), 5 * PAGE, 6 * PAGE, 0, 0));
	V(MREMAP(A(50), 5 * PAGE, 6 * PAGE, MREMAP_MAYMOVE, 0));
	V(MREMAP(A(50), 5 * PAGE, 5 * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, 0));
	ul brk = BRK(0);
	say("brk grows: %d\n", BRK(brk + 2 * PAGE) != brk);
	V(MUNMAP(A(50), 2 * PAGE));
	say("brk grows: %d\n", BRK(brk + 2 * PAGE) != brk);
	BRK(brk);
	V(MPROTECT(A(52), PAGE, R | X));
	V(SC(SYS_prlimit64, 0, RLIMIT_AS, 0, 0));
	limit(RLIMIT_AS, 0);
	V(MMAP(A(100), PAGE, RW, ANON | FIX, -1, 0));
	V(MMAP(A(52), PAGE, RW, ANON | FIX, -1, 0));
	V(MUNMAP(A(52), PAGE));
	PROBE(A(5));
	limit(RLIMIT_AS, -1);
	maps();
}

static void data(void)
{
	group("RLIMIT_DATA");
	ul now = field("VmData");
	limit(RLIMIT_DATA, now + 10 * PAGE);
	V(MMAP(A(0), 11 * PAGE, RW, ANON | FIX, -1, 0));
	V(MMAP(A(0), 8 * PAGE, RW, ANON | FIX, -1, 0));
	V(MMAP(A(20), 8 * PAGE, R, ANON | FIX, -1, 0));
	V(MMAP(A(40), 8 * PAGE, RW, SHANON | FIX, -1, 0));
	V(MMAP(A(60), 8 * PAGE, RW, MAP_PRIVATE | FIX, fd_rw, 0));
	V(MPROTECT(A(20), 2 * PAGE, RW));
	V(MPROTECT(A(22), PAGE, RW));
	V(MPROTECT(A(20), PAGE, R));
	V(MPROTECT(A(22), PAGE, RW));
	V(MREMAP(A(0), 8 * PAGE, 9 * PAGE, 0, 0));
	V(MMAP(A(80), 4 * PAGE, RW, ANON | FIX | MAP_GROWSDOWN, -1, 0));
	ul brk = BRK(0);
	say("brk grows: %d\n", BRK(brk + PAGE) != brk);
	limit(RLIMIT_DATA, now + 30 * PAGE);
	say("brk grows: %d\n", BRK(brk + PAGE) != brk);
	BRK(brk);
	limit(RLIMIT_DATA, PAGE);
	say("brk grows: %d\n", BRK(brk + PAGE) != brk);
	V(MMAP(A(100), PAGE, RW, ANON | FIX, -1, 0));
	V(MMAP(A(100), PAGE, R, ANON | FIX, -1, 0));
	limit(RLIMIT_DATA, -1);
	maps();
}

static void stack(void)
{
	group("RLIMIT_STACK");
	register ul rsp __asm__("rsp");
	ul sp = rsp & -PAGE;
	limit(RLIMIT_STACK, 1 * MB);
	PROBE(sp - 512 * KB);
	PROBE(sp - 2 * MB);
	PROBE(sp - MB - 64 * KB);
	limit(RLIMIT_STACK, 3 * MB);
	PROBE(sp - 2 * MB);
	PROBE(sp - 4 * MB);
	V(MMAP(A(512), PAGE, RW, ANON | FIX | MAP_GROWSDOWN, -1, 0));
	limit(RLIMIT_STACK, 10 * PAGE);
	PROBE(A(504));
	PROBE(A(503));
	PROBE(A(502));
	PROBE(A(400));
	limit(RLIMIT_STACK, 8 * MB);
	PROBE(A(400));
	maps();
}

static void locks(void)
{
	group("RLIMIT_MEMLOCK");
	V(SC(SYS_setresuid, 65534, 65534, 65534));
	limit(RLIMIT_MEMLOCK, 10 * PAGE);
	anon(0, 20, RW);
	V(MLOCK(A(0), 11 * PAGE));
	V(MLOCK(A(0), 10 * PAGE));
	V(MLOCK(A(10), PAGE));
	V(MLOCK(A(5), 5 * PAGE));
	V(MLOCK(A(5), 6 * PAGE));
	V(MMAP(A(30), PAGE, RW, ANON | FIX | MAP_LOCKED, -1, 0));
	V(MREMAP(A(9), PAGE, 2 * PAGE, MREMAP_MAYMOVE, 0));
	V(MREMAP(A(0), 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, A(40)));
	V(MLOCKALL(MCL_CURRENT));
	V(MLOCKALL(MCL_FUTURE));
	V(MMAP(A(60), PAGE, RW, ANON | FIX, -1, 0));
	V(MMAP(A(60), PAGE, PROT_NONE, ANON | FIX, -1, 0));
	V(MMAP(A(2), 2 * PAGE, RW, ANON | FIX, -1, 0));
	ul brk = BRK(0);
	say("brk grows: %d\n", BRK(brk + PAGE) != brk);
	V(MUNLOCKALL());
	say("brk grows: %d\n", BRK(brk + PAGE) != brk);
	V(MLOCK2(A(0), 11 * PAGE, 1));
	V(MLOCK2(A(2), 10 * PAGE, 1));
	V(MUNLOCKALL());
	limit(RLIMIT_MEMLOCK, 0);
	V(MLOCK(A(2), PAGE));
	V(MLOCK(A(2), 0));
	V(MLOCKALL(MCL_CURRENT));
	V(MLOCKALL(MCL_CURRENT | MCL_ONFAULT));
	V(MLOCKALL(MCL_FUTURE));
	V(MUNLOCK(A(2), PAGE));
	V(MUNLOCKALL());
	V(MMAP(A(70), PAGE, RW, ANON | FIX | MAP_LOCKED, -1, 0));
	limit(RLIMIT_MEMLOCK, 100);
	V(MLOCK(A(2), 1));
	V(MMAP(A(70), PAGE, RW, ANON | FIX | MAP_LOCKED, -1, 0));
	maps();
	group("what the superuser may");
	V(MMAP(0, PAGE, RW, ANON | FIX, -1, 0));
	V(MMAP(0xf000, PAGE, RW, ANON | FIX, -1, 0));
	V(MMAP(0x1000, PAGE, RW, ANON | FIX, -1, 0));
	V(MMAP(PAGE, PAGE, RW, ANON, -1, 0));
	V(MREMAP(A(2), PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, 0));
	struct rlimit up = { 100, -1 }, down = { 100, 100 };
	V(SC(SYS_prlimit64, 0, RLIMIT_MEMLOCK, &down, 0));
	V(SC(SYS_prlimit64, 0, RLIMIT_MEMLOCK, &up, 0));
	up.rlim_max = 99;
	V(SC(SYS_prlimit64, 0, RLIMIT_MEMLOCK, &up, 0));
	V(SC(SYS_prlimit64, 0, 99, &down, 0));
}

static void mappings(void)
{
	group("max_map_count");
	static char number[32];
	read_whole("/proc/sys/vm/max_map_count", number, sizeof number);
	long most = atol(number);
	ul there = 0;
	read_whole("/proc/self/maps", maps_text, sizeof maps_text);
	for (char *at = maps_text; *at; at++)
		there += *at == '\n';
	there -= 1; /* the vsyscall line is no mapping of ours */
	ul base = 0x300000000000;
	long r = MMAP(base, 4 * most * PAGE, R, ANON | FIX | MAP_NORESERVE, -1, 0);
	if (failed(r))
		die("mmap", r);
	there++;
	ul n = 0;
	for (; n < (ul)most; n++) {
		r = MPROTECT(base + (2 * n + 1) * PAGE, PAGE, PROT_NONE);
		if (failed(r))
			break;
		there += 2;
	}
	say_result("the last mprotect", r);
	say("mappings then: limit %+ld\n", (long)there - most);
	TRY(MMAP(0, PAGE, R | X, ANON, -1, 0));
	TRY(MMAP(0, PAGE, R | X, SHANON, -1, 0));
	V(MUNMAP(base + (2 * n + 10) * PAGE, PAGE));
	V(MUNMAP(base + 2 * PAGE, PAGE));
	V(MPROTECT(base + 4 * PAGE, PAGE, PROT_NONE));
	TRY(MREMAP(base + 8 * PAGE, PAGE, 2 * PAGE, MREMAP_MAYMOVE, 0));
	V(MADVISE(base + (2 * n + 10) * PAGE, PAGE, MADV_DONTFORK));
	V(MLOCK(base + (2 * n + 10) * PAGE, PAGE));
	V(MUNMAP(base, 4 * most * PAGE));
}

int main(int argc, char **argv)
{
	begin(argc, argv);
	address_space();
	data();
	stack();
	if (argc > 2)
		mappings();
	locks();
	quit(0);
}
