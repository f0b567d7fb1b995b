/* What a 32-bit program hands to the kernel and gets back: every structure whose layout differs from the 64-bit one.
 * Compiled with -m32. Prints nothing that depends on selectors or addresses: it runs on 32-bit kernels too. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/time.h>
#include <sys/times.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

static volatile int got;
static sigjmp_buf back;

static void plain(int s) { got = s; }

static void fault(int s, siginfo_t *i, void *u)
{
	ucontext_t *c = u;
	printf("signal %d code %d trapno %d address %d stack %d\n", s, i->si_code, (int)c->uc_mcontext.gregs[REG_TRAPNO],
	       (int)(s == SIGSEGV && i->si_code < 128 ? (long)i->si_addr : 0),
	       c->uc_mcontext.gregs[REG_UESP] == c->uc_mcontext.gregs[REG_ESP]);
	siglongjmp(back, 1);
}

static void told(int s, siginfo_t *i, void *u)
{
	printf("told %d code %d mine %d status %x value %d\n", s, i->si_code, i->si_pid == getpid(),
	       s == SIGCHLD ? i->si_status : 0, s >= SIGRTMIN ? i->si_value.sival_int : 0);
}

static void handle(int sig, void (*f)(int, siginfo_t *, void *), int flags)
{
	struct sigaction sa = { 0 };
	sa.sa_sigaction = f;
	sa.sa_flags = SA_SIGINFO | flags;
	sigaction(sig, &sa, 0);
}

static void signals(void)
{
	struct sigaction sa = { 0 };
	volatile double kept = 1.25;
	sa.sa_handler = plain;
	sigaction(SIGUSR1, &sa, 0);
	raise(SIGUSR1);
	printf("got %d, %f kept\n", got, sqrt(kept) * 2);
	signal(SIGUSR2, plain);
	raise(SIGUSR2);
	printf("got %d\n", got);
	int all[] = { SIGSEGV, SIGFPE, SIGILL, SIGTRAP, SIGBUS };
	for (int i = 0; i < 5; i++)
		handle(all[i], fault, SA_NODEFER);
	if (!sigsetjmp(back, 1))
		*(volatile int *)0x1234 = 1;
	if (!sigsetjmp(back, 1))
		*(volatile int *)0xfffff123 = 1;
	if (!sigsetjmp(back, 1))
		(void)*(volatile int *)0xc0000123;
	if (!sigsetjmp(back, 1))
		__asm__ volatile("ud2");
	if (!sigsetjmp(back, 1))
		__asm__ volatile("int $0x81");
	if (!sigsetjmp(back, 1))
		__asm__ volatile("hlt");
	if (!sigsetjmp(back, 1))
		__asm__ volatile("xor %%edx, %%edx; xor %%ecx, %%ecx; div %%ecx" ::: "eax", "ecx", "edx");
	if (!sigsetjmp(back, 1))
		__asm__ volatile("int3");
	handle(SIGRTMIN + 1, told, 0);
	handle(SIGCHLD, told, 0);
	handle(SIGTERM, told, 0);
	union sigval value = { .sival_int = 4711 };
	sigqueue(getpid(), SIGRTMIN + 1, value);
	kill(getpid(), SIGTERM);
	stack_t alternate = { malloc(20000), 0, 20000 }, old;
	printf("sigaltstack %d", sigaltstack(&alternate, 0));
	printf(" %d", sigaltstack(0, &old));
	printf(" %d %d\n", (int)old.ss_size, old.ss_flags);
	handle(SIGSEGV, fault, SA_ONSTACK);
	if (!sigsetjmp(back, 1))
		*(volatile int *)0x10 = 1;
	sigset_t set, was;
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN + 3);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, &was);
	value.sival_int = 12;
	sigqueue(getpid(), SIGRTMIN + 3, value);
	struct timespec wait = { 1, 0 };
	siginfo_t info;
	int taken = sigtimedwait(&set, &info, &wait);
	printf("sigtimedwait %d code %d value %d\n", taken, info.si_code, info.si_value.sival_int);
	unsigned long low = 0, mask = 1 << (SIGUSR1 - 1);
	printf("old sigprocmask %ld", syscall(SYS_sigprocmask, SIG_BLOCK, &mask, &low));
	raise(SIGUSR1);
	printf(" %lx", low);
	printf(" sigpending %ld", syscall(SYS_sigpending, &low));
	printf(" %lx\n", low);
	got = 0;
	syscall(SYS_sigprocmask, SIG_UNBLOCK, &mask, 0);
	printf("got %d\n", got);
}

static __thread int own = 5;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int counter;

static void *add(void *a) { return (void *)(long)(own += (int)(long)a); }

static void *count(void *a)
{
	for (int i = 0; i < 2000; i++) {
		pthread_mutex_lock(&lock);
		counter++;
		pthread_mutex_unlock(&lock);
	}
	return 0;
}

static void processes(void)
{
	int status;
	pid_t pid = fork();
	if (!pid)
		_exit(7);
	waitpid(pid, &status, 0);
	printf("status %x\n", status);
	struct rusage usage = { 0 };
	siginfo_t info = { 0 };
	pid = fork();
	if (!pid)
		kill(getpid(), SIGKILL);
	printf("waitid %d", waitid(P_PID, pid, &info, WEXITED));
	printf(" child %d code %d status %d\n", info.si_pid == pid, info.si_code, info.si_status);
	pid = vfork();
	if (!pid)
		_exit(3);
	printf("wait4 %d", wait4(pid, &status, 0, &usage) == pid);
	printf(" %x faults %d\n", status, usage.ru_minflt >= 0);
	pthread_t t[4];
	long sum = 0;
	for (long i = 0; i < 4; i++)
		pthread_create(&t[i], 0, add, (void *)i);
	for (int i = 0; i < 4; i++) {
		void *result;
		pthread_join(t[i], &result);
		sum += (long)result;
	}
	printf("thread-local sum %ld, here %d\n", sum, own);
	for (int i = 0; i < 4; i++)
		pthread_create(&t[i], 0, count, 0);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], 0);
	printf("counter %d\n", counter);
}

static void files(void)
{
	struct stat64 s64;
	struct stat s;
	struct statfs f;
	struct statfs64 f64;
	printf("stat %d", stat("/etc/passwd", &s));
	printf(" size %ld mode %o links %d\n", (long)s.st_size, s.st_mode, (int)s.st_nlink);
	printf("stat64 %ld", syscall(SYS_stat64, "/etc/passwd", &s64));
	printf(" size %lld ino %d time %d\n", (long long)s64.st_size, s64.st_ino == s.st_ino, s64.st_mtime == s.st_mtime);
	unsigned old[16]; /* dev, ino, mode and links, uid and gid, rdev, size, ... */
	printf("old stat %ld", syscall(SYS_stat, "/etc/passwd", old));
	printf(" size %u mode %o links %u\n", old[5], old[2] & 0xffff, old[2] >> 16);
	printf("statfs %d", statfs("/proc", &f));
	printf(" type %lx statfs64 %d", (long)f.f_type, statfs64("/proc", &f64));
	printf(" same %d\n", f64.f_type == f.f_type);
	char name[] = "narrow.tmp", text[32] = { 0 };
	int fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0600);
	printf("write %d", (int)write(fd, "hello world", 11));
	printf(" pread %d", (int)pread(fd, text, 5, 6));
	printf(" %s\n", text);
	printf("lseek64 %lld\n", (long long)lseek64(fd, 0x123456789LL, SEEK_SET));
	printf("pwrite64 %d", (int)pwrite64(fd, "x", 1, 0x12345));
	printf(" truncate %d", ftruncate64(fd, 0x23456));
	fstat64(fd, &s64);
	printf(" size %llx\n", (long long)s64.st_size);
	struct flock lk = { F_WRLCK, SEEK_SET, 5, 100, 0 };
	printf("lock %d", fcntl(fd, F_SETLK, &lk));
	int pid = fork();
	if (!pid) {
		lk.l_type = F_RDLCK;
		fcntl(fd, F_GETLK, &lk);
		printf(" child sees type %d start %d length %d parent %d\n", lk.l_type, (int)lk.l_start, (int)lk.l_len,
		       lk.l_pid == getppid());
		fflush(stdout);
		_exit(0);
	}
	waitpid(pid, 0, 0);
	struct iovec v[2] = { { "ab", 2 }, { "cd\n", 3 } };
	fflush(stdout);
	writev(1, v, 2);
	off_t from = 0;
	int pipes[2];
	pipe(pipes);
	printf("sendfile %d", (int)sendfile(pipes[1], fd, &from, 5));
	printf(" offset %ld\n", (long)from);
	struct timeval times[2] = { { 1000000, 500000 }, { 2000000, 250000 } };
	printf("utimes %d", utimes(name, times));
	stat(name, &s);
	printf(" %ld.%09ld %ld.%09ld\n", (long)s.st_atim.tv_sec, s.st_atim.tv_nsec, (long)s.st_mtim.tv_sec, s.st_mtim.tv_nsec);
	DIR *d = opendir("/proc/self/fd");
	int entries = 0;
	while (readdir(d))
		entries++;
	closedir(d);
	printf("entries %d\n", entries > 5);
	char listing[4096];
	int dir = open("/proc/self", O_RDONLY | O_DIRECTORY), found = 0;
	long n = syscall(SYS_getdents, dir, listing, sizeof listing);
	for (long at = 0; at < n; at += *(unsigned short *)(listing + at + 8))
		found += !strcmp(listing + at + 10, "maps");
	printf("old getdents finds maps: %d\n", found);
	close(fd);
	unlink(name);
}

