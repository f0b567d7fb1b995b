/* malloc, calloc, realloc, memalign and free in random order; each block carries a pattern that is checked. */
#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SLOTS 600
static struct { unsigned char *p; size_t n; unsigned char seed; } slot[SLOTS];
static uint64_t state = 42;
static unsigned rnd(unsigned below)
{
	state = state * 6364136223846793005ULL + 1442695040888963407ULL;
	return (state >> 33) % below;
}
static void fill(int i)
{
	for (size_t k = 0; k < slot[i].n; k += 61)
		slot[i].p[k] = slot[i].seed + k;
}
static long bad;
static void check(int i, size_t n)
{
	for (size_t k = 0; k < n; k += 61)
		bad += slot[i].p[k] != (unsigned char)(slot[i].seed + k);
}
static size_t size(void)
{
	unsigned r = rnd(100);
	return r < 70 ? 1 + rnd(500) : r < 95 ? 1 + rnd(20000) : r < 99 ? 1 + rnd(300000) : 1 + rnd(3000000);
}

int main(void)
{
	size_t total = 0, most = 0;
	for (int step = 0; step < 20000; step++) {
		int i = rnd(SLOTS);
		size_t n = size();
		switch (slot[i].p ? 1 + rnd(2) : 0) {
		case 0:
			switch (rnd(4)) {
			case 0: slot[i].p = calloc(1, n); for (size_t k = 0; k < n; k++) bad += slot[i].p[k] != 0; break;
			case 1: slot[i].p = memalign(1 << rnd(14), n); break;
			default: slot[i].p = malloc(n);
			}
			slot[i].n = n;
			slot[i].seed = step;
			total += n;
			break;
		case 1:
			check(i, slot[i].n);
			free(slot[i].p);
			total -= slot[i].n;
			slot[i].p = 0;
			continue;
		case 2: {
			slot[i].p = realloc(slot[i].p, n);
			size_t kept = n < slot[i].n ? n : slot[i].n;
			check(i, kept);
			total += n - slot[i].n;
			slot[i].n = n;
			break;
		}
		}
		fill(i);
		if (total > most)
			most = total;
	}
	for (int i = 0; i < SLOTS; i++) {
		if (slot[i].p)
			check(i, slot[i].n);
		free(slot[i].p);
	}
	malloc_trim(0);
	printf("bad %ld most %zu\n", bad, most);
	return bad != 0;
}
