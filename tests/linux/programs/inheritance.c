/* What a process has set, as a thread, a child of fork, of vfork and of clone, and a program started by execve find it.
 * usage: inheritance WORKDIR */
#include "threads.h"
#include <sys/personality.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/timerfd.h>

static int fd_locked, fd_flock, fd_ofd, fd_timer, fd_cloexec, fd_kept;
static int posix_timer;
static struct { void *list; long offset; void *pending; } robust = { &robust, 0, 0 };

static void field(const char *path, const char *name)
{
	static char text[8192];
	int fd = SC(SYS_open, path, O_RDONLY);
	if (fd < 0) {
		say("%s: cannot be opened\n", path);
		return;
	}
	long n = SC(SYS_read, fd, text, sizeof text - 1);
	SC(SYS_close, fd);
	text[n > 0 ? n : 0] = 0;
	char *at = name ? strstr(text, name) : text;
	if (!at)
		return;
	*strchrnul(at, '\n') = 0;
	say("%s %s\n", name ? "" : path, at);
}

static void get_prctl(const char *name, int option, int by_address)
{
	int value = -1;
	long r = by_address ? SC(SYS_prctl, option, &value, 0, 0, 0) : SC(SYS_prctl, option, 0, 0, 0, 0);
	say("%s %ld\n", name, by_address && r == 0 ? value : r);
}

static void lock_of(const char *name, int fd, int ofd)
{
	struct flock l = { .l_type = F_WRLCK, .l_len = ofd ? 0 : 5 };
	long r = SC(SYS_fcntl, fd, ofd ? F_OFD_GETLK : F_GETLK, &l);
	say("%s %ld type %d\n", name, r, l.l_type);
}

/* Everything that can be asked for. */
static void show(const char *who_)
{
	say("== %s\n", who_);
	static const char *lines[] = { "SigPnd", "ShdPnd", "SigBlk", "SigIgn", "SigCgt", "NoNewPrivs", "Groups",
		"Umask", "VmLck" };
	for (int i = 0; i < sizeof lines / sizeof *lines; i++)
		field("/proc/thread-self/status", lines[i]);
	stack_t alt;
	SC(SYS_sigaltstack, 0, &alt);
	say("altstack %d flags %x size %ld\n", alt.ss_sp != 0, alt.ss_flags, alt.ss_size);
	struct itimerval it;
	for (int i = 0; i < 3; i++) {
		SC(SYS_getitimer, i, &it);
		say("itimer %d: %s, every %ld\n", i, it.it_value.tv_sec || it.it_value.tv_usec ? "armed" : "not armed",
		    it.it_interval.tv_sec);
	}
	struct itimerspec its = { 0 };
	long r = SC(SYS_timer_gettime, posix_timer, &its);
	say("timer %ld %s\n", r, its.it_value.tv_sec ? "armed" : "not armed");
	r = SC(SYS_timerfd_gettime, fd_timer, &its);
	say("timerfd %ld %s\n", r, r == 0 && its.it_value.tv_sec ? "armed" : "not armed");
	void *head = 0;
	size_t size = 0;
	V(SC(SYS_get_robust_list, 0, &head, &size));
	say("robust list %s\n", head == &robust ? "ours" : head ? "another" : "none");
	say("rseq %ld\n", SC(SYS_rseq, 64, 32, 0, 1));
	say("personality %lx\n", SC(SYS_personality, 0xffffffff));
	char name[17] = "";
	SC(SYS_prctl, PR_GET_NAME, name);
	say("name %s\n", name);
	get_prctl("pdeathsig", PR_GET_PDEATHSIG, 1), get_prctl("dumpable", PR_GET_DUMPABLE, 0);
	get_prctl("keepcaps", PR_GET_KEEPCAPS, 0), get_prctl("subreaper", PR_GET_CHILD_SUBREAPER, 1);
	get_prctl("securebits", PR_GET_SECUREBITS, 0), get_prctl("timerslack", PR_GET_TIMERSLACK, 0);
	get_prctl("thp disable", PR_GET_THP_DISABLE, 0), get_prctl("no new privs", PR_GET_NO_NEW_PRIVS, 0);
	get_prctl("tsc", PR_GET_TSC, 1), get_prctl("mdwe", 66, 0);
	unsigned long *tid_address = 0;
	SC(SYS_prctl, 40, &tid_address);
	say("tid address %d\n", tid_address != 0);
	char dir[256];
	SC(SYS_getcwd, dir, 256);
	say("cwd %s\n", strcmp(dir, work_dir) ? strncmp(dir, work_dir, strlen(work_dir)) ? "elsewhere" : dir + strlen(work_dir) : "work");
	int mask = umask(0);
	umask(mask);
	say("umask %o\n", mask);
	say("cloexec %ld kept %ld\n", SC(SYS_fcntl, fd_cloexec, F_GETFD), SC(SYS_fcntl, fd_kept, F_GETFD));
	int again = open(in_work("locked"), O_RDWR);
	lock_of("record lock", again, 0), lock_of("open file's lock", fd_ofd, 0);
	say("flock %ld\n", SC(SYS_flock, open(in_work("flocked"), O_RDONLY), LOCK_SH | LOCK_NB));
	field("/proc/self/oom_score_adj", 0), field("/proc/self/oom_adj", 0), field("/proc/self/coredump_filter", 0);
	struct rlimit lim;
	for (int i = 0; i < 16; i++)
		if (i == RLIMIT_NOFILE || i == RLIMIT_CORE || i == RLIMIT_CPU || i == RLIMIT_FSIZE)
			getrlimit(i, &lim), say("rlimit %d %ld %ld\n", i, lim.rlim_cur, lim.rlim_max);
	say("nice %ld\n", 20 - SC(SYS_getpriority, 0, 0));
	unsigned r1, e, s;
	SC(SYS_getresuid, &r1, &e, &s), say("uids %u %u %u\n", r1, e, s);
	SC(SYS_getresgid, &r1, &e, &s), say("gids %u %u %u\n", r1, e, s);
	say("group %d session %d leader %d\n", getpgrp() == getpid(), getsid(0) == getpid(), getsid(0) == getpgrp());
	say("policy %ld\n", SC(SYS_sched_getscheduler, 0));
	close(again); /* drops the record locks of the process */
}

