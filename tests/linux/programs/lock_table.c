/* /proc/locks: each lock and each waiter, in the kernel's order and format. usage: lock_table WORKDIR */
#include "threads.h"
#include <sys/file.h>
#include <sys/sysmacros.h>

static int children[8], nr_children;
static int files[2];

static const char *name_of(int pid)
{
	static char text[8];
	if (pid == getpid())
		return "me";
	for (int i = 0; i < nr_children; i++)
		if (children[i] == pid) {
			sprintf(text, "child%d", i);
			return text;
		}
	return pid == -1 ? "-1" : "?";
}

static void show(const char *title)
{
	static char text[1 << 16];
	struct stat st[2];
	int shown = 0;
	long first = 0, last_id = 0;
	fstat(files[0], &st[0]), fstat(files[1], &st[1]);
	read_whole("/proc/locks", text, sizeof text);
	say("== %s\n", title);
	for (char *line = strtok(text, "\n"); line; line = strtok(0, "\n")) {
		char where[64], head[64], *colon = strchr(line, ':'), *at;
		for (int f = 0; f < 2; f++) {
			sprintf(where, " %02x:%02x:%lu ", major(st[f].st_dev), minor(st[f].st_dev), st[f].st_ino);
			if (!(at = strstr(line, where)))
				continue;
			char *number = at;
			while (number > line && number[-1] != ' ')
				number--;
			long id = atol(line);
			say("%s:%.*s%s file%d %s\n", id == last_id ? "same" : "next", (int)(number - colon - 1), colon + 1,
			    name_of(atoi(number)), f, at + strlen(where));
			last_id = id;
		}
	}
}

static long lock(int fd, int cmd, int type, long start, long length)
{
	struct flock l = { .l_type = type, .l_start = start, .l_len = length };
	return SC(SYS_fcntl, fd, cmd, &l);
}

/* A child that waits for a lock: flock of a kind, or record lock of a range. */
static void waiter(int file, int how, int type, long start, long length)
{
	int go[2];
	pipe(go);
	int child = children[nr_children++] = fork();
	if (!child) {
		int fd = open(in_work(file ? "two" : "one"), O_RDWR);
		write(go[1], "x", 1);
		if (how == 0)
			flock(fd, type);
		else
			lock(fd, how == 1 ? F_SETLKW : F_OFD_SETLKW, type, start, length);
		for (;;)
			pause();
	}
	char byte;
	read(go[0], &byte, 1);
	close(go[0]), close(go[1]);
	until_asleep(child, child);
}

static void end_children(void)
{
	for (int i = 0; i < nr_children; i++)
		kill(children[i], SIGKILL), waitpid(children[i], 0, 0);
	nr_children = 0;
}

int main(int argc, char **argv)
{
	if (argc > 1)
		work_dir = argv[1];
	unsigned long one_cpu = 1; /* the kernel has a list for each */
	SC(SYS_sched_setaffinity, 0, 8, &one_cpu);
	files[0] = make_file("one", 100), files[1] = make_file("two", 100);
	int again = open(in_work("one"), O_RDWR), third = open(in_work("two"), O_RDWR);
	show("none");
	lock(files[0], F_SETLK, F_WRLCK, 10, 20);
	lock(files[1], F_SETLK, F_RDLCK, 0, 0);
	flock(files[0], LOCK_EX);
	flock(files[1], LOCK_SH), flock(third, LOCK_SH);
	lock(again, F_OFD_SETLK, F_RDLCK, 50, 5);
	show("some");
	lock(files[0], F_SETLK, F_UNLCK, 15, 5);
	show("split");
	lock(files[0], F_SETLK, F_RDLCK, 12, 10);
	show("partly of another kind");
	lock(files[0], F_SETLK, F_WRLCK, 12, 10);
	show("back again");
	lock(files[0], F_SETLK, F_WRLCK, 30, 5);
	show("longer");
	lock(files[0], F_SETLK, F_RDLCK, 0, 40);
	show("replaced");
	lock(files[0], F_SETLK, F_WRLCK, 5, 5);
	show("inside");
	lock(files[1], F_SETLK, F_UNLCK, 90, 0);
	show("shorter");
	lock(files[1], F_SETLK, F_WRLCK, 20, 10);
	flock(files[0], LOCK_SH);
	show("in the middle, and shared");
	flock(files[0], LOCK_EX);
	waiter(0, 0, LOCK_SH, 0, 0);
	waiter(0, 0, LOCK_EX, 0, 0);
	waiter(0, 0, LOCK_SH, 0, 0);
	show("waiting for flock");
	waiter(0, 1, F_WRLCK, 0, 10);
	waiter(0, 1, F_RDLCK, 5, 1);
	waiter(0, 2, F_WRLCK, 52, 1);
	waiter(0, 1, F_WRLCK, 1, 2);
	show("waiting for records");
	flock(files[0], LOCK_UN);
	until_asleep(children[1], children[1]), until_asleep(children[2], children[2]);
	lock(files[0], F_SETLK, F_UNLCK, 0, 0);
	for (int i = 0; i < nr_children; i++)
		until_asleep(children[i], children[i]);
	end_children();
	show("children gone");
	close(again);
	close(files[1]);
	files[1] = open(in_work("two"), O_RDWR);
	show("closed");
	quit(0);
}
