/* What /proc/self says of a process after some memory has been mapped and touched. usage: proc_self WORKDIR
 *
 * Times, process ids and what counts the whole machine are left out.
 */
#include "say.h"

static char text[1 << 20];
static ul anonymous_area, shared_area, file_area, private_area;

static void show_status(const char *when)
{
	static const char *wanted[] = { "Name", "Umask", "State", "TracerPid", "Uid", "Gid", "VmPeak", "VmSize", "VmLck", "VmPin", "VmRSS",
	                                "RssAnon", "RssFile", "RssShmem", "VmData", "VmStk", "VmExe", "VmLib", "VmPTE", "VmSwap",
	                                "HugetlbPages", "CoreDumping", "Threads", "SigPnd", "ShdPnd", "SigBlk", "SigCgt", "NoNewPrivs",
	                                "Seccomp:" };
	say("== status, %s\n", when);
	read_whole("/proc/self/status", text, sizeof text);
	for (char *line = text; *line;) {
		char *end = strchr(line, '\n');
		*end = 0;
		for (unsigned i = 0; i < sizeof wanted / sizeof *wanted; i++)
			if (!strncmp(line, wanted[i], strlen(wanted[i])))
				say("%s\n", line);
		line = end + 1;
	}
}

static void show_statm(const char *when)
{
	say("== statm, %s\n", when);
	read_whole("/proc/self/statm", text, sizeof text);
	say("%s", text);
}

static void show_stat(void)
{
	say("== stat\n");
	read_whole("/proc/self/stat", text, sizeof text);
	char *at = strrchr(text, ')') + 2;
	say("fields:");
	/* 3 state; 9 flags; 10.. faults; 14.. times; 20 threads; 23 vsize; 24 rss; 26.. addresses */
	int field = 3;
	for (char *word = strtok(at, " \n"); word; word = strtok(0, " \n"), field++)
		if (field == 3 || field == 20 || field == 21 || field == 23 || (field >= 25 && field <= 29) || (field >= 31 && field <= 34) || field == 36 ||
		    field == 37 || (field >= 45 && field <= 52))
			say(" %d:%s", field, word);
	say("\n");
}

static void show_smaps(const char *when, ul from, ul to)
{
	int inside = 0;
	say("== smaps, %s\n", when);
	read_whole("/proc/self/smaps", text, sizeof text);
	for (char *line = text; *line;) {
		char *end = strchr(line, '\n');
		*end = 0;
		ul start, stop, offset;
		char rights[8];
		if (sscanf(line, "%lx-%lx %7s %lx", &start, &stop, rights, &offset) == 4 && strchr(line, '-') < strchr(line, ' ')) {
			inside = start < to && stop > from;
			if (inside)
				say("%lx-%lx %s %lx\n", start, stop, rights, offset);
		} else if (inside) {
			say("%s\n", line);
		}
		line = end + 1;
	}
}

static void show_whole(const char *path)
{
	say("== %s\n", path);
	read_whole(path, text, sizeof text);
	say("%s\n", text);
}

static void show_pagemap(const char *what, ul addr, int n)
{
	ul entries[64];
	char line[65];
	int fd = SC(SYS_open, "/proc/self/pagemap", O_RDONLY, 0);
	long r = SC(SYS_pread64, fd, entries, n * 8, addr / PAGE * 8);
	SC(SYS_close, fd);
	for (int i = 0; i < n; i++)
		line[i] = "0123456789abcdef"[(entries[i] >> 63 & 1) | (entries[i] >> 61 & 1) << 1 | (entries[i] >> 56 & 1) << 2 |
		                             (entries[i] >> 62 & 1) << 3];
	line[n] = 0;
	say("pagemap of %s: %ld %s\n", what, r, line);
}

static void show_links(void)
{
	static const char *links[] = { "exe", "cwd", "root", "fd/0" };
	for (unsigned i = 0; i < 3; i++) {
		char path[40], target[500];
		snprintf(path, sizeof path, "/proc/self/%s", links[i]);
		long n = SC(SYS_readlink, path, target, sizeof target - 1);
		target[n > 0 ? n : 0] = 0;
		say("%s -> %ld %s\n", path, n, target);
	}
}

