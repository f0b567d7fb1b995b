/* How threads end: cancelled, by pthread_exit, by exec, with the process; and set*id, which reaches all of them. */
#include "threads.h"
#include <dirent.h>
#include <sys/fsuid.h>

static volatile int flag;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static char steps[256];

static void step(char c) { steps[strlen(steps)] = c; }
static void cleanup(void *argument) { step((long)argument); }
static void unlock(void *argument) { step('u'), pthread_mutex_unlock(argument); }

static void *cancelled(void *argument)
{
	char byte;
	int p[2], old;
	pthread_cleanup_push(cleanup, (void *)'1');
	pthread_cleanup_push(cleanup, (void *)'2');
	switch ((long)argument) {
	case 0:
		pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &old);
		flag = 1;
		for (;;)
			;
	case 1:
		pipe(p);
		flag = 1;
		read(p[0], &byte, 1);
		break;
	case 2:
		flag = 1;
		pause();
		break;
	case 3:
		pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old);
		flag = 1;
		while (flag == 1)
			usleep(100);
		step('d');
		pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &old);
		step('e');
		pthread_testcancel();
		step('!');
		break;
	case 4:
		pthread_mutex_lock(&mutex);
		pthread_cleanup_push(unlock, &mutex);
		flag = 1;
		for (;;)
			pthread_cond_wait(&cond, &mutex);
		pthread_cleanup_pop(0);
		break;
	case 5:
		flag = 1;
		sleep(100);
		break;
	case 6:
		flag = 1;
		waitpid(-1, 0, 0);
		break;
	case 7:
		flag = 1;
		select(0, 0, 0, 0, 0);
		break;
	case 8:
		flag = 1;
		while (flag == 1)
			;
		step('n');
		pthread_exit((void *)77);
	case 9:
		flag = 1;
		while (flag == 1)
			sched_yield();
		return (void *)78;
	}
	pthread_cleanup_pop(0);
	pthread_cleanup_pop(0);
	return 0;
}

static void cancelling(void)
{
	say("== cancelling\n");
	int child = fork();
	if (!child)
		pause(), _exit(0);
	for (long how = 0; how < 10; how++) {
		pthread_t t;
		void *value;
		flag = 0, memset(steps, 0, sizeof steps);
		pthread_create(&t, 0, cancelled, (void *)how);
		while (!flag)
			usleep(100);
		usleep(5000);
		int r = pthread_cancel(t);
		if (how == 3)
			usleep(2000);
		flag = 2;
		pthread_join(t, &value);
		say("%ld: cancel %d value %ld steps %s mutex %d\n", how, r, (long)value, steps, pthread_mutex_trylock(&mutex));
		pthread_mutex_unlock(&mutex);
	}
	kill(child, SIGKILL), waitpid(child, 0, 0);
}

/* --- the leader ends first --- */
static int told[2];

static void *outlives(void *argument)
{
	char byte;
	until_state(getpid(), getpid(), 'Z');
	read(told[0], &byte, 1);
	say("leader is %c, tid is pid %d\n", state_of(getpid(), getpid()), gettid_() == getpid());
	quit(argument ? 9 : 5);
	return 0;
}

static void *returns_(void *argument)
{
	char byte;
	read(told[0], &byte, 1);
	return 0;
}

static void leader_first(void)
{
	say("== the leader ends first\n");
	pipe(told);
	for (int how = 0; how < 3; how++) {
		flush();
		int child = fork(), status;
		if (!child) {
			pthread_t t;
			pthread_create(&t, 0, how == 2 ? returns_ : outlives, (void *)(long)how);
			if (how == 1)
				SC(SYS_exit, 66);
			pthread_exit((void *)44);
		}
		siginfo_t info = { 0 };
		until_state(child, child, 'Z');
		V(SC(SYS_wait4, child, 0, WNOHANG, 0));
		write(told[1], "x", 1);
		waitpid(child, &status, 0);
		say("how %d status %x\n", how, status);
	}
}

/* --- exec from a thread that is not the leader --- */
static void *sleeps(void *argument)
{
	flag++;
	for (;;)
		pause();
}

static void *spins(void *argument)
{
	flag++;
	for (;;)
		;
}

static char *self;

static void *execs(void *argument)
{
	char text[3][32];
	while (flag < 4)
		usleep(100);
	sprintf(text[0], "%d", getpid());
	sprintf(text[1], "%d", gettid_());
	char *argv[] = { self, "after", text[0], text[1], argument, 0 }, *envp[] = { 0 };
	SC(SYS_execve, self, argv, envp);
	say("execve failed\n");
	quit(1);
}

static int nr_tasks(void)
{
	struct stat st;
	stat("/proc/self/task", &st);
	return st.st_nlink - 2;
}

