/* qsort, bsearch, heap and merge by hand, on integers, strings and structures. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define N 100000
static uint32_t a[N], b[N];
struct item { char name[12]; int key; double weight; };
static struct item items[5000];

static int by_value(const void *x, const void *y)
{
	uint32_t p = *(const uint32_t *)x, q = *(const uint32_t *)y;
	return p < q ? -1 : p > q;
}
static int by_name(const void *x, const void *y) { return strcmp(((struct item *)x)->name, ((struct item *)y)->name); }
static int by_weight(const void *x, const void *y)
{
	double p = ((struct item *)x)->weight, q = ((struct item *)y)->weight;
	return p < q ? -1 : p > q ? 1 : ((struct item *)x)->key - ((struct item *)y)->key;
}
static void sift(uint32_t *v, int at, int n)
{
	for (int child; (child = 2 * at + 1) < n; at = child) {
		if (child + 1 < n && v[child + 1] > v[child])
			child++;
		if (v[at] >= v[child])
			return;
		uint32_t t = v[at];
		v[at] = v[child];
		v[child] = t;
	}
}

int main(void)
{
	uint32_t x = 1;
	for (int i = 0; i < N; i++)
		a[i] = b[i] = x = x * 1664525 + 1013904223;
	qsort(a, N, sizeof *a, by_value);
	for (int i = N / 2; i-- > 0;)
		sift(b, i, N);
	for (int n = N - 1; n > 0; n--) {
		uint32_t t = b[0];
		b[0] = b[n];
		b[n] = t;
		sift(b, 0, n);
	}
	printf("equal %d first %u middle %u last %u\n", !memcmp(a, b, sizeof a), a[0], a[N / 2], a[N - 1]);
	long found = 0;
	for (int i = 0; i < 20000; i++) {
		x = i & 1 ? a[(i * 7919L) % N] : x * 1664525 + 1013904223;
		found += bsearch(&x, a, N, sizeof *a, by_value) != NULL;
	}
	printf("found %ld\n", found);
	for (int i = 0; i < 5000; i++) {
		x = x * 1664525 + 1013904223;
		sprintf(items[i].name, "n%u", x % 100000);
		items[i].key = i;
		items[i].weight = (x >> 8) / 977.0;
	}
	qsort(items, 5000, sizeof *items, by_name);
	printf("%s %s %s\n", items[0].name, items[2500].name, items[4999].name);
	qsort(items, 5000, sizeof *items, by_weight);
	printf("%.4f %.4f %.4f\n", items[0].weight, items[2500].weight, items[4999].weight);
	return 0;
}
