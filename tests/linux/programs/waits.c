/* What wait4 and waitid say of children, and what becomes of families: one line for each fact. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static void nap(long ms)
{
	struct timespec t = { ms / 1000, ms % 1000 * 1000000 };
	while (nanosleep(&t, &t) && errno == EINTR)
		;
}

/* A child that is to go on only when it is told: TOLD there, tell() here. */
static int go[2];
static void tell(void) { write(go[1], "\n", 1); }
#define TOLD ({ char c_; read(go[0], &c_, 1); })

/* Until the condition holds, which it does soon. */
#define UNTIL(...) ({ for (int i_ = 0; i_ < 20000 && !(__VA_ARGS__); i_++) nap(1); })

static const char *err(long r) { return r < 0 ? strerrorname_np(errno) : "ok"; }

static void status(const char *what, int pid, int got, int st)
{
	printf("%s: %s status %#x\n", what, got == pid ? "child" : got > 0 ? "another" : got == 0 ? "none" : strerrorname_np(errno), st);
	fflush(stdout);
}

static void waited(const char *what, int pid, int options)
{
	int st = 0x5a5a5a;
	int got = waitpid(pid, &st, options);
	status(what, pid, got, st);
}

static void info(const char *what, idtype_t type, id_t id, int options, int child)
{
	siginfo_t si;
	memset(&si, 0x5a, sizeof si);
	int r = waitid(type, id, &si, options);
	if (r < 0)
		printf("%s: %s\n", what, err(r));
	else
		printf("%s: signo %d code %d %s uid %d status %d errno %d\n", what, si.si_signo, si.si_code,
		       si.si_pid == child ? "child" : si.si_pid ? "another" : "none", (int)si.si_uid, si.si_status, si.si_errno);
	fflush(stdout);
}

#define CHILD(...) ({ fflush(stdout); int p_ = fork(); if (p_ == 0) { __VA_ARGS__; _exit(0); } p_; })

static volatile int chld, chld_code, chld_status, got_sig;
static void on_chld(int s, siginfo_t *i, void *c) { chld++; chld_code = i->si_code; chld_status = i->si_status; }
static void on_sig(int s) { got_sig = s; }
static void on_sig_tell(int s) { got_sig = s; tell(); }

static void handle(int sig, void (*f)(int, siginfo_t *, void *), int flags)
{
	struct sigaction a = { .sa_flags = flags | SA_SIGINFO };
	a.sa_sigaction = f;
	sigaction(sig, &a, 0);
}

