/* Signals: faults that are repaired, alternate stacks, arithmetic, alarms, masks, nesting, contexts, what handlers see. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

static char *area;
static volatile int count;
static sigjmp_buf out;
static volatile int last_signal, last_code;
static volatile long last_offset;

static void on(int sig, void (*f)(int, siginfo_t *, void *), int flags)
{
	struct sigaction act;
	memset(&act, 0, sizeof act);
	act.sa_sigaction = f;
	act.sa_flags = SA_SIGINFO | flags;
	sigaction(sig, &act, 0);
}

static void open_page(int sig, siginfo_t *info, void *context)
{
	ucontext_t *u = context;
	count++;
	last_code = info->si_code;
	last_offset = (char *)info->si_addr - area;
	printf("  fault at +%ld code %d error %llx trap %lld cr2 %d\n", last_offset, info->si_code, u->uc_mcontext.gregs[REG_ERR],
	       u->uc_mcontext.gregs[REG_TRAPNO], (void *)u->uc_mcontext.gregs[REG_CR2] == info->si_addr);
	mprotect((void *)((long)info->si_addr & -4096), 4096, PROT_READ | PROT_WRITE);
}
static void leave(int sig, siginfo_t *info, void *context)
{
	last_signal = sig;
	last_code = info->si_code;
	last_offset = (char *)info->si_addr - area;
	siglongjmp(out, 1);
}
static void leave_quietly(int sig, siginfo_t *info, void *context)
{
	int on_alternate;
	stack_t now;
	sigaltstack(0, &now);
	on_alternate = now.ss_flags & SS_ONSTACK;
	last_signal = sig;
	last_code = info->si_code + 1000 * on_alternate;
	siglongjmp(out, 1);
}
static volatile int level, deepest;
static void nest(int sig, siginfo_t *info, void *context)
{
	sigset_t mask;
	level++;
	if (level > deepest)
		deepest = level;
	sigprocmask(SIG_BLOCK, 0, &mask);
	printf("  in %d (code %d) level %d, masked: USR1 %d USR2 %d\n", sig, info->si_code, level, sigismember(&mask, SIGUSR1),
	       sigismember(&mask, SIGUSR2));
	if (sig == SIGUSR1 && level < 4)
		raise(SIGUSR2);
	printf("  out %d\n", sig);
	level--;
}
static void skip(int sig, siginfo_t *info, void *context)
{
	ucontext_t *u = context;
	u->uc_mcontext.gregs[REG_RIP] += 2; /* over ud2 */
	u->uc_mcontext.gregs[REG_RAX] = 77;
	count++;
}
static void tick(int sig, siginfo_t *info, void *context) { count++; }
static void __attribute__((noinline)) endless(int n)
{
	volatile char room[1024];
	room[0] = n;
	endless(n + 1);
	room[1] = n;
}
static volatile int zero;

