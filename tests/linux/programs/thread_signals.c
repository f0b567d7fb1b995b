/* Signals to threads and processes: who gets them, in which order, what they carry, how many may be queued. */
#include "threads.h"
#include <sys/signalfd.h>

#define NR_CAUGHT 64
static struct {
	int sig, code, value, tid, pid_ok;
} caught[NR_CAUGHT];
static volatile int nr_begun, nr_caught; /* the second: noted completely */
static volatile int go;

static void note(int sig, siginfo_t *info, void *context)
{
	int at = __sync_fetch_and_add(&nr_begun, 1);
	caught[at].sig = sig, caught[at].code = info->si_code, caught[at].value = info->si_value.sival_int;
	caught[at].tid = gettid_(), caught[at].pid_ok = info->si_pid == getpid();
	__sync_fetch_and_add(&nr_caught, 1);
}

static void say_caught(const char *what)
{
	say("%s: %d\n", what, nr_caught);
	for (int i = 0; i < nr_caught; i++)
		say("  signal %d code %d value %d in %s from %s\n", caught[i].sig, caught[i].code,
		    caught[i].code == SI_QUEUE ? caught[i].value : 0, who(caught[i].tid), caught[i].pid_ok ? "me" : "another");
	nr_begun = nr_caught = 0;
}

static void catch_all(int flags)
{
	struct sigaction act = { .sa_sigaction = note, .sa_flags = SA_SIGINFO | flags };
	sigfillset(&act.sa_mask);
	for (int sig = 1; sig <= 64; sig++)
		if (sig < 32 || sig > 34)
			sigaction(sig, &act, 0);
}

static sigset_t set_of(int a, int b, int c)
{
	sigset_t s;
	sigemptyset(&s);
	if (a)
		sigaddset(&s, a);
	if (b)
		sigaddset(&s, b);
	if (c)
		sigaddset(&s, c);
	return s;
}

static void mask(int how, int a, int b, int c)
{
	sigset_t s = set_of(a, b, c);
	pthread_sigmask(how, &s, 0);
}

static void block_all(int how)
{
	sigset_t s;
	sigfillset(&s);
	pthread_sigmask(how, &s, 0);
}

static void queue(int sig, int value)
{
	union sigval v = { .sival_int = value };
	if (sigqueue(getpid(), sig, v))
		say("sigqueue %d: %s\n", sig, errno_name(errno));
}

/* --- order and values --- */
static void order(void)
{
	say("== order\n");
	block_all(SIG_BLOCK);
	queue(SIGRTMIN + 3, 1), queue(SIGRTMIN + 1, 2), queue(SIGRTMIN + 3, 3), queue(SIGUSR2, 4), queue(SIGUSR1, 5);
	queue(SIGUSR2, 6), queue(SIGRTMIN + 1, 7), queue(SIGSEGV, 8), queue(SIGHUP, 9);
	kill(getpid(), SIGRTMIN + 2), kill(getpid(), SIGTERM), kill(getpid(), SIGRTMIN + 2);
	SC(SYS_tgkill, getpid(), gettid_(), SIGRTMIN + 1);
	SC(SYS_tgkill, getpid(), gettid_(), SIGINT);
	SC(SYS_tkill, gettid_(), SIGUSR1);
	sigset_t pending;
	sigpending(&pending);
	say("pending %lx\n", *(long *)&pending);
	block_all(SIG_UNBLOCK);
	say_caught("delivered");
	block_all(SIG_BLOCK);
	queue(SIGRTMIN + 3, 1), queue(SIGRTMIN + 1, 2), queue(SIGRTMIN + 3, 3), queue(SIGUSR2, 4);
	SC(SYS_tkill, gettid_(), SIGRTMIN + 5);
	sigset_t all;
	siginfo_t info;
	struct timespec zero = { 0, 0 }, soon = { 0, 2000000 }, bad = { 0, 1000000000 };
	sigfillset(&all);
	for (int i = 0; i < 7; i++) {
		memset(&info, 0, sizeof info);
		int r = sigtimedwait(&all, &info, &zero);
		say("sigtimedwait %d %s code %d value %d\n", r, r < 0 ? errno_name(errno) : "", info.si_code,
		    info.si_code == SI_QUEUE ? info.si_value.sival_int : 0);
	}
	V(SC(SYS_rt_sigtimedwait, &all, 0, &soon, 8));
	V(SC(SYS_rt_sigtimedwait, &all, 0, &bad, 8));
	V(SC(SYS_rt_sigtimedwait, &all, 0, &zero, 16));
	V(SC(SYS_rt_sigtimedwait, 16, 0, &zero, 8));
	queue(SIGUSR1, 3);
	V(SC(SYS_rt_sigtimedwait, &all, 16, &zero, 8));
	V(SC(SYS_rt_sigtimedwait, &all, 0, &zero, 8));
	/* a signal outside the set that is let through */
	mask(SIG_UNBLOCK, SIGALRM, 0, 0);
	sigset_t usr1 = set_of(SIGUSR1, 0, 0);
	struct itimerval timer = { { 0, 20000 }, { 0, 3000 } }, never = { { 0, 0 }, { 0, 0 } };
	setitimer(ITIMER_REAL, &timer, 0);
	int r = sigtimedwait(&usr1, &info, 0);
	say("interrupted %d %s\n", r, errno_name(errno));
	setitimer(ITIMER_REAL, &never, 0);
	say("alarm %d\n", nr_caught > 0);
	nr_begun = nr_caught = 0;
	block_all(SIG_UNBLOCK);
}

