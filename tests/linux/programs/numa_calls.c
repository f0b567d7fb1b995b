/* NUMA policies on a machine with one node: every call with valid and with invalid arguments, numa_maps, merging.
   usage: numa_calls WORKDIR */
#include "calls.h"

static ul mask[2048];
static ul back[2048];
static int value;

static const ul sets[] = { 0, 1, 2, 3, 1UL << 63, -1UL };
static const ul counts[] = { 0, 1, 2, 3, 63, 64, 65, 66, 1024, 1025, 1026, 2000, 32768, 32769, 32770, -1UL };
static const int modes[] = {
	0, 1, 2, 3, 4, 5, 6, 7, -1, 1 << 15, 1 << 14, 3 << 14, 1 << 13, 1 | 1 << 15, 1 | 1 << 14, 2 | 1 << 15, 2 | 1 << 14,
	2 | 3 << 14, 2 | 1 << 13, 3 | 1 << 13, 3 | 1 << 15, 3 | 1 << 14, 4 | 1 << 15, 5 | 1 << 13, 5 | 1 << 14, 6 | 1 << 15, 1 << 12,
};
#define COUNT(x) (sizeof(x) / sizeof *(x))
#define SETPOL(m, n, c) SC(SYS_set_mempolicy, m, n, c)
#define GETPOL(p, n, c, a, f) SC(SYS_get_mempolicy, p, n, c, a, f)
#define BIND(a, l, m, n, c, f) SC(SYS_mbind, a, l, m, n, c, f)

static void show(ul addr, ul flags)
{
	value = -77;
	for (int i = 0; i < 4; i++)
		back[i] = 0x5555555555555555;
	long r = GETPOL(&value, back, 64, addr, flags);
	say("  policy at %#lx: %ld, %#x nodes %#lx then %#lx\n", addr, r, value, back[0], back[1]);
}

static void numa_maps(void)
{
	static char text[1 << 16];
	long fd = SC(SYS_open, "/proc/self/numa_maps", O_RDONLY, 0), n, all = 0;
	while ((n = SC(SYS_read, fd, text + all, sizeof text - 1 - all)) > 0)
		all += n;
	text[all] = 0;
	SC(SYS_close, fd);
	for (char *line = text; *line;) {
		char *end = line;
		while (*end && *end != '\n')
			end++;
		if (line[0] == '2' && line[1] == '0' && line[12] == ' ')
			say("%.*s\n", (int)(end - line), line);
		line = *end ? end + 1 : end;
	}
}

static void task_policies(void)
{
	group("set_mempolicy: modes and nodes");
	for (unsigned i = 0; i < COUNT(modes); i++)
		for (unsigned k = 0; k < COUNT(sets); k++) {
			mask[0] = sets[k];
			say("set_mempolicy(%#x, {%#lx}, 65)", modes[i], sets[k]);
			say_result("", SETPOL(modes[i], mask, 65));
			show(0, 0);
			SETPOL(0, 0, 0);
		}
	group("set_mempolicy: sizes of masks");
	for (unsigned k = 0; k < COUNT(counts); k++)
		for (unsigned j = 0; j < 3; j++) {
			for (unsigned i = 0; i < COUNT(mask); i++)
				mask[i] = 0;
			mask[0] = 1;
			if (j)
				mask[j == 1 ? 16 : 31] = 4;
			say("set_mempolicy(2, %u, %lu)", j, counts[k]);
			say_result("", SETPOL(2, mask, counts[k]));
			SETPOL(0, 0, 0);
		}
	group("get_mempolicy: masks with nodes that no machine has");
	for (unsigned k = 0; k < 4; k++)
		for (unsigned i = 0; i < COUNT(modes); i++) {
			mask[0] = k & 1 ? 3 : 1;
			mask[k < 2 ? 1 : 15] = 1UL << 63 | 5;
			say("set_mempolicy(%#x, %u, 1025)", modes[i], k);
			say_result("", SETPOL(modes[i], mask, 1025));
			for (unsigned c = 0; c < COUNT(counts); c++) {
				back[0] = back[1] = back[15] = 0x77;
				long r = GETPOL(&value, back, counts[c], 0, 0);
				say("  %lu: %ld %#x %#lx %#lx %#lx\n", counts[c], r, value, back[0], back[1], back[15]);
			}
			mask[1] = mask[15] = 0;
			SETPOL(0, 0, 0);
		}
	group("set_mempolicy: addresses of masks");
	V(SETPOL(2, 0, 64));
	V(SETPOL(2, A(0), 64));
	V(SETPOL(2, A(0), 1));
	V(SETPOL(0, A(0), 64));
	V(SETPOL(0, A(0), 0));
	V(SETPOL(99, A(0), 64));
	V(SETPOL(2, -1UL, 64));
	V(SETPOL(1, 0, 0));
	show(0, 0);
	V(SETPOL(4, 0, 0));
	show(0, 0);
	V(SETPOL(0, 0, 0));
	show(0, 0);
}

