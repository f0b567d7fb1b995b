/* A plugin of QEMU's user-mode emulators that writes what a program accesses to a descriptor, for
 * `pagewalk record --with qemu`. Built by pagewalk with the host's compiler at first use.
 *
 * The stream is made of chunks: four 32-bit words (kind, 0, count of 64-bit words, 0) and the words.
 *   'A'  accesses in their order: address << 8 | bytes << 2 | what, with what 0 a load, 1 a store, 2 a fetch
 *   'C'  a system call that changes the address space: number, result, six arguments, then the path of a mapped file
 *   'Z'  the end
 * Each thread has a buffer of its own: threads come in pieces. A forked child writes nothing.
 *
 * The declarations are those of QEMU's plugin interface (docs/devel/tcg-plugins.rst), as far as they are used here.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef uint64_t plugin_id;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
extern uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *);
extern size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *);
extern unsigned qemu_plugin_mem_size_shift(uint32_t);
extern _Bool qemu_plugin_mem_is_store(uint32_t);
extern void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, void (*)(plugin_id, struct qemu_plugin_tb *));
extern void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *, void (*)(unsigned, void *), int, void *);
extern void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn *, void (*)(unsigned, uint32_t, uint64_t, void *),
                                             int, int, void *);
extern void qemu_plugin_register_vcpu_syscall_cb(plugin_id, void (*)(plugin_id, unsigned, int64_t, uint64_t, uint64_t,
                                                                     uint64_t, uint64_t, uint64_t, uint64_t, uint64_t,
                                                                     uint64_t));
extern void qemu_plugin_register_vcpu_syscall_ret_cb(plugin_id, void (*)(plugin_id, unsigned, int64_t, int64_t));
extern void qemu_plugin_register_atexit_cb(plugin_id, void (*)(plugin_id, void *), void *);

__attribute__((visibility("default"))) int qemu_plugin_version = PLUGIN_VERSION;

enum { NO_REGS = 0, READS_AND_WRITES = 3, CAPACITY = 1 << 15, NAME_WORDS = PATH_MAX / 8 };
enum { LOAD = 0, STORE = 1, FETCH = 2 };

struct buffer {
    struct buffer *next;
    uint64_t arguments[6]; /* of the call that the thread is in */
    size_t used;
    uint64_t words[CAPACITY];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of the descriptor and the list */
static struct buffer *buffers;
static __thread struct buffer *mine;
static int out = -1;
static struct stat pipe_was;

static void put(const void *data, size_t size)
{
    const char *at = data;
    while (size > 0 && out >= 0) {
        ssize_t done = write(out, at, size);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0) {
            out = -1;
            return;
        }
        at += done;
        size -= (size_t)done;
    }
}

/* The caller holds the lock. */
static void chunk(char kind, const uint64_t *words, size_t count)
{
    struct stat now;
    uint32_t head[4] = {(unsigned char)kind, 0, (uint32_t)count, 0};
    /* The program shares our descriptors: it may have closed this one and opened something else in its place. */
    if (out < 0 || fstat(out, &now) != 0 || now.st_ino != pipe_was.st_ino || now.st_dev != pipe_was.st_dev) {
        out = -1;
        return;
    }
    put(head, sizeof head);
    put(words, count * sizeof *words);
}

static void flush(struct buffer *buffer)
{
    if (buffer->used)
        chunk('A', buffer->words, buffer->used);
    buffer->used = 0;
}

static struct buffer *own(void)
{
    if (!mine) {
        mine = calloc(1, sizeof *mine);
        if (!mine)
            abort();
        pthread_mutex_lock(&lock);
        mine->next = buffers;
        buffers = mine;
        pthread_mutex_unlock(&lock);
    }
    return mine;
}

static inline void add(uint64_t word)
{
    struct buffer *buffer = mine ? mine : own();
    buffer->words[buffer->used++] = word;
    if (buffer->used == CAPACITY) {
        pthread_mutex_lock(&lock);
        flush(buffer);
        pthread_mutex_unlock(&lock);
    }
}

static void executed(unsigned vcpu, void *word)
{
    (void)vcpu;
    add((uint64_t)(uintptr_t)word);
}