static void sockets(void)
{
	int pair[2], given = 0;
	socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
	char control[CMSG_SPACE(sizeof(int))], bytes[10];
	struct iovec v[2] = { { "ab", 2 }, { "cde", 3 } }, in = { bytes, 10 };
	struct msghdr m = { .msg_iov = v, .msg_iovlen = 2, .msg_control = control, .msg_controllen = sizeof control };
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &given, sizeof given);
	printf("sendmsg %d", (int)sendmsg(pair[0], &m, 0));
	memset(control, 0, sizeof control);
	m.msg_iov = &in;
	m.msg_iovlen = 1;
	m.msg_controllen = sizeof control;
	printf(" recvmsg %d", (int)recvmsg(pair[1], &m, 0));
	printf(" control %d", (int)m.msg_controllen);
	c = CMSG_FIRSTHDR(&m);
	memcpy(&given, CMSG_DATA(c), sizeof given);
	printf(" descriptor %d\n", given > pair[1]);
	struct timeval limit = { 0, 20000 }, back;
	socklen_t size = sizeof back;
	printf("timeout %d", setsockopt(pair[1], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit));
	getsockopt(pair[1], SOL_SOCKET, SO_RCVTIMEO, &back, &size);
	printf(" %d %ld.%06ld recv %d\n", (int)size, (long)back.tv_sec, (long)back.tv_usec, (int)recv(pair[1], bytes, 1, 0));
	fd_set set;
	FD_ZERO(&set);
	FD_SET(pair[1], &set);
	struct timeval to = { 0, 1000 };
	printf("select %d", select(pair[1] + 1, &set, 0, 0, &to));
	write(pair[0], "x", 1);
	FD_ZERO(&set);
	FD_SET(pair[1], &set);
	printf(" %d", select(60, &set, 0, 0, 0));
	printf(" %d", FD_ISSET(pair[1], &set) != 0);
	struct pollfd p = { pair[1], POLLIN, 0 };
	struct timespec ts = { 0, 1000 };
	sigset_t none;
	sigemptyset(&none);
	printf(" poll %d ppoll %d", poll(&p, 1, 0), ppoll(&p, 1, &ts, &none));
	FD_ZERO(&set);
	FD_SET(pair[1], &set);
	printf(" pselect %d\n", pselect(pair[1] + 1, &set, 0, 0, &ts, &none));
	long args[4] = { pair[1], (long)bytes, 1, 0 };
	printf("socketcall recv %ld\n", syscall(SYS_socketcall, 10, args));
}

