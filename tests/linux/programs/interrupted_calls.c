/* Every call that blocks, interrupted by a handler without and with SA_RESTART, and by a stop. usage: ... WORKDIR */
#include "threads.h"
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/un.h>

#define FAR 30 /* seconds */

static struct shared {
	volatile int handled, ready, done;
	volatile long result;
	volatile int rest; /* 1: what is left of the time is given, and plausible; 2: given, and not */
	unsigned word;
	volatile int semaphore; /* its id, and one */
} *s;

static char buffer[200000];
static struct timespec far, left;

static void handler(int sig) { s->handled++; }

static int plausible(long sec, long nsec)
{
	return sec > FAR || sec < FAR - 20 || nsec < 0 || nsec > 999999999 || (sec == FAR && nsec) ? 2 : 1;
}

static int *new_pipe(void)
{
	static int p[2];
	pipe(p);
	return p;
}

static int *pair(int kind)
{
	static int p[2];
	socketpair(AF_UNIX, kind, 0, p);
	return p;
}

static int full_pipe(int left_free)
{
	int *p = new_pipe();
	fcntl(p[1], F_SETPIPE_SZ, 65536);
	write(p[1], buffer, 65536 - left_free);
	return p[1];
}

static int full_socket(int kind)
{
	int *p = pair(kind);
	fcntl(p[0], F_SETFL, O_NONBLOCK);
	while (write(p[0], buffer, 1000) > 0)
		;
	fcntl(p[0], F_SETFL, 0);
	return p[0];
}

static void receive_timeout(int fd, int option)
{
	struct timeval t = { FAR, 0 };
	setsockopt(fd, SOL_SOCKET, option, &t, sizeof t);
}

/* --- one function per call: prepares, announces, blocks --- */
static long ready(void) { return s->ready = 1; }
#define CALL(...) (ready(), (long)SC(__VA_ARGS__))

static long read_pipe(void) { return CALL(SYS_read, new_pipe()[0], buffer, 10); }
static long readv_pipe(void)
{
	struct iovec v = { buffer, 10 };
	return CALL(SYS_readv, new_pipe()[0], &v, 1);
}
static long write_pipe(void) { return CALL(SYS_write, full_pipe(0), buffer, 10); }
static long write_pipe_partly(void) { return CALL(SYS_write, full_pipe(8192), buffer, 20000); }
static long splice_pipe(void)
{
	int from = new_pipe()[0], to = new_pipe()[1];
	return CALL(SYS_splice, from, 0, to, 0, 100, 0);
}
static long tee_pipe(void)
{
	int from = new_pipe()[0], to = new_pipe()[1];
	return CALL(SYS_tee, from, to, 100, 0);
}
static long open_fifo(void)
{
	unlink(in_work("fifo")), mkfifo(in_work("fifo"), 0600);
	return CALL(SYS_open, in_work("fifo"), O_RDONLY);
}
static long open_fifo_to_write(void)
{
	unlink(in_work("fifo")), mkfifo(in_work("fifo"), 0600);
	return CALL(SYS_open, in_work("fifo"), O_WRONLY);
}

static int sleeper;
static int sleeping_child(void)
{
	int child = fork();
	if (!child) {
		sleep(FAR);
		_exit(0);
	}
	return sleeper = child;
}
static long wait4_(void) { return CALL(SYS_wait4, sleeping_child(), 0, 0, 0); }
static long waitid_(void) { return CALL(SYS_waitid, P_PID, sleeping_child(), buffer, WEXITED, 0); }

