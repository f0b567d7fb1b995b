/* Pipes and FIFOs between processes: blocking, packets, SIGPIPE, splice, tee, vmsplice, opens that wait.
 * usage: pipe_calls WORKDIR */
#include "say.h"
#include <poll.h>
#include <sys/ioctl.h>

#define V(...) say_result(#__VA_ARGS__, (long)(__VA_ARGS__))
static char data[1 << 20];

static int revents(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN | POLLOUT };
	poll(&p, 1, 0);
	return p.revents;
}

static int waiting(int fd)
{
	int n = -1;
	ioctl(fd, FIONREAD, &n);
	return n;
}

static volatile int pipes_broken;
static void on_pipe(int sig) { pipes_broken++; }

static void blocking(void)
{
	int p[2], status;
	pipe(p);
	flush();
	int child = fork();
	if (!child) {
		close(p[0]);
		for (int i = 0; i < 100; i++) {
			memset(data, i, 5000);
			if (write(p[1], data, 5000) != 5000)
				quit(1);
		}
		write(p[1], data, sizeof data);
		quit(7);
	}
	close(p[1]);
	long total = 0, sum = 0, n;
	while ((n = read(p[0], data, 3333)) > 0) {
		total += n;
		for (int i = 0; i < n; i++)
			sum += (unsigned char)data[i];
	}
	waitpid(child, &status, 0);
	say("total %ld sum %ld status %x\n", total, sum, status);
	close(p[0]);
	pipe(p);
	child = fork();
	if (!child) {
		close(p[0]);
		signal(SIGPIPE, SIG_DFL);
		for (;;)
			write(p[1], data, 4096);
	}
	close(p[1]);
	read(p[0], data, 10000);
	close(p[0]);
	waitpid(child, &status, 0);
	say("status %x\n", status);
	signal(SIGPIPE, on_pipe);
	pipe(p);
	close(p[0]);
	V(SC(SYS_write, p[1], "x", 1));
	V(SC(SYS_write, p[1], "x", 0));
	say("SIGPIPE %d\n", pipes_broken);
	close(p[1]);
	pipe(p);
	V(SC(SYS_write, p[1], "abcdef", 6));
	V(SC(SYS_read, p[0], -PAGE, 6));
	V(SC(SYS_read, p[0], 0, 6));
	say("waiting %d\n", waiting(p[0]));
	V(SC(SYS_write, p[1], 16, 6));
	V(SC(SYS_read, p[1], data, 6));
	V(SC(SYS_write, p[0], data, 6));
	V(SC(SYS_fcntl, p[0], F_GETFL));
	V(SC(SYS_fcntl, p[1], F_GETFL));
	V(SC(SYS_pipe2, p, 1));
	V(SC(SYS_pipe, -PAGE));
}

static void packets(void)
{
	int p[2];
	V(SC(SYS_pipe2, p, O_DIRECT | O_NONBLOCK));
	V(SC(SYS_fcntl, p[0], F_GETFL));
	V(SC(SYS_fcntl, p[1], F_GETFL));
	V(write(p[1], "one", 3));
	V(write(p[1], "twotwo", 6));
	V(write(p[1], data, 5000));
	say("waiting %d\n", waiting(p[0]));
	V(read(p[0], data, 100));
	V(read(p[0], data, 2));
	V(read(p[0], data, 10000));
	V(read(p[0], data, 10000));
	V(SC(SYS_read, p[0], data, 10000));
	int count = 0;
	while (write(p[1], "x", 1) == 1)
		count++;
	say("packets %d\n", count);
	V(fcntl(p[1], 1031, 4096));
	V(fcntl(p[1], 1031, 65536 * 2));
	V(fcntl(p[1], 1032));
	V(write(p[1], "x", 1));
}

static void fifos(void)
{
	const char *name = in_work("fifo");
	int status;
	V(mknod(name, S_IFIFO | 0600, 0));
	V(SC(SYS_open, name, O_WRONLY | O_NONBLOCK));
	int reader = SC(SYS_open, name, O_RDONLY | O_NONBLOCK);
	say("reader %x\n", revents(reader));
	V(SC(SYS_read, reader, data, 10));
	int writer = SC(SYS_open, name, O_WRONLY | O_NONBLOCK);
	say("reader %x writer %x\n", revents(reader), revents(writer));
	V(SC(SYS_read, reader, data, 10));
	V(write(writer, "hello", 5));
	close(writer);
	say("reader %x\n", revents(reader));
	V(read(reader, data, 10));
	V(read(reader, data, 10));
	close(reader);
	flush();
	int child = fork();
	if (!child) {
		int fd = open(name, O_RDONLY);
		long n = read(fd, data, 100), m = read(fd, data, 100);
		quit(n * 10 + m);
	}
	usleep(20000);
	writer = open(name, O_WRONLY);
	V(write(writer, "seven!!", 7));
	close(writer);
	waitpid(child, &status, 0);
	say("status %x\n", status);
	child = fork();
	if (!child) {
		int fd = open(name, O_WRONLY);
		write(fd, "later", 5);
		quit(2);
	}
	reader = open(name, O_RDONLY);
	V(read(reader, data, 100));
	waitpid(child, &status, 0);
	V(read(reader, data, 100));
	close(reader);
	signal(SIGALRM, on_pipe);
	siginterrupt(SIGALRM, 1);
	struct itimerval soon = { { 0, 20000 }, { 0, 20000 } }, never = { { 0, 0 }, { 0, 0 } };
	setitimer(ITIMER_REAL, &soon, 0);
	V(SC(SYS_open, name, O_RDONLY));
	setitimer(ITIMER_REAL, &never, 0);
	int both = open(name, O_RDWR);
	say("both %x\n", revents(both));
	V(write(both, "self", 4));
	V(read(both, data, 10));
	unlink(name);
}

