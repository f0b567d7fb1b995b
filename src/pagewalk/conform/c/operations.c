/* A random sequence of memory-management calls and accesses, the same for the same seed, with all that can be seen of it.
 *
 * usage: operations [fork] [conform] [wide] [only=FILE] WORKDIR SEED COUNT [FIRST [all [pagemap]]]
 *   fork     some operations fork: families of processes
 *   conform  each operation is drawn for itself, whatever came before it, and has a name: WHO.NUMBER, where WHO is 0 for
 *            the first process and for a child the number of its fork + 1; the state is told less often
 *   wide     limits, writes of many pages, holes and cold pages too (scripts of an earlier day are without)
 *   only     just the operations that FILE names, one "WHO NUMBER" a line (with conform)
 *   FIRST    print from that operation on only; all: faults after each operation, all maps at the end; pagemap: the
 *            page-map bits after each operation
 *
 * Calls act mostly within an arena that lies across a 2 MiB line, sometimes outside of it. Printed: each call with its
 * arguments and result; now and then the maps, which pages are resident, the page-map bits, fault counts, and a hash of
 * the readable memory; at the end smaps.
 */
#include "say.h"

#define PAGES 96UL
#define BASE 0x2000001d0000UL
#define P(n) (BASE + (n) * PAGE)
#define FILE_PAGES 24UL
#define OUTSIDE 6

static ul state;
static ul rnd(ul below)
{
	state = state * 6364136223846793005UL + 1442695040888963407UL;
	return (state >> 33) % below;
}
/* Spreads every bit of a word over all of it (the finaliser of MurmurHash3). */
static ul mixed(ul word)
{
	word = (word ^ word >> 33) * 0xff51afd7ed558ccdUL;
	word = (word ^ word >> 33) * 0xc4ceb9fe1a85ec53UL;
	return word ^ word >> 33;
}
static int chance(int percent) { return rnd(100) < (ul)percent; }

static long number, first, locked_until = -1;
static long who;
static int conform, wide;
static ul seed;
static int disk, memory, read_only;
static struct { ul addr, len; } outside[OUTSIDE];
static struct rusage before;

/* Arguments are evaluated in any case: they are calls. */
static void nothing(const char *format, ...) { }
#define tell(...) (number >= first ? say : nothing)(__VA_ARGS__)

static const char *result(long r)
{
	static char text[40];
	if (failed(r)) {
		const char *name = errno_name(-r);
		if (name)
			snprintf(text, sizeof text, "-%s", name);
		else
			snprintf(text, sizeof text, "-errno %ld", -r);
	} else {
		snprintf(text, sizeof text, "%#lx", r);
	}
	return text;
}

/* ----------------------------------------------------------------------------------------------- accesses */
static sigjmp_buf out;
static volatile int code;
static volatile ul where;
static void handler(int sig, siginfo_t *info, void *context)
{
	code = sig * 1000 + info->si_code;
	where = (ul)info->si_addr;
	siglongjmp(out, 1);
}

static int load(ul addr, unsigned char *byte)
{
	code = 0;
	if (sigsetjmp(out, 1) == 0)
		*byte = *(vu8 *)addr;
	return code;
}

static int store(ul addr, int byte)
{
	code = 0;
	if (sigsetjmp(out, 1) == 0)
		*(vu8 *)addr = byte;
	return code;
}

/* ------------------------------------------------------------------------------------------------ choices */
static ul some_page(void) { return rnd(PAGES); }
static ul some_length(ul page)
{
	ul n = rnd(10) < 7 ? 1 + rnd(8) : 1 + rnd(40);
	return n;
}

static ul some_address(void)
{
	if (chance(4)) {
		static const ul odd[] = { 0, 1, PAGE, 1UL << 47, 1UL << 48, -PAGE, 0x7ffffffff000, 0x7fffffffe000, 1UL << 63 };
		return odd[rnd(sizeof odd / sizeof *odd)];
	}
	if (chance(12)) {
		int i = rnd(OUTSIDE);
		if (outside[i].addr)
			return outside[i].addr + rnd(outside[i].len / PAGE) * PAGE;
	}
	ul addr = P(some_page());
	if (chance(3))
		addr += 1 + rnd(PAGE - 1);
	return addr;
}

