/* glibc's robust, process-shared and priority-inheriting locks between threads and processes. */
#include "threads.h"

struct shared {
	pthread_mutex_t mutex, second;
	pthread_cond_t cond;
	pthread_barrier_t barrier;
	pthread_rwlock_t rwlock;
	volatile int turn, count, inside, most;
};
static struct shared *s;

static const char *name(int error) { return error ? errno_name(error) ? errno_name(error) : error == 130 ? "EOWNERDEAD" : error == 131 ? "ENOTRECOVERABLE" : error == 110 ? "ETIMEDOUT" : "?" : "0"; }
#define N(...) say("%s = %s\n", #__VA_ARGS__, name(__VA_ARGS__))

static void make_mutex(pthread_mutex_t *m, int robust, int protocol, int type)
{
	pthread_mutexattr_t a;
	pthread_mutexattr_init(&a);
	pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&a, robust ? PTHREAD_MUTEX_ROBUST : PTHREAD_MUTEX_STALLED);
	pthread_mutexattr_setprotocol(&a, protocol);
	pthread_mutexattr_settype(&a, type);
	memset(m, 0, sizeof *m);
	pthread_mutex_init(m, &a);
}

static void make_shared(int robust, int protocol)
{
	memset(s, 0, sizeof *s);
	make_mutex(&s->mutex, robust, protocol, PTHREAD_MUTEX_NORMAL);
	make_mutex(&s->second, robust, protocol, PTHREAD_MUTEX_RECURSIVE);
	pthread_condattr_t c;
	pthread_condattr_init(&c);
	pthread_condattr_setpshared(&c, PTHREAD_PROCESS_SHARED);
	pthread_cond_init(&s->cond, &c);
	pthread_barrierattr_t b;
	pthread_barrierattr_init(&b);
	pthread_barrierattr_setpshared(&b, PTHREAD_PROCESS_SHARED);
	pthread_barrier_init(&s->barrier, &b, 3);
	pthread_rwlockattr_t r;
	pthread_rwlockattr_init(&r);
	pthread_rwlockattr_setpshared(&r, PTHREAD_PROCESS_SHARED);
	pthread_rwlock_init(&s->rwlock, &r);
}

static void locks_and_ends(struct thread *t)
{
	pthread_mutex_lock(&s->mutex);
	pthread_mutex_lock(&s->second);
	pthread_mutex_lock(&s->second);
}

static void waits_for_mutex(struct thread *t)
{
	t->ready = 1;
	t->result = pthread_mutex_lock(&s->mutex);
	pthread_mutex_consistent(&s->mutex);
	pthread_mutex_unlock(&s->mutex);
}

static void locks_for_a_while(struct thread *t)
{
	pthread_mutex_lock(&s->mutex);
	t->ready = 1;
	while (!s->turn)
		usleep(100);
}

static void robust(int protocol)
{
	say("== robust, protocol %d\n", protocol);
	make_shared(1, protocol);
	join(start('A', locks_and_ends, 0));
	say("owner died %d\n", (s->mutex.__data.__lock & FUTEX_OWNER_DIED) != 0);
	N(pthread_mutex_trylock(&s->mutex));
	N(pthread_mutex_consistent(&s->mutex));
	N(pthread_mutex_unlock(&s->mutex));
	N(pthread_mutex_lock(&s->mutex));
	N(pthread_mutex_unlock(&s->mutex));
	N(pthread_mutex_lock(&s->second));
	N(pthread_mutex_unlock(&s->second));
	N(pthread_mutex_lock(&s->second));
	N(pthread_mutex_trylock(&s->second));

	make_shared(1, protocol);
	struct thread *a = start('B', locks_for_a_while, 0);
	while (!a->ready)
		usleep(100);
	struct thread *b = start('C', waits_for_mutex, 0), *c;
	asleep(b);
	c = start('D', waits_for_mutex, 0);
	asleep(c);
	s->turn = 1;
	join(a), join(b), join(c);
	say("first %s second %s\n", name(b->result), name(c->result));

	for (int how = 0; how < 4; how++) {
		make_shared(1, protocol);
		flush();
		int child = fork(), status;
		if (!child) {
			if (how == 3) {
				pthread_mutex_lock(&s->mutex);
				execl("/bin/true", "true", (char *)0);
			}
			pthread_mutex_lock(&s->mutex);
			s->turn = 1;
			if (how == 2)
				until_asleep(getppid(), getppid());
			if (how == 0)
				_exit(3);
			raise(SIGKILL);
		}
		if (how == 1) {
			while (!s->turn)
				usleep(100);
		} else if (how == 2) {
			while (!s->turn)
				sched_yield();
		} else {
			waitpid(child, &status, 0);
		}
		N(pthread_mutex_lock(&s->mutex));
		if (how == 1 || how == 2)
			waitpid(child, &status, 0);
		say("how %d status %x\n", how, status);
		N(pthread_mutex_consistent(&s->mutex));
		N(pthread_mutex_unlock(&s->mutex));
		N(pthread_mutex_lock(&s->mutex));
		N(pthread_mutex_consistent(&s->mutex));
		N(pthread_mutex_unlock(&s->mutex));
	}
}

