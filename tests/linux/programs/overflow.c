/* Recursion until the stack ends. */
#include <stdio.h>
static int __attribute__((noinline)) recurse(int n)
{
	volatile char room[500];
	room[n % 500] = n;
	return recurse(n + 1) + room[n % 500];
}
int main(void)
{
	printf("before\n");
	fflush(stdout);
	return recurse(0);
}
