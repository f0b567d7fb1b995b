/* Copies a file by mapping both, then changes the copy through a mapping. usage: mmapcopy FROM TO */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	int in = open(argv[1], O_RDONLY), out = open(argv[2], O_RDWR | O_CREAT | O_TRUNC, 0644);
	struct stat st;
	fstat(in, &st);
	ftruncate(out, st.st_size);
	char *from = mmap(0, st.st_size, PROT_READ, MAP_PRIVATE, in, 0);
	char *to = mmap(0, st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, out, 0);
	if (from == MAP_FAILED || to == MAP_FAILED)
		return 1;
	memcpy(to, from, st.st_size);
	char *privately = mmap(0, st.st_size, PROT_READ | PROT_WRITE, MAP_PRIVATE, out, 0);
	for (long i = 0; i < st.st_size; i += 5000) {
		to[i] = 'X';
		privately[i + 1 < st.st_size ? i + 1 : i] = 'Y';
	}
	msync(to, st.st_size, MS_SYNC);
	close(in);
	close(out);
	unsigned long sum = 0;
	for (long i = 0; i < st.st_size; i++)
		sum = sum * 31 + (unsigned char)privately[i];
	printf("%ld bytes, %lx\n", (long)st.st_size, sum);
	munmap(from, st.st_size);
	to[1] = 'Z'; /* written back at exit */
	return 0;
}
