/* Two threads that wait for each other's mutex, and a process that waits for a pipe which nobody writes to. */
#define _GNU_SOURCE
#include <pthread.h>
#include <unistd.h>

static pthread_mutex_t one = PTHREAD_MUTEX_INITIALIZER, other = PTHREAD_MUTEX_INITIALIZER;
static volatile int ready;

static void *second(void *argument)
{
	pthread_mutex_lock(&other);
	ready = 1;
	pthread_mutex_lock(&one);
	return 0;
}

int main(void)
{
	pthread_t thread;
	int ends[2];
	char byte;
	pipe(ends);
	if (fork() == 0) {
		read(ends[0], &byte, 1);
		_exit(0);
	}
	pthread_mutex_lock(&one);
	pthread_create(&thread, 0, second, 0);
	while (!ready)
		;
	pthread_mutex_lock(&other);
	return 0;
}
