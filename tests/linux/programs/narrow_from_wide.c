/* A 64-bit program makes 32-bit system calls. */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static long int80(long n, long a, long b, long c)
{
	long r;
	__asm__ volatile("int $0x80" : "=a"(r) : "a"(n), "b"(a), "c"(b), "d"(c) : "r8", "r9", "r10", "r11", "memory");
	return r;
}

int main(void)
{
	char *low = mmap((void *)0x10000000, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	strcpy(low, "written by int 0x80\n");
	printf("getpid %d\n", int80(20, 0, 0, 0) == getpid());
	fflush(stdout);
	printf("write %ld\n", int80(4, 1, (long)low, 20));
	printf("truncated pointer %ld\n", int80(4, 1, (long)low | 1L << 40, 20));
	printf("unknown %ld\n", int80(9999, 0, 0, 0));
	int *times = (int *)(low + 100);
	printf("clock_gettime %ld %d\n", int80(265, 0, (long)times, 0), times[0] > 1000000000 && times[1] < 1000000000);
	return 0;
}
