/* What the table-driven programs share: V() prints a call and its result, an arena that each group starts with empty. */
#ifndef CALLS_H
#define CALLS_H
#include "say.h"

#define ARENA 0x200000000000UL
#define ARENA_PAGES 1024UL
#define A(page) (ARENA + (page) * PAGE)
#define TASK_SIZE 0x7ffffffff000UL

#define V(...) say_result(#__VA_ARGS__, (long)(__VA_ARGS__))
#define FIX MAP_FIXED

static int fd_rw, fd_ro, fd_wo, fd_append, fd_dir, fd_pipe, fd_zero, fd_null, fd_path, fd_exe, fd_closed, fd_mem, fd_short;

static void clear(void) { MUNMAP(ARENA, ARENA_PAGES * PAGE); }

static void group(const char *name)
{
	clear();
	say("== %s\n", name);
}

static void maps(void) { say_maps(ARENA, ARENA + ARENA_PAGES * PAGE); }
static void all_maps(void) { say_maps(0, -1UL); }

static void anon(ul page, ul n, int prot)
{
	long r = MMAP(A(page), n * PAGE, prot, ANON | FIX, -1, 0);
	if (failed(r))
		die("anon", r);
}

static void open_all(void)
{
	int p[2];
	fd_rw = make_file("rw", 8 * PAGE);
	fd_ro = SC(SYS_open, in_work("rw"), O_RDONLY, 0);
	fd_wo = SC(SYS_open, in_work("rw"), O_WRONLY, 0);
	fd_append = SC(SYS_open, in_work("rw"), O_RDWR | O_APPEND, 0);
	fd_dir = SC(SYS_open, work_dir, O_RDONLY | O_DIRECTORY, 0);
	SC(SYS_pipe, p);
	fd_pipe = p[0];
	fd_zero = SC(SYS_open, "/dev/zero", O_RDWR, 0);
	fd_null = SC(SYS_open, "/dev/null", O_RDWR, 0);
	fd_path = SC(SYS_open, in_work("rw"), O_PATH, 0);
	fd_exe = SC(SYS_open, "/proc/self/exe", O_RDONLY, 0);
	fd_mem = SC(SYS_memfd_create, "mem", 0);
	SC(SYS_ftruncate, fd_mem, 8 * PAGE);
	fd_short = make_file("short", 100);
	fd_closed = 77;
	say("descriptors %d %d %d %d %d %d %d %d %d %d %d %d\n", fd_rw > 0, fd_ro > 0, fd_wo > 0, fd_append > 0, fd_dir > 0,
	    fd_pipe > 0, fd_zero > 0, fd_null > 0, fd_path > 0, fd_exe > 0, fd_mem > 0, fd_short > 0);
}

/* Whether an access to addr succeeds: 0, or signal * 1000 + si_code. */
static sigjmp_buf probe_out;
static volatile int probe_code;
static void probe_handler(int sig, siginfo_t *info, void *context)
{
	probe_code = sig * 1000 + info->si_code;
	siglongjmp(probe_out, 1);
}

static void catch_faults(void)
{
	struct sigaction act = { 0 };
	act.sa_sigaction = probe_handler;
	act.sa_flags = SA_SIGINFO;
	sigaction(SIGSEGV, &act, 0);
	sigaction(SIGBUS, &act, 0);
}

static int probe(ul addr, int write)
{
	if (sigsetjmp(probe_out, 1))
		return probe_code;
	if (write)
		*(vu8 *)addr = 0x5a;
	else
		(void)*(vu8 *)addr;
	return 0;
}

#define PROBE(addr) say("access " #addr ": read %d write %d\n", probe(addr, 0), probe(addr, 1))

static void begin(int argc, char **argv)
{
	if (argc > 1)
		work_dir = argv[1];
	prefault();
	catch_faults();
	open_all();
}
#endif
