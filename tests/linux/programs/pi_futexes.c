/* Futexes with priority inheritance, by the raw calls: owners, waiters, hand-over, deadlock, owners that die, requeue. */
#include "threads.h"

static unsigned word, word2, plain, cond;
static volatile int go;

static long op(unsigned *w, int what) { return FUTEX(w, what | FUTEX_PRIVATE_FLAG, 0, 0, 0, 0); }

static void lock_and_unlock(struct thread *t)
{
	t->ready = 1;
	long r = op(&word, FUTEX_LOCK_PI);
	say_result("thread locks", r);
	say_word("  word", word);
	t->result = op(&word, FUTEX_UNLOCK_PI); /* from here on the next one may print */
}

static void arguments(void)
{
	say("== arguments\n");
	int nobody = fork();
	if (!nobody)
		_exit(0);
	waitpid(nobody, 0, 0);
	word = 0;
	V(op(&word, FUTEX_LOCK_PI)); say_word("word", word);
	V(op(&word, FUTEX_LOCK_PI)); say_word("word", word);
	V(op(&word, FUTEX_TRYLOCK_PI));
	V(op(&word, FUTEX_UNLOCK_PI)); say_word("word", word);
	V(op(&word, FUTEX_UNLOCK_PI));
	V(op(&word, FUTEX_TRYLOCK_PI)); say_word("word", word);
	V(op(&word, FUTEX_UNLOCK_PI));
	word = nobody;
	V(op(&word, FUTEX_LOCK_PI)); say_word("word", word);
	word = nobody;
	V(op(&word, FUTEX_TRYLOCK_PI)); say_word("word", word);
	V(op(&word, FUTEX_UNLOCK_PI));
	word = FUTEX_OWNER_DIED;
	V(op(&word, FUTEX_LOCK_PI)); say_word("word", word);
	V(op(&word, FUTEX_UNLOCK_PI)); say_word("word", word);
	word = FUTEX_OWNER_DIED | FUTEX_WAITERS;
	V(op(&word, FUTEX_TRYLOCK_PI)); say_word("word", word);
	V(op(&word, FUTEX_UNLOCK_PI)); say_word("word", word);
	word = FUTEX_OWNER_DIED | gettid_();
	V(op(&word, FUTEX_LOCK_PI)); say_word("word", word);
	V(op((unsigned *)((char *)&word + 1), FUTEX_LOCK_PI));
	V(op((unsigned *)((char *)&word + 1), FUTEX_UNLOCK_PI));
	V(op((void *)16, FUTEX_LOCK_PI));
	V(op((void *)16, FUTEX_UNLOCK_PI));
	struct timespec bad = { 0, 1000000000 }, zero = { 0, 0 };
	word = 0;
	V(FUTEX(&word, FUTEX_LOCK_PI, 0, &bad, 0, 0));
	V(FUTEX(&word, FUTEX_LOCK_PI2, 0, &bad, 0, 0));
	V(FUTEX(&word, FUTEX_LOCK_PI | FUTEX_CLOCK_REALTIME, 0, &zero, 0, 0));
	V(FUTEX(&word, FUTEX_LOCK_PI2 | FUTEX_CLOCK_REALTIME, 0, &zero, 0, 0)); say_word("word", word);
	V(FUTEX(&word, FUTEX_UNLOCK_PI | FUTEX_CLOCK_REALTIME, 0, 0, 0, 0));
	V(FUTEX(&word, FUTEX_WAIT | FUTEX_CLOCK_REALTIME, 1, &zero, 0, 0));
	V(FUTEX(&word, FUTEX_WAKE | FUTEX_CLOCK_REALTIME, 1, &zero, 0, 0));
	V(op(&word, FUTEX_UNLOCK_PI));
	word = 0;
}