static void across_processes(int protocol)
{
	say("== across processes, protocol %d\n", protocol);
	make_shared(0, protocol);
	int children[4];
	flush();
	for (int i = 0; i < 4; i++)
		if (!(children[i] = fork())) {
			for (int round = 0; round < 20; round++) {
				pthread_mutex_lock(&s->mutex);
				while (s->turn != i)
					pthread_cond_wait(&s->cond, &s->mutex);
				s->turn = (i + 1) % 4;
				s->count = s->count * 31 + i;
				pthread_cond_broadcast(&s->cond);
				pthread_mutex_unlock(&s->mutex);
			}
			for (int round = 0; round < 20; round++) {
				pthread_rwlock_wrlock(&s->rwlock);
				if (++s->inside > s->most)
					s->most = s->inside;
				sched_yield();
				s->inside--;
				pthread_rwlock_unlock(&s->rwlock);
			}
			_exit(0);
		}
	for (int i = 0; i < 4; i++)
		waitpid(children[i], 0, 0);
	say("count %x turn %d most %d\n", s->count, s->turn, s->most);
	s->count = s->turn = 0;
	flush();
	for (int i = 0; i < 2; i++)
		if (!(children[i] = fork())) {
			int serial = 0;
			for (int round = 0; round < 10; round++) {
				__sync_fetch_and_add(&s->count, 1);
				serial += pthread_barrier_wait(&s->barrier) == PTHREAD_BARRIER_SERIAL_THREAD;
				pthread_barrier_wait(&s->barrier);
			}
			_exit(serial);
		}
	int serial = 0, status, right = 0;
	for (int round = 0; round < 10; round++) {
		__sync_fetch_and_add(&s->count, 1);
		serial += pthread_barrier_wait(&s->barrier) == PTHREAD_BARRIER_SERIAL_THREAD;
		right += s->count == (round + 1) * 3;
		pthread_barrier_wait(&s->barrier);
	}
	for (int i = 0; i < 2; i++)
		waitpid(children[i], &status, 0), serial += WEXITSTATUS(status);
	say("barrier: %d times, %d right, %d serial\n", s->count, right, serial);
}

static void waits_for_cond(struct thread *t)
{
	pthread_mutex_lock(&s->mutex);
	t->ready = 1;
	struct timespec at = after_ms(CLOCK_REALTIME, 10);
	if (t->argument)
		t->result = pthread_cond_timedwait(&s->cond, &s->mutex, &at);
	else
		while (!s->turn)
			t->result = pthread_cond_wait(&s->cond, &s->mutex);
	s->count++;
	pthread_mutex_unlock(&s->mutex);
}

static void inheriting(void)
{
	say("== priority inheritance\n");
	make_shared(0, PTHREAD_PRIO_INHERIT);
	N(pthread_mutex_lock(&s->mutex));
	N(pthread_mutex_trylock(&s->mutex));
	struct timespec at = after_ms(CLOCK_REALTIME, 5);
	N(pthread_mutex_timedlock(&s->second, &at));
	N(pthread_mutex_lock(&s->second));
	N(pthread_mutex_unlock(&s->second));
	N(pthread_mutex_unlock(&s->second));
	N(pthread_mutex_unlock(&s->second));
	N(pthread_mutex_unlock(&s->mutex));
	struct thread *t[4];
	for (int i = 0; i < 4; i++)
		t[i] = start('A' + i, waits_for_cond, 0), asleep(t[i]);
	pthread_mutex_lock(&s->mutex);
	s->turn = 1;
	pthread_cond_broadcast(&s->cond);
	pthread_mutex_unlock(&s->mutex);
	for (int i = 0; i < 4; i++)
		say("waiter %s\n", name(join(t[i])));
	say("count %d\n", s->count);
	say("timed %s\n", name(join(start('E', waits_for_cond, (void *)1))));
	pthread_mutex_t checked;
	make_mutex(&checked, 0, PTHREAD_PRIO_INHERIT, PTHREAD_MUTEX_ERRORCHECK);
	N(pthread_mutex_lock(&checked));
	N(pthread_mutex_lock(&checked));
	N(pthread_mutex_unlock(&checked));
	N(pthread_mutex_unlock(&checked));
}

int main(void)
{
	s = mmap(0, sizeof *s, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	robust(PTHREAD_PRIO_NONE);
	robust(PTHREAD_PRIO_INHERIT);
	across_processes(PTHREAD_PRIO_NONE);
	across_processes(PTHREAD_PRIO_INHERIT);
	inheriting();
	quit(0);
}
