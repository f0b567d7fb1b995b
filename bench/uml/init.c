/* The first process of the user-mode Linux: mounts, switches the swap device on, runs one program, halts.
 * The kernel hands it the words behind "--" of its command line: the program's name and its arguments. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/swap.h>
#include <sys/wait.h>
#include <unistd.h>

static void write_to(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY);
    if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
        perror(path);
    if (fd >= 0)
        close(fd);
}

/* What the boot has put off is done when MemFree has been the same for two seconds; then no file is cached that nobody
 * has open. */
static void settle(void)
{
    char text[256] = "", last[256];
    int fd, same = 0;
    for (int i = 0; i < 60 && same < 8; i++) {
        memcpy(last, text, sizeof text);
        usleep(250000);
        if ((fd = open("/proc/meminfo", O_RDONLY)) >= 0) {
            ssize_t got = read(fd, text, 80);
            text[got > 0 ? got : 0] = 0;
            close(fd);
        }
        same = strcmp(text, last) ? 0 : same + 1;
    }
    write_to("/proc/sys/vm/drop_caches", "3");
}

int main(int argc, char **argv)
{
    int status = 0;
    mount("proc", "/proc", "proc", 0, 0);
    mount("dev", "/dev", "devtmpfs", 0, 0);
    mount("sys", "/sys", "sysfs", 0, 0);
    if (mount("cgroup2", "/sys/fs/cgroup", "cgroup2", 0, 0))
        perror("/sys/fs/cgroup");
    if (swapon("/dev/ubda", 0)) {
        perror("swapon");
        reboot(RB_POWER_OFF);
    }
    if (mount("/dev/ubdb", "/data", "ext4", MS_RDONLY | MS_NOATIME, 0))
        perror("/data");
    write_to("/proc/sys/vm/watermark_boost_factor", "0");
    /* For a request of more than 32 KiB the disks' driver needs several pages in a row at once. Where such requests are
     * served late, the kernel sets page blocks of 4 MiB aside for them: none, one or two, at a moment of the run that is
     * another one in each boot. */
    write_to("/sys/block/ubda/queue/max_sectors_kb", "32");
    write_to("/sys/block/ubdb/queue/max_sectors_kb", "32");
    settle();
    printf("begin\n");
    fflush(stdout);
    if (fork() == 0) {
        execv(argv[1], argv + 1);
        perror(argv[1]);
        _exit(127);
    }
    wait(&status);
    printf("end %d\n", status);
    fflush(stdout);
    reboot(RB_POWER_OFF);
    return argc < 2;
}
