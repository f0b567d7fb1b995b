/* A dynamic program that opens libraries at run time and asks the linker about them. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <link.h>
#include <stdio.h>
#include <string.h>

static int count(struct dl_phdr_info *info, size_t size, void *seen)
{
	(*(int *)seen)++;
	const char *name = strrchr(info->dlpi_name, '/');
	if (strstr(info->dlpi_name, "vdso"))
		printf("the vdso\n"); /* its image is the machine's own */
	else
		printf("object %s with %d headers\n", name ? name + 1 : info->dlpi_name, info->dlpi_phnum);
	return 0;
}

int main(void)
{
	int seen = 0;
	void *m = dlopen("libm.so.6", RTLD_NOW);
	printf("libm %d\n", m != 0);
	double (*cosine)(double) = dlsym(m, "cos");
	printf("cos 1 = %.12f\n", cosine(1.0));
	printf("nothing %d\n", dlsym(m, "no_such_function") == 0);
	printf("error %d\n", dlerror() != 0);
	void *z = dlopen("libz.so.1", RTLD_LAZY);
	if (z) {
		unsigned long (*crc32)(unsigned long, const unsigned char *, unsigned) = dlsym(z, "crc32");
		printf("crc %lx\n", crc32(0, (const unsigned char *)"pagewalk", 8));
		printf("close %d\n", dlclose(z));
	} else {
		printf("no libz\n");
	}
	printf("missing %d\n", dlopen("libnosuch.so.9", RTLD_NOW) == 0);
	Dl_info where;
	int found = dladdr((void *)cosine, &where);
	printf("dladdr %d %s\n", found != 0, strrchr(where.dli_fname, '/'));
	dl_iterate_phdr(count, &seen);
	printf("objects %d\n", seen);
	return 0;
}
