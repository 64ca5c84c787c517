/*
 * faulty-disk --directory DIR [options] -- COMMAND...
 *
 *   --seed N             all chances derive from it (default 1)
 *   --report FILE        one JSON line for each event: mapped-writable, sync-failed, sync-after-failure, cut
 *   --cut-at N           the power goes at the N-th change or sync in DIR
 *   --fail-sync-at N     the N-th sync fails with EIO; what it should have written will never become durable
 *   --fail-forever       so does every later one
 *   --fail-match TEXT    only syncs of paths that contain TEXT count and fail
 *   --sync-us MIN:MAX    a sync takes this long (default 50:400)
 *   --lying              syncs succeed, but nothing becomes durable
 *
 * SIGUSR2 cuts the power now, SIGUSR1 kills the server as kill -9 does (the page cache survives), SIGTERM and SIGINT
 * are passed on. Exit code: 75 after a power cut, 97 when faulty-disk itself failed, else as the server exited
 * (128 + signal). The server may not fork children that write to DIR.
 */
#define _GNU_SOURCE
#include "disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define SERVING_THREADS 12

static int report_fd = -1;
static uint64_t last_change;

uint64_t change_next(void) {
  return ++last_change;
}

uint64_t change_last(void) {
  return last_change;
}

uint64_t random_next(struct random *random) {
  uint64_t z = (random->state += 0x9e3779b97f4a7c15u);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

uint64_t random_below(struct random *random, uint64_t bound) {
  return random_next(random) % bound;
}

void harness_failed(const char *what, const char *detail) {
  fprintf(stderr, "faulty-disk: %s%s%s\n", what, detail == NULL ? "" : ": ", detail == NULL ? "" : detail);
  report_event("{\"event\":\"harness-failed\",\"what\":\"%s\"}", what);
  _exit(EXIT_HARNESS); /* the server dies with us */
}

void *allocate(size_t size) {
  void *memory = calloc(1, size);
  if (memory == NULL) harness_failed("out of memory", NULL);
  return memory;
}

void report_event(const char *format, ...) {
  char line[2 * PATH_MAX];
  if (report_fd < 0) return;
  va_list arguments;
  va_start(arguments, format);
  int length = vsnprintf(line, sizeof line - 1, format, arguments);
  va_end(arguments);
  if (length < 0 || length > (int)sizeof line - 2) length = (int)sizeof line - 2;
  line[length++] = '\n';
  if (write(report_fd, line, (size_t)length) != length) _exit(EXIT_HARNESS);
}

/* ---- the filter ---- */

#define NUMBER offsetof(struct seccomp_data, nr)
#define ARGUMENT_LOW(n) (offsetof(struct seccomp_data, args) + 8 * (n))
#define NOTIFY BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF)
#define ALLOW BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
#define LOAD(offset) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offset)
#define SEEN(name) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_##name, 0, 1), NOTIFY
/* Seen only when argument n has one of the bits. */
#define SEEN_WITH(name, n, bits) \
  BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_##name, 0, 4), LOAD(ARGUMENT_LOW(n)), \
      BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, bits, 0, 1), NOTIFY, ALLOW

static int install_filter(void) {
  struct sock_filter filter[] = {
      LOAD(NUMBER),
      SEEN(write), SEEN(pwrite64), SEEN(writev), SEEN(pwritev), SEEN(pwritev2),
      SEEN(fsync), SEEN(fdatasync), SEEN(sync), SEEN(syncfs),
      SEEN(ftruncate), SEEN(truncate), SEEN(fallocate),
      SEEN(mkdirat), SEEN(unlinkat), SEEN(renameat), SEEN(renameat2), SEEN(linkat),
      SEEN(copy_file_range), SEEN(sendfile), SEEN(splice), SEEN(io_uring_setup), SEEN(openat2),
      SEEN_WITH(openat, 2, O_CREAT | O_TRUNC),
      /* FICLONE and FICLONERANGE are the ioctls of type 0x94. */
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 0, 5), LOAD(ARGUMENT_LOW(1)),
      BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 0xff00), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0x9400, 0, 1), NOTIFY, ALLOW,
      /* Shared and writable mappings. */
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mmap, 0, 6), LOAD(ARGUMENT_LOW(2)),
      BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, PROT_WRITE, 0, 3), LOAD(ARGUMENT_LOW(3)),
      BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, MAP_SHARED, 0, 1), NOTIFY, ALLOW,
