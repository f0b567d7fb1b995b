/* /proc/PID/oom_score_adj and oom_adj: what may be written without CAP_SYS_RESOURCE, what comes out, who gets it too. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static void show(const char *path, const char *what)
{
	char text[64] = "";
	int fd = open(path, O_RDONLY);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
	if (n >= 0)
		text[n] = 0;
	close(fd);
	printf("%s %s", what, n < 0 ? "unreadable\n" : text);
}

static void both(const char *what)
{
	show("/proc/self/oom_score_adj", what);
	show("/proc/self/oom_adj", "  oom_adj");
}

static void put(const char *path, const char *text, size_t len)
{
	int fd = open(path, O_WRONLY);
	ssize_t n = fd < 0 ? -1 : write(fd, text, len);
	printf("%s: \"%.*s\" %zd %s\n", path + 11, (int)(len > 20 ? 20 : len), text, n, n < 0 ? strerrorname_np(errno) : "");
	if (fd >= 0)
		close(fd);
}

static void set(const char *text) { put("/proc/self/oom_score_adj", text, strlen(text)); }
static void old(const char *text) { put("/proc/self/oom_adj", text, strlen(text)); }

static int in_clone(void *unused)
{
	(void)unused;
	set("321");
	return 0;
}

static void *in_thread(void *unused)
{
	set("222");
	return unused;
}

static void texts(void)
{
	static const char *all[] = {
		"0", "500", "500\n", " 12 ", "+7", "-5", "0x10", "010", "08", "1000", "1001", "-1000", "-1001", "", "\n", "x", "5x", "5 5",
		"99999999999999", "   500      \n", "            7", "           -7", "0000000000001", "-0", "--1", "1e2", "1.0",
	};
	for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
		set(all[i]);
		show("/proc/self/oom_score_adj", "  is");
	}
	put("/proc/self/oom_score_adj", "5\0junk", 6);
	put("/proc/self/oom_score_adj", "", 0);
	for (int adj = -18; adj <= 16; adj++) {
		char text[8];
		sprintf(text, "%d", adj);
		old(text);
		both("  is");
	}
}

static void score(const char *adj)
{
	char text[32] = "";
	set(adj);
	int fd = open("/proc/self/oom_score", O_RDONLY);
	if (read(fd, text, 31) < 0)
		perror("oom_score");
	close(fd);
	long n = atol(text);
	printf("oom_score at %s: %s\n", adj, n == 0 ? "0" : n < 10 ? "low" : n < 640 ? "middle" : n < 760 ? "usual" : "high");
	fd = open("/proc/self/oom_score", O_WRONLY);
	printf("writable %d %s\n", fd >= 0, fd < 0 ? strerrorname_np(errno) : "");
	if (fd >= 0)
		close(fd);
}

static void in_child(void (*f)(void))
{
	fflush(stdout);
	pid_t pid = fork();
	if (pid == 0) {
		f();
		fflush(stdout);
		_exit(0);
	}
	waitpid(pid, NULL, 0);
}

static void inherits(void) { both("child"); }

static void unprivileged(void)
{
	static const char *all[] = { "100", "200", "150", "100", "99", "0", "-1" }, *olds[] = { "5", "4", "15", "5" };
	for (size_t i = 0; i < sizeof all / sizeof *all; i++)
		set(all[i]);
	for (size_t i = 0; i < sizeof olds / sizeof *olds; i++)
		old(olds[i]);
	set("100");
	in_child(inherits);
}

static void hidden(void)
{
	prctl(PR_SET_DUMPABLE, 0);
	set("100");
	both("hidden");
}

int main(void)
{
	char stack[65536];
	pthread_t thread;
	if (setgid(65534) || setuid(65534) || prctl(PR_SET_DUMPABLE, 1))
		perror("setuid");
	both("at first");
	texts();
	set("0");
	score("0");
	score("-1000");
	score("1000");
	score("-999");
	set("111");
	in_child(inherits);
	pthread_create(&thread, NULL, in_thread, NULL);
	pthread_join(thread, NULL);
	both("after a thread's write");
	waitpid(clone(in_clone, stack + sizeof stack, CLONE_VM | SIGCHLD, NULL), NULL, 0);
	both("after one who shares the memory");
	waitpid(clone(in_clone, stack + sizeof stack, CLONE_VM | CLONE_VFORK | SIGCHLD, NULL), NULL, 0);
	set("77");
	waitpid(clone(in_clone, stack + sizeof stack, CLONE_VM | CLONE_VFORK | SIGCHLD, NULL), NULL, 0);
	both("after a vforked child's");
	in_child(unprivileged);
	printf("unprivileged, without its files\n");
	in_child(hidden);
	return 0;
}
