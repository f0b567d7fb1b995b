/* System V semaphores: values and errors, operations that wait, what is undone at the end, who may. */
#include "threads.h"
#include <sys/prctl.h>
#include <sys/sem.h>

static int id;

static long op(int n, ...)
{
	struct sembuf ops[8];
	va_list list;
	va_start(list, n);
	for (int i = 0; i < n; i++) {
		ops[i].sem_num = va_arg(list, int);
		ops[i].sem_op = va_arg(list, int);
		ops[i].sem_flg = va_arg(list, int);
	}
	va_end(list);
	return SC(SYS_semop, id, ops, n);
}

static long ctl(int number, int cmd, long arg) { return SC(SYS_semctl, id, number, cmd, arg); }

static void values(void)
{
	unsigned short all[4] = { 0 };
	long r = ctl(0, GETALL, (long)all);
	say("  %ld: %d %d %d waiting %ld %ld %ld zero %ld %ld %ld last %s %s %s\n", r, all[0], all[1], all[2],
	    ctl(0, GETNCNT, 0), ctl(1, GETNCNT, 0), ctl(2, GETNCNT, 0), ctl(0, GETZCNT, 0), ctl(1, GETZCNT, 0),
	    ctl(2, GETZCNT, 0), who(ctl(0, GETPID, 0)), who(ctl(1, GETPID, 0)), who(ctl(2, GETPID, 0)));
}

static void arguments(void)
{
	int key = 0x70677700 ^ getpid();
	say("== arguments\n");
	V(SC(SYS_semget, key, 1, 0));
	V(SC(SYS_semget, key, 0, IPC_CREAT));
	V(SC(SYS_semget, key, -1, IPC_CREAT));
	V(SC(SYS_semget, key, 32001, IPC_CREAT));
	id = SC(SYS_semget, key, 3, IPC_CREAT | 0640);
	say("made %d\n", id >= 0);
	V(SC(SYS_semget, key, 3, IPC_CREAT | IPC_EXCL));
	V(SC(SYS_semget, key, 4, 0));
	say("again %d %d\n", SC(SYS_semget, key, 0, 0) == id, SC(SYS_semget, key, 2, IPC_CREAT) == id);
	values();
	V(ctl(3, GETVAL, 0)), V(ctl(-1, GETVAL, 0)), V(ctl(0, SETVAL, -1)), V(ctl(0, SETVAL, 32768)), V(ctl(5, SETVAL, 1));
	V(ctl(0, SETVAL, 32767)), V(ctl(0, 99, 0)), V(ctl(0, GETALL, 16)), V(ctl(0, SETALL, 16));
	V(SC(SYS_semctl, -1, 0, GETVAL, 0)), V(SC(SYS_semctl, 99999999, 0, GETVAL, 0)), V(SC(SYS_semctl, 99999999, 0, SETVAL, -1));
	V(op(1, 0, 1, 0)), V(op(1, 3, 1, 0)), V(op(0)), V(SC(SYS_semop, id, 16, 1)), V(SC(SYS_semop, id, 16, 501));
	V(SC(SYS_semop, id, 16, 0)), V(SC(SYS_semop, -1, 16, 1));
	values();
	V(op(1, 0, -32767, 0)), V(op(2, 0, 5, 0, 1, 2, 0)), V(op(2, 0, -1, 0, 1, -3, IPC_NOWAIT)), V(op(1, 0, 0, IPC_NOWAIT));
	V(op(3, 1, -2, 0, 1, 0, IPC_NOWAIT, 1, 2, 0)), V(op(2, 2, 1, 0, 2, 32767, 0));
	values();
	struct timespec bad = { 0, -1 }, soon = { 0, 3000000 };
	struct sembuf wait = { 2, -1, 0 };
	V(SC(SYS_semtimedop, id, &wait, 1, &bad)), V(SC(SYS_semtimedop, id, &wait, 1, 16)), V(SC(SYS_semtimedop, id, &wait, 1, &soon));
	unsigned short big[3] = { 1, 40000, 2 }, fine[3] = { 3, 2, 1 };
	V(ctl(0, SETALL, (long)big)), V(ctl(0, SETALL, (long)fine));
	values();
	struct semid_ds ds;
	memset(&ds, 7, sizeof ds);
	V(ctl(0, IPC_STAT, (long)&ds));
	say("key %d uid %d gid %d cuid %d mode %o nsems %ld otime %d ctime %d\n", ds.sem_perm.__key == key, ds.sem_perm.uid,
	    ds.sem_perm.gid, ds.sem_perm.cuid, ds.sem_perm.mode, ds.sem_nsems, ds.sem_otime > 1600000000, ds.sem_ctime > 1600000000);
	ds.sem_perm.mode = 0604, ds.sem_perm.gid = 77;
	V(ctl(0, IPC_SET, (long)&ds)), V(ctl(0, IPC_STAT, (long)&ds)), V(ctl(0, IPC_STAT, 16));
	say("gid %d mode %o\n", ds.sem_perm.gid, ds.sem_perm.mode);
	struct seminfo limits;
	say("limits %d\n", ctl(0, IPC_INFO, (long)&limits) >= 0);
	say("%d %d %d %d %d\n", limits.semmni, limits.semmns, limits.semmsl, limits.semopm, limits.semvmx);
	flush();
	if (!fork()) {
		SC(SYS_setresgid, 500, 500, 500), SC(SYS_setresuid, 500, 500, 500);
		V(ctl(0, GETVAL, 0)), V(ctl(0, SETVAL, 1)), V(op(1, 2, 0, IPC_NOWAIT)), V(op(1, 2, 1, IPC_NOWAIT));
		V(ctl(0, IPC_RMID, 0)), V(ctl(0, IPC_SET, (long)&ds)), V(SC(SYS_semget, key, 0, 0600)), V(SC(SYS_semget, key, 0, 0400) == id);
		quit(0);
	}
	while (SC(SYS_wait4, -1, 0, 0, 0) > 0);
	V(ctl(0, IPC_RMID, 0)), V(ctl(0, IPC_RMID, 0)), V(op(1, 0, 1, 0));
	id = SC(SYS_semget, IPC_PRIVATE, 3, 0600);
}