#ifdef SYS_open
      SEEN_WITH(open, 1, O_CREAT | O_TRUNC), SEEN(creat),
      SEEN(mkdir), SEEN(rmdir), SEEN(unlink), SEEN(rename), SEEN(link),
#endif
      ALLOW,
  };
  struct sock_fprog program = {sizeof filter / sizeof filter[0], filter};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return -1;
  unsigned flags = SECCOMP_FILTER_FLAG_NEW_LISTENER;
#ifdef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV /* else a signal to the server repeats its call: harmless, but slow */
  unsigned more_flags = flags | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
  int fd = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, more_flags, &program);
  if (fd >= 0 || errno != EINVAL) return fd;
#endif
  return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
}

/* ---- the server ---- */

union descriptor_message {
  struct cmsghdr header;
  char bytes[CMSG_SPACE(sizeof(int))];
};

static void send_descriptor(int socket, int fd) {
  char byte = 0;
  struct iovec data = {&byte, 1};
  union descriptor_message control;
  memset(&control, 0, sizeof control);
  struct msghdr message = {
      .msg_iov = &data, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
  control.header = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof fd), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
  memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
  if (sendmsg(socket, &message, 0) != 1) _exit(EXIT_HARNESS);
}

static int receive_descriptor(int socket) {
  char byte;
  int fd;
  struct iovec data = {&byte, 1};
  union descriptor_message control;
  struct msghdr message = {
      .msg_iov = &data, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
  if (recvmsg(socket, &message, MSG_CMSG_CLOEXEC) != 1 || message.msg_controllen == 0)
    harness_failed("no seccomp listener (is seccomp user notification allowed here?)", NULL);
  memcpy(&fd, CMSG_DATA(&control.header), sizeof fd);
  return fd;
}

static pid_t start_server(char **command, int *listener) {
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) harness_failed("socketpair", strerror(errno));
  pid_t parent = getpid();
  pid_t pid = fork();
  if (pid < 0) harness_failed("fork", strerror(errno));
  if (pid == 0) {
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(EXIT_HARNESS);
    int fd = install_filter();
    if (fd < 0) _exit(EXIT_HARNESS);
    send_descriptor(pair[1], fd);
    close(fd);
    execvp(command[0], command);
    _exit(EXIT_HARNESS);
  }
  close(pair[1]);
  *listener = receive_descriptor(pair[0]);
  close(pair[0]);
  return pid;
}

/* ---- options ---- */

static uint64_t number_of(const char *text) {
  char *end;
  uint64_t value = strtoull(text, &end, 10);
  if (*text == 0 || *end != 0) harness_failed("not a number", text);
  return value;
}

static void range_of(char *text, uint64_t *low, uint64_t *high) {
  char *colon = strchr(text, ':');
  if (colon == NULL) harness_failed("not MIN:MAX", text);
  *colon = 0;
  *low = number_of(text);
  *high = number_of(colon + 1);
  if (*low > *high) harness_failed("MIN above MAX", text);
}

static const struct option options[] = {
    {"directory", required_argument, NULL, 'd'},    {"seed", required_argument, NULL, 's'},
    {"report", required_argument, NULL, 'r'},       {"cut-at", required_argument, NULL, 'c'},
    {"fail-sync-at", required_argument, NULL, 'f'}, {"fail-forever", no_argument, NULL, 'F'},
    {"fail-match", required_argument, NULL, 'm'},   {"sync-us", required_argument, NULL, 'u'},
    {"lying", no_argument, NULL, 'l'},              {NULL, 0, NULL, 0}};