static ul some_bytes(void)
{
	if (chance(2)) {
		static const ul odd[] = { 0, -1UL, -PAGE, 1UL << 63, 1UL << 47 };
		return odd[rnd(sizeof odd / sizeof *odd)];
	}
	ul len = some_length(0) * PAGE;
	if (chance(5))
		len -= rnd(PAGE);
	return len;
}

static int some_prot(void)
{
	static const int usual[] = { RW, RW, RW, RW, R, R, RW | X, R | X, PROT_NONE, W };
	if (chance(2))
		return rnd(64);
	return usual[rnd(10)];
}

/* What must not be disturbed: the vdso, its data (which changes by itself) and the stack. */
static int sacred(ul addr, ul len)
{
	return addr < 1UL << 47 && (len < 1UL << 47 ? addr + len : addr) > 0x7ffff7ff7000;
}

/* --------------------------------------------------------------------------------------------- what is seen */
static void show_maps(void)
{
	if (number >= first)
		say_maps(BASE - 64 * PAGE, P(PAGES) + 64 * PAGE);
}

static void show_resident(void)
{
	char text[PAGES + 1];
	for (ul i = 0; i < PAGES; i++) {
		unsigned char byte = 0;
		long r = MINCORE(P(i), PAGE, &byte);
		text[i] = failed(r) ? '-' : byte & 1 ? '1' : '0';
	}
	text[PAGES] = 0;
	tell("  resident %s\n", text);
}

/* Which pages of the two files are in the page cache, through mappings that nothing can touch. */
#define WATCH 0x300000000000UL
static void show_cache(void)
{
	char text[2][FILE_PAGES + 5];
	unsigned char bytes[FILE_PAGES + 4];
	for (int k = 0; k < 2; k++) {
		long r = MINCORE(WATCH + k * MB, (FILE_PAGES + 4) * PAGE, bytes);
		for (ul i = 0; i < FILE_PAGES + 4; i++)
			text[k][i] = failed(r) ? '-' : bytes[i] & 1 ? '1' : '0';
		text[k][FILE_PAGES + 4] = 0;
	}
	tell("  cached memory %s disk %s\n", text[0], text[1]);
}

/* Present, exclusively mapped, file or shared, swapped: one hexadecimal digit each. */
static void show_pagemap(void)
{
	static ul entries[PAGES];
	char text[PAGES + 1];
	int fd = SC(SYS_open, "/proc/self/pagemap", O_RDONLY, 0);
	long r = SC(SYS_pread64, fd, entries, sizeof entries, BASE / PAGE * 8);
	SC(SYS_close, fd);
	for (ul i = 0; i < PAGES; i++) {
		ul e = entries[i];
		text[i] = "0123456789abcdef"[(e >> 63 & 1) | (e >> 61 & 1) << 1 | (e >> 56 & 1) << 2 | (e >> 62 & 1) << 3];
	}
	text[PAGES] = 0;
	tell("  pagemap %ld %s\n", r, text);
}

static void show_faults(void)
{
	struct rusage after;
	SC(SYS_getrusage, RUSAGE_SELF, &after);
	tell("  faults %ld %ld\n", after.ru_minflt - before.ru_minflt, after.ru_majflt - before.ru_majflt);
	before = after;
}

static void show_hash(void)
{
	ul hash = 14695981039346656037UL;
	for (ul i = 0; i < PAGES; i++) {
		code = 0;
		if (sigsetjmp(out, 1) == 0) {
			const volatile ul *words = (const volatile ul *)P(i);
			for (ul k = 0; k < PAGE / 8; k++)
				hash = (hash ^ words[k]) * 1099511628211UL;
		}
		hash = (hash ^ code) * 1099511628211UL;
	}
	tell("  hash %016lx\n", hash);
}

