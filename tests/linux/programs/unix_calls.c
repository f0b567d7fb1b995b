/* AF_UNIX sockets: errors, names, both kinds of messages, descriptors and credentials, other processes.
 * usage: unix_calls WORKDIR */
#include "say.h"
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>

#define V(...) say_result(#__VA_ARGS__, (long)(__VA_ARGS__))

static struct sockaddr_un addr;
static int make_addr(const char *path)
{
	addr.sun_family = AF_UNIX;
	strcpy(addr.sun_path, path);
	return 2 + strlen(path) + 1;
}

static void say_name(const char *what, int fd, int call)
{
	struct sockaddr_un name;
	memset(&name, 0x55, sizeof name);
	int length = sizeof name;
	long r = SC(call, fd, &name, &length);
	say_result(what, r);
	if (r == 0)
		say("  length %d family %d path %s\n", length, name.sun_family, length > 2 ? strrchr(name.sun_path, '/') : "");
}

static int pass_cred(int fd, int on) { return SC(SYS_setsockopt, fd, SOL_SOCKET, SO_PASSCRED, &on, 4); }

static void say_option(const char *what, int fd, int name)
{
	int value[4] = { -7, -7, -7, -7 }, length = sizeof value;
	long r = SC(SYS_getsockopt, fd, SOL_SOCKET, name, value, &length);
	say_result(what, r);
	if (!r)
		say("  %d: %d %d %d\n", length, value[0], value[1], value[2]);
}

static void making(void)
{
	int p[2];
	V(SC(SYS_socket, 1, 1, 5));
	V(SC(SYS_socket, 1, 4, 0));
	V(SC(SYS_socket, 1, 9, 0));
	V(SC(SYS_socket, 1, 1 | 0x100, 0));
	V(SC(SYS_socket, 1, 77, 0));
	V(SC(SYS_socket, 46, 1, 0));
	V(SC(SYS_socket, 1, 99, 0));
	V(SC(SYS_socketpair, 1, 1, 0, 0));
	V(SC(SYS_socketpair, 1, 1, 7, p));
	V(SC(SYS_socketpair, 1, 1 | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, p));
	V(SC(SYS_fcntl, p[0], F_GETFL));
	V(SC(SYS_fcntl, p[0], F_GETFD));
	struct stat st;
	fstat(p[0], &st);
	say("mode %o size %ld links %ld\n", st.st_mode, st.st_size, st.st_nlink);
	V(SC(SYS_read, p[0], &st, 10));
	V(SC(SYS_lseek, p[0], 0, 0));
	V(SC(SYS_pread64, p[0], &st, 1, 0));
	V(SC(SYS_fsync, p[0]));
	V(SC(SYS_ftruncate, p[0], 0));
	V(SC(SYS_fallocate, p[0], 0, 0, 10));
	V(SC(SYS_fadvise64, p[0], 0, 0, 0));
	V(SC(SYS_getsockname, 0, &st, &st));
	V(SC(SYS_getsockname, 99, &st, &st));
	V(SC(SYS_listen, p[0], 1));
	V(SC(SYS_accept, p[0], 0, 0));
	V(SC(SYS_accept4, p[0], 0, 0, 1));
	V(SC(SYS_shutdown, p[0], 3));
	say_name("name", p[0], SYS_getsockname);
	say_name("peer", p[0], SYS_getpeername);
	int options[] = { SO_TYPE, SO_ERROR, SO_SNDBUF, SO_RCVBUF, SO_ACCEPTCONN, SO_DOMAIN, SO_PROTOCOL, SO_PASSCRED,
			  SO_RCVLOWAT, SO_SNDLOWAT, SO_RCVTIMEO, SO_LINGER, SO_REUSEADDR, SO_KEEPALIVE, SO_OOBINLINE, 1000, -1 };
	for (unsigned i = 0; i < sizeof options / sizeof *options; i++) {
		say("option %d ", options[i]);
		say_option("get", p[0], options[i]);
	}
	int values[] = { -1, 0, 1, 2000, 5000, 100000, 1 << 30 };
	for (unsigned i = 0; i < sizeof values / sizeof *values; i++) {
		V(SC(SYS_setsockopt, p[0], 1, SO_SNDBUF, &values[i], 4));
		say_option("sndbuf", p[0], SO_SNDBUF);
		V(SC(SYS_setsockopt, p[0], 1, SO_RCVBUF, &values[i], 4));
		say_option("rcvbuf", p[0], SO_RCVBUF);
	}
	V(SC(SYS_setsockopt, p[0], 1, SO_TYPE, values, 4));
	V(SC(SYS_setsockopt, p[0], 1, SO_SNDBUF, values, 3));
	V(SC(SYS_setsockopt, p[0], 1, SO_SNDBUF, 0, 4));
	V(SC(SYS_setsockopt, p[0], 6, 1, values, 4));
	V(SC(SYS_getsockopt, p[0], 6, 1, values, values));
	V(SC(SYS_setsockopt, p[0], 1, SO_RCVTIMEO, values, 8));
	long times[] = { 0, 2000000 };
	V(SC(SYS_setsockopt, p[0], 1, SO_RCVTIMEO, times, 16));
	times[1] = 30000;
	V(SC(SYS_setsockopt, p[0], 1, SO_RCVTIMEO, times, 16));
	say_option("timeo", p[0], SO_RCVTIMEO);
	fcntl(p[0], F_SETFL, 0);
	V(SC(SYS_read, p[0], &st, 10));
	V(SC(SYS_recvfrom, p[0], &st, 10, MSG_DONTWAIT, 0, 0));
}