static void parse(int count, char **arguments, struct settings *settings) {
  int option;
  while ((option = getopt_long(count, arguments, "+", options, NULL)) != -1) {
    switch (option) {
      case 'd': settings->directory = realpath(optarg, NULL); break;
      case 's': settings->seed = number_of(optarg); break;
      case 'r': report_fd = open(optarg, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644); break;
      case 'c': settings->cut_at = number_of(optarg); break;
      case 'f': settings->fail_sync_at = number_of(optarg); break;
      case 'F': settings->fail_forever = 1; break;
      case 'm': settings->fail_match = optarg; break;
      case 'u': range_of(optarg, &settings->sync_us_min, &settings->sync_us_max); break;
      case 'l': settings->lying = 1; break;
      default: harness_failed("unknown option", NULL);
    }
  }
  if (settings->directory == NULL) harness_failed("--directory must name an existing directory", NULL);
  if (optind >= count) harness_failed("no command", NULL);
}

static char *make_aside_directory(const char *directory) {
  char *aside = NULL;
  if (asprintf(&aside, "%s.aside-XXXXXX", directory) < 0 || mkdtemp(aside) == NULL)
    harness_failed("cannot make a directory for removed files", strerror(errno));
  return aside;
}

static void remove_aside_directory(const char *aside) {
  DIR *directory = opendir(aside);
  if (directory == NULL) harness_failed("cannot read the directory for removed files", strerror(errno));
  for (struct dirent *entry; (entry = readdir(directory)) != NULL;) unlinkat(dirfd(directory), entry->d_name, 0);
  closedir(directory);
  rmdir(aside);
}

/* Waits for signals and the server's end; returns its wait status. */
static int watch_over(pid_t server, const sigset_t *signals) {
  for (;;) {
    int status;
    pid_t ended = waitpid(server, &status, WNOHANG);
    if (ended == server) return status;
    if (ended < 0) harness_failed("waitpid", strerror(errno));
    switch (sigwaitinfo(signals, NULL)) {
      case SIGUSR2: calls_pull_plug(); break;
      case SIGUSR1: kill(server, SIGKILL); break;
      case SIGTERM: case SIGINT: kill(server, SIGTERM); break;
      default: break; /* SIGCHLD */
    }
  }
}

int main(int count, char **arguments) {
  struct settings settings = {.seed = 1, .sync_us_min = 50, .sync_us_max = 400};
  parse(count, arguments, &settings);
  struct random random = {settings.seed};
  char *aside = make_aside_directory(settings.directory);
  names_keep_aside_in(aside);

  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGUSR1);
  sigaddset(&signals, SIGUSR2);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGCHLD);
  sigprocmask(SIG_BLOCK, &signals, NULL);

  int listener;
  pid_t server = start_server(arguments + optind, &listener);
  calls_start(&settings, server, listener);
  for (int i = 0; i < SERVING_THREADS; i++) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, calls_serve, NULL) != 0) harness_failed("cannot start a thread", NULL);
  }
  int status = watch_over(server, &signals);

  struct cut_report report = {0};
  int was_cut = calls_stop(&random, &report);
  if (was_cut)
    report_event("{\"event\":\"cut\",\"pending\":%llu,\"kept\":%llu,\"torn\":%llu,\"lost\":%llu,\"namesPending\":%llu,"
                 "\"namesLost\":%llu}",
                 (unsigned long long)report.pending, (unsigned long long)report.kept, (unsigned long long)report.torn,
                 (unsigned long long)report.lost, (unsigned long long)report.names_pending,
                 (unsigned long long)report.names_lost);
  remove_aside_directory(aside);
  if (was_cut) return EXIT_POWER_CUT;
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}