static long nanosleep_(void)
{
	long r = CALL(SYS_nanosleep, &far, &left);
	s->rest = left.tv_sec || left.tv_nsec ? plausible(left.tv_sec, left.tv_nsec) : 0;
	return r;
}
static long nanosleep_no_rest(void) { return CALL(SYS_nanosleep, &far, 0); }
static long clock_nanosleep_(void)
{
	long r = CALL(SYS_clock_nanosleep, CLOCK_REALTIME, 0, &far, &left);
	s->rest = left.tv_sec || left.tv_nsec ? plausible(left.tv_sec, left.tv_nsec) : 0;
	return r;
}
static long clock_nanosleep_absolute(void)
{
	struct timespec at = after_ms(CLOCK_MONOTONIC, 0);
	at.tv_sec += FAR;
	long r = CALL(SYS_clock_nanosleep, CLOCK_MONOTONIC, TIMER_ABSTIME, &at, &left);
	s->rest = left.tv_sec || left.tv_nsec ? 2 : 0;
	return r;
}

static long poll_(void)
{
	struct pollfd p = { new_pipe()[0], POLLIN };
	return CALL(SYS_poll, &p, 1, -1);
}
static long poll_timed(void) { return CALL(SYS_poll, 0, 0, FAR * 1000); }
static long ppoll_(void)
{
	struct timespec t = far;
	sigset_t none;
	sigemptyset(&none);
	long r = CALL(SYS_ppoll, 0, 0, &t, &none, 8);
	s->rest = plausible(t.tv_sec, t.tv_nsec);
	return r;
}
static long select_(void) { return CALL(SYS_select, 0, 0, 0, 0, 0); }
static long select_timed(void)
{
	struct timeval t = { FAR, 0 };
	long r = CALL(SYS_select, 0, 0, 0, 0, &t);
	s->rest = plausible(t.tv_sec, t.tv_usec * 1000);
	return r;
}
static long pselect_(void)
{
	struct timespec t = far;
	sigset_t none;
	struct { void *p; long n; } mask = { &none, 8 };
	sigemptyset(&none);
	long r = CALL(SYS_pselect6, 0, 0, 0, 0, &t, &mask);
	s->rest = plausible(t.tv_sec, t.tv_nsec);
	return r;
}
static long epoll_wait_(void) { return CALL(SYS_epoll_wait, epoll_create1(0), buffer, 10, -1); }
static long epoll_wait_timed(void) { return CALL(SYS_epoll_wait, epoll_create1(0), buffer, 10, FAR * 1000); }
static long epoll_pwait_(void)
{
	sigset_t none;
	sigemptyset(&none);
	return CALL(SYS_epoll_pwait, epoll_create1(0), buffer, 10, -1, &none, 8);
}
static long epoll_pwait2_(void) { return CALL(441, epoll_create1(0), buffer, 10, &far, 0, 8); }

static long futex_wait(void) { return CALL(SYS_futex, &s->word, FUTEX_WAIT, 0, 0, 0, 0); }
static long futex_wait_timed(void) { return CALL(SYS_futex, &s->word, FUTEX_WAIT, 0, &far, 0, 0); }
static long futex_wait_bitset(void)
{
	struct timespec at = after_ms(CLOCK_MONOTONIC, 0);
	at.tv_sec += FAR;
	return CALL(SYS_futex, &s->word, FUTEX_WAIT_BITSET, 0, &at, 0, 1);
}
static long futex_lock_pi(void)
{
	s->word = getppid();
	return CALL(SYS_futex, &s->word, FUTEX_LOCK_PI, 0, 0, 0, 0);
}
static long futex_wait_requeue_pi(void)
{
	return CALL(SYS_futex, &s->word, FUTEX_WAIT_REQUEUE_PI, 0, 0, &s->word + 1, 0);
}
static long futex2_wait(void) { return CALL(455, &s->word, 0, -1U, 2, 0, 0); }