static void accessed(unsigned vcpu, uint32_t info, uint64_t addr, void *none)
{
    (void)vcpu;
    (void)none;
    add(addr << 8 | (uint64_t)1 << qemu_plugin_mem_size_shift(info) << 2 |
        (qemu_plugin_mem_is_store(info) ? STORE : LOAD));
}

static void translated(plugin_id id, struct qemu_plugin_tb *block)
{
    size_t count = qemu_plugin_tb_n_insns(block);
    (void)id;
    for (size_t at = 0; at < count; at++) {
        struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(block, at);
        uint64_t word = qemu_plugin_insn_vaddr(insn) << 8 | (uint64_t)qemu_plugin_insn_size(insn) << 2 | FETCH;
        qemu_plugin_register_vcpu_insn_exec_cb(insn, executed, NO_REGS, (void *)(uintptr_t)word);
        qemu_plugin_register_vcpu_mem_cb(insn, accessed, NO_REGS, READS_AND_WRITES, NULL);
    }
}

static int changes_mappings(int64_t number)
{
    /* x86-64: mmap, mprotect, munmap, brk, mremap, madvise */
    return number == 9 || number == 10 || number == 11 || number == 12 || number == 25 || number == 28;
}

static void flush_all(void)
{
    pthread_mutex_lock(&lock);
    for (struct buffer *buffer = buffers; buffer; buffer = buffer->next)
        flush(buffer);
    pthread_mutex_unlock(&lock);
}

static void calls(plugin_id id, unsigned vcpu, int64_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d,
                  uint64_t e, uint64_t f, uint64_t g, uint64_t h)
{
    (void)id, (void)vcpu, (void)g, (void)h;
    if (changes_mappings(number))
        memcpy(own()->arguments, (uint64_t[6]){a, b, c, d, e, f}, sizeof mine->arguments);
    if (number == 62 || number == 200 || number == 234) /* kill, tkill, tgkill: nobody is told of an end by a signal */
        flush_all();
}

static void returns(plugin_id id, unsigned vcpu, int64_t number, int64_t result)
{
    uint64_t words[8 + NAME_WORDS] = {(uint64_t)number, (uint64_t)result};
    ssize_t length = 0;
    (void)id, (void)vcpu;
    if (!changes_mappings(number) || (result < 0 && result >= -4095))
        return;
    memcpy(words + 2, own()->arguments, sizeof mine->arguments);
    if (number == 9 && !(mine->arguments[3] & 0x20)) { /* not MAP_ANONYMOUS: a descriptor of the program is ours too */
        char link[64];
        snprintf(link, sizeof link, "/proc/self/fd/%d", (int)mine->arguments[4]);
        length = readlink(link, (char *)(words + 8), NAME_WORDS * 8);
    }
    pthread_mutex_lock(&lock);
    flush(mine);
    chunk('C', words, 8 + (length > 0 ? (size_t)(length + 7) / 8 : 0));
    pthread_mutex_unlock(&lock);
}

static void ends(plugin_id id, void *none)
{
    (void)id, (void)none;
    flush_all();
    pthread_mutex_lock(&lock);
    chunk('Z', NULL, 0);
    pthread_mutex_unlock(&lock);
}

static void before_fork(void)
{
    pthread_mutex_lock(&lock);
}

static void in_parent(void)
{
    pthread_mutex_unlock(&lock);
}

static void in_child(void)
{
    if (out >= 0)
        close(out);
    out = -1;
    pthread_mutex_unlock(&lock);
}

__attribute__((visibility("default"))) int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv)
{
    int given = argc == 1 && strncmp(argv[0], "fd=", 3) == 0 ? atoi(argv[0] + 3) : -1;
    (void)info;
    out = fcntl(given, F_DUPFD_CLOEXEC, 900); /* out of the program's way */
    if (out < 0)
        out = fcntl(given, F_DUPFD_CLOEXEC, 0);
    if (out < 0 || fstat(out, &pipe_was) != 0) {
        fprintf(stderr, "qemu_plugin: expected fd=NUMBER of an open descriptor\n");
        return -1;
    }
    close(given);
    pthread_atfork(before_fork, in_parent, in_child);
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_vcpu_syscall_cb(id, calls);
    qemu_plugin_register_vcpu_syscall_ret_cb(id, returns);
    qemu_plugin_register_atexit_cb(id, ends, NULL);
    return 0;
}
