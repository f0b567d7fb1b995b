/* Reads a file from its start again and again, page by page. usage: memcg_load FILE PAGES ROUNDS */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	static char page[4096];
	if (argc != 4)
		return 2;
	long pages = atol(argv[2]), rounds = atol(argv[3]);
	int fd = open(argv[1], O_RDONLY);
	if (fd < 0 || posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM))
		return 4;
	for (long round = 0; round < rounds; round++)
		for (long at = 0; at < pages; at++)
			if (pread(fd, page, sizeof page, at * 4096) != sizeof page)
				return 5;
	printf("read %ld\n", pages * rounds);
	return 0;
}