static int listener(int backlog, struct sockaddr_un *addr)
{
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	memset(addr, 0, sizeof *addr);
	addr->sun_family = AF_UNIX;
	strcpy(addr->sun_path, in_work("socket"));
	unlink(addr->sun_path);
	bind(fd, (void *)addr, sizeof *addr);
	listen(fd, backlog);
	return fd;
}
static struct sockaddr_un addr;
static long accept_(void) { return CALL(SYS_accept, listener(3, &addr), 0, 0); }
static long accept_timed(void)
{
	int fd = listener(3, &addr);
	receive_timeout(fd, SO_RCVTIMEO);
	return CALL(SYS_accept, fd, 0, 0);
}
static long connect_(void)
{
	listener(0, &addr);
	connect(socket(AF_UNIX, SOCK_STREAM, 0), (void *)&addr, sizeof addr);
	return CALL(SYS_connect, socket(AF_UNIX, SOCK_STREAM, 0), &addr, sizeof addr);
}
static long read_socket(void) { return CALL(SYS_read, pair(SOCK_STREAM)[0], buffer, 10); }
static long recv_stream(void) { return CALL(SYS_recvfrom, pair(SOCK_STREAM)[0], buffer, 10, 0, 0, 0); }
static long recv_all(void)
{
	int *p = pair(SOCK_STREAM);
	write(p[1], "abc", 3);
	return CALL(SYS_recvfrom, p[0], buffer, 10, MSG_WAITALL, 0, 0);
}
static long recv_dgram(void) { return CALL(SYS_recvfrom, pair(SOCK_DGRAM)[0], buffer, 10, 0, 0, 0); }
static long recv_seqpacket(void) { return CALL(SYS_recvfrom, pair(SOCK_SEQPACKET)[0], buffer, 10, 0, 0, 0); }
static long recv_timed(void)
{
	int *p = pair(SOCK_STREAM);
	receive_timeout(p[0], SO_RCVTIMEO);
	return CALL(SYS_recvfrom, p[0], buffer, 10, 0, 0, 0);
}
static long recv_dgram_timed(void)
{
	int *p = pair(SOCK_DGRAM);
	receive_timeout(p[0], SO_RCVTIMEO);
	return CALL(SYS_recvfrom, p[0], buffer, 10, 0, 0, 0);
}
static long recvmsg_(void)
{
	struct iovec v = { buffer, 10 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };
	return CALL(SYS_recvmsg, pair(SOCK_STREAM)[0], &m, 0);
}
static long recvmmsg_(void)
{
	struct iovec v = { buffer, 10 };
	struct mmsghdr m = { .msg_hdr = { .msg_iov = &v, .msg_iovlen = 1 } };
	return CALL(SYS_recvmmsg, pair(SOCK_DGRAM)[0], &m, 1, 0, 0);
}
static long send_stream(void) { return CALL(SYS_sendto, full_socket(SOCK_STREAM), buffer, 10, 0, 0, 0); }
static long send_dgram(void) { return CALL(SYS_sendto, full_socket(SOCK_DGRAM), buffer, 10, 0, 0, 0); }
static long send_timed(void)
{
	int fd = full_socket(SOCK_STREAM);
	receive_timeout(fd, SO_SNDTIMEO);
	return CALL(SYS_sendto, fd, buffer, 10, 0, 0, 0);
}
static long send_dgram_timed(void)
{
	int fd = full_socket(SOCK_DGRAM);
	receive_timeout(fd, SO_SNDTIMEO);
	return CALL(SYS_sendto, fd, buffer, 10, 0, 0, 0);
}

