/* Eight threads append to a log, then four processes to standard output, some asleep for a while: what comes out is up to
 * the scheduler. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

static char entries[4096];
static int count;
static volatile int go;

static void *append(void *argument)
{
	long id = (long)argument;
	while (!go)
		;
	for (int i = 0; i < 200; i++) {
		for (volatile int k = 0; k < 3000 + id * 100; k++)
			;
		entries[__sync_fetch_and_add(&count, 1)] = 'a' + id;
		if (i % 50 == id)
			usleep(300 * id);
	}
	return 0;
}

int main(void)
{
	pthread_t threads[8];
	for (long i = 0; i < 8; i++)
		pthread_create(&threads[i], 0, append, (void *)i);
	go = 1;
	for (int i = 0; i < 8; i++)
		pthread_join(threads[i], 0);
	puts(entries);
	fflush(stdout);
	for (int i = 0; i < 4; i++)
		if (fork() == 0) {
			char byte = '0' + i;
			for (int k = 0; k < 50; k++) {
				for (volatile int q = 0; q < 20000; q++)
					;
				write(1, &byte, 1);
			}
			_exit(0);
		}
	while (wait(0) > 0)
		;
	puts("");
	return 0;
}