static void show_status(void)
{
	static char text[8192];
	static const char *wanted[] = { "VmPeak", "VmSize", "VmLck", "VmRSS", "RssAnon", "RssFile", "RssShmem", "VmData", "VmStk",
	                                "VmPTE" };
	read_whole("/proc/self/status", text, sizeof text);
	for (unsigned i = 0; i < sizeof wanted / sizeof *wanted; i++) {
		char *at = strstr(text, wanted[i]);
		char *end = at ? strchr(at, '\n') : 0;
		if (end)
			tell("  %.*s\n", (int)(end - at), at);
	}
}

/* Populating makes the CPU do what it has put off, such as to make pages of MADV_FREE free for the taking. */
#define DRAIN 0x310000000000UL

/* All but Referenced: what populating sets there, the second time takes away whenever the kernel has drained a batch of
 * pages for its active list. */
static void show_smaps(void)
{
	static char text[1 << 20];
	static const char *wanted[] = { "Size:", "Rss:", "Pss:", "Shared_Clean:", "Shared_Dirty:", "Private_Clean:", "Private_Dirty:",
	                                "Anonymous:", "LazyFree:", "Swap:", "Locked:", "VmFlags:" };
	MADVISE(DRAIN, PAGE, 22 /* POPULATE_READ */);
	read_whole("/proc/self/smaps", text, sizeof text);
	int in_arena = 0;
	for (char *line = text; *line;) {
		char *end = strchr(line, '\n');
		*end = 0;
		ul start, stop;
		char rights[8];
		if (sscanf(line, "%lx-%lx %7s", &start, &stop, rights) == 3) {
			in_arena = start >= BASE - 64 * PAGE && start < P(PAGES) + 64 * PAGE;
			if (in_arena)
				tell("  %lx-%lx %s", start, stop, rights);
		} else if (in_arena) {
			for (unsigned i = 0; i < sizeof wanted / sizeof *wanted; i++)
				if (!strncmp(line, wanted[i], strlen(wanted[i]))) {
					if (line[0] == 'V') {
						tell(" %s\n", line + 8);
					} else {
						tell(" %c%c%s", line[0], strchr(line, '_') ? strchr(line, '_')[1] : ' ', strtok(line + strlen(wanted[i]), " k"));
					}
				}
		}
		line = end + 1;
	}
}

/* ------------------------------------------------------------------------------------------------ operations */
static void op_mmap(void)
{
	static const int anon_flags[] = { 0, 0, 0, 0, MAP_NORESERVE, MAP_POPULATE, MAP_STACK, MAP_LOCKED, MAP_GROWSDOWN };
	ul addr = some_address(), len = some_bytes(), off = 0;
	int prot = some_prot(), flags = chance(70) ? MAP_PRIVATE : MAP_SHARED, fd = -1;
	const char *what = "anon";
	if (chance(45)) {
		fd = rnd(10) < 5 ? disk : memory;
		what = fd == disk ? "disk" : "memory";
		if (chance(10)) {
			fd = read_only;
			what = "read-only";
		}
		off = rnd(FILE_PAGES + 2) * PAGE;
		if (chance(10))
			flags |= MAP_POPULATE;
	} else {
		flags |= MAP_ANONYMOUS | anon_flags[rnd(9)];
	}
	if (chance(85))
		flags |= chance(80) ? MAP_FIXED : MAP_FIXED_NOREPLACE;
	if (chance(10) || !(addr >= BASE - 64 * PAGE && addr < P(PAGES + 64)))
		flags &= ~(MAP_FIXED | MAP_FIXED_NOREPLACE);
	if (!(flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) && chance(60))
		addr = 0;
	if (len > PAGES * PAGE * 4 && len < 1UL << 48)
		len = 1UL << 63; /* nothing that could really be huge */
	long r = MMAP(addr, len, prot, flags, fd, off);
	tell("mmap(%#lx, %#lx, %d, %#x, %s, %#lx) = %s\n", addr, len, prot, flags, what, off, result(r));
	if (!failed(r) && (ul)r != (addr & -PAGE) && len) {
		int i = rnd(OUTSIDE);
		if (outside[i].addr)
			tell("  munmap(%#lx, %#lx) = %s\n", outside[i].addr, outside[i].len, result(MUNMAP(outside[i].addr, outside[i].len)));
		outside[i].addr = r;
		outside[i].len = (len + PAGE - 1) & -PAGE;
	}
}

