/* flock, record locks of processes and of open files, deadlocks. usage: lock_calls WORKDIR */
#include "say.h"
#include "asleep.h"
#include <sys/file.h>

#define V(...) say_result(#__VA_ARGS__, (long)(__VA_ARGS__))
#define OFD_GETLK 36
#define OFD_SETLK 37
#define OFD_SETLKW 38

/* The locks of open files know one structure only, that with 64 bits, whatever the program's width. */
static int wide(int cmd) { return cmd >= OFD_GETLK && cmd <= OFD_SETLKW; }

static long lock(int fd, int cmd, int type, int whence, long start, long length)
{
	struct flock64 w = { .l_type = type, .l_whence = whence, .l_start = start, .l_len = length };
	if (wide(cmd))
		return SC(SYS_fcntl, fd, cmd, &w);
	struct flock l = { .l_type = type, .l_whence = whence, .l_start = start, .l_len = length };
	return SC(SYS_fcntl, fd, cmd, &l);
}

static void test(int fd, int cmd, int type, long start, long length)
{
	struct flock64 w = { .l_type = type, .l_start = start, .l_len = length };
	struct flock l = { .l_type = type, .l_start = start, .l_len = length };
	long r = SC(SYS_fcntl, fd, cmd, wide(cmd) ? (void *)&w : &l);
	if (wide(cmd))
		l = (struct flock){ w.l_type, w.l_whence, w.l_start, w.l_len, w.l_pid };
	say_result("getlk", r);
	if (!r)
		say("  type %d whence %d start %ld length %ld pid %d\n", l.l_type, l.l_whence, l.l_start, l.l_len,
		    l.l_pid == getppid() ? 1 : l.l_pid == getpid() ? 2 : l.l_pid);
}

/* What another process sees of every byte from 0 to 39. */
static void picture(int fd)
{
	flush();
	int child = fork();
	if (!child) {
		char text[41] = "";
		for (int i = 0; i < 40; i++) {
			struct flock l = { .l_type = F_WRLCK, .l_start = i, .l_len = 1 };
			SC(SYS_fcntl, fd, F_GETLK, &l);
			text[i] = l.l_type == F_UNLCK ? '.' : l.l_type == F_RDLCK ? 'r' : 'w';
		}
		struct flock l = { .l_type = F_WRLCK };
		SC(SYS_fcntl, fd, F_GETLK, &l);
		say("%s first %d %ld %ld\n", text, l.l_type, l.l_start, l.l_len);
		quit(0);
	}
	waitpid(child, 0, 0);
}

static void arguments(void)
{
	int rw = make_file("locked", 100), ro = open(in_work("locked"), O_RDONLY), wo = open(in_work("locked"), O_WRONLY);
	int path = open(in_work("locked"), O_PATH), p[2];
	pipe(p);
	V(SC(SYS_flock, rw, 0));
	V(SC(SYS_flock, rw, 3));
	V(SC(SYS_flock, rw, 16));
	V(SC(SYS_flock, 99, 1));
	V(SC(SYS_flock, path, 1));
	V(SC(SYS_flock, p[0], LOCK_EX));
	V(SC(SYS_fcntl, rw, F_SETLK, 0));
	V(lock(rw, F_SETLK, 7, 0, 0, 0));
	V(lock(rw, F_SETLK, F_RDLCK, 3, 0, 0));
	V(lock(rw, F_SETLK, F_RDLCK, 0, -1, 0));
	V(lock(rw, F_SETLK, F_RDLCK, 0, 5, -6));
	V(lock(rw, F_SETLK, F_RDLCK, 0, 5, -5));
	V(lock(rw, F_SETLK, F_RDLCK, 2, 0x7fffffffffffffff, 0));
	V(lock(rw, F_SETLK, F_RDLCK, 0, 5, 0x7fffffffffffffff));
	V(lock(ro, F_SETLK, F_WRLCK, 0, 0, 0));
	V(lock(wo, F_SETLK, F_RDLCK, 0, 0, 0));
	V(lock(wo, F_SETLK, F_WRLCK, 0, 0, 0));
	V(lock(path, F_SETLK, F_RDLCK, 0, 0, 0));
	V(lock(99, F_SETLK, F_RDLCK, 0, 0, 0));
	V(lock(rw, F_GETLK, F_UNLCK, 0, 0, 0));
	V(lock(rw, OFD_SETLK, F_WRLCK, 0, 0, 0));
	struct flock64 l = { .l_type = F_RDLCK, .l_pid = 5 };
	V(SC(SYS_fcntl, rw, OFD_SETLK, &l));
	V(SC(SYS_fcntl, rw, F_SETLEASE, 9));
	V(SC(SYS_fcntl, rw, F_GETLEASE, 0));
	close(rw), close(ro), close(wo);
}