int main(int argc, char **argv)
{
	work_dir = argv[1];
	prefault();
	int fd = make_file("mapped", 32 * PAGE + 100);
	anonymous_area = 0x200000000000;
	MMAP(anonymous_area, 64 * PAGE, RW, ANON | MAP_FIXED, -1, 0);
	shared_area = 0x200001000000;
	MMAP(shared_area, 64 * PAGE, RW, SHANON | MAP_FIXED, -1, 0);
	file_area = 0x200002000000;
	MMAP(file_area, 40 * PAGE, RW, MAP_SHARED | MAP_FIXED, fd, 0);
	private_area = 0x200003000000;
	MMAP(private_area, 40 * PAGE, RW, MAP_PRIVATE | MAP_FIXED, fd, 0);
	show_smaps("nothing touched", anonymous_area, private_area + 64 * PAGE);
	for (int i = 0; i < 20; i++) {
		*(vu8 *)(anonymous_area + i * PAGE) = 1;
		(void)*(vu8 *)(anonymous_area + (30 + i) * PAGE);
		*(vu8 *)(shared_area + i * PAGE) = 1;
		(void)*(vu8 *)(shared_area + (40 + i) * PAGE);
	}
	for (int i = 0; i < 5; i++) {
		*(vu8 *)(file_area + i * PAGE) = 1;
		(void)*(vu8 *)(file_area + (20 + i) * PAGE);
		*(vu8 *)(private_area + (2 + i) * PAGE) = 1;
	}
	show_smaps("touched", anonymous_area, private_area + 64 * PAGE);
	show_pagemap("anonymous", anonymous_area, 64);
	show_pagemap("shared", shared_area, 64);
	show_pagemap("file", file_area, 40);
	show_pagemap("private", private_area, 40);
	show_pagemap("nothing", 0x300000000000, 8);
	show_pagemap("beyond", 0x7ffffffff000, 8);
	show_status("touched");
	show_statm("touched");
	show_stat();
	MADVISE(anonymous_area, 10 * PAGE, MADV_DONTNEED);
	MADVISE(anonymous_area + 10 * PAGE, 5 * PAGE, MADV_FREE);
	MADVISE(shared_area, 10 * PAGE, MADV_DONTNEED);
	MLOCK(private_area, 8 * PAGE);
	MSYNC(file_area, 40 * PAGE, MS_SYNC);
	MPROTECT(anonymous_area + 32 * PAGE, 4 * PAGE, PROT_NONE);
	show_smaps("changed", anonymous_area, private_area + 64 * PAGE);
	show_status("changed");
	show_statm("changed");
	show_pagemap("anonymous", anonymous_area, 64);
	read_whole("/proc/self/smaps_rollup", text, sizeof text);
	say("== smaps_rollup\n");
	static const char *wanted[] = { "Rss:", "Pss_Anon:", "Pss_Shmem:", "Anonymous:", "LazyFree:", "Swap:", "Locked:" };
	for (unsigned i = 0; i < sizeof wanted / sizeof *wanted; i++) {
		char *at = strstr(text, wanted[i]);
		say("%.*s\n", (int)(strchr(at, '\n') - at), at);
	}
	*strchr(text, '\n') = 0;
	say("%s\n", text);
	show_smaps("the stack", 0x7ffffff00000, 0x7ffffffff000);
	show_smaps("the heap", BRK(0) - PAGE, BRK(0));
	show_whole("/proc/self/limits");
	show_whole("/proc/self/comm");
	show_links();
	int mem = SC(SYS_open, "/proc/self/mem", O_RDWR, 0);
	char buffer[8] = "";
	say_result("mem read", SC(SYS_pread64, mem, buffer, 4, anonymous_area + 15 * PAGE));
	say_result("mem read of nothing", SC(SYS_pread64, mem, buffer, 4, 0x300000000000));
	say_result("mem read of closed memory", SC(SYS_pread64, mem, buffer, 4, anonymous_area + 33 * PAGE));
	say_result("mem write", SC(SYS_pwrite64, mem, "abcd", 4, anonymous_area + 16 * PAGE));
	say("%s\n", (char *)(anonymous_area + 16 * PAGE));
	MUNMAP(anonymous_area, 64 * PAGE);
	MUNMAP(shared_area, 64 * PAGE);
	MUNMAP(file_area, 40 * PAGE);
	MUNMAP(private_area, 40 * PAGE);
	show_status("unmapped");
	quit(0);
}