static long pause_(void) { return CALL(SYS_pause); }
static long sigsuspend_(void)
{
	sigset_t none;
	sigemptyset(&none);
	return CALL(SYS_rt_sigsuspend, &none, 8);
}
static long sigtimedwait_(void)
{
	sigset_t set;
	sigemptyset(&set), sigaddset(&set, SIGUSR2);
	return CALL(SYS_rt_sigtimedwait, &set, 0, &far, 8);
}
static long sigwaitinfo_(void)
{
	sigset_t set;
	sigemptyset(&set), sigaddset(&set, SIGUSR2);
	return CALL(SYS_rt_sigtimedwait, &set, 0, 0, 8);
}
static long read_signalfd(void)
{
	sigset_t set;
	sigemptyset(&set), sigaddset(&set, SIGUSR2);
	sigprocmask(SIG_BLOCK, &set, 0);
	return CALL(SYS_read, signalfd(-1, &set, 0), buffer, 1000);
}
static long read_eventfd(void) { return CALL(SYS_read, eventfd(0, 0), buffer, 8); }
static long write_eventfd(void)
{
	unsigned long most = -2UL;
	int fd = eventfd(0, 0);
	write(fd, &most, 8);
	return CALL(SYS_write, fd, &most, 8);
}
static long read_timerfd(void) { return CALL(SYS_read, timerfd_create(CLOCK_MONOTONIC, 0), buffer, 8); }
static long read_inotify(void) { return CALL(SYS_read, inotify_init(), buffer, 1000); }

static int lock_file(void)
{
	int fd = open(in_work("lock"), O_RDWR | O_CREAT, 0644);
	return fd;
}
static long flock_(void)
{
	int one = lock_file(), two = lock_file();
	flock(one, LOCK_EX);
	return CALL(SYS_flock, two, LOCK_SH);
}
static long lock_of(int how)
{
	int fd = lock_file(), other = lock_file();
	struct flock l = { .l_type = F_WRLCK };
	fcntl(fd, F_OFD_SETLK, &l);
	return CALL(SYS_fcntl, other, how, &l);
}
static long setlkw(void) { return lock_of(F_SETLKW); }
static long ofd_setlkw(void) { return lock_of(F_OFD_SETLKW); }

static long semaphore(void *timeout)
{
	struct sembuf down = { 0, -1, 0 };
	int id = semget(IPC_PRIVATE, 1, 0600);
	s->semaphore = id + 1;
	return CALL(SYS_semtimedop, id, &down, 1, timeout);
}
static long semop_(void) { return semaphore(0); }
static long semtimedop_(void) { return semaphore(&far); }

#define C(f) { #f, f }
static const struct {
	const char *name;
	long (*call)(void);
} calls[] = {
	C(read_pipe), C(readv_pipe), C(write_pipe), C(write_pipe_partly), C(splice_pipe), C(tee_pipe), C(open_fifo),
	C(open_fifo_to_write), C(wait4_), C(waitid_), C(nanosleep_), C(nanosleep_no_rest), C(clock_nanosleep_),
	C(clock_nanosleep_absolute), C(poll_), C(poll_timed), C(ppoll_), C(select_), C(select_timed), C(pselect_),
	C(epoll_wait_), C(epoll_wait_timed), C(epoll_pwait_), C(epoll_pwait2_), C(futex_wait), C(futex_wait_timed),
	C(futex_wait_bitset), C(futex_lock_pi), C(futex_wait_requeue_pi), C(futex2_wait), C(accept_), C(accept_timed),
	C(connect_), C(read_socket), C(recv_stream), C(recv_all), C(recv_dgram), C(recv_seqpacket), C(recv_timed),
	C(recv_dgram_timed), C(recvmsg_), C(recvmmsg_), C(send_stream), C(send_dgram), C(send_timed), C(send_dgram_timed),
	C(pause_), C(sigsuspend_), C(sigtimedwait_), C(sigwaitinfo_), C(read_signalfd), C(read_eventfd), C(write_eventfd),
	C(read_timerfd), C(read_inotify), C(flock_), C(setlkw), C(ofd_setlkw), C(semop_), C(semtimedop_),
};