int main(int argc, char **argv)
{
	setvbuf(stdout, 0, _IOFBF, 1 << 16);
	area = mmap(0, 64 * 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	on(SIGSEGV, open_page, 0);
	for (int i = 0; i < 8; i++)
		area[i * 4096 + 100 * i] = i;
	mprotect(area, 4096 * 8, PROT_READ);
	for (int i = 0; i < 8; i++)
		area[i * 4096 + 100 * i] += i;
	*(volatile long *)(area + 10 * 4096 - 4) = 0x1122334455667788;
	long sum = 0;
	for (int i = 0; i < 8; i++)
		sum += area[i * 4096 + 100 * i];
	printf("repaired %d sum %ld across %lx\n", count, sum, *(long *)(area + 10 * 4096 - 4));
	/* rep movs into pages that are opened one by one: it must go on where it stopped */
	void *d = area + 16 * 4096 + 10;
	static char source[5 * 4096];
	for (unsigned i = 0; i < sizeof source; i++)
		source[i] = i * 3;
	const void *s = source;
	long n = sizeof source;
	__asm__ volatile("rep movsb" : "+D"(d), "+S"(s), "+c"(n) : : "memory");
	printf("rep movs %d\n", memcmp(area + 16 * 4096 + 10, source, sizeof source));

	on(SIGSEGV, leave, 0);
	on(SIGBUS, leave, 0);
	struct { const char *what; volatile char *where; int write; } tries[] = {
		{ "null", 0, 0 }, { "null write", 0, 1 }, { "kernel", (char *)0xffff800000000000, 0 }, { "not canonical", (char *)0x8000000000000000, 1 },
		{ "closed", area + 40 * 4096 + 5, 0 }, { "closed write", area + 40 * 4096 + 5, 1 }, { "text write", (char *)main, 1 },
		{ "past the program's end", (char *)0x10, 1 },
	};
	for (unsigned i = 0; i < sizeof tries / sizeof *tries; i++)
		if (!sigsetjmp(out, 1)) {
			if (tries[i].write)
				*tries[i].where = 1;
			else
				(void)*tries[i].where;
			printf("%s: no fault\n", tries[i].what);
		} else {
			printf("%s: signal %d code %d\n", tries[i].what, last_signal, last_code);
		}
	if (!sigsetjmp(out, 1))
		((void (*)(void))(area))();
	printf("executing data: signal %d code %d +%ld\n", last_signal, last_code, last_offset);
	int fd = syscall(SYS_memfd_create, "short", 0);
	ftruncate(fd, 100);
	char *file = mmap(0, 3 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	for (int i = 0; i < 3; i++)
		if (!sigsetjmp(out, 1)) {
			file[i * 4096 + 50] = 1;
			printf("file page %d: fine\n", i);
		} else {
			printf("file page %d: signal %d code %d\n", i, last_signal, last_code);
		}

	/* stack overflow, handled on another stack */
	stack_t alternate = { .ss_sp = malloc(65536), .ss_size = 65536 };
	sigaltstack(&alternate, 0);
	on(SIGSEGV, leave_quietly, SA_ONSTACK);
	struct rlimit small = { 512 * 1024, RLIM_INFINITY };
	setrlimit(RLIMIT_STACK, &small);
	for (int i = 0; i < 3; i++) {
		if (!sigsetjmp(out, 1))
			endless(0);
		printf("stack overflow: signal %d code %d\n", last_signal, last_code);
	}
	stack_t now;
	sigaltstack(0, &now);
	printf("alternate stack: flags %d size %zu\n", now.ss_flags, now.ss_size);
	alternate.ss_size = 100;
	int r = sigaltstack(&alternate, 0);
	printf("too small: %d %d\n", r, errno);
	alternate.ss_flags = SS_DISABLE;
	printf("disable: %d\n", sigaltstack(&alternate, 0));

	/* arithmetic, illegal instructions, breakpoints */
	on(SIGFPE, leave, 0);
	on(SIGILL, leave, 0);
	on(SIGTRAP, leave, 0);
	if (!sigsetjmp(out, 1))
		printf("%d\n", 5 / zero);
	printf("division: signal %d code %d\n", last_signal, last_code);
	if (!sigsetjmp(out, 1)) {
		volatile int least = -2147483647 - 1, minus = -1;
		printf("%d\n", least / minus);
	}
	printf("overflowing division: signal %d code %d\n", last_signal, last_code);
	if (!sigsetjmp(out, 1))
		__asm__ volatile("ud2");
	printf("ud2: signal %d code %d\n", last_signal, last_code);
	if (!sigsetjmp(out, 1))
		__asm__ volatile("int3");
	printf("int3: signal %d code %d\n", last_signal, last_code);
	on(SIGSEGV, leave, 0);
	if (!sigsetjmp(out, 1))
		__asm__ volatile("hlt");
	printf("hlt: signal %d code %d\n", last_signal, last_code);
	on(SIGILL, skip, 0);
	long rax;
	count = 0;
	__asm__ volatile("xor %%eax, %%eax; ud2" : "=a"(rax));
	printf("skipped: rax %ld count %d\n", rax, count);

	/* nesting and masks */
	on(SIGUSR1, nest, 0);
	on(SIGUSR2, nest, 0);
	raise(SIGUSR1);
	printf("deepest %d\n", deepest);
	deepest = 0;
	on(SIGUSR1, nest, SA_NODEFER);
	raise(SIGUSR1);
	sigset_t block, old, pending;
	sigemptyset(&block);
	sigaddset(&block, SIGUSR1);
	sigaddset(&block, SIGUSR2);
	sigprocmask(SIG_BLOCK, &block, &old);
	raise(SIGUSR2);
	raise(SIGUSR1);
	raise(SIGUSR1);
	sigpending(&pending);
	printf("pending: USR1 %d USR2 %d\n", sigismember(&pending, SIGUSR1), sigismember(&pending, SIGUSR2));
	sigprocmask(SIG_SETMASK, &old, 0);
	printf("unblocked\n");
	on(SIGUSR1, nest, SA_RESETHAND);
	raise(SIGUSR1);
	struct sigaction was;
	sigaction(SIGUSR1, 0, &was);
	printf("reset to default: %d\n", was.sa_handler == SIG_DFL);
	signal(SIGUSR1, SIG_IGN);
	raise(SIGUSR1);
	struct sigaction kill_act = { .sa_handler = SIG_IGN };
	r = sigaction(SIGKILL, &kill_act, 0);
	printf("SIGKILL: %d %d\n", r, errno);
	printf("signal 65: %d\n", (int)syscall(SYS_kill, getpid(), 65) == -1 ? errno : 0);
	sigval_t value = { .sival_int = 4711 };
	sigprocmask(SIG_BLOCK, &block, 0);
	sigqueue(getpid(), SIGUSR2, value);
	siginfo_t info;
	struct timespec none = { 0, 0 };
	r = sigtimedwait(&block, &info, &none);
	printf("waited for %d value %d code %d\n", r, info.si_value.sival_int, info.si_code);
	r = sigtimedwait(&block, &info, &none);
	printf("and again %d %d\n", r, errno);
	sigprocmask(SIG_SETMASK, &old, 0);

	/* alarms */
	on(SIGALRM, tick, 0);
	count = 0;
	struct itimerval soon = { { 0, 20000 }, { 0, 20000 } }; /* again, should the first come before pause() */
	setitimer(ITIMER_REAL, &soon, 0);
	r = pause();
	printf("alarm: %d %d count %d\n", r, errno, count > 0);
	alarm(100);
	printf("left %d\n", alarm(0) > 0);
	on(SIGALRM, tick, SA_RESTART);
	soon.it_value.tv_usec = 10000, soon.it_interval.tv_usec = 0;
	setitimer(ITIMER_REAL, &soon, 0);
	count = 0;
	while (!count) /* a busy loop is interrupted as well */
		;
	printf("busy loop left, count %d\n", count);
	struct timespec nap = { 0, 5000000 };
	printf("nanosleep %d\n", nanosleep(&nap, 0));
	fflush(stdout);
	if (argc > 1) {
		int sig = atoi(argv[1]);
		signal(sig, SIG_DFL);
		raise(sig);
		printf("still here\n");
	}
	return 0;
}