static void times_and_limits(void)
{
	struct timespec ts = { 0, 1000000 }, left;
	struct timeval tv;
	long long wide[2];
	printf("nanosleep %d", nanosleep(&ts, &left));
	gettimeofday(&tv, 0);
	printf(" time %d", labs(time(0) - tv.tv_sec) <= 1);
	clock_getres(CLOCK_MONOTONIC, &ts);
	printf(" resolution %ld.%09ld", (long)ts.tv_sec, ts.tv_nsec);
	printf(" clock_gettime64 %ld", syscall(403, 0, wide));
	printf(" %d\n", llabs(wide[0] - time(0)) <= 1);
	wide[0] = 0, wide[1] = 1000 | 7LL << 40; /* the high half of tv_nsec is not looked at */
	printf("clock_nanosleep64 %ld\n", syscall(407, 1, 0, wide, 0));
	struct rlimit rl, set = { 100, 200 };
	setrlimit(RLIMIT_NOFILE, &set);
	getrlimit(RLIMIT_NOFILE, &rl);
	printf("files %lu %lu", (unsigned long)rl.rlim_cur, (unsigned long)rl.rlim_max);
	getrlimit(RLIMIT_AS, &rl);
	printf(" space %lx", (unsigned long)rl.rlim_cur);
	unsigned old[2];
	syscall(SYS_getrlimit, RLIMIT_AS, old);
	printf(" old %x\n", old[0]);
	struct rusage usage;
	struct tms tms;
	struct sysinfo info;
	printf("rusage %d", getrusage(RUSAGE_SELF, &usage));
	printf(" %d times %d", usage.ru_minflt > 0, times(&tms) != -1);
	printf(" sysinfo %d", sysinfo(&info));
	printf(" %d %d\n", info.mem_unit > 0, info.freeram <= info.totalram);
	timer_t id;
	struct sigevent ev = { 0 };
	ev.sigev_notify = SIGEV_SIGNAL;
	ev.sigev_signo = SIGRTMIN + 1;
	ev.sigev_value.sival_int = 99;
	timer_create(CLOCK_MONOTONIC, &ev, &id);
	struct itimerspec its = { { 0, 0 }, { 0, 2000000 } };
	timer_settime(id, 0, &its, 0);
	pause();
	struct sigaction sa = { 0 };
	sa.sa_handler = plain;
	sigaction(SIGALRM, &sa, 0);
	struct itimerval once = { { 0, 0 }, { 0, 1000 } };
	setitimer(ITIMER_REAL, &once, 0);
	pause();
	printf("alarm %d\n", got == SIGALRM);
}

