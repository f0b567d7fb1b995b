/* Tries to change what it may not. usage: intruder FORBIDDEN_DIRECTORY ALLOWED_DIRECTORY
 *
 * FORBIDDEN holds: file, script, dir/inner, link -> file. ALLOWED is writable. Prints each attempt with its result; a
 * success outside of ALLOWED is printed as a BREACH.
 */
#include "say.h"
#include <sys/time.h>

static char forbidden[512], allowed[512];
static const char *out(const char *name)
{
	static char path[8][700];
	static int turn;
	char *p = path[turn++ & 7];
	snprintf(p, 700, "%s/%s", forbidden, name);
	return p;
}
static const char *in(const char *name)
{
	static char path[8][700];
	static int turn;
	char *p = path[turn++ & 7];
	snprintf(p, 700, "%s/%s", allowed, name);
	return p;
}

#define MUST_FAIL(...) \
	do { \
		long r = (__VA_ARGS__); \
		if (r == -EROFS || r == -EACCES || r == -EPERM) \
			say("%s refused\n", #__VA_ARGS__); \
		else if (failed(r)) \
			say_result(#__VA_ARGS__, r); \
		else \
			say("BREACH %s = %ld\n", #__VA_ARGS__, r); \
	} while (0)
#define WORKS(...) say_result(#__VA_ARGS__, (__VA_ARGS__) < 0 ? (__VA_ARGS__) : 0)

static void try_open(const char *what, const char *path, int flags)
{
	long fd = SC(SYS_open, path, flags, 0644);
	if (fd == -EROFS || fd == -EACCES || fd == -EPERM || fd == -ETXTBSY)
		say("open %s refused\n", what);
	else if (failed(fd))
		say_result(what, fd);
	else {
		say("%s open %s\n", flags & (O_ACCMODE | O_CREAT | O_TRUNC) ? "BREACH" : "fine", what);
		if ((flags & O_ACCMODE) != O_RDONLY) {
			long r = SC(SYS_write, fd, "breach", 6);
			say_result("  and write", r);
			r = SC(SYS_ftruncate, fd, 1);
			say_result("  and truncate", r);
		}
		SC(SYS_close, fd);
	}
}

int main(int argc, char **argv)
{
	strcpy(forbidden, argv[1]);
	strcpy(allowed, argv[2]);
	try_open("file for reading", out("file"), O_RDONLY);
	try_open("file for writing", out("file"), O_WRONLY);
	try_open("file for both", out("file"), O_RDWR);
	try_open("file appending", out("file"), O_WRONLY | O_APPEND);
	try_open("file truncating", out("file"), O_WRONLY | O_TRUNC);
	try_open("file truncating, read-only access", out("file"), O_RDONLY | O_TRUNC);
	try_open("a new file", out("new"), O_WRONLY | O_CREAT);
	try_open("a new file exclusively", out("new2"), O_WRONLY | O_CREAT | O_EXCL);
	try_open("a new file for reading", out("new3"), O_RDONLY | O_CREAT);
	try_open("a nameless file", forbidden, O_WRONLY | O_TMPFILE);
	try_open("a link for writing", out("link"), O_WRONLY);
	try_open("inner file by ..", out("dir/../file"), O_WRONLY);
	try_open("/etc/passwd", "/etc/passwd", O_WRONLY | O_APPEND);
	try_open("/etc/new", "/etc/pagewalk-intruder", O_WRONLY | O_CREAT);
	try_open("/dev/mem", "/dev/mem", O_RDWR);
	MUST_FAIL(SC(SYS_unlink, out("file")));
	MUST_FAIL(SC(SYS_unlink, out("link")));
	MUST_FAIL(SC(SYS_rmdir, out("dir")));
	MUST_FAIL(SC(SYS_rmdir, forbidden));
	MUST_FAIL(SC(SYS_mkdir, out("newdir"), 0755));
	MUST_FAIL(SC(SYS_rename, out("file"), out("renamed")));
	MUST_FAIL(SC(SYS_rename, out("file"), in("stolen")));
	MUST_FAIL(SC(SYS_link, out("file"), out("linked")));
	MUST_FAIL(SC(SYS_symlink, "file", out("soft")));
	MUST_FAIL(SC(SYS_chmod, out("file"), 0777));
	MUST_FAIL(SC(SYS_chown, out("file"), 1, 1));
	MUST_FAIL(SC(SYS_truncate, out("file"), 0));
	MUST_FAIL(SC(SYS_utimensat, AT_FDCWD, out("file"), 0, 0));
	MUST_FAIL(SC(SYS_mknod, out("node"), S_IFREG | 0644, 0));
	MUST_FAIL(SC(SYS_setxattr, out("file"), "user.x", "1", 1, 0));
	int fd = SC(SYS_open, out("file"), O_RDONLY, 0);
	MUST_FAIL(SC(SYS_ftruncate, fd, 0) == -EINVAL ? -EROFS : SC(SYS_ftruncate, fd, 0));
	MUST_FAIL(SC(SYS_fchmod, fd, 0777));
	MUST_FAIL(SC(SYS_fchown, fd, 1, 1));
	MUST_FAIL(SC(SYS_write, fd, "x", 1) == -EBADF ? -EROFS : 0);
	MUST_FAIL(SC(SYS_fallocate, fd, 0, 0, 10) == -EBADF ? -EROFS : 0);
	MUST_FAIL(MMAP(0, PAGE, RW, MAP_SHARED, fd, 0));
	long p = MMAP(0, PAGE, R, MAP_SHARED, fd, 0);
	MUST_FAIL(MPROTECT(p, PAGE, RW));
	p = MMAP(0, PAGE, RW, MAP_PRIVATE, fd, 0);
	*(vu8 *)p = 'Z'; /* a private copy */
	MSYNC(p, PAGE, MS_SYNC);
	int dir = SC(SYS_open, forbidden, O_RDONLY | O_DIRECTORY, 0);
	MUST_FAIL(SC(SYS_openat, dir, "at", O_WRONLY | O_CREAT, 0644));
	MUST_FAIL(SC(SYS_unlinkat, dir, "file", 0));
	MUST_FAIL(SC(SYS_mkdirat, dir, "at", 0755));
	SC(SYS_fchdir, dir);
	MUST_FAIL(SC(SYS_unlink, "file"));
	MUST_FAIL(SC(SYS_open, "fresh", O_WRONLY | O_CREAT, 0644));
	MUST_FAIL(SC(SYS_unlink, "/proc/self/cwd/file"));
	char name[64];
	snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
	MUST_FAIL(SC(SYS_open, name, O_WRONLY, 0));

	/* from the writable directory to the outside */
	WORKS(SC(SYS_chdir, allowed));
	long made = SC(SYS_open, "mine", O_RDWR | O_CREAT, 0644);
	say_result("a file of its own", made < 0 ? made : 0);
	SC(SYS_write, made, "mine\n", 5);
	SC(SYS_close, made);
	say_result("symlink to the file", SC(SYS_symlink, out("file"), "to_file"));
	say_result("symlink to the directory", SC(SYS_symlink, forbidden, "to_dir"));
	say_result("symlink to a new name", SC(SYS_symlink, out("through"), "to_new"));
	try_open("the file through a symlink", "to_file", O_WRONLY);
	try_open("the file through a symlink, truncating", "to_file", O_RDWR | O_TRUNC);
	try_open("a file below a symlink", "to_dir/file", O_WRONLY);
	try_open("a new file below a symlink", "to_dir/new", O_WRONLY | O_CREAT);
	try_open("a new file through a dangling symlink", "to_new", O_WRONLY | O_CREAT);
	try_open("up and out", "../forbidden/file", O_WRONLY);
	try_open("up and out, new", "../forbidden/new", O_WRONLY | O_CREAT);
	try_open("up, beside", "../beside", O_WRONLY | O_CREAT);
	MUST_FAIL(SC(SYS_unlink, "../forbidden/file"));
	MUST_FAIL(SC(SYS_unlink, "to_dir/file"));
	MUST_FAIL(SC(SYS_mkdir, "../newdir", 0755));
	MUST_FAIL(SC(SYS_mkdir, "to_dir/newdir", 0755));
	MUST_FAIL(SC(SYS_rename, "mine", "../mine"));
	MUST_FAIL(SC(SYS_rename, "mine", "to_dir/mine"));
	MUST_FAIL(SC(SYS_rename, "../forbidden/file", "taken"));
	MUST_FAIL(SC(SYS_rename, "to_dir/file", "taken"));
	MUST_FAIL(SC(SYS_rename, allowed, out("moved")));
	long hard = SC(SYS_link, "../forbidden/file", "hard");
	say("hard link to the outside %s\n", hard == -EXDEV || hard == -EROFS || hard == -EACCES || hard == -EPERM ? "refused" : "BREACH");
	MUST_FAIL(SC(SYS_link, "mine", "../mine"));
	MUST_FAIL(SC(SYS_link, "mine", "to_dir/mine"));
	MUST_FAIL(SC(SYS_symlink, "x", "../soft"));
	MUST_FAIL(SC(SYS_chmod, "to_file", 0777));
	MUST_FAIL(SC(SYS_truncate, "to_file", 0));
	MUST_FAIL(SC(SYS_utimensat, AT_FDCWD, "to_file", 0, 0));
	say_result("remove the symlink itself", SC(SYS_unlink, "to_file"));
	say_result("chmod of its own", SC(SYS_chmod, "mine", 0600));
	say_result("rename of its own", SC(SYS_rename, "mine", "renamed"));
	say_result("directory of its own", SC(SYS_mkdir, "dir", 0755));
	say_result("deeper", SC(SYS_rename, "renamed", "dir/deeper"));
	/* a private /tmp */
	long t = SC(SYS_open, "/tmp/pagewalk-intruder-file", O_RDWR | O_CREAT, 0644);
	say_result("a file in /tmp", t < 0 ? t : 0);
	quit(0);
}
