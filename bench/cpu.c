/* CPU-bound work, timed from inside: sorts, and a system call in a loop. Prints "name ns-per-unit" lines. */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1e9 + ts.tv_nsec;
}

static int compare(const void *a, const void *b)
{
	int x = *(const int *)a, y = *(const int *)b;

	return (x > y) - (x < y);
}

static uint64_t state = 88172645463325252ull;

static uint64_t next(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	return state ^= state << 17;
}

static void report(const char *name, double start, double units)
{
	printf("%s %.3f\n", name, (now() - start) / units);
}

int main(int argc, char **argv)
{
	long n = argc > 1 ? atol(argv[1]) : 1000000;
	long calls = n / 50;
	int *numbers = malloc(n * sizeof(int));
	double *reals = malloc(4096 * sizeof(double)), sum = 0;
	char *text = malloc(1 << 20);
	double start;

	for (long i = 0; i < n; i++)
		numbers[i] = (int)next();
	start = now();
	qsort(numbers, n, sizeof(int), compare);
	report("qsort", start, n);
	for (long i = 1; i < n; i++)
		if (numbers[i - 1] > numbers[i])
			return 1;

	for (int i = 0; i < 4096; i++)
		reals[i] = 1.0 / (i + 1);
	start = now();
	for (long i = 0; i < n; i++)
		sum += reals[i & 4095] * (double)i;
	report("float", start, n);

	memset(text, 'x', (1 << 20) - 1);
	start = now();
	for (int i = 0; i < 20; i++) {
		text[(1 << 20) - 1] = 0;
		sum += strlen(text);
		memmove(text + 1, text, (1 << 20) - 2);
	}
	report("strings", start, 20.0 * (1 << 20));

	start = now();
	for (long i = 0; i < calls; i++)
		syscall(SYS_getppid);
	report("syscall", start, calls);
	return sum == 0;
}
