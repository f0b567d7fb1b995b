/* epoll: errors, level and edge, ONESHOT, nested instances, waiting for another process, timeouts, signals. */
#include "say.h"
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#define V(...) say_result(#__VA_ARGS__, (long)(__VA_ARGS__))

static void say_events(int ep, int most, int timeout)
{
	struct epoll_event got[8];
	long n = SC(SYS_epoll_wait, ep, got, most, timeout);
	say_result("epoll_wait", n);
	for (long i = 0; i < n; i++)
		say("  %x %lx\n", got[i].events, (ul)got[i].data.u64);
}

static long ctl(int ep, int op, int fd, unsigned events, ul data)
{
	struct epoll_event event = { .events = events, .data.u64 = data };
	return SC(SYS_epoll_ctl, ep, op, fd, &event);
}

static void errors(void)
{
	int p[2], ep, file = SC(SYS_open, "/dev/null", O_RDWR, 0), dir = SC(SYS_open, "/", O_RDONLY, 0);
	pipe(p);
	V(SC(SYS_epoll_create, 0));
	V(SC(SYS_epoll_create, -1));
	V(SC(SYS_epoll_create1, 1));
	ep = SC(SYS_epoll_create1, EPOLL_CLOEXEC);
	V(SC(SYS_fcntl, ep, F_GETFD));
	V(SC(SYS_fcntl, ep, F_GETFL));
	V(ctl(ep, 1, file, 1, 0));
	V(ctl(ep, 1, dir, 1, 0));
	V(ctl(ep, 1, 99, 1, 0));
	V(ctl(99, 1, p[0], 1, 0));
	V(ctl(p[0], 1, p[0], 1, 0));
	V(ctl(p[0], 1, file, 1, 0));
	V(ctl(ep, 1, ep, 1, 0));
	V(ctl(ep, 7, p[0], 1, 0));
	V(SC(SYS_epoll_ctl, ep, 1, p[0], 0));
	V(SC(SYS_epoll_ctl, ep, 2, p[0], 0));
	V(ctl(ep, 3, p[0], 1, 0));
	V(ctl(ep, 1, p[0], EPOLLIN | EPOLLWAKEUP, 0));
	V(ctl(ep, 1, p[0], EPOLLIN, 0));
	V(ctl(ep, 3, p[0], EPOLLIN | EPOLLEXCLUSIVE, 0));
	V(ctl(ep, 1, p[1], EPOLLIN | EPOLLEXCLUSIVE | EPOLLONESHOT, 0));
	V(ctl(ep, 1, p[1], EPOLLOUT | EPOLLEXCLUSIVE, 0));
	V(ctl(ep, 3, p[1], EPOLLOUT, 0));
	V(ctl(ep, 2, p[1], 0, 0));
	V(SC(SYS_epoll_wait, ep, 0, 0, 0));
	V(SC(SYS_epoll_wait, ep, 0, -1, 0));
	V(SC(SYS_epoll_wait, ep, -PAGE, 1, 0));
	V(SC(SYS_epoll_wait, p[0], 0, 1, 0));
	V(SC(SYS_epoll_wait, 99, 0, 0, 0));
	SC(SYS_write, p[1], "x", 1);
	V(SC(SYS_epoll_wait, ep, 16, 1, 0));
	say_events(ep, 8, 0);
	V(SC(SYS_read, ep, &ep, 4));
	V(SC(SYS_lseek, ep, 0, 0));
	struct timespec bad = { 0, -1 }, zero = { 0, 0 };
	V(SC(SYS_epoll_pwait2, ep, 16, 1, &bad, 0, 0));
	V(SC(SYS_epoll_pwait, ep, 16, 1, 0, &bad, 4));
	struct epoll_event got;
	V(SC(SYS_epoll_pwait2, ep, &got, 1, &zero, 0, 0));
}