static void op_munmap(void)
{
	ul addr = some_address(), len = some_bytes();
	if (sacred(addr, len))
		return;
	tell("munmap(%#lx, %#lx) = ", addr, len);
	tell("%s\n", result(MUNMAP(addr, len)));
}

static void op_mprotect(void)
{
	ul addr = some_address(), len = some_bytes();
	int prot = some_prot();
	if (sacred(addr, len))
		return;
	if (chance(3))
		prot |= PROT_GROWSDOWN;
	tell("mprotect(%#lx, %#lx, %#x) = ", addr, len, prot);
	tell("%s\n", result(MPROTECT(addr, len, prot)));
}

static void op_mremap(void)
{
	ul addr = some_address(), old = some_bytes(), len = chance(40) ? old : some_bytes(), to = P(some_page());
	int flags = rnd(4);
	if (sacred(addr, old) || sacred(addr, len))
		return;
	if (chance(20))
		flags |= MREMAP_DONTUNMAP | MREMAP_MAYMOVE;
	if (chance(10))
		old = 0;
	if (len > PAGES * PAGE * 4 && len < 1UL << 48)
		len = 3 * PAGE;
	if (chance(3))
		to++;
	long r = MREMAP(addr, old, len, flags, to);
	tell("mremap(%#lx, %#lx, %#lx, %d, %#lx) = %s\n", addr, old, len, flags, to, result(r));
	if (!failed(r) && !((ul)r >= BASE - 256 * PAGE && (ul)r < P(PAGES + 256)) && len) {
		int i = rnd(OUTSIDE);
		if (outside[i].addr && (outside[i].addr != (ul)r))
			tell("  munmap(%#lx, %#lx) = %s\n", outside[i].addr, outside[i].len, result(MUNMAP(outside[i].addr, outside[i].len)));
		outside[i].addr = r;
		outside[i].len = (len + PAGE - 1) & -PAGE;
	}
}

/* Holes are read once, so that what is in the page cache does not depend on read-ahead. */
static void refill(void)
{
	static unsigned char buffer[3 * PAGE];
	for (ul at = 0; at < (FILE_PAGES + 4) * PAGE; at += sizeof buffer)
		SC(SYS_pread64, disk, buffer, sizeof buffer, at);
}

static void op_madvise(void)
{
	static const int usual[] = { 0, 1, 2, 3, 4, 4, 4, 4, 8, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 22, 22, 23, 23, 24, 102, 103 };
	ul addr = some_address(), len = some_bytes();
	int advice = chance(3) ? (int)rnd(40) - 2 : usual[rnd(sizeof usual / sizeof *usual)];
	if (advice == 21 || advice == 25)
		advice = 4;
	if (sacred(addr, len))
		return;
	tell("madvise(%#lx, %#lx, %d) = ", addr, len, advice);
	tell("%s\n", result(MADVISE(addr, len, advice)));
	if (advice == MADV_REMOVE)
		refill();
}

static void op_lock(void)
{
	ul addr = some_address(), len = some_bytes();
	if (sacred(addr, len))
		return;
	switch (rnd(12)) {
	case 0 ... 3: tell("mlock(%#lx, %#lx) = ", addr, len); tell("%s\n", result(MLOCK(addr, len))); break;
	case 4 ... 5: tell("mlock2(%#lx, %#lx, 1) = ", addr, len); tell("%s\n", result(MLOCK2(addr, len, 1))); break;
	case 6 ... 9: tell("munlock(%#lx, %#lx) = ", addr, len); tell("%s\n", result(MUNLOCK(addr, len))); break;
	case 10: {
		int flags = 1 + rnd(8);
		tell("mlockall(%d) = ", flags);
		tell("%s\n", result(MLOCKALL(flags)));
		locked_until = number + rnd(10);
		break;
	}
	case 11: tell("munlockall() = %s\n", result(MUNLOCKALL())); break;
	}
}