static void names(void)
{
	int s = socket(AF_UNIX, SOCK_STREAM, 0), t = socket(AF_UNIX, SOCK_STREAM, 0), d = socket(AF_UNIX, SOCK_DGRAM, 0);
	int length = make_addr(in_work("sock"));
	V(SC(SYS_connect, s, &addr, length));
	V(SC(SYS_bind, s, &addr, 1));
	V(SC(SYS_bind, s, &addr, 111));
	V(SC(SYS_bind, s, &addr, 129));
	V(SC(SYS_bind, s, 0, length));
	V(SC(SYS_listen, s, 1));
	V(SC(SYS_bind, s, &addr, length - 1));
	V(SC(SYS_bind, t, &addr, length));
	V(SC(SYS_bind, s, &addr, length));
	struct stat st;
	V(stat(addr.sun_path, &st));
	say("mode %o\n", st.st_mode);
	V(SC(SYS_open, addr.sun_path, O_RDONLY));
	V(SC(SYS_connect, t, &addr, length));
	V(SC(SYS_connect, d, &addr, length));
	V(SC(SYS_listen, s, 1));
	V(SC(SYS_connect, s, &addr, length));
	V(SC(SYS_connect, t, &addr, length));
	V(SC(SYS_connect, t, &addr, length));
	V(SC(SYS_write, t, "hello", 5));
	say_name("name of listener", s, SYS_getsockname);
	say_name("peer of listener", s, SYS_getpeername);
	say_name("name of client", t, SYS_getsockname);
	say_name("peer of client", t, SYS_getpeername);
	struct sockaddr_un from;
	int from_length = sizeof from;
	int c = SC(SYS_accept4, s, &from, &from_length, SOCK_CLOEXEC);
	say("accepted %d length %d\n", c > 0, from_length);
	say_name("name of server", c, SYS_getsockname);
	say_name("peer of server", c, SYS_getpeername);
	char text[20] = "";
	V(SC(SYS_read, c, text, 20));
	say("%s\n", text);
	unlink(addr.sun_path);
	int u = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	V(SC(SYS_connect, u, &addr, length));
	make_addr(in_work("file"));
	close(make_file("file", 10));
	V(SC(SYS_connect, u, &addr, sizeof addr));
	make_addr("/no/such/place");
	V(SC(SYS_connect, u, &addr, sizeof addr));
	make_addr("");
	memcpy(addr.sun_path, "\0name", 5);
	V(SC(SYS_bind, u, &addr, 7));
	V(SC(SYS_listen, u, 0));
	int v = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	V(SC(SYS_connect, v, &addr, 8));
	V(SC(SYS_connect, v, &addr, 7));
	v = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	V(SC(SYS_connect, v, &addr, 7));
	v = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	struct pollfd p = { .fd = v, .events = POLLIN | POLLOUT };
	V(SC(SYS_poll, &p, 1, 0));
	say("revents %x\n", p.revents);
	close(u);
	V(SC(SYS_connect, v, &addr, 7));
	V(SC(SYS_bind, d, &addr, 2));
}

