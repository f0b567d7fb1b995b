/* What the CPU says of protection keys, and whether the C library's way to save registers carries PKRU. */
#include <cpuid.h>
#include <stdio.h>
#include <string.h>

int main(void)
{
	unsigned a, b, c, d, seven = 0, pkru;
	char line[4096];
	static char area[4096] __attribute__((aligned(64)));
	__cpuid(1, a, b, c, d);
	if (__get_cpuid_max(0, 0) >= 7) {
		unsigned x, y, z;
		__cpuid_count(7, 0, x, y, seven, z);
	}
	printf("pku %d ospke %d xsave %d osxsave %d\n", seven >> 3 & 1, seven >> 4 & 1, c >> 26 & 1, c >> 27 & 1);
	if (c >> 27 & 1) {
		unsigned low, high, size, biggest, at, length;
		asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
		__cpuid_count(13, 0, a, size, biggest, d);
		__cpuid_count(13, 9, length, at, c, d);
		printf("xcr0 %#x size %u %u pkru at %u %u\n", low, size, biggest, at, length);
	}
	FILE *info = fopen("/proc/cpuinfo", "r");
	printf("flags");
	while (fgets(line, sizeof line, info))
		if (!strncmp(line, "flags", 5))
			for (char *word = strtok(line, " \n"); word; word = strtok(0, " \n"))
				if (!strcmp(word, "pku") || !strcmp(word, "ospke") || !strcmp(word, "xsave"))
					printf(" %s", word);
	printf("\n");
	if (seven >> 4 & 1) {
		asm volatile(".byte 0x0f,0x01,0xef" : : "a"(0x55555550), "c"(0), "d"(0));
		asm volatile("xsave %0" : "+m"(area) : "a"(0x200), "d"(0));
		asm volatile(".byte 0x0f,0x01,0xef" : : "a"(0x55555554), "c"(0), "d"(0));
		asm volatile("xrstor %0" : : "m"(area), "a"(0x200), "d"(0));
		asm volatile(".byte 0x0f,0x01,0xee" : "=a"(pkru), "=d"(d) : "c"(0));
		printf("xsave and xrstor of pkru: %#x\n", pkru);
	}
	return 0;
}