static int facts(void)
{
	int p, st = 0;
	setvbuf(stdout, 0, _IOFBF, 1 << 16);
	pipe(go);
	p = CHILD(_exit(7)); waited("exit 7", p, 0);
	p = CHILD(_exit(0x1234)); waited("exit 0x1234", p, 0);
	p = CHILD(raise(SIGTERM)); waited("SIGTERM", p, 0);
	p = CHILD(raise(SIGKILL)); waited("SIGKILL", p, 0);
	p = CHILD(raise(SIGRTMIN + 3)); waited("SIGRTMIN+3", p, 0);
	struct rlimit none = { 0, 0 }, old;
	getrlimit(RLIMIT_CORE, &old);
	setrlimit(RLIMIT_CORE, &none);
	p = CHILD(abort()); waited("abort", p, 0);
	p = CHILD(*(volatile int *)8 = 1); waited("SIGSEGV", p, 0);
	p = CHILD(raise(SIGQUIT)); waited("SIGQUIT", p, 0);
	/* It ends when it is told: whoever continues and ends at once is reported ended, and nobody sees it continued. */
	sigset_t usr1;
	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	p = CHILD(int got; sigprocmask(SIG_BLOCK, &usr1, 0); raise(SIGSTOP); sigwait(&usr1, &got); _exit(3));
	waited("stop, not asked for", p, WNOHANG);
	waited("stop", p, WUNTRACED);
	waited("stop again", p, WUNTRACED | WNOHANG);
	kill(p, SIGCONT);
	waited("continue", p, WCONTINUED);
	kill(p, SIGUSR1);
	waited("exit after it", p, 0);
	p = CHILD(for (;;) pause());
	kill(p, SIGTSTP);
	info("TSTP, waitid", P_PID, p, WSTOPPED, p);
	kill(p, SIGCONT);
	info("CONT, waitid", P_PID, p, WCONTINUED, p);
	kill(p, SIGTTIN);
	info("TTIN, nowait", P_PID, p, WSTOPPED | WNOWAIT, p);
	info("TTIN, again", P_PID, p, WSTOPPED, p);
	kill(p, SIGKILL);
	info("kill while stopped, nowait", P_PID, p, WEXITED | WNOWAIT, p);
	info("kill while stopped", P_PID, p, WEXITED, p);
	info("gone", P_PID, p, WEXITED, p);
	waited("no children", -1, 0);
	waited("no such group", -99999, 0);
	printf("bad options %s\n", err(waitpid(-1, &st, 0x100)));
	printf("INT_MIN %s\n", err(waitpid(-2147483647 - 1, &st, 0)));
	info("waitid without options", P_ALL, 0, 0, 0);
	info("waitid bad type", 9, 1, WEXITED, 0);
	info("waitid pid 0", P_PID, 0, WEXITED, 0);
	p = CHILD(TOLD); waited("still running", p, WNOHANG); info("running, waitid", P_PID, p, WEXITED | WNOHANG, p); tell(); waited("ends", p, 0);
	p = CHILD(_exit(1)); printf("EFAULT %s\n", err(syscall(SYS_wait4, p, 8, 0, 0))); waited("after EFAULT", p, 0);
	p = CHILD(setpgid(0, 0); nap(20)); setpgid(p, p); waited("own group, waited as ours", 0, 0); { int g = waitpid(-p, &st, 0); status("by group", p, g, st); }

	handle(SIGCHLD, on_chld, 0);
	p = CHILD(_exit(9)); while (!chld) nap(5); printf("SIGCHLD code %d status %d\n", chld_code, chld_status); waited("then wait", p, 0);
	chld = 0; p = CHILD(raise(SIGSTOP); TOLD); while (!chld) nap(5); printf("SIGCHLD code %d status %d\n", chld_code, chld_status);
	chld = 0; kill(p, SIGCONT); while (!chld) nap(5); printf("SIGCHLD code %d status %d\n", chld_code, chld_status); tell(); waited("wait", p, 0);
	handle(SIGCHLD, on_chld, SA_NOCLDSTOP);
	chld = 0; p = CHILD(raise(SIGSTOP); _exit(2)); waited("nocldstop", p, WUNTRACED); printf("told %d\n", chld); kill(p, SIGCONT); waited("nocldstop end", p, 0); printf("told %d code %d\n", chld, chld_code);
	handle(SIGCHLD, on_chld, SA_NOCLDWAIT);
	chld = 0; p = CHILD(_exit(2)); waited("nocldwait", p, 0); printf("told %d\n", chld);
	signal(SIGCHLD, SIG_IGN);
	p = CHILD(_exit(2)); waited("ignored", p, 0);
	signal(SIGCHLD, SIG_DFL);
	handle(SIGALRM, (void *)on_sig, 0);
	p = CHILD(TOLD); struct itimerval it = { { 0, 50000 }, { 0, 50000 } }, never = { { 0, 0 }, { 0, 0 } }; setitimer(ITIMER_REAL, &it, 0);
	waited("EINTR", p, 0); setitimer(ITIMER_REAL, &never, 0); printf("signal %d\n", got_sig);
	struct sigaction ra = { .sa_handler = on_sig_tell, .sa_flags = SA_RESTART }; sigaction(SIGALRM, &ra, 0); got_sig = 0; it.it_interval.tv_usec = 0;
	setitimer(ITIMER_REAL, &it, 0); waited("restarted", p, 0); printf("signal %d\n", got_sig);

	/* families */
	int fd[2];
	pipe(fd);
	p = CHILD(int me = getpid(); int q = fork(); if (q == 0) { UNTIL(getppid() != me); int pp = getppid(); dprintf(fd[1], "%d", pp == me ? 2 : pp == 1 ? 1 : 3); _exit(0); });
	waited("father", p, 0); { char c = 0; read(fd[0], &c, 1); printf("orphan has init or another %d\n", c == '1' || c == '3'); }
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	int me = getpid();
	p = CHILD(int father = getpid(); if (fork() == 0) { UNTIL(getppid() != father); _exit(getppid() == me ? 44 : 45); });
	waited("father", p, 0); st = 0; int g = wait(&st); printf("grandchild for the subreaper %d status %#x\n", g > 0 && g != p, st);
	p = CHILD(prctl(PR_SET_PDEATHSIG, SIGUSR1); if (fork() == 0) { signal(SIGUSR2, on_sig); prctl(PR_SET_PDEATHSIG, SIGUSR2); tell(); UNTIL(got_sig == SIGUSR2); _exit(got_sig == SIGUSR2 ? 1 : 2); } TOLD; _exit(0));
	waited("father", p, 0); g = wait(&st); printf("pdeathsig status %#x\n", st);
	prctl(PR_SET_CHILD_SUBREAPER, 0);
	p = CHILD(setsid(); int q = fork(); if (q == 0) { sigset_t b2; sigemptyset(&b2); sigaddset(&b2, SIGHUP); sigaddset(&b2, SIGCONT); sigprocmask(SIG_BLOCK, &b2, 0); setpgid(0, 0); raise(SIGSTOP); sigset_t pend; sigpending(&pend); dprintf(fd[1], "%d", sigismember(&pend, SIGHUP) | sigismember(&pend, SIGCONT) << 1); _exit(0); } int s2; waitpid(q, &s2, WUNTRACED); _exit(0));
	waited("father of a stopped job", p, 0); { char c = 0; read(fd[0], &c, 1); printf("the job got %c\n", c); }
	printf("setpgid of nobody %s\n", err(setpgid(999999, 0)));
	printf("setpgid negative %s\n", err(setpgid(0, -1)));
	printf("setpgid to no group %s\n", err(setpgid(0, 999999)));
	p = CHILD(printf("setsid %s\n", setsid() == getpid() ? "ok" : "no"); printf("setpgid of a leader %s\n", err(setpgid(0, 0))); printf("setsid twice %s\n", err(setsid())); printf("sid %d pgid %d\n", getsid(0) == getpid(), getpgid(0) == getpid()); fflush(stdout));
	waited("session", p, 0);
	int closes[2]; pipe2(closes, O_CLOEXEC);
	p = CHILD(dup2(go[0], 0); execl("/bin/sh", "sh", "-c", "read x", (char *)0)); close(closes[1]); { char c; read(closes[0], &c, 1); } close(closes[0]); printf("setpgid after exec %s\n", err(setpgid(p, p))); tell(); waited("it", p, 0);
	p = CHILD(setpgid(0, 0); int a = fork(); if (!a) { for (;;) pause(); } int b = fork(); if (!b) { for (;;) pause(); } signal(SIGTERM, SIG_IGN); nap(20); kill(0, SIGTERM); int n = 0, s; while (wait(&s) > 0) n += s == SIGTERM; _exit(n));
	waited("kill 0", p, 0);
	printf("kill nobody %s\n", err(kill(999999, 0)));
	printf("kill no group %s\n", err(kill(-999999, 0)));
	printf("kill bad signal %s\n", err(kill(getpid(), 65)));
	printf("kill bad signal to nobody %s\n", err(kill(999999, 65)));
	printf("tgkill %s %s %s\n", err(syscall(SYS_tgkill, getpid(), 999999, 0)), err(syscall(SYS_tgkill, -1, 1, 0)), err(syscall(SYS_tgkill, getpid(), getpid(), 77)));
	p = CHILD(setuid(65534); printf("kill root's %s\n", err(kill(getppid(), 0))); printf("stop root's %s\n", err(kill(getppid(), SIGCONT))); fflush(stdout)); waited("nobody", p, 0);
	p = CHILD(setpriority(PRIO_PROCESS, 0, 5); int q = fork(); if (!q) _exit(getpriority(PRIO_PROCESS, 0)); int s; waitpid(q, &s, 0); _exit(WEXITSTATUS(s))); waited("nice inherited", p, 0);
	/* what a child and a program inherit */
	sigset_t b; sigemptyset(&b); sigaddset(&b, SIGUSR1); sigprocmask(SIG_BLOCK, &b, 0); raise(SIGUSR1); alarm(100);
	p = CHILD(sigset_t pend; sigset_t cur; sigpending(&pend); sigprocmask(0, 0, &cur); _exit(sigismember(&pend, SIGUSR1) | sigismember(&cur, SIGUSR1) << 1 | (alarm(0) > 0) << 2)); waited("pending 1, blocked 2, alarm 4", p, 0);
	printf("our alarm %d\n", alarm(0) > 0);
	sigpending(&b); printf("ours pending %d\n", sigismember(&b, SIGUSR1));
	signal(SIGUSR1, SIG_IGN); sigpending(&b); printf("ignored: pending %d\n", sigismember(&b, SIGUSR1));
	struct rusage ru; getrusage(RUSAGE_CHILDREN, &ru); printf("children's faults %d maxrss %d\n", ru.ru_minflt > 100, ru.ru_maxrss > 100);
	/* vfork, clone flags */
	static volatile int shared = 1;
	p = vfork(); if (p == 0) { shared = 2; _exit(5); } waited("vfork", p, 0); printf("shared %d\n", shared);
	static const struct { const char *name; unsigned long flags; } bad[] = { { "THREAD", CLONE_THREAD }, { "SIGHAND", CLONE_SIGHAND }, { "THREAD|SIGHAND", CLONE_THREAD | CLONE_SIGHAND }, { "NEWNS|FS", CLONE_NEWNS | CLONE_FS }, { "PIDFD|DETACHED", CLONE_PIDFD | 0x400000 }, { "NEWUSER|FS", CLONE_NEWUSER | CLONE_FS } };
	for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) { errno = 0; long r = syscall(SYS_clone, bad[i].flags | SIGCHLD, 0, 0, 0, 0); if (r == 0) _exit(0); printf("clone %s: %s\n", bad[i].name, err(r)); if (r > 0) waitpid(r, 0, __WALL); }
	signal(SIGUSR2, SIG_IGN); p = syscall(SYS_clone, SIGUSR2, 0, 0, 0, 0); if (p == 0) _exit(3); waited("exit signal USR2, plain", p, WNOHANG); waited("with __WCLONE", p, __WCLONE);
	signal(SIGUSR2, on_sig); got_sig = 0; p = syscall(SYS_clone, SIGUSR2, 0, 0, 0, 0); if (p == 0) _exit(3); UNTIL(got_sig == SIGUSR2); printf("signal %d\n", got_sig == SIGUSR2); waited("__WALL", p, __WALL);
	p = syscall(SYS_clone, 0, 0, 0, 0, 0); if (p == 0) _exit(4); waited("no exit signal", p, __WALL);
	int tid = -1; p = syscall(SYS_clone, CLONE_PARENT_SETTID | CLONE_CHILD_SETTID | SIGCHLD, 0, &tid, &tid, 0); if (p == 0) _exit(tid == getpid() ? 6 : 7); printf("parent tid %d\n", tid == p); waited("child tid", p, 0);
	p = syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0); if (p == 0) { dup2(1, 77); _exit(0); } waited("CLONE_FILES", p, 0); printf("77 open %d\n", fcntl(77, F_GETFD) >= 0); close(77);
	p = syscall(SYS_clone, CLONE_FS | SIGCHLD, 0, 0, 0, 0); if (p == 0) { umask(0123); chdir("/"); _exit(0); } waited("CLONE_FS", p, 0); printf("umask %o\n", umask(022));
	p = CHILD(int q = syscall(SYS_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0); if (q == 0) _exit(8); _exit(9)); { int a = 0, c = 0, s; for (int i = 0; i < 2; i++) { int r = wait(&s); if (r == p) a = s; else c = s; } printf("CLONE_PARENT %#x %#x\n", a, c); }
	return 0;
}

/* In a process group of its own that somebody of the session watches: in an orphaned one the terminal's stop signals would
 * have no effect, and whether the caller's is one is not ours to say. */
int main(void)
{
	int status = 0, child = fork();
	if (child == 0) {
		setpgid(0, 0);
		exit(facts());
	}
	setpgid(child, child);
	waitpid(child, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 99;
}