static void asking(void)
{
	group("get_mempolicy");
	anon(0, 4, RW);
	*(vu8 *)A(1) = 1;
	mask[0] = 1;
	for (ul flags = 0; flags < 16; flags++)
		for (int with = 0; with < 3; with++) {
			SETPOL(with == 2 ? 3 : 0, mask, with == 2 ? 64 : 0);
			say("flags %lu, %d\n", flags, with);
			show(with ? A(1) : 0, flags);
			show(with ? A(2) : 0, flags);
			show(with ? A(100) : 0, flags);
			if (with == 2)
				show(0, flags);
		}
	SETPOL(0, 0, 0);
	for (unsigned k = 0; k < COUNT(counts); k++) {
		for (unsigned i = 0; i < 40; i++)
			back[i] = -1UL;
		long r = GETPOL(0, back, counts[k], 0, 4);
		say("mask of %lu: %ld %lx %lx %lx %lx\n", counts[k], r, back[0], back[1], back[15], back[16]);
	}
	V(GETPOL(0, 0, 0, 0, 0));
	V(GETPOL(0, 0, 64, 0, 4));
	V(GETPOL(A(100), 0, 0, 0, 0));
	V(GETPOL(&value, A(100), 64, 0, 0));
	V(GETPOL(&value, A(100), 0, 0, 0));
	V(GETPOL(&value, A(100), 1, 0, 0));
	V(GETPOL(&value, back, 64, 1, 0));
}

static void binding(void)
{
	group("mbind: modes, nodes and flags");
	static const ul flag_sets[] = { 0, 1, 2, 3, 4, 6, 7, 8, 16, -1UL };
	for (unsigned i = 0; i < COUNT(modes); i++)
		for (unsigned k = 0; k < COUNT(sets); k++) {
			anon(0, 4, RW);
			mask[0] = sets[k];
			say("mbind(%#x, {%#lx})", modes[i], sets[k]);
			say_result("", BIND(A(1), 2 * PAGE, modes[i], mask, 65, 0));
			show(A(1), 2);
			maps();
		}
	mask[0] = 1;
	for (unsigned k = 0; k < COUNT(flag_sets); k++)
		for (int mode = 0; mode < 4; mode++) {
			anon(0, 4, RW);
			*(vu8 *)A(1) = 1;
			(void)*(vu8 *)A(2);
			say("mbind(mode %d, flags %#lx)", mode, flag_sets[k]);
			say_result("", BIND(A(0), 4 * PAGE, mode, mode ? mask : 0, mode ? 64 : 0, flag_sets[k]));
		}
	group("mbind: ranges");
	anon(0, 4, RW);
	anon(6, 2, RW);
	static const ul starts[] = { ARENA, ARENA + 1, ARENA + PAGE, ARENA + 4 * PAGE, ARENA + 6 * PAGE, ARENA - PAGE, 0, -4096UL, 1UL << 47 };
	static const ul lengths[] = { 0, 1, 4096, 4 * PAGE, 5 * PAGE, 6 * PAGE, 8 * PAGE, 9 * PAGE, -1UL, -4096UL, 1UL << 47, 1UL << 63 };
	for (unsigned i = 0; i < COUNT(starts); i++)
		for (unsigned k = 0; k < COUNT(lengths); k++)
			for (int mode = 0; mode < 3; mode += 2) {
				say("mbind(%#lx, %#lx, %d)", starts[i], lengths[k], mode);
				say_result("", BIND(starts[i], lengths[k], mode, mode ? mask : 0, mode ? 64 : 0, 0));
				if (starts[i] >= ARENA && starts[i] < A(10))
					BIND(A(0), 8 * PAGE, 0, 0, 0, 0);
			}
	maps();
}

static void merging(void)
{
	group("mappings with policies split and merge");
	mask[0] = 1;
	anon(0, 10, RW);
	V(BIND(A(2), 2 * PAGE, 2, mask, 64, 0));
	maps();
	V(BIND(A(4), 2 * PAGE, 2, mask, 64, 0));
	maps();
	V(BIND(A(6), 2 * PAGE, 3, mask, 64, 0));
	maps();
	numa_maps();
	for (int i = 0; i < 10; i++)
		*(vu8 *)A(i) = i;
	numa_maps();
	V(MPROTECT(A(3), 2 * PAGE, R));
	maps();
	V(MPROTECT(A(3), 2 * PAGE, RW));
	maps();
	V(BIND(A(0), 10 * PAGE, 2, mask, 64, 0));
	maps();
	V(MMAP(A(10), 2 * PAGE, RW, ANON | FIX, -1, 0));
	maps();
	V(BIND(A(0), 12 * PAGE, 0, 0, 0, 0));
	maps();
	V(BIND(A(1), PAGE, 1, mask, 64, 0));
	V(BIND(A(2), PAGE, 5, mask, 64, 0));
	V(BIND(A(3), PAGE, 4, 0, 0, 0));
	V(BIND(A(4), PAGE, 6, mask, 64, 0));
	V(BIND(A(5), PAGE, 2 | 1 << 15, mask, 64, 0));
	V(BIND(A(6), PAGE, 2 | 1 << 14, mask, 64, 0));
	V(BIND(A(7), PAGE, 2 | 1 << 13, mask, 64, 0));
	V(BIND(A(8), PAGE, 2 | 1 << 13 | 1 << 15, mask, 64, 0));
	numa_maps();
	V(SETPOL(3, mask, 64));
	numa_maps();
	V(SETPOL(0, 0, 0));
	group("mremap and fork keep policies");
	anon(0, 4, RW);
	V(BIND(A(0), 4 * PAGE, 2, mask, 64, 0));
	*(vu8 *)A(0) = 1;
	V(MREMAP(A(0), 4 * PAGE, 8 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, A(20)));
	numa_maps();
}