/* --- who gets it --- */
static void waits_in_pause(struct thread *t)
{
	mask(SIG_UNBLOCK, (long)t->argument, 0, 0);
	t->ready = 1;
	while (!go)
		usleep(500);
}

static void to_whom(void)
{
	say("== to whom\n");
	block_all(SIG_BLOCK);
	go = 0;
	struct thread *a = start('A', waits_in_pause, (void *)SIGUSR1), *b = start('B', waits_in_pause, (void *)SIGUSR2);
	while (!a->ready || !b->ready)
		usleep(100);
	kill(getpid(), SIGUSR1);
	while (nr_caught < 1)
		usleep(100);
	kill(getpid(), SIGUSR2);
	while (nr_caught < 2)
		usleep(100);
	queue(SIGUSR2, 17);
	while (nr_caught < 3)
		usleep(100);
	pthread_kill(a->handle, SIGUSR1);
	while (nr_caught < 4)
		usleep(100);
	union sigval value = { .sival_int = 18 };
	say("pthread_sigqueue %d\n", pthread_sigqueue(b->handle, SIGUSR2, value));
	while (nr_caught < 5)
		usleep(100);
	pthread_kill(a->handle, SIGUSR2); /* blocked there, open in the other: stays pending for A alone */
	usleep(2000);
	say_caught("delivered");
	sigset_t pending;
	sigpending(&pending);
	say("pending here %lx\n", *(long *)&pending);
	V(SC(SYS_tgkill, getpid(), a->tid, 0));
	V(SC(SYS_tgkill, getppid(), a->tid, 0));
	V(SC(SYS_tgkill, getpid(), a->tid, 65));
	V(SC(SYS_tgkill, -1, a->tid, 0));
	V(SC(SYS_tgkill, getpid(), 0, 0));
	V(SC(SYS_tkill, -3, 0));
	go = 1;
	int tid = a->tid;
	join(a), join(b);
	V(SC(SYS_tgkill, getpid(), tid, 0));
	block_all(SIG_UNBLOCK);
}

static void sigwaits(struct thread *t)
{
	sigset_t s = set_of(SIGUSR1, SIGRTMIN + 4, 0);
	siginfo_t info;
	t->ready = 1;
	t->result = t->argument ? sigwaitinfo(&s, &info) : 0;
	if (!t->argument) {
		int sig;
		sigwait(&s, &sig);
		t->result = sig;
	} else {
		t->result = t->result * 1000 + info.si_value.sival_int;
	}
}