static volatile int pipes_broken;
static void on_pipe(int sig) { pipes_broken++; }

static void messages(int kind)
{
	int p[2];
	static char data[300000], more[300000];
	say("== kind %d\n", kind);
	socketpair(AF_UNIX, kind, 0, p);
	V(send(p[0], "first", 5, 0));
	V(send(p[0], "second", 6, 0));
	V(send(p[0], "", 0, 0));
	int waiting;
	ioctl(p[1], FIONREAD, &waiting);
	say("waiting %d\n", waiting);
	V(recv(p[1], data, 3, MSG_PEEK));
	V(recv(p[1], data, 3, MSG_PEEK | MSG_TRUNC));
	V(recv(p[1], data, 7, 0));
	V(recv(p[1], data, 100, MSG_DONTWAIT));
	V(recv(p[1], data, 100, MSG_DONTWAIT));
	V(recv(p[1], data, 100, MSG_DONTWAIT));
	struct iovec parts[3] = { { "abc", 3 }, { "", 0 }, { "defg", 4 } }, room[2] = { { data, 2 }, { data + 10, 100 } };
	V(writev(p[0], parts, 3));
	V(readv(p[1], room, 2));
	say("%.2s %.5s\n", data, data + 10);
	long sent = 0, n;
	int count = 0;
	while ((n = send(p[0], data, 1000, MSG_DONTWAIT)) > 0)
		sent += n, count++;
	say("sent %ld in %d, errno %d\n", sent, count, errno);
	struct pollfd poll_fds[2] = { { p[0], POLLIN | POLLOUT }, { p[1], POLLIN | POLLOUT } };
	poll(poll_fds, 2, 0);
	say("revents %x %x\n", poll_fds[0].revents, poll_fds[1].revents);
	V(send(p[0], more, 212992, MSG_DONTWAIT));
	flush();
	int child = fork();
	if (!child) {
		long got = 0;
		while (got < sent + 10000 && (n = recv(p[1], more, 1700, 0)) > 0)
			got += n;
		write(p[1], &got, 8);
		quit(0);
	}
	for (int i = 0; i < 10; i++)
		send(p[0], data, 1000, 0);
	shutdown(p[0], SHUT_WR);
	waitpid(child, 0, 0);
	V(recv(p[0], &sent, 8, 0));
	say("child got %ld\n", sent);
	signal(SIGPIPE, on_pipe);
	V(SC(SYS_sendto, p[0], "x", 1, 0, 0, 0));
	V(SC(SYS_sendto, p[0], "x", 1, MSG_NOSIGNAL, 0, 0));
	V(SC(SYS_write, p[0], "x", 1));
	say("SIGPIPE %d\n", pipes_broken);
	close(p[1]);
	V(SC(SYS_recvfrom, p[0], data, 10, MSG_DONTWAIT, 0, 0));
	V(SC(SYS_recvfrom, p[0], data, 10, MSG_DONTWAIT, 0, 0));
	poll(poll_fds, 1, 0);
	say("revents %x\n", poll_fds[0].revents);
	close(p[0]);
	socketpair(AF_UNIX, kind, 0, p);
	send(p[0], "unread", 6, 0);
	close(p[1]);
	poll_fds[0].fd = p[0];
	poll(poll_fds, 1, 0);
	say("revents %x\n", poll_fds[0].revents);
	say_option("error", p[0], SO_ERROR);
	say_option("error", p[0], SO_ERROR);
	V(SC(SYS_write, p[0], "x", 1));
}

static long send_control(int fd, void *control, long length, const char *text)
{
	struct iovec part = { (void *)text, strlen(text) };
	struct msghdr msg = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = length };
	return SC(SYS_sendmsg, fd, &msg, 0);
}

