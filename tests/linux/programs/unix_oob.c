/* MSG_OOB on AF_UNIX streams: the urgent byte, the mark that it leaves, SO_OOBINLINE, peeking, the counts. */
#include "say.h"
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#define V(...) say_result(#__VA_ARGS__, (long)(__VA_ARGS__))
static int p[2];
static char buffer[64];

static void state(void)
{
	int mark = -1, waiting = -1;
	long r = SC(SYS_ioctl, p[1], 0x8905, &mark);
	SC(SYS_ioctl, p[1], FIONREAD, &waiting);
	struct pollfd f = { p[1], POLLIN | POLLPRI };
	poll(&f, 1, 0);
	say("   mark %ld %d waiting %d poll %x\n", r, mark, waiting, f.revents);
}

static void get(int n, int flags)
{
	memset(buffer, 0, sizeof buffer);
	long r = SC(SYS_recvfrom, p[1], buffer, n, flags | MSG_DONTWAIT, 0, 0);
	say("recv %d %x \"%s\"", n, flags, buffer), say_result("", r);
	state();
}

static void put(const char *text, int flags)
{
	long r = SC(SYS_sendto, p[0], text, strlen(text), flags | MSG_NOSIGNAL, 0, 0);
	say("send %s %x", text, flags), say_result("", r);
	state();
}

static void pair(const char *title, int kind)
{
	say("== %s\n", title);
	socketpair(AF_UNIX, kind, 0, p);
}

static void in_line(void)
{
	int one = 1;
	V(SC(SYS_setsockopt, p[1], SOL_SOCKET, SO_OOBINLINE, &one, 4));
}

static void message(int flags)
{
	char control[64] = "";
	struct iovec part = { buffer, sizeof buffer };
	struct msghdr m = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = 64 };
	long r = SC(SYS_recvmsg, p[1], &m, flags | MSG_DONTWAIT);
	say("recvmsg %x flags %x control %d", flags, m.msg_flags, (int)m.msg_controllen), say_result("", r);
	state();
}

int main(void)
{
	pair("taken at the mark", SOCK_STREAM);
	put("abc", MSG_OOB), get(10, 0), get(10, MSG_OOB), get(10, 0), put("x", 0), get(10, 0), get(1, MSG_OOB);
	pair("taken first", SOCK_STREAM);
	put("abc", MSG_OOB), get(1, MSG_OOB | MSG_PEEK), get(10, MSG_OOB), get(10, MSG_OOB), get(10, 0), get(10, 0);
	pair("more behind it", SOCK_STREAM);
	put("abc", MSG_OOB), put("def", 0), get(10, 0), get(10, 0), get(10, 0);
	pair("more behind it, taken first", SOCK_STREAM);
	put("abc", MSG_OOB), put("def", 0), get(10, MSG_OOB), get(10, 0), get(10, 0);
	pair("more behind it, taken at the mark", SOCK_STREAM);
	put("abc", MSG_OOB), put("def", 0), get(10, 0), get(10, MSG_OOB), get(10, 0);
	pair("two", SOCK_STREAM);
	put("abc", MSG_OOB), put("def", MSG_OOB), get(10, 0), get(10, 0), get(10, MSG_OOB), get(10, 0);
	pair("two, the first taken", SOCK_STREAM);
	put("abc", MSG_OOB), get(1, MSG_OOB), put("d", MSG_OOB), get(10, 0), get(10, MSG_OOB), get(10, 0);
	pair("two, the first taken, and peeked at", SOCK_STREAM);
	put("a", MSG_OOB), get(1, MSG_OOB), put("b", MSG_OOB), get(10, MSG_PEEK), put("c", 0), get(10, MSG_PEEK), get(10, 0);
	pair("two, the first taken, bytes between", SOCK_STREAM);
	put("ab", MSG_OOB), get(1, MSG_OOB), put("cd", MSG_OOB), put("e", 0), get(10, MSG_PEEK), get(10, 0), get(10, 0);
	pair("peeking", SOCK_STREAM);
	put("abc", MSG_OOB), put("d", 0), get(10, MSG_PEEK), get(10, MSG_PEEK), get(2, 0), get(10, MSG_PEEK), get(10, 0);
	pair("peeking at it alone", SOCK_STREAM);
	put("a", MSG_OOB), get(10, MSG_PEEK), get(10, MSG_OOB), get(10, MSG_PEEK), get(10, 0);
	pair("in line", SOCK_STREAM), in_line();
	put("abc", MSG_OOB), put("def", 0), get(10, MSG_OOB), get(10, 0), get(10, 0);
	pair("in line, peeking", SOCK_STREAM), in_line();
	put("abc", MSG_OOB), put("def", 0), get(10, MSG_PEEK), get(2, 0), get(10, MSG_PEEK), get(10, 0);
	pair("in line from the middle", SOCK_STREAM);
	put("abc", MSG_OOB), put("def", 0), get(1, MSG_OOB), put("ghi", MSG_OOB), in_line(), get(10, 0), get(10, 0), get(10, 0);
	pair("nothing, and the end", SOCK_STREAM);
	put("", MSG_OOB), get(1, MSG_OOB), get(0, MSG_OOB), put("a", MSG_OOB), get(0, MSG_OOB), close(p[0]);
	get(5, 0), get(1, MSG_OOB), get(5, 0);
	pair("closed with it unread", SOCK_STREAM);
	put("ab", MSG_OOB), close(p[0]), get(1, 0), get(1, MSG_OOB), get(5, 0), get(5, 0);
	pair("recvmsg", SOCK_STREAM);
	put("abc", MSG_OOB), message(0), message(MSG_OOB), message(0);
	pair("datagrams", SOCK_DGRAM);
	put("abc", MSG_OOB), put("", 0), get(1, MSG_OOB), get(1, 0);
	pair("sequences", SOCK_SEQPACKET);
	put("abc", MSG_OOB), put("abc", 0), get(1, MSG_OOB), get(10, 0);
	quit(0);
}