static void after_exec(int argc, char **argv)
{
	char path[64], name[32] = "";
	sprintf(path, "/proc/self/task/%s/comm", argv[3]);
	int gone = access(path, 0) != 0, fd = open("/proc/self/comm", O_RDONLY);
	read(fd, name, 8);
	say("pid stays %d, tid is pid %d, old tid gone %d, tasks %d, ppid %d, comm %.7s\n", getpid() == atoi(argv[2]),
	    gettid_() == getpid(), gone, nr_tasks(), getppid() == atoi(argv[4]), name);
	quit(7);
}

static void exec_in_thread(void)
{
	say("== exec in a thread\n");
	for (int how = 0; how < 3; how++) {
		flush();
		int parent = getpid(), child = fork(), status;
		if (!child) {
			pthread_t t;
			char text[16];
			sprintf(text, "%d", parent);
			flag = 0;
			for (int i = 0; i < 3; i++)
				pthread_create(&t, 0, i ? sleeps : spins, 0);
			if (how == 0) {
				flag++;
				execs(text);
			}
			pthread_create(&t, 0, execs, text);
			if (how == 2) {
				flag++;
				pthread_exit(0);
			}
			sleeps(0);
		}
		waitpid(child, &status, 0);
		say("how %d status %x\n", how, status);
	}
}

/* --- the process ends in a thread --- */
static void *ends_all(void *argument)
{
	switch ((long)argument) {
	case 0:
		_exit(11);
	case 1:
		exit(12);
	case 2:
		raise(SIGTERM);
		break;
	case 3:
		*(volatile int *)0 = 1;
	case 4:
		SC(SYS_exit, 13);
	case 5:
		raise(SIGSTOP);
		_exit(14);
	}
	return 0;
}

static void process_ends(void)
{
	say("== the process ends in a thread\n");
	for (long how = 0; how < 6; how++) {
		flush();
		int child = fork(), status;
		if (!child) {
			pthread_t t[3];
			out_used = 0;
			struct rlimit none = { 0, 0 };
			setrlimit(RLIMIT_CORE, &none);
			flag = 0;
			pthread_create(&t[0], 0, sleeps, 0);
			pthread_create(&t[1], 0, spins, 0);
			while (flag < 2)
				usleep(100);
			pthread_create(&t[2], 0, ends_all, (void *)how);
			if (how == 4)
				pthread_join(t[2], 0), _exit(1);
			for (;;)
				pause();
		}
		waitpid(child, &status, WUNTRACED);
		say("how %ld status %x\n", how, status);
		if (WIFSTOPPED(status)) {
			char path[64];
			int stopped = 0, all = 0;
			sprintf(path, "/proc/%d/task", child);
			DIR *tasks = opendir(path);
			for (struct dirent *task; (task = readdir(tasks));)
				if (task->d_name[0] != '.')
					all++, stopped += state_of(child, atoi(task->d_name)) == 'T';
			closedir(tasks);
			say("stopped %d of %d\n", stopped, all);
			kill(child, SIGCONT);
			waitpid(child, &status, 0);
			say("then %x\n", status);
		}
	}
}

/* --- set*id --- */
static void *tells_ids(void *argument)
{
	flag++;
	while (flag < 100)
		usleep(100);
	unsigned r, e, s, gr, ge, gs;
	SC(SYS_getresuid, &r, &e, &s), SC(SYS_getresgid, &gr, &ge, &gs);
	char *to = argument;
	sprintf(to, "uids %u %u %u fs %ld gids %u %u %u groups %ld", r, e, s, SC(SYS_setfsuid, -1), gr, ge, gs,
		SC(SYS_getgroups, 0, 0));
	return 0;
}

static void set_ids(void)
{
	say("== set*id\n");
	for (int raw = 0; raw < 2; raw++) {
		flush();
		int child = fork();
		if (!child) {
			static char texts[3][128];
			pthread_t t[3];
			gid_t groups[] = { 5, 6, 7 };
			flag = 0;
			for (int i = 0; i < 3; i++)
				pthread_create(&t[i], 0, tells_ids, texts[i]);
			while (flag < 3)
				usleep(100);
			if (raw) {
				V(SC(SYS_setgroups, 3, groups));
				V(SC(SYS_setresgid, 1003, 1004, 1005));
				V(SC(SYS_setresuid, 1000, 1001, 1002));
			} else {
				V(setgroups(3, groups));
				V(setresgid(1003, 1004, 1005));
				V(setresuid(1000, 1001, 1002));
				V(setuid(0));
				V(seteuid(1000));
				V(setreuid(1002, 1000));
				V(setgid(77));
			}
			flag = 100;
			char mine[128];
			tells_ids(mine);
			say("main %s\n", mine);
			for (int i = 0; i < 3; i++)
				pthread_join(t[i], 0), say("thread %s\n", texts[i]);
			quit(0);
		}
		waitpid(child, 0, 0);
	}
}

int main(int argc, char **argv)
{
	self = argv[0];
	if (argc > 1 && !strcmp(argv[1], "after"))
		after_exec(argc, argv);
	cancelling();
	leader_first();
	exec_in_thread();
	process_ends();
	set_ids();
	quit(0);
}