static void caught(int sig) {}

static void *in_thread(void *argument)
{
	show("a thread");
	return 0;
}

static char *self;
static char numbers[128];

static void exec_self(const char *title)
{
	char *argv[] = { self, work_dir, "show", (char *)title, numbers, 0 }, *envp[] = { 0 };
	SC(SYS_execve, self, argv, envp);
	say("execve failed\n");
	quit(3);
}

static int raw_clone(int flags) { return SC(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0); }

static void child(const char *title, int flags, int exec)
{
	flush();
	int status, pid = raw_clone(flags);
	if (!pid) {
		if (exec)
			exec_self(title);
		show(title);
		quit(0);
	}
	int r = waitpid(pid, &status, 0);
	say("%s: %d status %x\n", title, r == pid, status);
}

static void set_everything(void)
{
	char *ignored = "15\n";
	sigset_t set;
	setsid();
	fd_locked = make_file("locked", 10), fd_flock = make_file("flocked", 10), fd_ofd = open(in_work("locked"), O_RDWR);
	fd_cloexec = open("/dev/null", O_RDONLY | O_CLOEXEC), fd_kept = open("/dev/null", O_RDONLY);
	struct flock l = { .l_type = F_WRLCK, .l_len = 5 }, o = { .l_type = F_RDLCK, .l_start = 7, .l_len = 2 };
	V(SC(SYS_fcntl, fd_locked, F_SETLK, &l)), V(SC(SYS_fcntl, fd_ofd, F_OFD_SETLK, &o)), V(SC(SYS_flock, fd_flock, LOCK_EX));
	signal(SIGUSR1, SIG_IGN), signal(SIGUSR2, caught), signal(SIGTERM, caught), signal(SIGCHLD, SIG_DFL);
	signal(SIGHUP, SIG_IGN);
	sigemptyset(&set), sigaddset(&set, SIGTERM), sigaddset(&set, SIGUSR2), sigaddset(&set, SIGRTMIN + 4);
	sigprocmask(SIG_BLOCK, &set, 0);
	kill(getpid(), SIGTERM), SC(SYS_tkill, gettid_(), SIGUSR2), kill(getpid(), SIGRTMIN + 4);
	static char alt[16384];
	stack_t st = { .ss_sp = alt, .ss_size = sizeof alt };
	sigaltstack(&st, 0);
	struct itimerval it = { { 70, 0 }, { 1000, 0 } };
	for (int i = 0; i < 3; i++)
		setitimer(i, &it, 0);
	struct itimerspec its = { { 0, 0 }, { 1000, 0 } };
	V(SC(SYS_timer_create, CLOCK_MONOTONIC, 0, &posix_timer)), V(SC(SYS_timer_settime, posix_timer, 0, &its, 0));
	fd_timer = timerfd_create(CLOCK_MONOTONIC, 0), timerfd_settime(fd_timer, 0, &its, 0);
	SC(SYS_set_robust_list, &robust, 24);
	V(SC(SYS_personality, SC(SYS_personality, 0xffffffff) | ADDR_COMPAT_LAYOUT | STICKY_TIMEOUTS));
	V(SC(SYS_prctl, PR_SET_NAME, "a name that is long"));
	V(SC(SYS_prctl, PR_SET_PDEATHSIG, SIGUSR1)), V(SC(SYS_prctl, PR_SET_DUMPABLE, 0));
	V(SC(SYS_prctl, PR_SET_KEEPCAPS, 1)), V(SC(SYS_prctl, PR_SET_CHILD_SUBREAPER, 1));
	V(SC(SYS_prctl, PR_SET_TIMERSLACK, 70000)), V(SC(SYS_prctl, PR_SET_THP_DISABLE, 1));
	V(SC(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	mkdir(in_work("dir"), 0755), chdir(in_work("dir"));
	umask(027);
	int fd = open("/proc/self/oom_score_adj", O_WRONLY);
	V(SC(SYS_write, fd, "150", 3)), close(fd);
	fd = open("/proc/self/coredump_filter", O_WRONLY);
	V(SC(SYS_write, fd, "0x17", 4)), close(fd);
	struct rlimit lim = { 100, 200 }, none = { 0, 0 }, cpu = { 1000, 2000 };
	setrlimit(RLIMIT_NOFILE, &lim), setrlimit(RLIMIT_CORE, &none), setrlimit(RLIMIT_CPU, &cpu);
	setpriority(PRIO_PROCESS, 0, 3);
	gid_t groups[] = { 3, 4, 5 };
	setgroups(3, groups);
	V(MLOCKALL(MCL_CURRENT | MCL_FUTURE));
	SC(SYS_prctl, PR_SET_DUMPABLE, 0);
	sprintf(numbers, "%d %d %d %d %d %d %d", fd_locked, fd_flock, fd_ofd, fd_timer, fd_cloexec, fd_kept, posix_timer);
}

static void changes_of_ids(void)
{
	static const int ids[][3] = { { 0, 0, 0 }, { 7, -1, -1 }, { -1, 7, -1 }, { -1, -1, 7 }, { 7, 7, 7 } };
	say("== changes of ids\n");
	for (int i = 0; i < 15; i++) {
		flush();
		if (!fork()) {
			prctl(PR_SET_PDEATHSIG, SIGUSR1), prctl(PR_SET_DUMPABLE, 1);
			const int *id = ids[i / 3];
			if (i % 3 == 0)
				SC(SYS_setresuid, id[0], id[1], id[2]);
			else if (i % 3 == 1)
				SC(SYS_setresgid, id[0], id[1], id[2]);
			else
				SC(SYS_setfsuid, id[0]);
			say("%d\n", i);
			get_prctl("pdeathsig", PR_GET_PDEATHSIG, 1), get_prctl("dumpable", PR_GET_DUMPABLE, 0);
			flush();
			if (i % 3 < 2) {
				char *argv[] = { self, work_dir, "dumpable", 0 };
				SC(SYS_execve, self, argv, 0);
			}
			quit(0);
		}
		wait(0);
	}
}

static void slack(void)
{
	say("== timer slack\n");
	flush();
	if (!fork()) {
		V(SC(SYS_prctl, PR_SET_TIMERSLACK, 10)), V(SC(SYS_prctl, PR_GET_TIMERSLACK));
		V(SC(SYS_prctl, PR_SET_TIMERSLACK, 0)), V(SC(SYS_prctl, PR_GET_TIMERSLACK));
		quit(0);
	}
	wait(0);
}

int main(int argc, char **argv)
{
	if (argc > 1)
		work_dir = argv[1];
	self = argv[0];
	if (argc == 3) {
		get_prctl("after execve: pdeathsig", PR_GET_PDEATHSIG, 1), get_prctl("dumpable", PR_GET_DUMPABLE, 0);
		say("secure %ld\n", getauxval(AT_SECURE));
		quit(0);
	}
	if (argc > 3) {
		sscanf(argv[4], "%d %d %d %d %d %d %d", &fd_locked, &fd_flock, &fd_ofd, &fd_timer, &fd_cloexec, &fd_kept,
		       &posix_timer);
		if (!fork()) {
			lock_of("record lock, from a child", fd_locked, 0);
			quit(0);
		}
		wait(0);
		show(argv[3]);
		quit(5);
	}
	changes_of_ids();
	flush();
	int status, pid = fork();
	if (!pid) {
		set_everything();
		flush(), slack();
		child("fork", 0, 0);
		child("vfork", CLONE_VM | CLONE_VFORK, 0);
		child("clone with memory, files, handlers", CLONE_VM | CLONE_VFORK | CLONE_FILES | CLONE_FS | CLONE_SIGHAND, 0);
		child("fork and execve", 0, 1);
		child("vfork and execve", CLONE_VM | CLONE_VFORK, 1);
		pthread_t t;
		MUNLOCKALL();
		pthread_create(&t, 0, in_thread, 0);
		pthread_join(t, 0);
		struct flock l = { .l_type = F_WRLCK, .l_len = 5 };
		SC(SYS_fcntl, fd_locked, F_SETLK, &l);
		MLOCKALL(MCL_CURRENT | MCL_FUTURE);
		flush();
		exec_self("execve");
	}
	waitpid(pid, &status, 0);
	say("status %x\n", status);
	quit(0);
}
