/* Thread-local variables of one thread, errno, constructors and destructors, atexit, environment, integers of all sizes. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static __thread int counter = 41;
static __thread char text[5000];
static __thread double aligned __attribute__((aligned(64))) = 2.5;
static int order;
static void __attribute__((constructor(101))) first(void) { order = order * 10 + 1; }
static void __attribute__((constructor(102))) second(void) { order = order * 10 + 2; }
static void __attribute__((destructor)) last(void) { printf("destructor\n"); fflush(stdout); }
static void leaving(void) { printf("atexit %d\n", counter); }
static __int128 power(__int128 b, int e) { return e ? b * power(b, e - 1) : 1; }

int main(int argc, char **argv)
{
	atexit(leaving);
	counter++;
	memset(text, 'x', sizeof text - 1);
	printf("%d %zu %g %d order %d\n", counter, strlen(text), aligned, (int)((uintptr_t)&aligned % 64), order);
	errno = 0;
	close(-1);
	printf("errno %d %s\n", errno, strerror(errno));
	__int128 big = power(7, 40);
	printf("%016" PRIx64 "%016" PRIx64 "\n", (uint64_t)(big >> 64), (uint64_t)big);
	printf("%" PRIu64 " %d\n", (uint64_t)(big / 1000000007), (int)(big % 1000000007));
	uint64_t v = 0x0123456789abcdef;
	printf("%d %d %d %" PRIx64 " %" PRIx64 "\n", __builtin_popcountll(v), __builtin_clzll(v), __builtin_ctzll(v << 7), __builtin_bswap64(v),
	       v << 13 | v >> 51);
	setenv("PAGEWALK_TEST", "value", 1);
	printf("%s %s\n", getenv("PAGEWALK_TEST"), getenv("NOT_THERE") ? "there" : "not there");
	for (int i = 1; i < argc; i++)
		printf("argument %d: %s\n", i, argv[i]);
	struct tm tm = { .tm_year = 124, .tm_mon = 1, .tm_mday = 29, .tm_hour = 12 };
	time_t t = timegm(&tm);
	printf("%ld %s", (long)t, asctime(gmtime(&t)));
	time_t now = time(0);
	struct timespec ts;
	clock_gettime(CLOCK_REALTIME, &ts);
	printf("clock agrees %d\n", labs(ts.tv_sec - now) <= 2);
	clock_gettime(CLOCK_MONOTONIC, &ts);
	struct timespec later;
	clock_gettime(CLOCK_MONOTONIC, &later);
	printf("monotonic %d\n", later.tv_sec > ts.tv_sec || (later.tv_sec == ts.tv_sec && later.tv_nsec >= ts.tv_nsec));
	srandom(5);
	printf("%ld %ld\n", random(), random());
	return 300; /* 300 & 255 = 44 */
}