static void op_msync(void)
{
	ul addr = some_address(), len = some_bytes();
	int flags = rnd(8);
	tell("msync(%#lx, %#lx, %d) = ", addr, len, flags);
	tell("%s\n", result(MSYNC(addr, len, flags)));
}

static void op_brk(void)
{
	static ul start;
	ul now = BRK(0);
	if (!start)
		start = (now + PAGE - 1) & -PAGE;
	ul to = start + rnd(30) * PAGE + (chance(30) ? rnd(PAGE) : 0);
	tell("brk(%#lx) = ", to);
	tell("%#lx\n", BRK(to));
	if (to > start && chance(50))
		tell("  store %d\n", store(start + rnd((to - start + PAGE - 1) / PAGE) * PAGE, 3));
}

static void op_files(void)
{
	static unsigned char buffer[3 * PAGE];
	int fd = chance(50) ? disk : memory;
	const char *what = fd == disk ? "disk" : "memory";
	ul off = rnd(FILE_PAGES) * PAGE + (chance(30) ? rnd(PAGE) : 0), len = 1 + rnd(3 * PAGE);
	if (!wide && fd == disk && len > PAGE - off % PAGE)
		len = PAGE - off % PAGE; /* or ext4 makes folios of several pages, which can be seen beyond the end */
	switch (rnd(9)) {
	case 0 ... 1: {
		ul size = rnd(FILE_PAGES + 1) * PAGE + (chance(40) ? rnd(PAGE) : 0);
		tell("ftruncate(%s, %#lx) = ", what, size);
		tell("%s\n", result(SC(SYS_ftruncate, fd, size)));
		if (fd == disk)
			refill();
		break;
	}
	case 2: {
		memset(buffer, number, len);
		tell("pwrite(%s, %#lx, %#lx) = ", what, len, off);
		long r = SC(SYS_pwrite64, fd, buffer, len, off);
		tell("%s\n", result(r));
		if (fd == disk)
			refill();
		break;
	}
	case 3 ... 4: {
		ul addr = some_address();
		if (sacred(addr, 3 * PAGE))
			return;
		tell("pread(%s, %#lx, %#lx, %#lx) = ", what, addr, len, off);
		tell("%s\n", result(SC(SYS_pread64, fd, addr, len, off)));
		break;
	}
	case 5 ... 6: {
		ul addr = some_address();
		if (sacred(addr, 3 * PAGE))
			return;
		tell("pwrite(%s, %#lx, %#lx, %#lx) = ", what, addr, len, off);
		long r = SC(SYS_pwrite64, fd, addr, len, off);
		tell("%s\n", result(r));
		if (fd == disk)
			refill();
		break;
	}
	case 7: {
		ul start = rnd(FILE_PAGES) * PAGE + (chance(30) ? rnd(PAGE) : 0), n = 1 + rnd(6 * PAGE);
		int mode = chance(70) ? 3 : 0;
		tell("fallocate(memory, %d, %#lx, %#lx) = ", mode, start, n);
		if (start + n > FILE_PAGES * PAGE)
			n = PAGE;
		tell("%s\n", result(SC(SYS_fallocate, memory, mode, start, n)));
		break;
	}
	case 8: {
		ul addr = some_address(), size = some_bytes(), pgoff = rnd(FILE_PAGES);
		tell("remap_file_pages(%#lx, %#lx, 0, %lu, 0) = ", addr, size, pgoff);
		tell("%s\n", result(SC(SYS_remap_file_pages, addr, size, 0, pgoff, 0)));
		break;
	}
	}
}