static void homes(void)
{
	group("set_mempolicy_home_node");
	mask[0] = 1;
	anon(0, 6, RW);
	V(SC(SYS_set_mempolicy_home_node, A(0), 6 * PAGE, 0, 0));
	V(BIND(A(0), 2 * PAGE, 2, mask, 64, 0));
	V(BIND(A(2), 2 * PAGE, 5, mask, 64, 0));
	V(SC(SYS_set_mempolicy_home_node, A(0), 6 * PAGE, 0, 0));
	V(BIND(A(4), 2 * PAGE, 3, mask, 64, 0));
	V(SC(SYS_set_mempolicy_home_node, A(0), 6 * PAGE, 0, 0));
	V(SC(SYS_set_mempolicy_home_node, A(4), PAGE, 0, 0));
	V(SC(SYS_set_mempolicy_home_node, A(0), PAGE, 1, 0));
	V(SC(SYS_set_mempolicy_home_node, A(0), PAGE, -1, 0));
	V(SC(SYS_set_mempolicy_home_node, A(0), PAGE, 1024, 0));
	V(SC(SYS_set_mempolicy_home_node, A(0), PAGE, 0, 1));
	V(SC(SYS_set_mempolicy_home_node, A(0) + 1, PAGE, 0, 0));
	V(SC(SYS_set_mempolicy_home_node, A(0), 0, 0, 0));
	V(SC(SYS_set_mempolicy_home_node, A(100), PAGE, 0, 0));
	V(SC(SYS_set_mempolicy_home_node, A(0), -1UL, 0, 0));
	V(SC(SYS_set_mempolicy_home_node, A(0), -8192UL, 0, 0));
	maps();
	numa_maps();
}

static void moving(void)
{
	group("move_pages");
	anon(0, 4, RW);
	*(vu8 *)A(0) = 1;
	(void)*(vu8 *)A(1);
	static ul pages[8];
	static int nodes[8], status[8];
	ul all[] = { A(0), A(1), A(2), A(100), 0, -1UL, A(0) + 17 };
	for (int with = 0; with < 4; with++)
		for (int flags = 0; flags < 4; flags++) {
			for (int i = 0; i < 7; i++) {
				pages[i] = all[i];
				nodes[i] = with == 2 ? 1 : with == 3 ? i - 2 : 0;
				status[i] = 4711;
			}
			long r = SC(SYS_move_pages, 0, 7, pages, with ? nodes : 0, status, flags);
			say("move_pages with %d flags %d: %ld:", with, flags, r);
			for (int i = 0; i < 7; i++)
				say(" %d", status[i]);
			say("\n");
		}
	V(SC(SYS_move_pages, 0, 1, A(100), 0, status, 0));
	V(SC(SYS_move_pages, 0, 1, pages, 0, A(100), 0));
	V(SC(SYS_move_pages, 0, 1, pages, A(100), status, 2));
	V(SC(SYS_move_pages, 0, 0, 0, 0, 0, 0));
	V(SC(SYS_move_pages, 0, 0, 0, 0, 0, 8));
	V(SC(SYS_move_pages, 0, 0, 0, 0, 0, 1));
	V(SC(SYS_move_pages, 0x3fffffff, 1, pages, 0, status, 0));
	V(SC(SYS_move_pages, -1, 1, pages, 0, status, 0));
	group("migrate_pages");
	mask[0] = 1;
	ul two = 2, three = 3, none = 0;
	V(SC(SYS_migrate_pages, 0, 64, mask, mask));
	V(SC(SYS_migrate_pages, 0, 64, &two, mask));
	V(SC(SYS_migrate_pages, 0, 64, mask, &two));
	V(SC(SYS_migrate_pages, 0, 64, mask, &three));
	V(SC(SYS_migrate_pages, 0, 64, &none, mask));
	V(SC(SYS_migrate_pages, 0, 64, mask, &none));
	V(SC(SYS_migrate_pages, 0, 0, mask, mask));
	V(SC(SYS_migrate_pages, 0, 64, A(100), mask));
	V(SC(SYS_migrate_pages, 0, 64, mask, A(100)));
	V(SC(SYS_migrate_pages, 0, 40000, mask, mask));
	V(SC(SYS_migrate_pages, 0x3fffffff, 64, mask, mask));
}

int main(int argc, char **argv)
{
	begin(argc, argv);
	task_policies();
	asking();
	binding();
	merging();
	homes();
	moving();
	quit(0);
}
