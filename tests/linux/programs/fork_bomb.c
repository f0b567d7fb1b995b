/* RLIMIT_NPROC: a fork bomb ends at it with EAGAIN; what counts, and whom it binds. Everything runs as a user of its own,
 * in a session of its own, and is killed by the alarm at the latest. */
#include "threads.h"
#include <sys/prctl.h>

#define USER 54321
#define LIMIT 20

static struct { volatile int forks, refused, odd, go; } *s;

static void limit_to(int n)
{
	struct rlimit r = { n, n };
	setrlimit(RLIMIT_NPROC, &r);
}

/* A child that leads a session and a group, and that the caller waits for with end(). */
static int begin_()
{
	flush();
	memset((void *)s, 0, sizeof *s);
	int child = fork();
	if (!child) {
		setsid();
		alarm(30);
	}
	return child;
}

static void end(int child)
{
	int status, reaped = 0, killed = 0;
	kill(-child, SIGKILL);
	while (waitpid(-1, &status, 0) > 0)
		reaped++, killed += WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
	say("reaped %d, killed %d\n", reaped, killed);
}

static void bomb(void)
{
	say("== bomb\n");
	int child = begin_();
	if (!child) {
		limit_to(LIMIT), setresuid(USER, USER, USER);
		alarm(30);
		for (;;) {
			int r = fork();
			if (r == 0) {
				alarm(30);
			} else if (r > 0) {
				__sync_fetch_and_add(&s->forks, 1);
			} else {
				if (errno != EAGAIN)
					s->odd = errno;
				__sync_fetch_and_add(&s->refused, 1);
				for (;;)
					pause();
			}
		}
	}
	for (int i = 0; i < 50000 && s->refused < LIMIT; i++)
		usleep(200);
	say("forks %d, refused %d, odd %d\n", s->forks, s->refused, s->odd);
	end(child);
}

static void *sleeps(void *argument)
{
	for (;;)
		pause();
}

static int spawn(void)
{
	int r = fork();
	if (!r)
		for (;;)
			pause();
	return r > 0 ? 0 : -errno;
}

static void what_counts(void)
{
	say("== what counts\n");
	int child = begin_(), status;
	if (!child) {
		limit_to(4), setresuid(USER, USER, USER);
		alarm(30);
		pthread_t t;
		pthread_attr_t a;
		int zombie = fork(), n = 0;
		if (!zombie)
			_exit(0);
		until_asleep(zombie, zombie);
		say("thread %d\n", pthread_create(&t, 0, sleeps, 0));
		say_result("fork", spawn());
		say_result("fork", spawn());
		say("thread %s\n", errno_name(pthread_create(&t, 0, sleeps, 0)));
		say_result("vfork", SC(SYS_vfork));
		waitpid(zombie, 0, 0);
		say_result("fork, one reaped", spawn());
		say_result("fork", spawn());
		limit_to(3);
		say_result("fork, less", spawn());
		struct rlimit more = { 5, 5 };
		say_result("more", SC(SYS_setrlimit, RLIMIT_NPROC, &more));
		flush();
		s->go = 1;
		pause();
	}
	for (int i = 0; i < 50000 && !s->go; i++)
		usleep(200);
	end(child);
}

static void whom_it_binds(void)
{
	static const int ids[][2] = { { 0, 0 }, { USER, USER }, { USER, 0 }, { 0, USER }, { USER + 1, USER } };
	say("== whom it binds\n");
	for (int i = 0; i < 5; i++) {
		int child = begin_();
		if (!child) {
			limit_to(1), setresuid(ids[i][0], ids[i][1], -1);
			alarm(30);
			say("real %d effective %d: ", ids[i][0], ids[i][1]);
			say_result("fork", spawn());
			flush();
			s->go = 1;
			pause();
		}
		for (int k = 0; k < 50000 && !s->go; k++)
			usleep(200);
		end(child);
	}
}

/* setuid never fails, but an execve while there are too many does. */
static void exec_after_setuid(void)
{
	say("== execve of who has too many\n");
	for (int how = 0; how < 3; how++) {
		int child = begin_(), status;
		if (!child) {
			int others[2];
			for (int i = 0; i < 2; i++)
				if (!(others[i] = fork())) {
					setresuid(USER, USER, USER);
					__sync_fetch_and_add(&s->go, 1);
					for (;;)
						pause();
				}
			while (s->go < 2)
				usleep(100);
			limit_to(1);
			say("setresuid %ld\n", SC(SYS_setresuid, USER, USER, USER));
			for (int i = 0; how == 1 && i < 2; i++)
				kill(others[i], SIGKILL), waitpid(others[i], 0, 0);
			if (how == 2) {
				char *bad[] = { "nothing", 0 };
				V(SC(SYS_execve, "/nonexistent", bad, 0));
			}
			flush();
			char *argv[] = { "true", 0 };
			long r = SC(SYS_execve, "/bin/true", argv, 0);
			say_result("execve", r);
			flush();
			_exit(3);
		}
		waitpid(child, &status, 0);
		say("status %x\n", status);
		end(child);
	}
}

int main(void)
{
	s = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	bomb(), what_counts(), whom_it_binds(), exec_after_setuid();
	quit(0);
}