static void one(int which, int mode)
{
	static const char *modes[] = { "handler", "restart", "stop" };
	memset((void *)s, 0, sizeof *s);
	int child = fork(), status;
	if (!child) {
		struct sigaction act = { .sa_handler = handler, .sa_flags = mode == 1 ? SA_RESTART : 0 };
		setpgid(0, 0);
		sigaction(SIGUSR1, &act, 0);
		s->result = calls[which].call();
		s->done = 1;
		if (sleeper)
			kill(sleeper, SIGKILL);
		for (;;)
			pause();
	}
	setpgid(child, child);
	while (!s->ready)
		usleep(100);
	until_asleep(child, child);
	int early = s->done;
	if (mode == 2) {
		kill(child, SIGSTOP);
		until_state(child, child, 'T');
		kill(child, SIGCONT);
	} else {
		kill(child, SIGUSR1);
		for (int i = 0; i < 20000 && !s->handled; i++)
			usleep(100);
	}
	until_asleep(child, child);
	if (early || !s->done)
		say("%s, %s: %s\n", calls[which].name, modes[mode], early ? "did not block" : "goes on");
	else
		say("%s, %s: %ld %s%s\n", calls[which].name, modes[mode], s->result < 0 ? -1 : s->result,
		    s->result < 0 ? errno_name(-s->result) ?: "another errno" : "",
		    s->rest == 1 ? " time left" : s->rest == 2 ? " odd time" : "");
	kill(-child, SIGKILL);
	waitpid(child, &status, 0);
	if (s->semaphore)
		semctl(s->semaphore - 1, 0, IPC_RMID);
}

/* What a stop interrupts goes on where it was, and ends when it would have. */
static long timed_call(int which)
{
	struct timespec t = { 0, 120000000 }, at = after_ms(CLOCK_MONOTONIC, 120);
	struct timeval tv = { 0, 120000 };
	ready();
	switch (which) {
	case 0: return SC(SYS_nanosleep, &t, &left);
	case 1: return SC(SYS_clock_nanosleep, CLOCK_MONOTONIC, TIMER_ABSTIME, &at, 0);
	case 2: return SC(SYS_poll, 0, 0, 120);
	case 3: return SC(SYS_ppoll, 0, 0, &t, 0, 8);
	case 4: return SC(SYS_select, 0, 0, 0, 0, &tv);
	case 5: return SC(SYS_futex, &s->word, FUTEX_WAIT, 0, &t, 0, 0);
	default: return SC(SYS_futex, &s->word, FUTEX_WAIT_BITSET, 0, &at, 0, -1U);
	}
}

static void in_time(int which)
{
	memset((void *)s, 0, sizeof *s);
	int child = fork(), status;
	if (!child) {
		struct timespec from = after_ms(CLOCK_MONOTONIC, 0), to;
		s->result = timed_call(which);
		to = after_ms(CLOCK_MONOTONIC, 0);
		long ms = (to.tv_sec - from.tv_sec) * 1000 + (to.tv_nsec - from.tv_nsec) / 1000000;
		s->done = ms < 119 ? 1 : ms > 5000 ? 2 : 3;
		_exit(0);
	}
	while (!s->ready)
		usleep(100);
	until_asleep(child, child);
	for (int i = 0; i < 3; i++) {
		kill(child, SIGSTOP);
		until_state(child, child, 'T');
		kill(child, SIGCONT);
		until_asleep(child, child);
	}
	waitpid(child, &status, 0);
	say("timed %d: %ld %s, %s\n", which, s->result < 0 ? -1 : s->result,
	    s->result < 0 ? errno_name(-s->result) ?: "another errno" : "",
	    s->done == 3 ? "in time" : s->done == 2 ? "late" : "early");
}

int main(int argc, char **argv)
{
	if (argc > 1)
		work_dir = argv[1];
	far.tv_sec = FAR;
	s = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	for (int which = 0; which < sizeof calls / sizeof calls[0]; which++)
		for (int mode = 0; mode < 3; mode++)
			if (argc < 3 || !strcmp(argv[2], calls[which].name))
				one(which, mode);
	for (int which = 0; argc < 3 && which < 7; which++)
		in_time(which);
	unlink(in_work("fifo")), unlink(in_work("socket"));
	quit(0);
}
