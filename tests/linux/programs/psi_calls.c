/* Triggers of /proc/pressure/memory: what may be written, and what poll says without pressure. usage: psi_calls */
#include "calls.h"
#include <fcntl.h>
#include <poll.h>

static void try(const char *text, long length)
{
	int fd = (int)SC(SYS_openat, AT_FDCWD, "/proc/pressure/memory", O_RDWR | O_NONBLOCK);
	struct pollfd entry = { fd, POLLPRI, 0 };
	say("\"%s\" %d", text, (int)length);
	say_result("", SC(SYS_write, fd, text, length));
	say_result("again", SC(SYS_write, fd, text, length));
	long got = SC(SYS_poll, &entry, 1, 0);
	say("poll %d, revents %x\n", (int)got, entry.revents);
	SC(SYS_close, fd);
}

static void all(void)
{
	static const char *texts[] = {
		"some 150000 1000000", "full 150000 1000000", "some 150000 2000000", "some 1 4000000", "some 0 1000000",
		"some 1000000 1000000", "some 1000001 1000000", "some 500000 10000000", "some 500000 10000001", "some 1 499999",
		"some 1", "some", "any 150000 1000000", "", " some 150000 2000000", "some  150000   2000000", "some -1 2000000",
		"some 150000 2000000 and more", "somewhere 150000 2000000", "some,150000,2000000", "some 0x10 2000000",
		"some 4294967297 2000000", "some 150000 2000000\n", "full 9 6000000 ............................",
	};
	for (unsigned i = 0; i < sizeof texts / sizeof *texts; i++) {
		long length = 0;
		while (texts[i][length])
			length++;
		try(texts[i], length + 1);
		try(texts[i], length);
	}
}

int main(void)
{
	group("as root");
	all();
	int fd = (int)SC(SYS_openat, AT_FDCWD, "/proc/pressure/memory", O_RDONLY);
	say_result("write to a file open for reading", SC(SYS_write, fd, "some 1 2000000", 15));
	fd = (int)SC(SYS_openat, AT_FDCWD, "/proc/pressure/io", O_RDWR);
	say_result("io", SC(SYS_write, fd, "some 1 2000000", 15));
	SC(SYS_setresgid, 1000, 1000, 1000);
	SC(SYS_setresuid, 1000, 1000, 1000);
	group("as a user");
	all();
	return 0;
}
