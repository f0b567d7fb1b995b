/* timerfd, signalfd, pidfd. */
#include "say.h"
#include "asleep.h"
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>

#define V(...) say_result(#__VA_ARGS__, (long)(__VA_ARGS__))

static int poll_one(int fd, int timeout)
{
	struct pollfd p = { .fd = fd, .events = POLLIN | POLLOUT };
	poll(&p, 1, timeout);
	return p.revents;
}

static void set(int fd, int flags, long interval_ms, long value_ms)
{
	struct itimerspec spec = { { interval_ms / 1000, interval_ms % 1000 * 1000000 }, { value_ms / 1000, value_ms % 1000 * 1000000 } };
	V(SC(SYS_timerfd_settime, fd, flags, &spec, 0));
}

static void timers(void)
{
	struct itimerspec spec = { { 0, 0 }, { 0, 0 } }, old;
	ul ticks = 0;
	V(SC(SYS_timerfd_create, 99, 0));
	V(SC(SYS_timerfd_create, 2, 0));
	V(SC(SYS_timerfd_create, 1, 1));
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	V(SC(SYS_fcntl, fd, F_GETFL));
	V(SC(SYS_timerfd_settime, fd, 4, &spec, 0));
	V(SC(SYS_timerfd_settime, fd, 0, 0, 0));
	V(SC(SYS_timerfd_settime, 0, 0, &spec, 0));
	V(SC(SYS_timerfd_settime, 99, 0, &spec, 0));
	spec.it_value.tv_nsec = 1000000000;
	V(SC(SYS_timerfd_settime, fd, 0, &spec, 0));
	V(SC(SYS_timerfd_gettime, fd, 0));
	V(SC(SYS_read, fd, &ticks, 8));
	V(SC(SYS_read, fd, &ticks, 7));
	V(SC(SYS_write, fd, &ticks, 8));
	V(SC(SYS_pread64, fd, &ticks, 8, 0));
	V(SC(SYS_lseek, fd, 10, 0));
	set(fd, 0, 0, 200000);
	say("ready %d\n", poll_one(fd, 0));
	set(fd, 0, 0, 20);
	say("ready %d\n", poll_one(fd, -1));
	V(SC(SYS_read, fd, &ticks, 8));
	say("ticks %ld\n", ticks);
	V(SC(SYS_timerfd_gettime, fd, &old));
	say("left %ld %ld\n", old.it_value.tv_sec, old.it_value.tv_nsec);
	set(fd, 0, 100000, 30);
	poll_one(fd, -1);
	V(SC(SYS_timerfd_gettime, fd, &old));
	say("interval %ld, left about %d\n", old.it_interval.tv_sec, old.it_value.tv_sec >= 90 && old.it_value.tv_sec < 100);
	V(SC(SYS_read, fd, &ticks, 8));
	say("ticks %ld\n", ticks);
	set(fd, 1, 10, 1);
	usleep(5000);
	V(SC(SYS_read, fd, &ticks, 8));
	say("many %d\n", ticks > 1000);
	set(fd, 0, 0, 0);
	V(SC(SYS_read, fd, &ticks, 8));
	set(fd, 0, 3000, 100000);
	spec = (struct itimerspec){ { 0, 0 }, { 0, 0 } };
	V(SC(SYS_timerfd_settime, fd, 0, &spec, &old));
	say("was %ld %d\n", old.it_interval.tv_sec, old.it_value.tv_sec >= 99);
	int real = timerfd_create(CLOCK_REALTIME, 0);
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	spec.it_value = now;
	spec.it_value.tv_nsec += 20000000;
	if (spec.it_value.tv_nsec >= 1000000000)
		spec.it_value.tv_sec++, spec.it_value.tv_nsec -= 1000000000;
	V(SC(SYS_timerfd_settime, real, TFD_TIMER_ABSTIME, &spec, 0));
	V(SC(SYS_read, real, &ticks, 8));
	say("ticks %ld\n", ticks);
}

static void say_signal(struct signalfd_siginfo *s)
{
	say("  signal %u code %d me %d uid %u status %d int %d ptr %lx\n", s->ssi_signo, s->ssi_code,
	    s->ssi_pid == (unsigned)getpid(), s->ssi_uid, s->ssi_status, s->ssi_int, (ul)s->ssi_ptr);
}

