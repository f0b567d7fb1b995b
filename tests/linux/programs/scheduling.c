/* Scheduling classes, their parameters and nice values, set and read back, by the superuser and by somebody else. */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

struct attr {
	unsigned size, policy;
	unsigned long flags;
	int nice;
	unsigned priority;
	unsigned long runtime, deadline, period;
	unsigned clamp_min, clamp_max;
};

static void show(void)
{
	struct attr a;
	struct timespec t = {9, 9};
	memset(&a, 0xee, sizeof a);
	long r = syscall(SYS_sched_getattr, 0, &a, sizeof a, 0);
	printf("    %ld: size %u policy %u flags %lx nice %d priority %u runtime %lu deadline %lu period %lu clamp %x %x\n", r,
	       a.size, a.policy, a.flags, a.nice, a.priority, a.runtime, a.deadline, a.period, a.clamp_min, a.clamp_max);
	printf("    class %x", sched_getscheduler(0));
	printf(" turn %d %ld.%09ld", sched_rr_get_interval(0, &t), t.tv_sec, t.tv_nsec);
	printf(" nice %d\n", getpriority(PRIO_PROCESS, 0));
}

static void set(int policy, int priority)
{
	struct sched_param p = {priority};
	int r = sched_setscheduler(0, policy, &p);
	printf("class %x priority %d: %d %d\n", policy, priority, r, r ? errno : 0);
	show();
}

static void attr(unsigned size, unsigned policy, unsigned long flags, int nice, unsigned priority, unsigned long runtime,
		 unsigned long deadline, unsigned long period)
{
	struct attr a = {size, policy, flags, nice, priority, runtime, deadline, period};
	int r = syscall(SYS_sched_setattr, 0, &a, 0);
	printf("size %u class %u flags %lx nice %d priority %u runtime %lu: %d %d, size %u\n", size, policy, flags, nice,
	       priority, runtime, r, r ? errno : 0, a.size);
	show();
}

static void get(const char *what, long pid, void *to, unsigned size, unsigned flags)
{
	long r = syscall(SYS_sched_getattr, pid, to, size, flags);
	printf("%s: %ld %d\n", what, r, r ? errno : 0);
}

static void child(void)
{
	fflush(stdout);
	if (fork() == 0) {
		show();
		fflush(stdout);
		_exit(0);
	}
	wait(0);
}

int main(void)
{
	static const struct { int policy, priority; } classes[] = {
		{3, 0}, {5, 0}, {0, 0}, {1, 5}, {2, 99}, {2, 100}, {2, 0}, {0, 1}, {7, 0}, {6, 0}, {4, 0}, {-1, 0},
		{0x40000000, 0}, {0x40000001, 3}, {0x40000005, 0}, {0, 0},
	};
	struct sched_param seven = {7};
	char room[100];

	show();
	for (unsigned i = 0; i < sizeof classes / sizeof *classes; i++)
		set(classes[i].policy, classes[i].priority);
	for (int policy = -1; policy < 8; policy++)
		printf("%d: %d to %d\n", policy, sched_get_priority_min(policy), sched_get_priority_max(policy));
	printf("priority of an ordinary one: %d %d\n", sched_setparam(0, &seven), errno);
	set(2, 3);
	printf("of one that takes turns: %d\n", sched_setparam(0, &seven));
	show();
	set(0, 0);

	attr(0, 3, 0, 5, 0, 0, 0, 0);
	attr(48, 0, 0, -3, 0, 0, 0, 0);
	attr(40, 0, 0, 0, 0, 0, 0, 0);
	attr(56, 1, 0, 0, 9, 0, 0, 0);
	attr(48, 0, 0x10, 0, 0, 0, 0, 0);
	attr(48, 1, 0x18, 0, 0, 0, 0, 0);
	attr(48, 1, 0x08, 0, 4, 0, 0, 0);
	attr(48, 0, 0x20, 0, 0, 0, 0, 0);
	attr(56, 0, 0x20, 0, 0, 0, 0, 0);
	attr(48, 0, 0, 0, 0, 5000000, 0, 0);
	attr(48, 0, 0, 0, 0, 5000, 0, 0);
	attr(48, 0, 0, 0, 0, 5000000000, 0, 0);
	attr(48, 0, 0, 30, 0, 0, 0, 0);
	attr(48, 6, 0, 0, 0, 1000, 5000000, 10000000);
	attr(48, 6, 0, 0, 0, 6000000, 5000000, 10000000);
	attr(48, 6, 0, 0, 0, 1000000, 5000000, 4000000);
	attr(48, 6, 0, 0, 0, 1000000, 5000000, 10000000);
	attr(48, 0, 0, 0, 0, 0, 0, 0);
	attr(48, 9, 0, 0, 0, 0, 0, 0);
	attr(48, 0, 0x80, 0, 0, 0, 0, 0);
	attr(48, 0, 0, 0, 4, 0, 0, 0);
	attr(48, -1, 0, 0, 4, 0, 0, 0);

	get("47 bytes", 0, room, 47, 0);
	get("5000 bytes", 0, room, 5000, 0);
	get("a flag", 0, room, 48, 1);
	get("nobody", 99999, room, 48, 0);
	get("a negative one", -1, room, 48, 0);
	get("a bad address", 0, (void *)8, 48, 0);
	get("48 bytes", 0, room, 48, 0);
	printf("size %u\n", *(unsigned *)room);
	printf("from a bad address: %ld %d\n", syscall(SYS_sched_setattr, 0, 8, 0), errno);
	printf("from none: %ld %d\n", syscall(SYS_sched_setattr, 0, 0, 0), errno);

	set(0x40000002, 4);
	child();
	set(2, 4);
	child();
	set(0, 0);
	setpriority(PRIO_PROCESS, 0, -5);
	attr(48, 0, 1, -5, 0, 0, 0, 0);
	child();
	printf("nobody's nice: %d %d", setpriority(PRIO_PROCESS, 99999, 0), errno);
	printf(", of what is not known: %d %d\n", setpriority(3, 0, 0), errno);

	if (setreuid(1000, 1000))
		return 1;
	set(1, 1);
	attr(48, 0, 0, -6, 0, 0, 0, 0);
	attr(48, 0, 1, -5, 0, 0, 0, 0);
	attr(48, 0, 0, -5, 0, 0, 0, 0);
	attr(48, 0, 1, 3, 0, 0, 0, 0);
	attr(48, 5, 1, 3, 0, 0, 0, 0);
	attr(48, 0, 1, 3, 0, 0, 0, 0);
	attr(48, 3, 1, 10, 0, 0, 0, 0);
	printf("better: %d %d", setpriority(PRIO_PROCESS, 0, 2), errno);
	printf(", worse: %d, worst of all one's own: %d\n", setpriority(PRIO_PROCESS, 0, 4), setpriority(PRIO_USER, 0, 40));
	printf("%d %d\n", getpriority(PRIO_PROCESS, 0), getpriority(PRIO_USER, 0));
	return 0;
}
