/* memcpy, memmove, memset, memcmp, memchr, strlen, strcmp and others, over all alignments and at the edges of mappings. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <wchar.h>

static long bad;
#define CHECK(x) do { if (!(x)) { bad++; printf("wrong: %s line %d\n", #x, __LINE__); } } while (0)
static unsigned long hash = 14695981039346656037UL;
static void mix(const void *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		hash = (hash ^ ((const unsigned char *)p)[i]) * 1099511628211UL;
}

int main(void)
{
	static unsigned char from[4096], to[4096], want[4096];
	for (int i = 0; i < 4096; i++)
		from[i] = 1 + i * 31 % 255;
	int sizes[] = { 0, 1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 255, 256, 257, 1000 };
	for (unsigned s = 0; s < sizeof sizes / sizeof *sizes; s++)
		for (int a = 0; a < 33; a++)
			for (int b = 0; b < 33; b += 4) {
				int n = sizes[s];
				memset(to, 7, 1200);
				CHECK(memcpy(to + a, from + b, n) == to + a);
				CHECK(!memcmp(to + a, from + b, n) && to[a + n] == 7 && (!a || to[a - 1] == 7));
				memcpy(want, from, 1200);
				memcpy(to, from, 1200);
				memmove(to + a, to + b, n);
				for (int i = 0; i < n; i++)
					want[a + i] = from[b + i];
				CHECK(!memcmp(to, want, 1200));
				memset(to + a, s, n);
				mix(to, 64);
			}
	/* two pages with nothing behind them: functions must not read past the end */
	char *pages = mmap(0, 4 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	mprotect(pages, 4096, PROT_NONE);
	mprotect(pages + 3 * 4096, 4096, PROT_NONE);
	char *first = pages + 4096, *end = pages + 3 * 4096;
	memset(first, 'a', 8192);
	for (int n = 0; n < 150; n++) {
		char *p = end - n - 1;
		p[n] = 0;
		memset(p, 'b', n);
		CHECK(strlen(p) == (size_t)n);
		CHECK(strnlen(p, n + 1000) == (size_t)n);
		CHECK(memchr(p, 0, n + 1) == p + n);
		CHECK(strchr(p, 0) == p + n);
		CHECK(rawmemchr(p, 0) == p + n);
		CHECK(strrchr(p, 'b') == (n ? p + n - 1 : NULL));
		char *copy = first + n % 17;
		CHECK(strcpy(copy, p) == copy && !strcmp(copy, p) && stpcpy(copy, p) == copy + n);
		CHECK(strncmp(copy, p, n + 5) == 0 && strcasecmp(copy, p) == 0);
		CHECK(memcmp(copy, p, n) == 0);
		CHECK(strspn(p, "b") == (size_t)n && strcspn(p, "x") == (size_t)n);
		memcpy(first, p, n + 1);
		memmove(end - n - 1, first, n + 1);
		CHECK(!memcmp(end - n - 1, first, n + 1));
		char *dup = strdup(p);
		CHECK(!strcmp(dup, p));
		free(dup);
		memset(first, 'a', 300);
		CHECK(memrchr(first, 'z', 8192) == NULL);
		CHECK(memmem(p, n, "bb", 2) == (n >= 2 ? p : NULL));
		CHECK(strstr(p, "bbb") == (n >= 3 ? p : NULL));
		bzero(p, n);
		mix(p, n);
	}
	/* across the line between two pages */
	for (int a = -40; a <= 0; a++)
		for (int n = 0; n < 80; n += 3) {
			memcpy(first + 4096 + a, from, n);
			mix(first + 4096 + a, n);
			memmove(first + 4096 + a + 1, first + 4096 + a, n);
			mix(first + 4096 + a, n + 1);
		}
	char text[200];
	strcpy(text, "one two,three;four");
	for (char *t = strtok(text, " ,;"); t; t = strtok(0, " ,;"))
		printf("%s|", t);
	snprintf(text, sizeof text, "%5d|%-8s|%08.3f|%+ld|%#x|%c|%%|%10.4s|%e", 42, "left", 3.14159, 123456789012L, 255, 'q', "truncated", 1234.5);
	printf("\n%s\n", text);
	wchar_t wide[50];
	printf("%zu %ls\n", wcslen(wcscpy(wide, L"wide text")), wide);
	int x, y;
	char word[20];
	int got = sscanf("12 0x1f word", "%d %x %19s", &x, &y, word);
	printf("%d %d %d %s\n", got, x, y, word);
	printf("%ld %lu %lld\n", strtol("-77zz", 0, 10), strtoul("ffff", 0, 16), strtoll("9223372036854775807", 0, 10));
	printf("bad %ld hash %016lx\n", bad, hash);
	return bad != 0;
}