static void edges(void)
{
	int p[2], ep = epoll_create1(0), event = eventfd(0, EFD_NONBLOCK);
	ul one = 1;
	char byte;
	pipe(p);
	ctl(ep, 1, p[0], EPOLLIN | EPOLLET, 0x1111222233334444);
	ctl(ep, 1, event, EPOLLIN | EPOLLONESHOT, 2);
	ctl(ep, 1, p[1], EPOLLOUT | EPOLLET, 3);
	say_events(ep, 8, 0);
	say_events(ep, 8, 0);
	write(p[1], "ab", 2);
	write(event, &one, 8);
	say_events(ep, 1, 0);
	say_events(ep, 8, 0);
	read(p[0], &byte, 1);
	say_events(ep, 8, 0);
	write(p[1], "c", 1);
	write(event, &one, 8);
	say_events(ep, 8, 0);
	ctl(ep, 3, event, EPOLLIN | EPOLLONESHOT, 5);
	say_events(ep, 8, 0);
	int copy = dup(p[0]);
	close(p[0]);
	write(p[1], "d", 1);
	say_events(ep, 8, 0);
	close(copy);
	say_events(ep, 8, 0);
}

static void nested(void)
{
	int p[2], inner = epoll_create1(0), outer = epoll_create1(0);
	struct pollfd wait = { .fd = outer, .events = POLLIN | POLLOUT };
	pipe(p);
	V(ctl(outer, 1, inner, EPOLLIN, 1));
	V(ctl(inner, 1, outer, EPOLLIN, 1));
	V(ctl(inner, 1, p[0], EPOLLIN, 2));
	V(SC(SYS_poll, &wait, 1, 0));
	write(p[1], "x", 1);
	V(SC(SYS_poll, &wait, 1, 0));
	say("revents %x\n", wait.revents);
	say_events(outer, 8, 0);
	say_events(inner, 8, 0);
	char byte;
	read(p[0], &byte, 1);
	say_events(outer, 8, 0);
	V(SC(SYS_poll, &wait, 1, 0));
}

static volatile int alarms;
static void on_alarm(int sig) { alarms++; }

static void waiting(void)
{
	int p[2], q[2], ep = epoll_create1(0);
	char byte;
	pipe(p);
	pipe(q);
	ctl(ep, 1, p[0], EPOLLIN, 7);
	say_events(ep, 8, 20);
	flush();
	int child = fork();
	if (!child) {
		usleep(30000);
		write(p[1], "1", 1);
		read(q[0], &byte, 1);
		usleep(30000);
		quit(0);
	}
	close(p[1]);
	say_events(ep, 8, -1);
	read(p[0], &byte, 1);
	write(q[1], "x", 1);
	say_events(ep, 8, -1);
	waitpid(child, 0, 0);
	pipe(p);
	ctl(ep, 1, p[0], EPOLLIN, 8);
	ctl(ep, 2, 3, 0, 0);
	struct sigaction act = { .sa_handler = on_alarm, .sa_flags = SA_RESTART };
	sigaction(SIGALRM, &act, 0);
	struct itimerval soon = { { 0, 30000 }, { 0, 30000 } }, never = { { 0, 0 }, { 0, 0 } };
	close(ep);
	ep = epoll_create1(0);
	ctl(ep, 1, p[0], EPOLLIN, 9);
	setitimer(ITIMER_REAL, &soon, 0);
	say_events(ep, 8, -1);
	setitimer(ITIMER_REAL, &never, 0);
	say("alarms %d\n", alarms > 0);
	alarms = 0;
	sigset_t block, none;
	sigemptyset(&none);
	sigemptyset(&block);
	sigaddset(&block, SIGALRM);
	sigprocmask(SIG_BLOCK, &block, 0);
	raise(SIGALRM);
	struct epoll_event got;
	V(SC(SYS_epoll_pwait, ep, &got, 1, -1, &none, 8));
	say("alarms %d\n", alarms);
	sigprocmask(SIG_SETMASK, 0, &block);
	say("still blocked %d\n", sigismember(&block, SIGALRM));
}

int main(void)
{
	errors();
	edges();
	nested();
	waiting();
	quit(0);
}