static void receive_control(int fd, long room, int flags)
{
	static char control[512], data[64];
	struct iovec part = { data, sizeof data };
	struct msghdr msg = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = room ? control : 0, .msg_controllen = room };
	memset(control, 0, sizeof control);
	long n = SC(SYS_recvmsg, fd, &msg, flags);
	say_result("recvmsg", n);
	if (n < 0)
		return;
	say("  \"%.*s\" flags %x control %ld\n", (int)n, data, msg.msg_flags, (long)msg.msg_controllen);
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
		int *words = (int *)CMSG_DATA(c);
		if (c->cmsg_type == SCM_RIGHTS) {
			int count = (c->cmsg_len - CMSG_LEN(0)) / 4;
			say("  %d descriptors:", count);
			for (int i = 0; i < count; i++) {
				char link[64] = "", path[64];
				snprintf(path, sizeof path, "/proc/self/fd/%d", words[i]);
				readlink(path, link, 63);
				say(" %.5s cloexec %d", link, fcntl(words[i], F_GETFD));
				close(words[i]);
			}
			say("\n");
		} else
			say("  type %d length %ld me %d ids %d %d\n", c->cmsg_type, (long)c->cmsg_len, words[0] == getpid(), words[1],
			    words[2]);
	}
}

static void controls(int kind)
{
	int p[2], q[2], fds[40];
	say("== controls of kind %d\n", kind);
	socketpair(AF_UNIX, kind, 0, p);
	pipe(q);
	char buffer[CMSG_SPACE(sizeof fds)];
	struct cmsghdr *c = (struct cmsghdr *)buffer;
	memset(buffer, 0, sizeof buffer);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	for (int i = 0; i < 40; i++)
		fds[i] = q[i & 1];
	memcpy(CMSG_DATA(c), fds, sizeof fds);
	c->cmsg_len = CMSG_LEN(8);
	V(send_control(p[0], buffer, CMSG_SPACE(8), "two"));
	V(send_control(p[0], buffer, CMSG_SPACE(8), "two again"));
	V(send_control(p[0], 0, 0, "none"));
	receive_control(p[1], 512, 0);
	receive_control(p[1], 512, MSG_PEEK);
	receive_control(p[1], 24, MSG_CMSG_CLOEXEC);
	receive_control(p[1], 512, MSG_DONTWAIT);
	receive_control(p[1], 512, MSG_DONTWAIT);
	V(send_control(p[0], buffer, CMSG_SPACE(8), "no room"));
	receive_control(p[1], 0, 0);
	V(send_control(p[0], buffer, CMSG_SPACE(8), "little room"));
	receive_control(p[1], 18, 0);
	c->cmsg_len = CMSG_LEN(sizeof fds);
	V(send_control(p[0], buffer, sizeof buffer, "forty"));
	receive_control(p[1], 100, 0);
	fds[3] = 999;
	memcpy(CMSG_DATA(c), fds, sizeof fds);
	V(send_control(p[0], buffer, sizeof buffer, "bad"));
	c->cmsg_len = 8;
	V(send_control(p[0], buffer, sizeof buffer, "bad"));
	c->cmsg_len = 1000;
	V(send_control(p[0], buffer, sizeof buffer, "bad"));
	c->cmsg_len = CMSG_LEN(4);
	c->cmsg_type = 77;
	V(send_control(p[0], buffer, sizeof buffer, "bad"));
	c->cmsg_level = 77;
	V(send_control(p[0], buffer, CMSG_SPACE(4), "other level"));
	receive_control(p[1], 512, 0);
	V(send_control(p[0], buffer, 200000, "large"));
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_CREDENTIALS;
	c->cmsg_len = CMSG_LEN(12);
	int creds[3] = { getpid(), getuid(), getgid() };
	memcpy(CMSG_DATA(c), creds, 12);
	V(send_control(p[0], buffer, CMSG_SPACE(12), "creds"));
	receive_control(p[1], 512, 0);
	V(send_control(p[0], buffer, CMSG_SPACE(12), "creds"));
	V(send_control(p[0], 0, 0, "before"));
	V(pass_cred(p[1], 1));
	V(send_control(p[0], 0, 0, "after"));
	for (int i = 0; i < 4; i++)
		receive_control(p[1], 512, MSG_DONTWAIT);
	creds[0] = 1 << 29;
	memcpy(CMSG_DATA(c), creds, 12);
	V(send_control(p[0], buffer, CMSG_SPACE(12), "nobody's"));
	int peer[3], length = 12;
	V(SC(SYS_getsockopt, p[0], SOL_SOCKET, SO_PEERCRED, peer, &length));
	say("peer me %d ids %d %d\n", peer[0] == getpid(), peer[1], peer[2]);
	int lone = socket(AF_UNIX, kind, 0);
	V(SC(SYS_getsockopt, lone, SOL_SOCKET, SO_PEERCRED, peer, &length));
	say("peer %d %d %d\n", peer[0], peer[1], peer[2]);
}

