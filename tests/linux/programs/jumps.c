/* setjmp and longjmp out of deep recursion, out of signal handlers; function pointers; variable arguments; alloca. */
#include <alloca.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static jmp_buf there;
static sigjmp_buf from_signal;
static volatile int depth;

static void descend(int n)
{
	volatile char room[64];
	memset((char *)room, n, sizeof room);
	depth = n;
	if (n == 2000)
		longjmp(there, n);
	descend(n + 1);
	room[0]++;
}
static void handler(int sig) { siglongjmp(from_signal, sig); }
static long sum(int n, ...)
{
	va_list args;
	va_start(args, n);
	long total = 0;
	for (int i = 0; i < n; i++)
		total += i % 2 ? (long)va_arg(args, double) : va_arg(args, int);
	va_end(args);
	return total;
}
static int twice(int x) { return 2 * x; }
static int square(int x) { return x * x; }

int main(void)
{
	register int kept = 5;
	volatile int changed = 1;
	for (int i = 0; i < 20; i++) {
		int r = setjmp(there);
		if (r == 0) {
			changed++;
			descend(0);
		}
		printf("%d %d %d %d\n", r, depth, changed, kept);
	}
	signal(SIGUSR1, handler);
	for (volatile int i = 0; i < 5; i++) {
		int r = sigsetjmp(from_signal, 1);
		if (r == 0)
			raise(SIGUSR1);
		else
			printf("signal %d\n", r);
	}
	printf("%ld\n", sum(8, 1, 2.5, 3, 4.5, 5, 6.5, 7, 8.5));
	int (*table[])(int) = { twice, square };
	int x = 3;
	for (int i = 0; i < 6; i++)
		x = table[i & 1](x) % 1000;
	printf("%d\n", x);
	for (int n = 1; n < 100000; n *= 7) {
		char *p = alloca(n);
		memset(p, n, n);
		printf("%d ", p[n - 1]);
	}
	printf("\n");
	return kept + changed;
}
