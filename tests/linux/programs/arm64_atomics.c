/* arm64: threads that count with exclusive loads and stores, with atomic instructions, and under a spin lock. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum { THREADS = 4 };
static long rounds, by_exclusive, by_atomic, by_lock, by_pair[2] __attribute__((aligned(16)));
static int lock;
static __thread long mine;

static void *count(void *unused)
{
	for (long i = 0; i < rounds; i++) {
		long value;
		int failed;
		do
			__asm__ volatile("ldxr %0, %2; add %0, %0, #1; stlxr %w1, %0, %2"
					 : "=&r"(value), "=&r"(failed), "+Q"(by_exclusive)::"memory");
		while (failed);
		__asm__ volatile(".arch_extension lse; ldadd %1, %1, %0" : "+Q"(by_atomic), "=&r"(value) : "1"(1L) : "memory");
		do
			__asm__ volatile("ldaxr %w0, %2; cbnz %w0, 1f; stxr %w0, %w3, %2; 1:"
					 : "=&r"(failed), "=&r"(value), "+Q"(lock) : "r"(1) : "memory");
		while (failed);
		by_lock++;
		__atomic_store_n(&lock, 0, __ATOMIC_RELEASE);
		long a, b;
		do
			__asm__ volatile("ldxp %0, %1, %3; add %0, %0, #1; add %1, %1, #2; stxp %w2, %0, %1, %3"
					 : "=&r"(a), "=&r"(b), "=&r"(failed), "+Q"(by_pair)::"memory");
		while (failed);
		mine++;
	}
	return (void *)mine;
}

int main(int argc, char **argv)
{
	pthread_t threads[THREADS];
	long sum = 0;
	rounds = argc > 1 ? atol(argv[1]) : 100000;
	for (int i = 0; i < THREADS; i++)
		pthread_create(&threads[i], 0, count, 0);
	for (int i = 0; i < THREADS; i++) {
		void *result;
		pthread_join(threads[i], &result);
		sum += (long)result;
	}
	printf("%ld %ld %ld %ld %ld %ld\n", by_exclusive, by_atomic, by_lock, by_pair[0], by_pair[1], sum);
	return 0;
}
