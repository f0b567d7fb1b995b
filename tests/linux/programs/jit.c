/* Code that is written at run time, rewritten in place, and moved; code across page lines; two mappings of one page. */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

typedef int (*function)(int);

static int emit_add(unsigned char *p, int n)
{
	unsigned char code[] = { 0x8d, 0x87, 0, 0, 0, 0, 0xc3 }; /* lea eax, [rdi + n]; ret */
	memcpy(code + 2, &n, 4);
	memcpy(p, code, sizeof code);
	return sizeof code;
}

int main(void)
{
	unsigned char *page = mmap(0, 8 * 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	long sum = 0;
	for (int i = 0; i < 2000; i++) { /* the same place again and again */
		emit_add(page, i);
		sum += ((function)page)(i);
	}
	printf("rewritten %ld\n", sum);
	sum = 0;
	for (int i = 0; i < 500; i++) /* many places, among them across a page line */
		emit_add(page + i * 16 + 9, i * 3);
	for (int round = 0; round < 3; round++)
		for (int i = 0; i < 500; i++)
			sum += ((function)(page + i * 16 + 9))(round);
	printf("many %ld\n", sum);
	/* a loop that patches its own constant: mov eax, imm; add [rip+...]; ... */
	unsigned char self[] = {
		0xb9, 0x0a, 0, 0, 0,             /*  0: mov ecx, 10 */
		0x31, 0xc0,                      /*  5: xor eax, eax */
		0x05, 0x01, 0, 0, 0,             /*  7: add eax, 1        (the constant is patched) */
		0xff, 0x05, 0xf6, 0xff, 0xff, 0xff, /* 12: inc dword [rip - 10] -> offset 8 */
		0xff, 0xc9,                      /* 18: dec ecx */
		0x75, 0xf1,                      /* 20: jne 7 */
		0xc3,
	};
	memcpy(page + 4096, self, sizeof self);
	for (int i = 0; i < 3; i++)
		printf("patches itself %d\n", ((function)(page + 4096))(0));
	/* write, then make executable; then back */
	unsigned char *other = mmap(0, 2 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (int i = 0; i < 20; i++) {
		mprotect(other, 8192, PROT_READ | PROT_WRITE);
		emit_add(other + 4093, 100 * i);
		mprotect(other, 8192, PROT_READ | PROT_EXEC);
		printf("%d ", ((function)(other + 4093))(i));
	}
	printf("\n");
	/* written through one mapping, executed through another */
	int fd = syscall(SYS_memfd_create, "jit", 0);
	ftruncate(fd, 4096);
	unsigned char *w = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	unsigned char *x = mmap(0, 4096, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
	for (int i = 0; i < 20; i++) {
		emit_add(w, i * i);
		printf("%d ", ((function)x)(1));
	}
	printf("\n");
	/* through write(2) */
	for (int i = 0; i < 10; i++) {
		unsigned char code[16];
		int n = emit_add(code, -i);
		pwrite(fd, code, n, 0);
		printf("%d ", ((function)x)(1));
	}
	printf("\n");
	/* the frame is given back, and comes again with other code */
	for (int i = 0; i < 20; i++) {
		unsigned char *q = mmap(0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		emit_add(q, i * 1000);
		printf("%d ", ((function)q)(1));
		munmap(q, 4096);
	}
	/* moved */
	emit_add(page, 5);
	unsigned char *moved = mremap(page, 4096, 4096, MREMAP_MAYMOVE | MREMAP_FIXED, other);
	printf("\nmoved %d\n", ((function)moved)(1));
	madvise(moved, 4096, MADV_DONTNEED);
	emit_add(moved, 6);
	printf("discarded and written %d\n", ((function)moved)(1));
	return 0;
}
