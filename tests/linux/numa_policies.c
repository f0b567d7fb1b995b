/* Memory policies of every mode on a machine with three nodes: what the calls answer, and where the pages are. Run as
   init of a booted machine it mounts /proc first and switches the machine off at the end. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PAGE = 4096, PAGES = 60, SIZE = PAGES * PAGE };

static long answer(long result) { return result < 0 ? -errno : result; }

static char *area(void)
{
	/* a hole on either side keeps areas apart */
	char *at = mmap(0, SIZE + 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	mprotect(at + PAGE, SIZE, PROT_READ | PROT_WRITE);
	return at + PAGE;
}

/* the line of numa_maps of the mapping, without its address and what depends on reclaim */
static void where(const char *name, char *at)
{
	char line[512], want[32];
	FILE *maps = fopen("/proc/self/numa_maps", "r");
	snprintf(want, sizeof want, "%08lx ", (unsigned long)at);
	while (fgets(line, sizeof line, maps))
		if (!strncmp(line, want, strlen(want))) {
			printf("%s:", name);
			for (char *word = strtok(line + strlen(want), " \n"); word; word = strtok(0, " \n"))
				if (strncmp(word, "active=", 7) && strncmp(word, "mapmax=", 7))
					printf(" %s", word);
			printf("\n");
		}
	fclose(maps);
}

static long bind_(char *at, int mode, unsigned long nodes, unsigned flags)
{
	return answer(syscall(SYS_mbind, at, SIZE, mode, &nodes, 64, flags));
}

static long set(int mode, unsigned long nodes) { return answer(syscall(SYS_set_mempolicy, mode, &nodes, 64)); }

static void get(void *at, int flags)
{
	int mode = -1;
	unsigned long nodes = 0;
	long done = answer(syscall(SYS_get_mempolicy, &mode, &nodes, 64, at, flags));
	printf("get %#x: %ld mode %#x nodes %lx\n", flags, done, mode, nodes);
}

static void fill(char *at) { memset(at, 1, SIZE); }

int main(void)
{
	static const int modes[] = { 0, 1, 2, 3, 4, 5, 6, 7, 2 | 1 << 15, 2 | 1 << 14, 3 | 1 << 14, 1 | 1 << 15, 2 | 3 << 14, 2 | 1 << 13 };
	static const unsigned long masks[] = { 0, 1, 2, 6, 7, 8, 10 };
	char name[64];
	int init = getpid() == 1;
	if (init) {
		mkdir("/proc", 0755);
		mount("proc", "/proc", "proc", 0, 0);
		printf("\n");
	}
	printf("begin\n");
	for (unsigned m = 0; m < sizeof modes / sizeof *modes; m++)
		for (unsigned n = 0; n < sizeof masks / sizeof *masks; n++) {
			char *at = area();
			long done = bind_(at, modes[m], masks[n], 0);
			printf("mbind %#x %#lx: %ld, set_mempolicy: %ld\n", modes[m], masks[n], done, set(modes[m], masks[n]));
			set(0, 0);
			if (done == 0) {
				fill(at);
				snprintf(name, sizeof name, "  pages");
				where(name, at);
				get(at, 2);
				if ((modes[m] & 7) != 3 && modes[m] != 6) /* there it depends on the address */
					get(at, 3);
			}
			munmap(at - PAGE, SIZE + 2 * PAGE);
		}
	/* the task's policy: interleaving goes on from mapping to mapping */
	fflush(stdout);
	if (fork() == 0) {
		printf("interleave %ld\n", set(3, 7));
		get(0, 1);
		for (int i = 0; i < 3; i++) {
			char *at = area();
			fill(at);
			where("  spread", at);
		}
		printf("weighted %ld\n", set(6, 5));
		char *at = area();
		fill(at);
		where("  weighted", at);
		printf("preferred many %ld\n", set(5, 6));
		at = area();
		fill(at);
		where("  many", at);
		fflush(stdout);
		_exit(0);
	}
	wait(0);
	/* pages that move */
	char *at = area();
	fill(at);
	where("at first", at);
	printf("strict %ld\n", bind_(at, 2, 2, 1));
	printf("move %ld\n", bind_(at, 2, 2, 2));
	where("moved", at);
	printf("strict now %ld\n", bind_(at, 2, 2, 1));
	printf("move and spread %ld\n", bind_(at, 3, 7, 2));
	where("spread", at);
	unsigned long from = 2, to = 4;
	printf("migrate 1 to 2: %ld\n", answer(syscall(SYS_migrate_pages, 0, 64L, &from, &to)));
	where("migrated", at);
	from = 5, to = 3;
	printf("migrate 0,2 to 0,1: %ld\n", answer(syscall(SYS_migrate_pages, 0, 64L, &from, &to)));
	where("migrated", at);
	from = 3, to = 4;
	printf("migrate 0,1 to 2: %ld\n", answer(syscall(SYS_migrate_pages, 0, 64L, &from, &to)));
	where("migrated", at);
	from = 4, to = 6;
	printf("migrate 2 to 1,2: %ld\n", answer(syscall(SYS_migrate_pages, 0, 64L, &from, &to)));
	where("stayed", at);
	from = 1, to = 8;
	printf("migrate to 3: %ld\n", answer(syscall(SYS_migrate_pages, 0, 64L, &from, &to)));
	void *pages[5] = { at, at + PAGE, at + 2 * PAGE, at - PAGE, (void *)8 };
	int nodes[5] = { 0, 1, 3, 1, 1 }, status[5] = { -99, -99, -99, -99, -99 };
	printf("move_pages ask %ld:", answer(syscall(SYS_move_pages, 0, 5L, pages, 0, status, 0)));
	for (int i = 0; i < 5; i++)
		printf(" %d", status[i]);
	printf("\nmove_pages to a node that is not: %ld\n", answer(syscall(SYS_move_pages, 0, 3L, pages, nodes, status, 2)));
	nodes[2] = 2;
	printf("move_pages %ld:", answer(syscall(SYS_move_pages, 0, 5L, pages, nodes, status, 2)));
	for (int i = 0; i < 5; i++)
		printf(" %d", status[i]);
	printf("\n");
	where("at last", at);
	printf("home node %ld", bind_(at, 5, 6, 0));
	printf(" %ld", answer(syscall(450, at, (long)SIZE, 2L, 0L)));
	printf(" %ld\n", answer(syscall(450, at, (long)SIZE, 9L, 0L)));
	madvise(at, SIZE, MADV_DONTNEED);
	fill(at);
	where("at home", at);
	printf("end\n");
	fflush(stdout);
	if (init) {
		reboot(RB_POWER_OFF);
		reboot(RB_AUTOBOOT);
	}
	return 0;
}