static void ranges(void)
{
	int fd = open(in_work("locked"), O_RDWR);
	V(lock(fd, F_SETLK, F_WRLCK, 0, 10, 10));
	picture(fd);
	V(lock(fd, F_SETLK, F_RDLCK, 0, 15, 15));
	picture(fd);
	V(lock(fd, F_SETLK, F_UNLCK, 0, 12, 2));
	picture(fd);
	V(lock(fd, F_SETLK, F_RDLCK, 0, 5, 5));
	V(lock(fd, F_SETLK, F_RDLCK, 0, 10, 2));
	picture(fd);
	lseek(fd, 30, 0);
	V(lock(fd, F_SETLK, F_WRLCK, 1, 0, -3));
	picture(fd);
	V(lock(fd, F_SETLK, F_WRLCK, 2, -65, 0));
	picture(fd);
	V(lock(fd, F_SETLK, F_UNLCK, 0, 0, 0));
	picture(fd);
	V(lock(fd, F_SETLK, F_WRLCK, 0, 0, 5));
	close(dup(fd));
	picture(fd);
	test(fd, F_GETLK, F_WRLCK, 0, 0);
	close(fd);
}

static void between_processes(void)
{
	int fd = open(in_work("locked"), O_RDWR), go[2], done[2], status;
	char byte;
	pipe(go), pipe(done);
	lock(fd, F_SETLK, F_WRLCK, 0, 0, 10);
	lock(fd, OFD_SETLK, F_RDLCK, 0, 20, 10);
	SC(SYS_flock, fd, LOCK_EX);
	flush();
	int child = fork();
	if (!child) {
		int own = open(in_work("locked"), O_RDWR);
		test(fd, F_GETLK, F_RDLCK, 0, 0);
		test(fd, F_GETLK, F_RDLCK, 20, 0);
		test(fd, F_GETLK, F_WRLCK, 20, 0);
		test(fd, OFD_GETLK, F_WRLCK, 20, 0);
		test(fd, OFD_GETLK, F_UNLCK, 0, 0);
		test(own, OFD_GETLK, F_WRLCK, 12, 0);
		V(lock(own, F_SETLK, F_RDLCK, 0, 5, 10));
		V(lock(own, OFD_SETLK, F_WRLCK, 0, 25, 1));
		V(SC(SYS_flock, own, LOCK_SH | LOCK_NB));
		V(SC(SYS_flock, fd, LOCK_SH | LOCK_NB));
		V(SC(SYS_flock, own, LOCK_SH | LOCK_NB));
		V(SC(SYS_flock, own, LOCK_EX | LOCK_NB));
		V(SC(SYS_flock, own, LOCK_UN));
		write(done[1], "x", 1);
		V(lock(own, F_SETLKW, F_WRLCK, 0, 5, 10));
		V(lock(own, OFD_SETLKW, F_WRLCK, 0, 25, 1));
		V(SC(SYS_flock, own, LOCK_EX));
		quit(3);
	}
	read(done[0], &byte, 1);
	until_asleep(child, child);
	lock(fd, F_SETLK, F_UNLCK, 0, 0, 10);
	until_asleep(child, child);
	lock(fd, OFD_SETLK, F_UNLCK, 0, 20, 10);
	until_asleep(child, child);
	SC(SYS_flock, fd, LOCK_UN);
	waitpid(child, &status, 0);
	say("status %x\n", status);
	V(lock(fd, F_SETLK, F_WRLCK, 0, 0, 0));
	close(fd);
}

static void deadlock(void)
{
	int fd = open(in_work("locked"), O_RDWR), ready[2], status;
	char byte;
	pipe(ready);
	lock(fd, F_SETLK, F_WRLCK, 0, 0, 1);
	flush();
	int child = fork();
	if (!child) {
		lock(fd, F_SETLK, F_WRLCK, 0, 1, 1);
		write(ready[1], "x", 1);
		long r = lock(fd, F_SETLKW, F_WRLCK, 0, 0, 1);
		quit(r == 0 ? 4 : 5);
	}
	read(ready[0], &byte, 1);
	until_asleep(child, child);
	V(lock(fd, F_SETLKW, F_WRLCK, 0, 1, 1));
	V(lock(fd, F_SETLK, F_UNLCK, 0, 0, 1));
	waitpid(child, &status, 0);
	say("status %x\n", status);
	V(lock(fd, F_SETLKW, F_WRLCK, 0, 1, 1));
}

static void on_alarm(int sig) {}

static void interrupted(void)
{
	int fd = open(in_work("locked"), O_RDWR), other = open(in_work("locked"), O_RDWR);
	struct sigaction act = { .sa_handler = on_alarm };
	sigaction(SIGALRM, &act, 0);
	struct itimerval soon = { { 0, 20000 }, { 0, 20000 } }, never = { { 0, 0 }, { 0, 0 } };
	SC(SYS_flock, fd, LOCK_EX);
	setitimer(ITIMER_REAL, &soon, 0);
	V(SC(SYS_flock, other, LOCK_SH));
	setitimer(ITIMER_REAL, &never, 0);
	lock(fd, OFD_SETLK, F_WRLCK, 0, 0, 0);
	setitimer(ITIMER_REAL, &soon, 0);
	V(lock(other, OFD_SETLKW, F_RDLCK, 0, 0, 0));
	setitimer(ITIMER_REAL, &never, 0);
	close(fd);
	V(SC(SYS_flock, other, LOCK_SH | LOCK_NB));
	V(lock(other, OFD_SETLK, F_RDLCK, 0, 0, 0));
}

int main(int argc, char **argv)
{
	work_dir = argv[1];
	arguments();
	ranges();
	between_processes();
	deadlock();
	interrupted();
	quit(0);
}