static void waiting(void)
{
	say("== sigwait\n");
	block_all(SIG_BLOCK);
	struct thread *a = start('A', sigwaits, 0);
	asleep(a);
	kill(getpid(), SIGUSR1);
	say("sigwait %ld\n", join(a));
	a = start('B', sigwaits, (void *)1);
	asleep(a);
	queue(SIGRTMIN + 4, 55);
	say("sigwaitinfo %ld\n", join(a));
	a = start('C', sigwaits, 0);
	asleep(a);
	struct thread *b = start('D', sigwaits, 0);
	asleep(b);
	pthread_kill(b->handle, SIGUSR1);
	say("the second %ld\n", join(b));
	pthread_kill(a->handle, SIGRTMIN + 4);
	say("the first %ld\n", join(a));
	/* signals that are ignored by default are lost unless blocked */
	signal(SIGCHLD, SIG_DFL);
	kill(getpid(), SIGCHLD), kill(getpid(), SIGWINCH);
	sigset_t pending;
	sigpending(&pending);
	say("pending %lx\n", *(long *)&pending);
	signal(SIGCHLD, SIG_IGN), signal(SIGWINCH, SIG_IGN);
	sigpending(&pending);
	say("ignored now %lx\n", *(long *)&pending);
	kill(getpid(), SIGWINCH);
	sigpending(&pending);
	say("sent while ignored and blocked %lx\n", *(long *)&pending);
	block_all(SIG_UNBLOCK);
	nr_begun = nr_caught = 0;
}

/* --- RLIMIT_SIGPENDING --- */
static void say_sigq(void)
{
	static char text[4096];
	int fd = open("/proc/self/status", O_RDONLY);
	long n = read(fd, text, sizeof text - 1);
	close(fd);
	text[n > 0 ? n : 0] = 0;
	char *at = strstr(text, "SigQ:"), *end = strstr(text, "SigCgt:");
	if (at && end)
		*strchr(end, '\n') = 0, say("%s\n", at);
}

static void limit(void)
{
	say("== RLIMIT_SIGPENDING\n");
	flush();
	int child = fork(), status;
	if (!child) {
		out_used = 0;
		struct rlimit three = { 3, 3 }, none = { 0, 0 };
		siginfo_t info = { .si_code = SI_QUEUE };
		timer_t timer;
		block_all(SIG_BLOCK);
		setresuid(54321, 54321, 54321);
		setrlimit(RLIMIT_SIGPENDING, &three);
		say_sigq();
		for (int i = 0; i < 5; i++)
			V(SC(SYS_rt_sigqueueinfo, getpid(), SIGRTMIN + 1, &info));
		V(SC(SYS_kill, getpid(), SIGRTMIN + 1));
		V(SC(SYS_kill, getpid(), SIGRTMIN + 2));
		V(SC(SYS_tkill, gettid_(), SIGRTMIN + 3));
		V(SC(SYS_tkill, gettid_(), SIGUSR1));
		V(SC(SYS_rt_sigqueueinfo, getpid(), SIGUSR2, &info));
		V(SC(SYS_kill, getpid(), SIGHUP));
		V(SC(SYS_timer_create, CLOCK_MONOTONIC, 0, &timer));
		say_sigq();
		sigset_t all;
		sigfillset(&all);
		struct timespec zero = { 0, 0 };
		for (int i = 0; i < 9; i++) {
			memset(&info, 7, sizeof info);
			int r = sigtimedwait(&all, &info, &zero);
			say("  %d code %d pid %s uid %d\n", r, info.si_code, info.si_pid == getpid() ? "mine" : info.si_pid ? "?" : "0",
			    info.si_uid);
		}
		say_sigq();
		V(SC(SYS_timer_create, CLOCK_MONOTONIC, 0, &timer));
		say_sigq();
		setrlimit(RLIMIT_SIGPENDING, &none);
		V(SC(SYS_rt_sigqueueinfo, getpid(), SIGRTMIN + 1, &info));
		memset(&info, 0, sizeof info), info.si_code = SI_QUEUE;
		V(SC(SYS_rt_sigqueueinfo, getpid(), SIGRTMIN + 1, &info));
		V(SC(SYS_kill, getpid(), SIGTERM));
		flush();
		block_all(SIG_UNBLOCK);
		quit(0);
	}
	waitpid(child, &status, 0);
	say("status %x\n", status);
}

int main(void)
{
	catch_all(0);
	order(), to_whom(), waiting();
	for (int sig = 1; sig <= 64; sig++)
		signal(sig, SIG_DFL);
	limit();
	quit(0);
}
