/* futex_waitv, the futex2 calls, private and shared keys. */
#include "threads.h"
#include <sys/mman.h>

#define NR_waitv 449
#define NR_wake 454
#define NR_wait 455
#define NR_requeue 456
#define SIZE32 2
#define PRIVATE 128

struct waitv {
	uint64_t val, uaddr;
	uint32_t flags, reserved;
};

static unsigned words[8];
static volatile int handled;

static void on_signal(int sig) { handled++; }

static void fill(struct waitv *v, int n)
{
	for (int i = 0; i < n; i++)
		v[i] = (struct waitv){ words[i], (uint64_t)&words[i], SIZE32 | PRIVATE, 0 };
}

static void waits_for_many(struct thread *t)
{
	struct waitv v[8];
	fill(v, 8);
	t->ready = 1;
	t->result = SC(NR_waitv, v, (long)t->argument, 0, 0, 0);
}

static void waitv(void)
{
	say("== waitv\n");
	struct waitv v[200];
	struct timespec zero = { 0, 0 }, bad = { 0, -1 };
	fill(v, 8);
	V(SC(NR_waitv, v, 1, 1, 0, 0));
	V(SC(NR_waitv, v, 0, 0, 0, 0));
	V(SC(NR_waitv, v, 129, 0, 0, 0));
	V(SC(NR_waitv, 0, 1, 0, 0, 0));
	V(SC(NR_waitv, 16, 1, 0, 0, 0));
	V(SC(NR_waitv, v, 1, 0, &zero, CLOCK_MONOTONIC));
	V(SC(NR_waitv, v, 1, 0, &zero, CLOCK_REALTIME));
	V(SC(NR_waitv, v, 1, 0, &zero, CLOCK_BOOTTIME));
	V(SC(NR_waitv, v, 1, 0, &bad, CLOCK_MONOTONIC));
	V(SC(NR_waitv, v, 1, 0, 16, CLOCK_MONOTONIC));
	v[2].flags = PRIVATE;
	V(SC(NR_waitv, v, 3, 0, &zero, CLOCK_MONOTONIC));
	v[2].flags = SIZE32 | 64;
	V(SC(NR_waitv, v, 3, 0, &zero, CLOCK_MONOTONIC));
	v[2].flags = 3;
	V(SC(NR_waitv, v, 3, 0, &zero, CLOCK_MONOTONIC));
	fill(v, 8), v[2].reserved = 1;
	V(SC(NR_waitv, v, 3, 0, &zero, CLOCK_MONOTONIC));
	fill(v, 8), v[2].val = 1L << 32;
	V(SC(NR_waitv, v, 3, 0, &zero, CLOCK_MONOTONIC));
	fill(v, 8), v[2].val = 7;
	V(SC(NR_waitv, v, 3, 0, &zero, CLOCK_MONOTONIC));
	fill(v, 8), v[2].uaddr++;
	V(SC(NR_waitv, v, 3, 0, &zero, CLOCK_MONOTONIC));
	fill(v, 8), v[2].uaddr = 0;
	V(SC(NR_waitv, v, 3, 0, &zero, CLOCK_MONOTONIC));
	fill(v, 8), v[0].val = 7, v[2].uaddr = 0;
	V(SC(NR_waitv, v, 3, 0, &zero, CLOCK_MONOTONIC));
	struct timespec soon = after_ms(CLOCK_MONOTONIC, 5);
	fill(v, 8);
	V(SC(NR_waitv, v, 8, 0, &soon, CLOCK_MONOTONIC));
	soon = after_ms(CLOCK_REALTIME, 5);
	V(SC(NR_waitv, v, 8, 0, &soon, CLOCK_REALTIME));
	for (int which = 0; which < 3; which++) {
		struct thread *t = start('A', waits_for_many, (void *)8);
		asleep(t);
		long woken = FUTEX(&words[which * 3], FUTEX_WAKE_PRIVATE, 100, 0, 0, 0);
		say_result("waiter", join(t));
		say_result("woken", woken);
		V(FUTEX(&words[1], FUTEX_WAKE_PRIVATE, 100, 0, 0, 0));
	}
	struct thread *t = start('B', waits_for_many, (void *)2);
	asleep(t);
	V(FUTEX(&words[1], FUTEX_REQUEUE_PRIVATE, 0, 1, &words[5], 0));
	V(FUTEX(&words[1], FUTEX_WAKE_PRIVATE, 1, 0, 0, 0));
	V(FUTEX(&words[5], FUTEX_WAKE_PRIVATE, 1, 0, 0, 0));
	say_result("waiter", join(t));
	for (int restart = 0; restart < 2; restart++) {
		struct sigaction act = { .sa_handler = on_signal, .sa_flags = restart ? SA_RESTART : 0 };
		sigaction(SIGUSR1, &act, 0);
		t = start('C', waits_for_many, (void *)3);
		asleep(t);
		handled = 0;
		pthread_kill(t->handle, SIGUSR1);
		while (!handled)
			usleep(100);
		if (restart)
			until_asleep(getpid(), t->tid), FUTEX(&words[1], FUTEX_WAKE_PRIVATE, 1, 0, 0, 0);
		say_result("interrupted", join(t));
	}
}

static void waits2(struct thread *t)
{
	t->ready = 1;
	t->result = SC(NR_wait, &words[0], 0, (long)t->argument, SIZE32 | PRIVATE, 0, 0);
}