struct job { int n, ops[9]; };

static void waits(struct thread *t)
{
	struct job *j = t->argument;
	int *o = j->ops;
	t->ready = 1;
	t->result = op(j->n, o[0], o[1], o[2], o[3], o[4], o[5], o[6], o[7], o[8]);
}

static struct thread *wait_for(char name, struct job *j)
{
	struct thread *t = start(name, waits, j);
	asleep(t);
	return t;
}

static void waiting(void)
{
	say("== waiting\n");
	static struct job down = { 1, { 0, -1, 0 } }, down2 = { 1, { 0, -2, 0 } }, zero = { 1, { 1, 0, 0 } },
			  both = { 2, { 0, -1, 0, 2, -1, 0 } }, zero_up = { 2, { 1, 0, 0, 1, 1, 0 } };
	struct thread *a = wait_for('A', &down2), *b = wait_for('B', &down), *c = wait_for('C', &both);
	values();
	V(op(1, 0, 1, 0));
	say_result("B", join(b));
	V(op(1, 0, 1, 0));
	values();
	V(op(1, 2, 1, 0));
	say_result("C", join(c));
	values();
	V(op(1, 0, 2, 0));
	say_result("A", join(a));
	V(ctl(1, SETVAL, 2));
	a = wait_for('D', &zero), b = wait_for('E', &zero_up), c = wait_for('F', &zero);
	values();
	V(op(1, 1, -1, 0));
	values();
	V(op(1, 1, -1, 0));
	say_result("D", join(a)), say_result("E", join(b)), say_result("F", join(c));
	values();
	a = wait_for('G', &down);
	V(ctl(0, SETVAL, 1));
	say_result("G", join(a));
	a = wait_for('H', &down), b = wait_for('I', &both);
	V(ctl(0, IPC_RMID, 0));
	say_result("H", join(a)), say_result("I", join(b));
	id = SC(SYS_semget, IPC_PRIVATE, 3, 0600);
}