static void op_limit(void)
{
	static const struct { int which; const char *name; } limits[] = {
		{ RLIMIT_AS, "AS" }, { RLIMIT_DATA, "DATA" }, { RLIMIT_STACK, "STACK" }, { RLIMIT_MEMLOCK, "MEMLOCK" },
	};
	int i = rnd(4);
	struct rlimit limit;
	SC(SYS_prlimit64, 0, limits[i].which, 0, &limit);
	limit.rlim_cur = limit.rlim_max; /* which only somebody with CAP_SYS_RESOURCE may raise */
	if (chance(60))
		limit.rlim_cur = chance(20) ? rnd(64) * PAGE : 2 * MB + rnd(512) * PAGE + (chance(10) ? rnd(PAGE) : 0);
	tell("setrlimit(%s, %#lx) = ", limits[i].name, limit.rlim_cur);
	tell("%s\n", result(SC(SYS_prlimit64, 0, limits[i].which, &limit, 0)));
}

/* Larger writes make folios of several pages; holes and a cold cache split and drop them. */
static void op_cache(void)
{
	static unsigned char buffer[16 * PAGE];
	int fd = chance(70) ? disk : memory;
	const char *what = fd == disk ? "disk" : "memory";
	ul off = rnd(FILE_PAGES) * PAGE + (chance(30) ? rnd(PAGE) : 0), len = 1 + rnd(16 * PAGE);
	if (off + len > FILE_PAGES * PAGE)
		len = FILE_PAGES * PAGE - off;
	if (chance(50))
		len = (len + PAGE - 1) & -PAGE;
	switch (rnd(6)) {
	case 0 ... 2:
		memset(buffer, number, sizeof buffer);
		tell("pwrite(%s, %#lx, %#lx) = ", what, len, off);
		tell("%s\n", result(SC(SYS_pwrite64, fd, buffer, len, off)));
		break;
	case 3:
		tell("fsync(disk) = ");
		tell("%s\n", result(SC(SYS_fsync, disk)));
		break;
	case 4:
		SC(SYS_fsync, disk);
		tell("fadvise(disk, DONTNEED) = ");
		tell("%s\n", result(SC(SYS_fadvise64, disk, 0, 0, 4)));
		break;
	case 5:
		tell("fallocate(disk, 3, %#lx, %#lx) = ", off, len);
		tell("%s\n", result(SC(SYS_fallocate, disk, 3, off, len)));
		break;
	}
	refill();
}

static void op_touch(void)
{
	int n = 1 + rnd(6);
	for (int i = 0; i < n; i++) {
		ul addr = some_address() + rnd(PAGE);
		unsigned char byte = 0;
		if (sacred(addr, 3 * PAGE))
			continue;
		if (chance(50)) {
			int c = load(addr, &byte);
			tell("load %#lx: %d byte %d%s\n", addr, c, byte, c && where != addr && where ? " elsewhere" : "");
		} else {
			int c = store(addr, number);
			tell("store %#lx: %d%s\n", addr, c, c && where != addr && where ? " elsewhere" : "");
		}
	}
}

static void op_run(void)
{
	ul page = some_page(), n = 1 + rnd(24);
	int write = chance(40);
	char text[32];
	unsigned char byte;
	for (ul i = 0; i < n; i++) {
		ul addr = P((page + i) % PAGES) + 8;
		int c = write ? store(addr, number + i) : load(addr, &byte);
		text[i] = c == 0 ? '.' : c == 11001 ? 'm' : c == 11002 ? 'a' : c == 7002 ? 'b' : '?';
	}
	text[n] = 0;
	tell("%s %lu from page %lu: %s\n", write ? "write" : "read", n, page, text);
}

/* A child goes on with the sequence for some operations while the parent waits, then it is the parent's turn with what is
 * left of its pages; now and then the child stays, asleep, until the end, so that pages remain shared. */
static int depth, children;
static long child_end = -1;
static int sleepers[8], nr_sleepers;
static int to_parent[2];

