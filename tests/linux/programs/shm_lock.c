/* shmctl(SHM_LOCK) and SHM_UNLOCK: who may, how much, and what IPC_STAT says of it. usage: shm_lock */
#include "calls.h"
#include <sys/ipc.h>
#include <sys/shm.h>

static void limit(long soft)
{
	struct rlimit both;
	SC(SYS_prlimit64, 0, RLIMIT_MEMLOCK, 0, &both);
	both.rlim_cur = soft;
	long r = SC(SYS_prlimit64, 0, RLIMIT_MEMLOCK, &both, 0);
	if (failed(r))
		die("prlimit", r);
}

static int segment(long size)
{
	long id = SC(SYS_shmget, IPC_PRIVATE, size, 0600 | IPC_CREAT);
	if (failed(id))
		die("shmget", id);
	return (int)id;
}

static void mode(const char *what, int id)
{
	struct shmid_ds ds;
	long r = SC(SYS_shmctl, id, IPC_STAT, &ds);
	if (failed(r))
		say_result(what, r);
	else
		say("%s: mode %o uid %d cuid %d\n", what, ds.shm_perm.mode, (int)ds.shm_perm.uid, (int)ds.shm_perm.cuid);
}

static void both(const char *what, int id)
{
	say("%s\n", what);
	say_result("lock", SC(SYS_shmctl, id, SHM_LOCK, 0));
	mode("locked", id);
	say_result("unlock", SC(SYS_shmctl, id, SHM_UNLOCK, 0));
	mode("unlocked", id);
}

int main(void)
{
	group("as root");
	limit(0);
	int mine = segment(8 * PAGE);
	both("nothing may be locked", mine);
	say_result("unlock again", SC(SYS_shmctl, mine, SHM_UNLOCK, 0));
	say_result("lock", SC(SYS_shmctl, mine, SHM_LOCK, 0));
	say_result("lock again", SC(SYS_shmctl, mine, SHM_LOCK, 0));
	say_result("no such segment", SC(SYS_shmctl, 0x7ffffff0, SHM_LOCK, 0));
	say_result("a negative one", SC(SYS_shmctl, -1, SHM_LOCK, 0));
	int rooted = segment(PAGE);
	SC(SYS_shmctl, rooted, SHM_LOCK, 0);
	int all[] = { mine, rooted }; /* they go with this process */
	for (int i = 0; i < 2; i++)
		if (failed(SC(SYS_shmat, all[i], 0, 0)) || SC(SYS_shmctl, all[i], IPC_RMID, 0))
			die("shmat", -1);
	SC(SYS_setresgid, 1000, 1000, 1000);
	SC(SYS_setresuid, 1000, 1000, 1000);

	group("as a user");
	say_result("lock root's", SC(SYS_shmctl, mine, SHM_LOCK, 0));
	say_result("unlock root's", SC(SYS_shmctl, mine, SHM_UNLOCK, 0));
	int own = segment(4 * PAGE + 1);
	both("no limit to speak of", own);
	limit(5 * PAGE);
	both("just enough", own);
	limit(5 * PAGE - 1);
	both("a byte less", own);
	limit(8 * PAGE);
	say_result("lock", SC(SYS_shmctl, own, SHM_LOCK, 0));
	int more = segment(4 * PAGE);
	say_result("more than is left", SC(SYS_shmctl, more, SHM_LOCK, 0));
	int less = segment(3 * PAGE);
	say_result("what is left", SC(SYS_shmctl, less, SHM_LOCK, 0));
	say_result("mlock counts apart", SC(SYS_mlock, (ul)SC(SYS_mmap, 0, 8 * PAGE, 3, 0x22, -1, 0), 8 * PAGE));
	say_result("remove one", SC(SYS_shmctl, own, IPC_RMID, 0));
	say_result("now there is room", SC(SYS_shmctl, more, SHM_LOCK, 0));
	limit(0);
	say_result("unlock without a limit", SC(SYS_shmctl, more, SHM_UNLOCK, 0));
	say_result("lock without a limit", SC(SYS_shmctl, more, SHM_LOCK, 0));
	SC(SYS_shmctl, more, IPC_RMID, 0);
	SC(SYS_shmctl, less, IPC_RMID, 0);
	return 0;
}