static void memory(void)
{
	char *m = mmap(0, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	strcpy(m, "moved");
	m = mremap(m, 1 << 20, 1 << 22, MREMAP_MAYMOVE);
	printf("mremap %s\n", m);
	printf("too large: %d\n", mmap(0, 0xf8000000u, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) == MAP_FAILED);
	int fd = open("/etc/passwd", O_RDONLY);
	unsigned long args[6] = { 0, 4096, PROT_READ, MAP_PRIVATE, fd, 0 };
	char *old = (char *)syscall(SYS_mmap, args);
	printf("old mmap %.5s\n", old);
	printf("mmap2 far: %d\n", (int)syscall(SYS_mmap2, 0, 4096, PROT_READ, MAP_PRIVATE, fd, 0x80000) > 0);
	int id = shmget(IPC_PRIVATE, 8192, 0600);
	char *sh = shmat(id, 0, 0);
	strcpy(sh, "shared");
	struct shmid_ds ds;
	shmctl(id, IPC_STAT, &ds);
	printf("%s size %d attached %d mode %o\n", sh, (int)ds.shm_segsz, (int)ds.shm_nattch, ds.shm_perm.mode);
	shmdt(sh);
	shmctl(id, IPC_RMID, 0);
	int sem = semget(IPC_PRIVATE, 1, 0600);
	struct sembuf up = { 0, 1, 0 };
	struct semid_ds sds;
	union { int val; struct semid_ds *buf; } arg = { .buf = &sds };
	printf("semop %d", semop(sem, &up, 1));
	printf(" semctl %d", semctl(sem, 0, IPC_STAT, arg));
	printf(" %d value %d\n", (int)sds.sem_nsems, semctl(sem, 0, GETVAL));
	semctl(sem, 0, IPC_RMID);
}

int main(void)
{
	setvbuf(stdout, 0, _IOLBF, 0);
	signals();
	processes();
	files();
	sockets();
	memory();
	times_and_limits();
	return 0;
}