static void across_processes(void)
{
	int s = socket(AF_UNIX, SOCK_STREAM, 0), length;
	make_addr("");
	memcpy(addr.sun_path, "\0across", 7);
	length = 9;
	V(SC(SYS_bind, s, &addr, length));
	V(SC(SYS_listen, s, 5));
	flush();
	int child = fork();
	if (!child) {
		int c = socket(AF_UNIX, SOCK_STREAM, 0), p[2];
		pipe(p);
		connect(c, (void *)&addr, length);
		char buffer[CMSG_SPACE(4)] = "";
		struct cmsghdr *h = (struct cmsghdr *)buffer;
		h->cmsg_level = SOL_SOCKET, h->cmsg_type = SCM_RIGHTS, h->cmsg_len = CMSG_LEN(4);
		memcpy(CMSG_DATA(h), &p[0], 4);
		send_control(c, buffer, sizeof buffer, "here");
		close(p[0]);
		usleep(20000);
		write(p[1], "through the pipe", 16);
		char last;
		read(c, &last, 1);
		quit(last);
	}
	int c = accept(s, 0, 0);
	int peer[3], peer_length = 12;
	V(SC(SYS_getsockopt, c, SOL_SOCKET, SO_PEERCRED, peer, &peer_length));
	say("peer is the child %d\n", peer[0] == child);
	char control[64], data[64] = "";
	struct iovec part = { data, sizeof data };
	struct msghdr msg = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = 64 };
	V(SC(SYS_recvmsg, c, &msg, 0));
	int fd;
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), 4);
	V(SC(SYS_read, fd, data, 64));
	say("%s\n", data);
	V(SC(SYS_write, c, "\7", 1));
	int status;
	waitpid(child, &status, 0);
	say("status %x\n", status);
	V(SC(SYS_read, fd, data, 64));
	V(SC(SYS_read, c, data, 64));
}

static void many(void)
{
	int p[2];
	struct mmsghdr out[5], in[5];
	struct iovec parts[5], rooms[5];
	static char room[5][16];
	memset(out, 0, sizeof out), memset(in, 0, sizeof in);
	socketpair(AF_UNIX, SOCK_DGRAM, 0, p);
	for (int i = 0; i < 5; i++) {
		parts[i] = (struct iovec){ "abcdefghij", i * 2 + 1 };
		rooms[i] = (struct iovec){ room[i], 6 };
		out[i].msg_hdr.msg_iov = &parts[i], out[i].msg_hdr.msg_iovlen = 1;
		in[i].msg_hdr.msg_iov = &rooms[i], in[i].msg_hdr.msg_iovlen = 1;
	}
	V(SC(SYS_sendmmsg, p[0], out, 5, 0));
	V(SC(SYS_recvmmsg, p[1], in, 3, 0, 0));
	V(SC(SYS_recvmmsg, p[1], in + 3, 2, MSG_DONTWAIT, 0));
	V(SC(SYS_recvmmsg, p[1], in, 3, MSG_DONTWAIT, 0));
	for (int i = 0; i < 5; i++)
		say("%u %u %x\n", out[i].msg_len, in[i].msg_len, in[i].msg_hdr.msg_flags);
}

int main(int argc, char **argv)
{
	work_dir = argv[1];
	umask(022);
	making();
	names();
	messages(SOCK_STREAM);
	messages(SOCK_SEQPACKET);
	messages(SOCK_DGRAM);
	controls(SOCK_STREAM);
	controls(SOCK_DGRAM);
	across_processes();
	many();
	quit(0);
}