static void hand_over(void)
{
	say("== hand over\n");
	op(&word, FUTEX_LOCK_PI);
	struct thread *a = start('A', lock_and_unlock, 0);
	asleep(a);
	say_word("one waits", word);
	struct thread *b = start('B', lock_and_unlock, 0);
	asleep(b);
	say_word("two wait", word);
	V(FUTEX(&word, FUTEX_WAKE_PRIVATE, 1, 0, 0, 0));
	V(FUTEX(&word, FUTEX_REQUEUE_PRIVATE, 1, 1, &word2, 0));
	V(op(&word, FUTEX_TRYLOCK_PI));
	long r = op(&word, FUTEX_UNLOCK_PI);
	say_result("they unlock", join(a) + join(b));
	say_result("main did", r);
	say_word("at the end", word);
}

static void times_out(struct thread *t)
{
	struct timespec at = after_ms((long)t->argument ? CLOCK_MONOTONIC : CLOCK_REALTIME, 5);
	t->ready = 1;
	t->result = FUTEX(&word, t->argument ? FUTEX_LOCK_PI2 : FUTEX_LOCK_PI, 0, &at, 0, 0);
}

static void timeouts(void)
{
	say("== timeouts\n");
	word = 0;
	FUTEX(&word, FUTEX_LOCK_PI, 0, 0, 0, 0);
	say_result("lock_pi", join(start('C', times_out, 0)));
	say_word("word", word);
	say_result("lock_pi2", join(start('D', times_out, (void *)1)));
	V(FUTEX(&word, FUTEX_UNLOCK_PI, 0, 0, 0, 0));
	say_word("word", word);
}

static void crossed(struct thread *t)
{
	op(&word2, FUTEX_LOCK_PI);
	t->ready = 1;
	t->result = op(&word, FUTEX_LOCK_PI);
	op(&word, FUTEX_UNLOCK_PI);
	op(&word2, FUTEX_UNLOCK_PI);
}

static void deadlock(void)
{
	say("== deadlock\n");
	word = word2 = 0;
	op(&word, FUTEX_LOCK_PI);
	struct thread *t = start('E', crossed, 0);
	asleep(t);
	V(op(&word2, FUTEX_LOCK_PI));
	say_word("word", word), say_word("word2", word2);
	long r = op(&word, FUTEX_UNLOCK_PI);
	say_result("main unlocks", r);
	say_result("thread's lock", join(t));
	say_word("word", word), say_word("word2", word2);
}

static void dies_with_it(struct thread *t)
{
	op(&word, FUTEX_LOCK_PI);
	t->ready = 1;
	while (!go)
		usleep(100);
}

static void owner_dies(void)
{
	say("== the owner dies\n");
	word = go = 0;
	struct thread *t = start('F', dies_with_it, 0);
	while (!t->ready)
		usleep(100);
	struct thread *a = start('G', lock_and_unlock, 0);
	asleep(a);
	struct thread *b = start('H', lock_and_unlock, 0);
	asleep(b);
	say_word("word", word);
	go = 1;
	join(t), join(a), join(b);
	say_word("at the end", word);
	word = go = 0;
	t = start('I', dies_with_it, 0);
	go = 1;
	join(t);
	say_word("nobody waited", word);
	V(op(&word, FUTEX_LOCK_PI));
	word = 0;
}

static void waits_plainly(struct thread *t)
{
	t->ready = 1;
	t->result = FUTEX(&plain, FUTEX_WAIT_PRIVATE, (long)t->argument, 0, 0, 0);
}

static void mixed(void)
{
	say("== plain waiters and locks\n");
	plain = gettid_() & 0;
	struct thread *a = start('J', waits_plainly, 0);
	asleep(a);
	V(op(&plain, FUTEX_LOCK_PI));
	plain = gettid_();
	V(op(&plain, FUTEX_UNLOCK_PI));
	V(FUTEX(&plain, FUTEX_CMP_REQUEUE_PI_PRIVATE, 1, 1, &word, plain));
	V(FUTEX(&plain, FUTEX_WAKE_PRIVATE, 1, 0, 0, 0));
	join(a);
	plain = 0;
}

