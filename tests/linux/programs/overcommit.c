/* vm.overcommit_memory=2: which calls are refused near CommitLimit. Sets the sysctl itself, with room for what else runs
 * on the machine, and puts it back. Sizes are relative to the room that /proc/meminfo shows. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/wait.h>
#include <unistd.h>

#define MB (1L << 20)
#define TB (1L << 40)
#define MARGIN (2 * TB) /* what others map meanwhile does not matter */
#define RW (PROT_READ | PROT_WRITE)

static long meminfo(const char *name)
{
	static char text[16384];
	int fd = open("/proc/meminfo", O_RDONLY);
	text[read(fd, text, sizeof text - 1)] = 0;
	close(fd);
	char *at = strstr(text, name);
	return at ? atol(at + strlen(name) + 1) << 10 : -1;
}

static long room(void) { return (meminfo("CommitLimit") - meminfo("Committed_AS")) & -MB; }

static void sysctl(const char *name, long value)
{
	char path[64], text[32];
	snprintf(path, sizeof path, "/proc/sys/vm/%s", name);
	snprintf(text, sizeof text, "%ld\n", value);
	int fd = open(path, O_WRONLY);
	if (fd < 0 || write(fd, text, strlen(text)) < 0) {
		printf("cannot set %s\n", name);
		exit(77);
	}
	close(fd);
}

static void say(const char *what, int failed)
{
	printf("%s: %s\n", what, failed ? strerrorname_np(errno) : "ok");
}

static void *try(const char *what, long size, int prot, int flags, int fd)
{
	void *p = mmap(0, size, prot, flags, fd, 0);
	say(what, p == MAP_FAILED);
	return p;
}

static void drop(void *p, long size)
{
	if (p != MAP_FAILED)
		munmap(p, size);
}

static void tests(void)
{
	long all = room(), fits = all - MARGIN, over = all + MARGIN;
	int anon = MAP_PRIVATE | MAP_ANONYMOUS;
	void *p;
	int fd = memfd_create("m", 0);

	drop(try("fits", fits, RW, anon, -1), fits);
	drop(try("does not fit", over, RW, anon, -1), over);
	drop(try("does not fit, MAP_NORESERVE", over, RW, anon | MAP_NORESERVE, -1), over);
	drop(try("fits, MAP_NORESERVE", fits, RW, anon | MAP_NORESERVE, -1), fits);
	drop(try("does not fit, shared", over, RW, MAP_SHARED | MAP_ANONYMOUS, -1), over);
	drop(try("fits, shared", fits, RW, MAP_SHARED | MAP_ANONYMOUS, -1), fits);
	p = try("read-only, larger than the room", over, PROT_READ, anon, -1);
	say("made writable", mprotect(p, over, RW));
	say("half of it made writable", mprotect(p, over / 2 & -4096, RW));
	say("the other half too", mprotect((char *)p + (over / 2 & -4096), over / 2 & -4096, RW));
	say("read-only again", mprotect(p, over, PROT_READ));
	drop(try("another that fits now", fits / 2 + 2 * MARGIN, RW, anon, -1), fits / 2 + 2 * MARGIN);
	drop(p, over);
	ftruncate(fd, over);
	drop(try("a shared file, larger", over, RW, MAP_SHARED, fd), over);
	drop(try("a private file, larger", over, RW, MAP_PRIVATE, fd), over);
	drop(try("a private file, read-only", over, PROT_READ, MAP_PRIVATE, fd), over);
	drop(try("a private file that fits", fits, RW, MAP_PRIVATE, fd), fits);
	p = try("half", fits / 2, RW, anon, -1);
	void *q = mremap(p, fits / 2, over, MREMAP_MAYMOVE);
	say("grown too far", q == MAP_FAILED);
	q = mremap(p, fits / 2, fits - MARGIN, MREMAP_MAYMOVE);
	say("grown", q == MAP_FAILED);
	p = q != MAP_FAILED ? q : p;
	fflush(stdout);
	int pid = fork();
	if (pid == 0)
		_exit(0);
	say("fork", pid < 0);
	if (pid > 0)
		waitpid(pid, 0, 0);
	drop(p, fits - MARGIN);
	p = sbrk(0);
	say("brk too far", brk((char *)p + over));
	say("brk", brk((char *)p + fits - MARGIN));
	brk(p);
	int id = shmget(IPC_PRIVATE, over, 0600 | IPC_CREAT);
	say("shmget, larger", id < 0);
	if (id >= 0)
		shmctl(id, IPC_RMID, 0);
	id = shmget(IPC_PRIVATE, fits, 0600 | IPC_CREAT);
	say("shmget", id < 0);
	if (id >= 0)
		shmctl(id, IPC_RMID, 0);
	long before = meminfo("Committed_AS");
	p = mmap(0, 4 * TB, RW, anon, -1, 0);
	long with = meminfo("Committed_AS") - before;
	printf("4 TiB count as %s\n", with > 3 * TB && with < 5 * TB ? "4 TiB" : "something else");
	printf("limit and sum %d\n", meminfo("CommitLimit") > meminfo("Committed_AS"));
}

int main(void)
{
	long limit = (meminfo("Committed_AS") + 16 * TB) >> 10;
	int status = 0;
	setvbuf(stdout, 0, _IOLBF, 0);
	for (int sig = 1; sig < 32; sig++)
		if (sig != SIGCHLD)
			signal(sig, SIG_IGN);
	sysctl("overcommit_kbytes", limit);
	sysctl("overcommit_memory", 2);
	int pid = fork();
	if (pid == 0) {
		alarm(10);
		signal(SIGALRM, SIG_DFL);
		tests();
		exit(0);
	}
	if (pid > 0)
		waitpid(pid, &status, 0);
	sysctl("overcommit_memory", 0);
	sysctl("overcommit_ratio", 50);
	printf("status %#x\n", status);
	return pid < 0;
}