static void signals(void)
{
	sigset_t mask;
	ul bits;
	struct signalfd_siginfo got[4];
	sigemptyset(&mask);
	sigaddset(&mask, SIGUSR1);
	sigaddset(&mask, SIGCHLD);
	sigaddset(&mask, SIGRTMIN);
	sigprocmask(SIG_BLOCK, &mask, 0);
	memcpy(&bits, &mask, 8);
	V(SC(SYS_signalfd4, -1, &bits, 4, 0));
	V(SC(SYS_signalfd4, -1, 0, 8, 0));
	V(SC(SYS_signalfd4, -1, &bits, 8, 1));
	V(SC(SYS_signalfd4, 0, &bits, 8, 0));
	V(SC(SYS_signalfd4, 99, &bits, 8, 0));
	int fd = SC(SYS_signalfd4, -1, &bits, 8, SFD_NONBLOCK);
	V(SC(SYS_signalfd4, fd, &bits, 8, 0) == fd);
	V(SC(SYS_read, fd, got, 127));
	V(SC(SYS_read, fd, got, 128));
	kill(getpid(), SIGUSR1);
	kill(getpid(), SIGUSR1);
	sigqueue(getpid(), SIGRTMIN, (union sigval){ .sival_int = 77 });
	sigqueue(getpid(), SIGRTMIN, (union sigval){ .sival_int = -1 });
	raise(SIGUSR1);
	say("ready %x\n", poll_one(fd, 0));
	V(SC(SYS_read, fd, got, sizeof got + 5));
	for (int i = 0; i < 4; i++)
		say_signal(&got[i]);
	V(SC(SYS_read, fd, got, sizeof got));
	fcntl(fd, F_SETFL, 0);
	flush();
	int child = fork();
	if (!child) {
		usleep(20000);
		quit(9);
	}
	V(SC(SYS_read, fd, got, sizeof got));
	say("  signal %u code %d child %d status %d\n", got[0].ssi_signo, got[0].ssi_code, got[0].ssi_pid == (unsigned)child,
	    got[0].ssi_status);
	waitpid(child, 0, 0);
}

static void processes(void)
{
	int p[2], q[2], status;
	char byte = 0;
	pipe(p), pipe(q);
	V(SC(SYS_pidfd_open, 0, 0));
	V(SC(SYS_pidfd_open, getpid(), 1));
	V(SC(SYS_pidfd_open, 1 << 29, 0));
	flush();
	int child = fork();
	if (!child) {
		int e = eventfd(42, 0);
		dup2(e, 50);
		write(q[1], "x", 1);
		read(p[0], &byte, 1);
		quit(5);
	}
	read(q[0], &byte, 1);
	int fd = SC(SYS_pidfd_open, child, 0);
	V(SC(SYS_fcntl, fd, F_GETFD));
	V(SC(SYS_fcntl, fd, F_GETFL));
	V(SC(SYS_read, fd, &byte, 1));
	V(SC(SYS_lseek, fd, 0, 0));
	V(SC(SYS_pidfd_getfd, fd, 50, 1));
	V(SC(SYS_pidfd_getfd, fd, 99, 0));
	V(SC(SYS_pidfd_getfd, 0, 50, 0));
	int taken = SC(SYS_pidfd_getfd, fd, 50, 0);
	ul value;
	V(SC(SYS_fcntl, taken, F_GETFD));
	V(SC(SYS_read, taken, &value, 8));
	say("value %ld\n", value);
	V(SC(SYS_pidfd_send_signal, fd, 0, 0, 0));
	V(SC(SYS_pidfd_send_signal, fd, 65, 0, 0));
	V(SC(SYS_pidfd_send_signal, fd, 0, 0, 8));
	V(SC(SYS_pidfd_send_signal, fd, 0, 0, 3));
	V(SC(SYS_pidfd_send_signal, 0, 0, 0, 0));
	say("ready %x\n", poll_one(fd, 0));
	siginfo_t info;
	V(SC(SYS_waitid, P_PIDFD, fd, &info, WEXITED | WNOHANG, 0));
	write(p[1], "x", 1);
	say("ready %x\n", poll_one(fd, -1));
	V(SC(SYS_pidfd_getfd, fd, 50, 0));
	V(SC(SYS_waitid, P_PIDFD, fd, &info, WEXITED, 0));
	say("child %d status %d\n", info.si_pid == child, info.si_status);
	say("ready %x\n", poll_one(fd, 0));
	V(SC(SYS_pidfd_send_signal, fd, 0, 0, 0));
	V(SC(SYS_pidfd_getfd, fd, 50, 0));
	V(SC(SYS_pidfd_open, child, 0));
	child = fork();
	if (!child)
		for (;;)
			pause();
	fd = SC(SYS_pidfd_open, child, O_NONBLOCK);
	V(SC(SYS_waitid, P_PIDFD, fd, &info, WEXITED, 0));
	V(SC(SYS_pidfd_send_signal, fd, SIGTERM, 0, 0));
	waitpid(child, &status, 0);
	say("status %x\n", status);
}

/* A write that waits though the counter has room for smaller ones. */
static void large_number(void)
{
	int fd = eventfd(10, 0);
	ul value = -6UL;
	flush();
	int child = fork();
	if (!child) {
		until_asleep(getppid(), getppid());
		read(fd, &value, 8);
		quit(value);
	}
	say("ready %x\n", poll_one(fd, 0));
	V(SC(SYS_write, fd, &value, 8));
	int status;
	waitpid(child, &status, 0);
	V(SC(SYS_read, fd, &value, 8));
	say("status %x value %lx\n", status, value);
}

int main(void)
{
	large_number();
	timers();
	signals();
	processes();
	quit(0);
}