static void futex2(void)
{
	say("== wake, wait, requeue\n");
	struct timespec zero = { 0, 0 }, soon = after_ms(CLOCK_REALTIME, 5);
	V(SC(NR_wait, &words[0], 0, -1U, PRIVATE, 0, 0));
	V(SC(NR_wait, &words[0], 1L << 32, -1U, SIZE32 | PRIVATE, 0, 0));
	V(SC(NR_wait, &words[0], 0, -1L, SIZE32 | PRIVATE, 0, 0));
	V(SC(NR_wait, &words[0], 0, 0, SIZE32 | PRIVATE, 0, 0));
	V(SC(NR_wait, &words[0], 1, -1U, SIZE32 | PRIVATE, 0, 0));
	V(SC(NR_wait, &words[0], 0, -1U, SIZE32 | PRIVATE, &zero, CLOCK_MONOTONIC));
	V(SC(NR_wait, &words[0], 0, -1U, SIZE32 | PRIVATE, &soon, CLOCK_REALTIME));
	V(SC(NR_wait, &words[0], 0, -1U, SIZE32 | PRIVATE, &soon, CLOCK_PROCESS_CPUTIME_ID));
	V(SC(NR_wait, &words[0], 0, -1U, SIZE32 | PRIVATE | 1024, 0, 0));
	V(SC(NR_wake, &words[0], -1U, 1, PRIVATE));
	V(SC(NR_wake, &words[0], 0, 1, SIZE32 | PRIVATE));
	V(SC(NR_wake, &words[0], -1L, 1, SIZE32 | PRIVATE));
	V(SC(NR_wake, 0, -1U, 1, SIZE32 | PRIVATE));
	V(SC(NR_wake, 16, -1U, 1, SIZE32));
	V(SC(NR_wake, (char *)words + 1, -1U, 1, SIZE32));
	struct thread *t[4];
	for (int i = 0; i < 4; i++)
		t[i] = start('A' + i, waits2, (void *)(1L << i)), asleep(t[i]);
	V(SC(NR_wake, &words[0], -1U, 0, SIZE32 | PRIVATE));
	V(SC(NR_wake, &words[0], -1U, 1, SIZE32));
	V(SC(NR_wake, &words[0], 4, 10, SIZE32 | PRIVATE));
	say_result("third", join(t[2]));
	struct waitv pair[2];
	fill(pair, 2);
	V(SC(NR_requeue, pair, 1, 1, 1));
	V(SC(NR_requeue, 0, 0, 1, 1));
	pair[0].flags = pair[1].flags = SIZE32 | PRIVATE | 64;
	V(SC(NR_requeue, pair, 0, 1, 1));
	fill(pair, 2);
	V(SC(NR_requeue, 16, 0, 1, 1));
	V(SC(NR_requeue, pair, 0, -1, 1));
	V(SC(NR_requeue, pair, 0, 1, -1));
	pair[0].val = 5;
	V(SC(NR_requeue, pair, 0, 1, 1));
	fill(pair, 2), pair[1].flags = PRIVATE;
	V(SC(NR_requeue, pair, 0, 1, 1));
	fill(pair, 2), pair[1].flags = SIZE32;
	V(SC(NR_requeue, pair, 0, 0, 1));
	pair[1].flags |= PRIVATE;
	V(SC(NR_requeue, pair, 0, 0, 1));
	V(FUTEX(&words[1], FUTEX_WAKE, 1, 0, 0, 0));
	V(FUTEX(&words[1], FUTEX_WAKE_PRIVATE, 1, 0, 0, 0));
	say_result("first", join(t[0]));
	V(SC(NR_requeue, pair, 0, 1, 1));
	say_result("second", join(t[1]));
	V(SC(NR_wake, &words[1], -1U, -1, SIZE32 | PRIVATE));
	say_result("fourth", join(t[3]));
}

static void waits_shared(struct thread *t)
{
	t->ready = 1;
	t->result = FUTEX(t->argument, FUTEX_WAIT, 0, 0, 0, 0);
}

static void keys(void)
{
	say("== keys\n");
	struct thread *t = start('A', waits_shared, &words[2]);
	asleep(t);
	V(FUTEX(&words[2], FUTEX_WAKE_PRIVATE, 1, 0, 0, 0));
	V(FUTEX(&words[2], FUTEX_WAKE, 1, 0, 0, 0));
	join(t);
	int fd = SC(SYS_memfd_create, "m", 0);
	SC(SYS_ftruncate, fd, 8192);
	unsigned *one = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	unsigned *two = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 4096);
	unsigned *private = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	t = start('B', waits_shared, &one[1025]);
	asleep(t);
	V(FUTEX(&two[2], FUTEX_WAKE, 1, 0, 0, 0));
	V(FUTEX(&private[1], FUTEX_WAKE, 1, 0, 0, 0));
	flush();
	if (!fork()) {
		V(FUTEX(&two[1], FUTEX_WAKE_PRIVATE, 1, 0, 0, 0));
		V(FUTEX(&two[1], FUTEX_WAKE, 1, 0, 0, 0));
		quit(0);
	}
	wait(0);
	say_result("waiter", join(t));
	private[1025] = 0;
	t = start('C', waits_shared, &one[1025]);
	asleep(t);
	V(FUTEX(&private[1025], FUTEX_WAKE, 1, 0, 0, 0));
	V(FUTEX(&one[1025], FUTEX_WAKE, 1, 0, 0, 0));
	join(t);
	unsigned *readable = mmap(0, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	unsigned *none = mmap(0, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	V(FUTEX(readable, FUTEX_WAKE, 1, 0, 0, 0));
	V(FUTEX(readable, FUTEX_WAIT, 1, 0, 0, 0));
	V(FUTEX(none, FUTEX_WAKE, 1, 0, 0, 0));
	V(FUTEX(none, FUTEX_WAKE_PRIVATE, 1, 0, 0, 0));
	V(FUTEX(none, FUTEX_WAIT_PRIVATE, 1, 0, 0, 0));
}

int main(void)
{
	waitv(), futex2(), keys();
	quit(0);
}
