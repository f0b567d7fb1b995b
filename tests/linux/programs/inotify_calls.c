/* inotify: what happens to files and directories, in order. usage: inotify_calls WORKDIR */
#include "say.h"
#include "asleep.h"
#include <poll.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>

#define V(...) say_result(#__VA_ARGS__, (long)(__VA_ARGS__))
static int in;

static void events(const char *what)
{
	static char buffer[8192];
	int ready = 0;
	struct pollfd p = { .fd = in, .events = POLLIN };
	poll(&p, 1, 0);
	ioctl(in, FIONREAD, &ready);
	long n = SC(SYS_read, in, buffer, sizeof buffer);
	say("== %s: %ld bytes of %d, revents %x\n", what, n, ready, p.revents);
	for (long at = 0; at < n;) {
		struct inotify_event *e = (void *)(buffer + at);
		say("  %d %x %d %u %s\n", e->wd, e->mask, e->cookie != 0, e->len, e->len ? e->name : "");
		at += sizeof *e + e->len;
	}
}

int main(int argc, char **argv)
{
	char byte = 'x';
	work_dir = argv[1];
	V(SC(SYS_inotify_init1, 1));
	in = SC(SYS_inotify_init1, IN_NONBLOCK | IN_CLOEXEC);
	V(SC(SYS_fcntl, in, F_GETFL));
	V(SC(SYS_inotify_add_watch, in, work_dir, 0));
	V(SC(SYS_inotify_add_watch, in, "/no/such", 1));
	V(SC(SYS_inotify_add_watch, 99, work_dir, 1));
	V(SC(SYS_inotify_add_watch, 0, work_dir, 1));
	V(SC(SYS_inotify_add_watch, in, -PAGE, 1));
	V(SC(SYS_inotify_rm_watch, in, 1));
	V(SC(SYS_inotify_rm_watch, 0, 1));
	V(SC(SYS_inotify_add_watch, in, work_dir, IN_ALL_EVENTS));
	V(SC(SYS_inotify_add_watch, in, work_dir, IN_ALL_EVENTS | IN_MASK_CREATE));
	V(SC(SYS_inotify_add_watch, in, work_dir, IN_ALL_EVENTS | IN_MASK_CREATE | IN_MASK_ADD));
	V(SC(SYS_inotify_add_watch, in, work_dir, IN_ALL_EVENTS));
	events("nothing");
	int fd = open(in_work("a"), O_RDWR | O_CREAT, 0644);
	events("create");
	write(fd, "hello", 5);
	write(fd, "hello", 5);
	pread(fd, &byte, 1, 0);
	events("write and read");
	V(SC(SYS_inotify_add_watch, in, in_work("a"), IN_ALL_EVENTS));
	V(SC(SYS_inotify_add_watch, in, in_work("a"), IN_ALL_EVENTS | IN_ONLYDIR));
	write(fd, "hello", 5);
	V(SC(SYS_read, in, &byte, 1));
	events("watched twice");
	ftruncate(fd, 3);
	fchmod(fd, 0600);
	close(fd);
	events("truncate, chmod, close");
	close(open(in_work("a"), O_RDONLY));
	close(open(in_work("a"), O_WRONLY | O_TRUNC));
	events("open");
	rename(in_work("a"), in_work("a longer name of a file"));
	events("rename");
	link(in_work("a longer name of a file"), in_work("b"));
	symlink("x", in_work("c"));
	mkdir(in_work("d"), 0755);
	mknod(in_work("f"), S_IFIFO | 0600, 0);
	events("names");
	fd = open(in_work("d"), O_RDONLY | O_DIRECTORY);
	close(fd);
	rmdir(in_work("d"));
	unlink(in_work("c"));
	unlink(in_work("f"));
	events("names gone");
	unlink(in_work("a longer name of a file"));
	events("one name less");
	fd = open(in_work("b"), O_RDONLY);
	unlink(in_work("b"));
	events("the last name");
	close(fd);
	events("the end");
	int wd = SC(SYS_inotify_add_watch, in, work_dir, IN_CREATE | IN_ONESHOT);
	say("wd %d\n", wd);
	close(open(in_work("g"), O_RDWR | O_CREAT, 0644));
	close(open(in_work("h"), O_RDWR | O_CREAT, 0644));
	events("once");
	wd = SC(SYS_inotify_add_watch, in, in_work("g"), IN_MODIFY);
	V(SC(SYS_inotify_rm_watch, in, wd));
	events("removed");
	wd = SC(SYS_inotify_add_watch, in, work_dir, IN_MOVE);
	mkdir(in_work("sub"), 0755);
	rename(in_work("g"), in_work("sub/g"));
	rename(in_work("sub/g"), in_work("h"));
	events("moves");
	fcntl(in, F_SETFL, 0);
	flush();
	int child = fork();
	if (!child) {
		until_asleep(getppid(), getppid());
		rename(in_work("h"), in_work("sub/i")); /* one event: of two the reader may get the first alone */
		quit(0);
	}
	events("waited");
	quit(0);
}