static void op_fork(void)
{
	int wait_status = 0, stays = depth == 0 && nr_sleepers < 3 && chance(40);
	long length = 1 + rnd(30);
	char byte = 0;
	if (depth >= 3) {
		tell("fork not so deep\n");
		return;
	}
	if (stays)
		SC(SYS_pipe, to_parent);
	tell("fork%s for %ld\n", stays ? ", stays" : "", length);
	flush();
	int pid = SC(SYS_fork);
	if (pid == 0) {
		depth++;
		who = number + 1;
		nr_sleepers = 0;
		child_end = number + length;
		prefault(); /* which functions the C library chose, and where they lie, is up to the processor */
		SC(SYS_getrusage, RUSAGE_SELF, &before);
		tell("  in the child\n");
		show_faults();
		show_pagemap();
		if (!conform) {
			show_maps();
			show_status();
		}
		if (stays)
			child_end = -2 - child_end;
		return;
	}
	if (stays) {
		SC(SYS_close, to_parent[1]);
		SC(SYS_read, to_parent[0], &byte, 1);
		SC(SYS_close, to_parent[0]);
		sleepers[nr_sleepers++] = pid;
	} else {
		SC(SYS_wait4, pid, &wait_status, 0, 0);
	}
	children++;
	state += number * 77 + 13;
	tell("  back in the parent, status %#x\n", wait_status);
	show_faults();
	show_pagemap();
	if (!conform) {
		show_maps();
		show_status();
	}
}

/* The operations that a script names. */
static struct { long who, number; } *only;
static long nr_only = -1;

static void read_only_list(const char *path)
{
	static char text[1 << 22];
	long most = 1 << 18;
	only = (void *)MMAP(0, most * sizeof *only, RW, ANON, -1, 0);
	read_whole(path, text, sizeof text);
	nr_only = 0;
	for (char *at = text; *at && nr_only < most;) {
		char *end;
		only[nr_only].who = strtol(at, &end, 10);
		only[nr_only].number = strtol(end, &end, 10);
		if (end == at)
			break;
		nr_only++;
		at = end;
	}
}

static int is_wanted(void)
{
	if (nr_only < 0)
		return 1;
	for (long i = 0; i < nr_only; i++)
		if (only[i].who == who && only[i].number == number)
			return 1;
	return 0;
}

/* Whether the child has done its part. One that stays tells its parent and sleeps. */
static void end_of_child(void)
{
	long end = child_end <= -2 ? -2 - child_end : child_end;
	if (child_end == -1 || number < end)
		return;
	show_faults();
	show_smaps();
	tell("  the child is done\n");
	if (child_end <= -2) {
		flush();
		SC(SYS_close, to_parent[1]);
		for (;;)
			SC(SYS_pause);
	}
	quit(0);
}

static void end_sleepers(void)
{
	for (int i = 0; i < nr_sleepers; i++) {
		int wait_status;
		SC(SYS_kill, sleepers[i], SIGKILL);
		SC(SYS_wait4, sleepers[i], &wait_status, 0, 0);
	}
	nr_sleepers = 0;
}

