/* The first process of the user-mode Linux: mounts, switches the swap device on, runs one pattern, halts.
 * The kernel hands it the words behind "--" of its command line, as the pattern's. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/swap.h>
#include <sys/wait.h>
#include <unistd.h>

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
    if ((fd = open("/proc/sys/vm/drop_caches", O_WRONLY)) >= 0) {
        if (write(fd, "3", 1) != 1)
            perror("drop_caches");
        close(fd);
    }
}

int main(int argc, char **argv)
{
    int status = 0;
    mount("proc", "/proc", "proc", 0, 0);
    mount("dev", "/dev", "devtmpfs", 0, 0);
    if (swapon("/dev/ubda", 0))
        perror("swapon");
    if (mount("/dev/ubdb", "/data", "ext4", MS_RDONLY | MS_NOATIME, 0))
        perror("/data");
    argv[0] = "/patterns";
    settle();
    printf("begin\n");
    fflush(stdout);
    if (fork() == 0) {
        execv(argv[0], argv);
        perror(argv[0]);
        _exit(127);
    }
    wait(&status);
    printf("end %d\n", status);
    fflush(stdout);
    reboot(RB_POWER_OFF);
    return argc < 0;
}
