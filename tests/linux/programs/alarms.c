/* A timer interrupts a program that counts in memory a hundred times: nothing is left out and nothing is done twice.
   usage: alarms [PAGES that it touches before, which makes the model load its machine code] */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>

static volatile int alarms;

static void on_alarm(int sig) { alarms++; }

int main(int argc, char **argv)
{
	static long counted[64];
	struct sigaction act = { .sa_handler = on_alarm };
	struct itimerval often = { { 0, 2000 }, { 0, 2000 } };
	long rounds = 0, pages = argc > 1 ? atol(argv[1]) : 0;
	sigaction(SIGALRM, &act, 0);
	setitimer(ITIMER_REAL, &often, 0);
	volatile char *touched = malloc(pages * 4096 + 1);
	for (long i = 0; i < pages; i++)
		touched[i * 4096] = 1;
	while (alarms < 100) {
		for (int i = 0; i < 64; i++)
			counted[i]++;
		rounds++;
	}
	for (int i = 0; i < 64; i++)
		if (counted[i] != rounds)
			printf("%d: %ld in %ld rounds\n", i, counted[i], rounds);
	puts("counted");
	return 0;
}
