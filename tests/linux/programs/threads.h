/* What the programs with threads share: named threads, whose ids print as their names, and waiting until one sleeps.
 * say() is for one thread at a time: for main while the others sleep, or for who holds the lock. */
#ifndef THREADS_H
#define THREADS_H
#include "say.h"
#include "asleep.h"
#include <linux/futex.h>
#include <pthread.h>

#define V(...) say_result(#__VA_ARGS__, (long)(__VA_ARGS__))
#define FUTEX(addr, op, ...) SC(SYS_futex, addr, op, __VA_ARGS__)

#define MAX_THREADS 32
struct thread {
	char name;
	volatile int tid; /* set by the thread itself */
	volatile int ready;
	volatile long result;
	pthread_t handle;
	void (*body)(struct thread *);
	void *argument;
};
static struct thread threads[MAX_THREADS];
static int nr_threads;

static int gettid_(void) { return SC(SYS_gettid); }

static void *thread_main(void *pointer)
{
	struct thread *t = pointer;
	t->tid = gettid_();
	t->body(t);
	return 0;
}

static struct thread *start(char name, void (*body)(struct thread *), void *argument)
{
	struct thread *t = &threads[nr_threads++];
	t->name = name, t->body = body, t->argument = argument, t->ready = 0, t->tid = 0, t->result = 0;
	if (pthread_create(&t->handle, 0, thread_main, t))
		die("pthread_create", -1);
	while (!t->tid)
		usleep(100);
	return t;
}

/* Also waits until the task is gone: pthread_join comes back a little before that. */
static long join(struct thread *t)
{
	pthread_join(t->handle, 0);
	until_state(getpid(), t->tid, 'X');
	return t->result;
}

static const char *who(int id)
{
	static char names[4][16];
	static int turn;
	char *to = names[turn++ & 3];
	if (id == getpid())
		return "main";
	for (int i = nr_threads; i-- > 0;)
		if (threads[i].tid == id) {
			sprintf(to, "%c", threads[i].name);
			return to;
		}
	sprintf(to, id ? "other" : "-");
	return to;
}

/* The word of a lock: its owner by name, and the flags. */
static void say_word(const char *what, unsigned word)
{
	say("%s: %s%s%s\n", what, who(word & FUTEX_TID_MASK), word & FUTEX_WAITERS ? " waiters" : "",
	    word & FUTEX_OWNER_DIED ? " died" : "");
}

static void asleep(struct thread *t)
{
	while (!t->ready)
		usleep(100);
	until_asleep(getpid(), t->tid);
}

static struct timespec after_ms(int clock, long ms)
{
	struct timespec t;
	clock_gettime(clock, &t);
	t.tv_nsec += ms * 1000000;
	t.tv_sec += t.tv_nsec / 1000000000;
	t.tv_nsec %= 1000000000;
	return t;
}
#endif
