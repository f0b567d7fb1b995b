/* The program's own maps, without what differs between any two machines: device and inode numbers. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int main(void)
{
	static char text[1 << 16], out[1 << 16];
	int fd = open("/proc/self/maps", O_RDONLY), used = 0, n;
	while ((n = read(fd, text + used, sizeof text - 1 - used)) > 0)
		used += n;
	char *at = out;
	for (char *line = text; *line;) {
		char *end = strchr(line, '\n'), range[64], rights[8], offset[32], name[512] = "";
		*end = 0;
		sscanf(line, "%63s %7s %31s %*s %*s %511[^\n]", range, rights, offset, name);
		at += sprintf(at, "%s %s %s %s\n", range, rights, offset, name);
		line = end + 1;
	}
	write(1, out, at - out);
	return 0;
}