int main(int argc, char **argv)
{
	int forks = 0;
	const char *list = 0;
	for (;; argc--, argv++) {
		if (argc > 1 && !strcmp(argv[1], "fork"))
			forks = 1;
		else if (argc > 1 && !strcmp(argv[1], "conform"))
			conform = 1;
		else if (argc > 1 && !strcmp(argv[1], "wide"))
			wide = 1;
		else if (argc > 1 && !strncmp(argv[1], "only=", 5))
			list = argv[1] + 5;
		else
			break;
	}
	if (argc < 4) {
		say("usage: operations [fork] [conform] [only=FILE] WORKDIR SEED COUNT [FIRST]\n");
		quit(2);
	}
	work_dir = argv[1];
	seed = strtoul(argv[2], 0, 0) * 0x9e3779b97f4a7c15UL + 1;
	state = seed;
	if (list)
		read_only_list(list);
	long count = atol(argv[3]);
	first = argc > 4 ? atol(argv[4]) : 0;
	prefault();
	struct sigaction act = { 0 };
	act.sa_sigaction = handler;
	act.sa_flags = SA_SIGINFO;
	sigaction(SIGSEGV, &act, 0);
	sigaction(SIGBUS, &act, 0);
	/* On one CPU: each has a batch of work of its own. */
	ul mask[16] = { 0 };
	SC(SYS_sched_getaffinity, 0, sizeof mask, mask);
	mask[0] &= -mask[0];
	memset(mask + 1, 0, sizeof mask - sizeof mask[0]);
	if (mask[0])
		SC(SYS_sched_setaffinity, 0, sizeof mask, mask);
	disk = make_file("disk", FILE_PAGES * PAGE - 1000);
	SC(SYS_fadvise64, disk, 0, 0, 1 /* RANDOM: no folios of several pages */);
	read_only = SC(SYS_open, in_work("disk"), O_RDONLY, 0);
	memory = SC(SYS_memfd_create, "memory", 0);
	SC(SYS_ftruncate, memory, FILE_PAGES * PAGE - 2000);
	MMAP(P(8), 24 * PAGE, RW, ANON | MAP_FIXED, -1, 0);
	MMAP(P(40), 20 * PAGE, RW, MAP_SHARED | MAP_FIXED, disk, 2 * PAGE);
	MMAP(P(64), 16 * PAGE, RW, MAP_PRIVATE | MAP_FIXED, disk, 0);
	MMAP(P(80), 12 * PAGE, RW, MAP_SHARED | MAP_FIXED, memory, 0);
	MMAP(WATCH, (FILE_PAGES + 4) * PAGE, PROT_NONE, MAP_SHARED | MAP_FIXED, memory, 0);
	MMAP(WATCH + MB, (FILE_PAGES + 4) * PAGE, PROT_NONE, MAP_SHARED | MAP_FIXED, disk, 0);
	MMAP(DRAIN, PAGE, RW, ANON | MAP_FIXED | MAP_POPULATE, -1, 0);
	SC(SYS_getrusage, RUSAGE_SELF, &before);
	for (number = 0; number < count; number++) {
		if (conform) {
			if (!is_wanted()) {
				end_of_child();
				continue;
			}
			state = mixed(mixed(mixed(seed) + who) + number);
			tell("%ld.%ld: ", who, number);
		} else {
			tell("%ld: ", number);
		}
		int which = rnd(100);
		if (wide && chance(3)) op_limit();
		else if (wide && chance(4)) op_cache();
		else if (forks && chance(conform ? 2 : 4)) op_fork();
		else if (which < 20) op_mmap();
		else if (which < 28) op_munmap();
		else if (which < 38) op_mprotect();
		else if (which < 46) op_mremap();
		else if (which < 58) op_madvise();
		else if (which < 62) op_lock();
		else if (which < 64) op_msync();
		else if (which < 66) op_brk();
		else if (which < 74) op_files();
		else if (which < 88) op_touch();
		else op_run();
		if (number == locked_until) MUNLOCKALL();
		if (conform) {
			if (number % 32 == 31) {
				show_resident();
				show_cache();
				show_pagemap();
				show_faults();
			}
			if (number % 128 == 127) {
				show_maps();
				show_status();
			}
			if (number % 256 == 255)
				show_hash();
		} else {
			if (number % 16 == 15) show_resident();
			if (number % 4 == 1) show_cache();
			if (number % 16 == 7 || argc > 6) show_pagemap();
			if (number % 8 == 3 || argc > 5) show_faults();
			if (number % 32 == 0) show_maps();
			if (number % 64 == 63) show_status();
			if (number % 128 == 127) show_hash();
		}
		end_of_child();
		if (forks && nr_sleepers && chance(2)) {
			tell("the sleepers end\n");
			end_sleepers();
		}
	}
	end_sleepers();
	show_faults();
	show_maps();
	show_smaps();
	if (argc > 5)
		say_maps(0, -1UL);
	quit(0);
}