static void undone(void)
{
	int status;
	say("== undone\n");
	V(ctl(0, SETVAL, 5));
	for (int how = 0; how < 6; how++) {
		ctl(0, SETVAL, 5), ctl(1, SETVAL, 0);
		flush();
		int child = how == 4 ? SC(SYS_clone, SIGCHLD | CLONE_SYSVSEM, 0, 0, 0, 0) : fork();
		if (!child) {
			op(2, 0, -2, SEM_UNDO, 1, 3, SEM_UNDO);
			if (how == 1)
				op(1, 0, 1, 0);
			if (how == 2)
				ctl(0, SETVAL, 1);
			if (how == 3) {
				op(1, 1, -3, 0);
				raise(SIGKILL);
			}
			if (how == 5) {
				char *argv[] = { "true", 0 };
				execv("/bin/true", argv);
			}
			values();
			flush();
			SC(SYS_exit_group, 0);
		}
		waitpid(child, &status, 0);
		say("how %d status %x %ld %ld\n", how, status, ctl(0, GETVAL, 0), ctl(1, GETVAL, 0));
	}
	V(op(1, 2, 32767, SEM_UNDO)), V(op(1, 2, -32767, SEM_UNDO)), V(op(2, 2, 32767, 0, 2, -32767, SEM_UNDO));
	V(op(1, 2, 32767, 0)), V(op(1, 2, -1, SEM_UNDO));
	V(SC(SYS_unshare, CLONE_SYSVSEM));
	values();
	V(ctl(0, IPC_RMID, 0));
}

/* The lines of a key in /proc/sysvipc, with the id taken out and times as whether there is one. */
static void table(const char *path, int key, int ident)
{
	static char text[1 << 18];
	char start_[32];
	read_whole(path, text, sizeof text);
	sprintf(start_, "%10d %10d ", key, ident);
	for (char *line = strtok(text, "\n"); line; line = strtok(0, "\n")) {
		if (strstr(line, "key"))
			say("%s\n", line);
		if (strncmp(line, start_, strlen(start_)))
			continue;
		for (char *at = line + strlen(start_); *at;) {
			long number = atol(at);
			int width = strspn(at, " ");
			width += strcspn(at + width, " ");
			say("%*s ", width, number > 1600000000 ? "now" : number == getpid() ? "me" : "");
			if (number <= 1600000000 && number != getpid())
				say("%.*s", width, at);
			at += width;
		}
		say("\n");
	}
}

static void tables(void)
{
	int key = 0x70677701 ^ getpid();
	say("== tables\n");
	id = SC(SYS_semget, key, 7, IPC_CREAT | 0631);
	V(op(1, 3, 1, 0));
	table("/proc/sysvipc/sem", key, id);
	ctl(0, IPC_RMID, 0);
	table("/proc/sysvipc/sem", key, id);
	int shm = SC(SYS_shmget, key, 20000, IPC_CREAT | 0640);
	table("/proc/sysvipc/shm", key, shm);
	char *at = (char *)SC(SYS_shmat, shm, 0, 0);
	at[0] = at[8192] = 1;
	table("/proc/sysvipc/shm", key, shm);
	SC(SYS_shmctl, shm, IPC_RMID, 0);
	table("/proc/sysvipc/shm", 0, shm);
	SC(SYS_shmdt, at);
	table("/proc/sysvipc/shm", 0, shm);
}

int main(void)
{
	tables();
	arguments(), waiting(), undone();
	quit(0);
}