static long requeue(long wake, long move, unsigned expected)
{
	return FUTEX(&cond, FUTEX_CMP_REQUEUE_PI_PRIVATE, wake, move, &word, expected);
}

static void waits_for_requeue(struct thread *t)
{
	struct timespec at = after_ms(CLOCK_MONOTONIC, (long)t->argument);
	t->ready = 1;
	long r = FUTEX(&cond, FUTEX_WAIT_REQUEUE_PI_PRIVATE, 0, t->argument ? &at : 0, &word, 0);
	if (r == 0) {
		say_word("  a waiter has it", word);
		r = op(&word, FUTEX_UNLOCK_PI);
	}
	t->result = r;
}

static void requeues(void)
{
	say("== requeue\n");
	cond = word = 0;
	V(FUTEX(&cond, FUTEX_WAIT_REQUEUE_PI_PRIVATE, 1, 0, &word, 0));
	V(FUTEX(&cond, FUTEX_WAIT_REQUEUE_PI_PRIVATE, 0, 0, &cond, 0));
	V(FUTEX(&cond, FUTEX_WAIT_REQUEUE_PI_PRIVATE, 0, 0, (char *)&word + 1, 0));
	V(requeue(0, 1, 0)), V(requeue(2, 1, 0)), V(requeue(1, -1, 0)), V(requeue(1, 1, 7));
	V(FUTEX(&cond, FUTEX_CMP_REQUEUE_PI_PRIVATE, 1, 1, &cond, 0));
	V(requeue(1, 1, 0)), V(requeue(1, 0, 0));
	struct thread *a = start('K', waits_for_requeue, 0);
	asleep(a);
	V(FUTEX(&cond, FUTEX_WAKE_PRIVATE, 1, 0, 0, 0));
	V(FUTEX(&cond, FUTEX_REQUEUE_PRIVATE, 1, 1, &word, 0));
	V(FUTEX(&cond, FUTEX_CMP_REQUEUE_PI_PRIVATE, 1, 1, &word2, 0));
	long r = requeue(1, 0, 0);
	say_result("waiter", join(a));
	say_result("requeued", r);
	say_word("the lock was free", word);
	word = 0;
	op(&word, FUTEX_LOCK_PI);
	struct thread *t[3];
	for (int i = 0; i < 3; i++)
		t[i] = start('L' + i, waits_for_requeue, 0), asleep(t[i]);
	V(requeue(1, 1, 0));
	say_word("held", word);
	V(requeue(1, 100, 0));
	say_word("held", word);
	until_asleep(getpid(), t[0]->tid);
	r = op(&word, FUTEX_UNLOCK_PI);
	for (int i = 0; i < 3; i++)
		join(t[i]);
	say_result("threads", t[0]->result | t[1]->result | t[2]->result);
	say_result("main unlocked", r);
	say_word("at the end", word);
	word = 0;
	for (int i = 0; i < 3; i++)
		t[i] = start('O' + i, waits_for_requeue, 0), asleep(t[i]);
	r = requeue(1, 100, 0);
	for (int i = 0; i < 3; i++)
		join(t[i]);
	say_result("threads", t[0]->result | t[1]->result | t[2]->result);
	say_result("all requeued", r);
	say_word("at the end", word);
	say_result("not requeued in time", join(start('R', waits_for_requeue, (void *)5)));
	word = 0;
	op(&word, FUTEX_LOCK_PI);
	a = start('S', waits_for_requeue, (void *)500); /* long enough to be requeued in */
	asleep(a);
	V(requeue(1, 1, 0));
	say_result("requeued, not locked in time", join(a));
	say_word("word", word);
	V(op(&word, FUTEX_UNLOCK_PI));
	say_word("word", word);
}

int main(void)
{
	arguments(), hand_over(), timeouts(), deadlock(), owner_dies(), mixed(), requeues();
	quit(0);
}