static void splicing(void)
{
	int a[2], b[2], file = make_file("file", 20000), n[2];
	long offset = 100;
	pipe2(a, O_NONBLOCK), pipe2(b, O_NONBLOCK), pipe2(n, O_NONBLOCK);
	V(SC(SYS_splice, file, &offset, a[1], 0, 8000, 0));
	say("offset %ld waiting %d\n", offset, waiting(a[0]));
	V(SC(SYS_tee, a[0], b[1], 5000, 0));
	say("waiting %d %d\n", waiting(a[0]), waiting(b[0]));
	V(SC(SYS_splice, a[0], 0, b[1], 0, 100000, 0));
	say("waiting %d %d\n", waiting(a[0]), waiting(b[0]));
	V(read(b[0], data, 10));
	say("%d %d\n", data[0] & 255, data[1] & 255);
	V(SC(SYS_splice, a[0], 0, b[1], 0, 10, SPLICE_F_NONBLOCK));
	V(SC(SYS_tee, a[0], b[1], 10, SPLICE_F_NONBLOCK));
	V(SC(SYS_tee, b[0], b[1], 10, 0));
	V(SC(SYS_tee, file, b[1], 10, 0));
	V(SC(SYS_tee, b[0], a[1], 10, 16));
	V(SC(SYS_tee, b[0], a[1], 0, 0));
	V(SC(SYS_tee, b[1], a[1], 10, 0));
	V(SC(SYS_splice, b[0], 0, b[1], 0, 10, 0));
	V(SC(SYS_splice, file, 0, file, 0, 10, 0));
	V(SC(SYS_splice, b[0], &offset, a[1], 0, 10, 0));
	V(SC(SYS_splice, b[0], 0, a[1], &offset, 10, 0));
	V(SC(SYS_splice, b[1], 0, a[1], 0, 10, 0));
	V(SC(SYS_splice, 99, 0, a[1], 0, 10, 0));
	V(SC(SYS_splice, b[0], 0, a[1], 0, 10, 16));
	V(SC(SYS_splice, b[0], 0, a[1], 0, 0, 16));
	int out = make_file("out", 0);
	offset = 50;
	V(SC(SYS_splice, b[0], 0, out, &offset, 1 << 20, 0));
	say("offset %ld size %ld\n", offset, (long)lseek(out, 0, 2));
	lseek(out, 0, 0);
	V(SC(SYS_splice, a[0], 0, out, 0, 1 << 20, 0));
	V(SC(SYS_splice, file, 0, a[1], 0, 1 << 20, 0));
	say("position %ld waiting %d\n", (long)lseek(file, 0, 1), waiting(a[0]));
	V(SC(SYS_splice, file, 0, a[1], 0, 1 << 20, 0));
	V(SC(SYS_splice, a[0], 0, out, 0, 3, 0));
	struct iovec parts[3] = { { data, 3 }, { data + 100, 0 }, { data + 5000, 5000 } };
	V(SC(SYS_vmsplice, b[1], parts, 3, 0));
	say("waiting %d\n", waiting(b[0]));
	parts[0].iov_len = 10, parts[2].iov_len = 20;
	V(SC(SYS_vmsplice, b[0], parts, 3, 0));
	V(SC(SYS_vmsplice, file, parts, 3, 0));
	V(SC(SYS_vmsplice, b[1], parts, 3, 99));
	V(SC(SYS_vmsplice, n[0], parts, 3, SPLICE_F_NONBLOCK));
	int slots = 0;
	while (SC(SYS_vmsplice, n[1], parts, 1, SPLICE_F_NONBLOCK) > 0)
		slots++;
	say("slots %d\n", slots);
	V(write(n[1], "x", 1));
}

int main(int argc, char **argv)
{
	work_dir = argv[1];
	blocking();
	packets();
	fifos();
	splicing();
	quit(0);
}
