/* stdio and descriptors on files in a directory. usage: stdio_files DIRECTORY */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static int by_name(const struct dirent **a, const struct dirent **b) { return strcmp((*a)->d_name, (*b)->d_name); }
static void list(const char *what)
{
	struct dirent **names;
	int n = scandir(".", &names, 0, by_name);
	printf("%s:", what);
	for (int i = 0; i < n; i++) {
		struct stat st;
		lstat(names[i]->d_name, &st);
		printf(" %s(%o,%ld)", names[i]->d_name, st.st_mode, S_ISDIR(st.st_mode) ? 0 : (long)st.st_size);
	}
	printf("\n");
}
#define TRY(x) do { errno = 0; long r = (x); printf("%s = %ld %s\n", #x, r, r < 0 ? strerrorname_np(errno) : ""); } while (0)

int main(int argc, char **argv)
{
	umask(022);
	TRY(chdir(argv[1]));
	FILE *f = fopen("lines", "w+");
	for (int i = 0; i < 5000; i++)
		fprintf(f, "line %d of the file %x\n", i, i * i);
	printf("at %ld\n", ftell(f));
	rewind(f);
	char line[200];
	long sum = 0, n = 0;
	while (fgets(line, sizeof line, f)) {
		n++;
		sum += strlen(line);
	}
	printf("%ld lines %ld bytes eof %d\n", n, sum, feof(f) != 0);
	fseek(f, -20, SEEK_END);
	fgets(line, sizeof line, f);
	printf("tail: %s", line);
	fseek(f, 100, SEEK_SET);
	fputs("PATCHED", f);
	fflush(f);
	fclose(f);
	f = fopen("lines", "a");
	fprintf(f, "appended\n");
	fclose(f);
	f = fopen("lines", "r");
	setvbuf(f, 0, _IONBF, 0);
	int c, letters[256] = { 0 };
	for (int i = 0; i < 300 && (c = getc(f)) != EOF; i++)
		letters[c]++;
	printf("e %d P %d\n", letters['e'], letters['P']);
	fclose(f);
	int fd = open("raw", O_RDWR | O_CREAT | O_EXCL, 0640);
	TRY(open("raw", O_RDWR | O_CREAT | O_EXCL, 0640));
	TRY(write(fd, "0123456789", 10));
	TRY(lseek(fd, 100000, SEEK_SET));
	TRY(write(fd, "end", 3));
	TRY(lseek(fd, 0, SEEK_END));
	TRY(lseek(fd, -1, SEEK_SET));
	TRY(pread(fd, line, 20, 5));
	TRY(pread(fd, line, 20, 99999));
	TRY(pread(fd, line, 20, 200000));
	struct iovec v[2] = { { "abc", 3 }, { "defg", 4 } };
	TRY(pwritev(fd, v, 2, 50));
	memset(line, 0, 20);
	TRY(pread(fd, line, 7, 50));
	printf("%s\n", line);
	TRY(ftruncate(fd, 60));
	int copy = dup(fd);
	TRY(lseek(fd, 5, SEEK_SET));
	TRY(lseek(copy, 0, SEEK_CUR));
	TRY(fcntl(fd, F_GETFL) & O_ACCMODE);
	TRY(fcntl(copy, F_SETFD, FD_CLOEXEC));
	TRY(fcntl(copy, F_GETFD));
	TRY(close(copy));
	TRY(close(copy));
	TRY(mkdir("sub", 0755));
	TRY(mkdir("sub", 0755));
	TRY(rename("raw", "sub/moved"));
	TRY(link("lines", "hard"));
	TRY(symlink("sub/moved", "soft"));
	TRY(access("soft", R_OK));
	TRY(readlink("soft", line, sizeof line));
	TRY(rmdir("sub"));
	TRY(unlink("nothing"));
	TRY(unlink("sub"));
	TRY(chmod("hard", 0400));
	list("files");
	struct stat st;
	TRY(stat("lines", &st));
	printf("links %ld mode %o\n", (long)st.st_nlink, st.st_mode);
	TRY(unlink("lines"));
	TRY(stat("soft", &st));
	printf("size %ld\n", (long)st.st_size);
	TRY(unlink("sub/moved"));
	TRY(stat("soft", &st));
	TRY(lstat("soft", &st));
	TRY(rmdir("sub"));
	list("left");
	TRY(open("/nowhere/at/all", O_RDONLY));
	TRY(open("hard/below", O_RDONLY));
	TRY(read(fd, line, 1));
	TRY(read(99, line, 1));
	TRY(write(fd, (void *)16, 10));
	TRY(close(fd));
	f = fopen("binary", "wb");
	static double numbers[1000];
	for (int i = 0; i < 1000; i++)
		numbers[i] = i / 7.0;
	fwrite(numbers, sizeof *numbers, 1000, f);
	fclose(f);
	f = fopen("binary", "rb");
	static double back[1000];
	size_t got = fread(back, sizeof *back, 1000, f);
	printf("read %zu equal %d\n", got, !memcmp(numbers, back, sizeof back));
	fclose(f);
	char *text;
	size_t size;
	f = open_memstream(&text, &size);
	fprintf(f, "in memory %d", 5);
	fclose(f);
	printf("%s %zu\n", text, size);
	f = tmpfile();
	printf("tmpfile %d\n", f != 0);
	return 0;
}
