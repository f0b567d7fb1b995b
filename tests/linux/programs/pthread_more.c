/* What threads have beside locks: keys, names, attributes, clocks, semaphores, fork handlers, joins with a time. */
#include "threads.h"
#include <semaphore.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>
#include <time.h>

static pthread_key_t key;
static char order[64];
static sem_t sem;
static __thread int mine = 7;

static void mark(char c) { order[strlen(order)] = c; }
static void destroy(void *value)
{
	static int rounds;
	mark('a' + (long)value);
	if (rounds++ < 2)
		pthread_setspecific(key, (void *)((long)value + 1));
}

static void uses_keys(struct thread *t)
{
	pthread_setspecific(key, (void *)1);
	t->result = mine++ * 10 + mine;
}

static void prepare(void) { mark('p'); }
static void parent(void) { mark('P'); }
static void child(void) { mark('C'); }

static void posts(struct thread *t)
{
	for (int i = 0; i < 3; i++)
		usleep(500), sem_post(&sem);
}

static void sleeps(struct thread *t)
{
	t->ready = 1;
	for (;;)
		pause();
}

static void burns(struct thread *t)
{
	struct timespec used;
	do
		clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
	while (used.tv_sec == 0 && used.tv_nsec < 3000000);
	t->result = used.tv_nsec >= 3000000;
}

static void attributes(struct thread *t)
{
	pthread_attr_t a;
	void *stack;
	size_t size, guard;
	int detached;
	pthread_getattr_np(pthread_self(), &a);
	pthread_attr_getstack(&a, &stack, &size);
	pthread_attr_getguardsize(&a, &guard);
	pthread_attr_getdetachstate(&a, &detached);
	char here;
	say("stack size %lu guard %lu detached %d inside %d\n", size, guard, detached, &here > (char *)stack && &here < (char *)stack + size);
	pthread_attr_destroy(&a);
}

static void names(struct thread *t)
{
	char name[16], path[64], text[32] = "";
	say("set %d\n", pthread_setname_np(pthread_self(), "a-thread"));
	say("too long %d\n", pthread_setname_np(pthread_self(), "a-name-that-is-too-long"));
	pthread_getname_np(pthread_self(), name, 16);
	sprintf(path, "/proc/self/task/%d/comm", gettid_());
	read_whole(path, text, sizeof text);
	say("name %s, %s", name, text);
	read_whole("/proc/self/comm", text, sizeof text);
	say("process %s", text);
}

static void affinity(void)
{
	cpu_set_t set;
	CPU_ZERO(&set);
	CPU_SET(0, &set);
	say("affinity %d ", pthread_setaffinity_np(pthread_self(), sizeof set, &set));
	CPU_ZERO(&set);
	pthread_getaffinity_np(pthread_self(), sizeof set, &set);
	say("count %d cpu %d\n", CPU_COUNT(&set), sched_getcpu());
}

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_barrier_t barrier;
static pthread_spinlock_t spin;
static volatile int counted;
static void initialise(void) { mark('1'); }
static void together(struct thread *t)
{
	pthread_once(&once, initialise);
	t->result = pthread_barrier_wait(&barrier) == PTHREAD_BARRIER_SERIAL_THREAD;
	for (int i = 0; i < 500; i++)
		pthread_spin_lock(&spin), counted++, pthread_spin_unlock(&spin);
}

static volatile int notified;
static void notify(union sigval value) { notified = value.sival_int; }

int main(int argc, char **argv)
{
	struct thread *t;
	pthread_key_create(&key, destroy);
	say("tls %ld\n", join(start('A', uses_keys, 0)));
	say("destructors %s\n", order), memset(order, 0, sizeof order);
	pthread_atfork(prepare, parent, child);
	flush();
	int status, pid = fork();
	if (!pid)
		say("child %s\n", order), quit(0);
	waitpid(pid, &status, 0);
	say("parent %s status %x\n", order, status), memset(order, 0, sizeof order);
	sem_init(&sem, 0, 0);
	t = start('B', posts, 0);
	for (int i = 0; i < 3; i++)
		say("wait %d\n", sem_wait(&sem));
	join(t);
	struct timespec at = after_ms(CLOCK_REALTIME, 3);
	int r = sem_timedwait(&sem, &at);
	say("timed %d %d\n", r, errno == ETIMEDOUT);
	r = sem_trywait(&sem);
	say("try %d %d\n", r, errno == EAGAIN);
	t = start('C', sleeps, 0);
	asleep(t);
	void *value;
	say("tryjoin %d\n", pthread_tryjoin_np(t->handle, &value) == EBUSY);
	at = after_ms(CLOCK_REALTIME, 3);
	say("timedjoin %d\n", pthread_timedjoin_np(t->handle, &value, &at) == ETIMEDOUT);
	pthread_cancel(t->handle);
	r = pthread_join(t->handle, &value);
	say("join %d canceled %d\n", r, value == PTHREAD_CANCELED);
	say("cpu time %ld\n", join(start('D', burns, 0)));
	clockid_t clock;
	struct timespec used;
	t = start('E', sleeps, 0);
	asleep(t);
	say("clock of another %d ", pthread_getcpuclockid(t->handle, &clock));
	r = clock_gettime(clock, &used);
	say("%d small %d\n", r, used.tv_sec == 0 && used.tv_nsec < 500000000);
	pthread_cancel(t->handle), join(t);
	say("of nobody %d\n", clock_gettime(clock, &used) < 0 ? errno : 0);
	join(start('F', attributes, 0));
	join(start('G', names, 0));
	affinity();
	pthread_barrier_init(&barrier, 0, 6), pthread_spin_init(&spin, 0);
	struct thread *six[6];
	int serial = 0;
	memset(order, 0, sizeof order);
	for (int i = 0; i < 6; i++)
		six[i] = start('H' + i, together, 0);
	for (int i = 0; i < 6; i++)
		serial += join(six[i]);
	say("serial %d counted %d once %s\n", serial, counted, order);
	timer_t timer;
	struct sigevent event = { .sigev_notify = SIGEV_THREAD, .sigev_notify_function = notify, .sigev_value = { 42 } };
	struct itimerspec soon = { { 0, 0 }, { 0, 2000000 } };
	say("timer %d ", timer_create(CLOCK_MONOTONIC, &event, &timer));
	say("%d\n", timer_settime(timer, 0, &soon, 0));
	for (int i = 0; i < 5000 && !notified; i++)
		usleep(200);
	say("notified %d\n", notified);
	timer_delete(timer);
	struct rusage u, all;
	getrusage(RUSAGE_THREAD, &u), getrusage(RUSAGE_SELF, &all);
	say("usage %d\n", u.ru_minflt <= all.ru_minflt && all.ru_minflt > 0);
	quit(0);
}
