/*
 * The server's file system calls. Each is read from the notification and the server's memory, carried out here on the
 * server's own open file description (pidfd_getfd) or by resolved path, recorded, and answered. Calls that do not
 * concern the watched directory continue in the kernel as if nobody had looked.
 *
 * Several threads serve calls so that a slow sync delays only the thread that asked for it. One lock covers a change
 * and its record; a sync waits without the lock, then covers exactly the changes recorded before it began.
 */
#define _GNU_SOURCE
#include "disk.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

/* What to answer: a result (>= 0), an error (-errno), or one of these. */
#define CONTINUE INT64_MIN
#define NO_ANSWER (INT64_MIN + 1) /* answered already, or the server is being killed */

static const struct settings *settings;
static pid_t server;
static int server_pidfd;
static int listener;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct random sync_random;
static uint64_t events;
static uint64_t syncs;
static int plug_pulled;
static int stopped;

void calls_start(const struct settings *given, pid_t pid, int fd) {
  settings = given;
  server = pid;
  listener = fd;
  sync_random.state = given->seed ^ 0x53594e43u;
  server_pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
  if (server_pidfd < 0) harness_failed("cannot open the server's pidfd", strerror(errno));
}

static void pull_plug_locked(void) {
  if (plug_pulled || stopped) return;
  plug_pulled = 1;
  kill(server, SIGKILL);
}

void calls_pull_plug(void) {
  pthread_mutex_lock(&lock);
  pull_plug_locked();
  pthread_mutex_unlock(&lock);
}

int calls_stop(struct random *random, struct cut_report *report) {
  pthread_mutex_lock(&lock);
  stopped = 1;
  if (plug_pulled) {
    contents_cut(random, report);
    names_cut(random, report);
  }
  pthread_mutex_unlock(&lock);
  return plug_pulled;
}

/* Counts a change or sync; 0 when it is the one at which the power goes. */
static int power_stays(void) {
  if (++events != settings->cut_at) return 1;
  pull_plug_locked();
  return 0;
}

/* ---- the server's memory and paths ---- */

static int read_memory(uint64_t address, void *target, size_t length) {
  size_t got = 0;
  while (got < length) {
    struct iovec local = {(uint8_t *)target + got, length - got};
    struct iovec remote = {(void *)(uintptr_t)(address + got), length - got};
    ssize_t count = process_vm_readv(server, &local, 1, &remote, 1, 0);
    if (count <= 0) return -EFAULT;
    got += (size_t)count;
  }
  return 0;
}

static int read_path(uint64_t address, char path[PATH_MAX]) {
  size_t got = 0;
  while (got < PATH_MAX) {
    size_t page_rest = 4096 - (size_t)((address + got) % 4096);
    size_t length = page_rest < PATH_MAX - got ? page_rest : PATH_MAX - got;
    if (read_memory(address + got, path + got, length) != 0) return -EFAULT;
    if (memchr(path + got, 0, length) != NULL) return 0;
    got += length;
  }
  return -ENAMETOOLONG;
}

/* Where a descriptor of the server points; empty when it is not a path (socket, pipe). */
static void descriptor_path(int fd, char path[PATH_MAX]) {
  char link[64];
  if (fd == AT_FDCWD) snprintf(link, sizeof link, "/proc/%d/cwd", server);
  else snprintf(link, sizeof link, "/proc/%d/fd/%d", server, fd);
  ssize_t length = readlink(link, path, PATH_MAX - 1);
  path[length < 0 ? 0 : length] = 0;
}

static int is_watched(const char *path) {
  size_t length = strlen(settings->directory);
  return strncmp(path, settings->directory, length) == 0 && (path[length] == '/' || path[length] == 0);
}

static int is_deleted(const char *path) {
  static const char mark[] = " (deleted)";
  size_t length = strlen(path);
  return length >= sizeof mark - 1 && strcmp(path + length - (sizeof mark - 1), mark) == 0;
}

/* The path an *at call names, with its directory resolved. 0 when it lies below the watched directory. */
static int resolve(int directory, uint64_t address, char resolved[PATH_MAX]) {
  char given[PATH_MAX];
  char joined[2 * PATH_MAX];
  char parent[PATH_MAX];
  if (read_path(address, given) != 0) return -1;
  if (given[0] == '/') snprintf(joined, sizeof joined, "%s", given);
  else {
    descriptor_path(directory, parent);
    snprintf(joined, sizeof joined, "%s/%s", parent, given);
  }
  size_t length = strlen(joined);
  while (length > 1 && joined[length - 1] == '/') joined[--length] = 0;
  char *slash = strrchr(joined, '/');
  if (slash == NULL || slash[1] == 0) return -1;
  *slash = 0;
  if (realpath(joined[0] == 0 ? "/" : joined, parent) == NULL) return -1;
  if (snprintf(resolved, PATH_MAX, "%s/%s", parent, slash + 1) >= PATH_MAX) return -1;
  return is_watched(resolved) ? 0 : -1;
}

/* The server's open file, shared, when it is a file or directory under watch; else -1. */
static int take_descriptor(int fd, char path[PATH_MAX], struct stat *stat) {
  descriptor_path(fd, path);
  if (!is_watched(path) || is_deleted(path)) return -1;
  int taken = (int)syscall(SYS_pidfd_getfd, server_pidfd, fd, 0);
  if (taken < 0) return -1;
  if (fstat(taken, stat) == 0 && (S_ISREG(stat->st_mode) || S_ISDIR(stat->st_mode))) return taken;
  close(taken);
  return -1;
}

/* ---- syncs ---- */

enum verdict { SUCCEEDS, FAILS };

/*
 * An open file whose sync has failed once is marked for as long as it stays open, with the signal number of
 * asynchronous I/O that nobody uses. A sync that succeeds on it afterwards proves nothing: whoever asks is reported.
 */
#define FAILED_MARK 40

static enum verdict judge_sync(int fd, const char *path) {
  if (fcntl(fd, F_GETSIG) == FAILED_MARK) report_event("{\"event\":\"sync-after-failure\",\"path\":\"%s\"}", path);
  if (settings->fail_sync_at == 0) return SUCCEEDS;
  if (settings->fail_match != NULL && strstr(path, settings->fail_match) == NULL) return SUCCEEDS;
  syncs++;
  if (syncs != settings->fail_sync_at && !(settings->fail_forever && syncs > settings->fail_sync_at)) return SUCCEEDS;
  report_event("{\"event\":\"sync-failed\",\"sync\":%llu,\"path\":\"%s\"}", (unsigned long long)syncs, path);
  if (fcntl(fd, F_SETSIG, FAILED_MARK) != 0) harness_failed("cannot mark a failed file", strerror(errno));
  return FAILS;
}

static void wait_for_device(void) {
  uint64_t spread = settings->sync_us_max - settings->sync_us_min + 1;
  uint64_t us = settings->sync_us_min + random_below(&sync_random, spread);
  pthread_mutex_unlock(&lock);
  if (us > 0) usleep((useconds_t)us);
  pthread_mutex_lock(&lock);
}

/* With the lock held: a wait for the device. 0, -EIO, or NO_ANSWER when the power went meanwhile. */
static int64_t flush(int fd, const char *path) {
  if (!power_stays()) return NO_ANSWER;
  enum verdict verdict = judge_sync(fd, path);
  wait_for_device();
  if (plug_pulled) return NO_ANSWER;
  return verdict == FAILS ? -EIO : 0;
}

static int64_t sync_taken(int fd, const struct stat *stat, const char *path) {
  uint64_t through = change_last();
  int64_t result = flush(fd, path);
  if (result == -EIO) contents_doomed(fd, through);
  if (result != 0 || settings->lying) return result;
  if (S_ISDIR(stat->st_mode)) names_synced_directory(through);
  else {
    contents_synced(fd, through);
    names_synced_file(stat->st_ino, through);
  }
  return 0;
}

/* The newest change was made through a descriptor that promises durable writes: it alone is flushed. */
static int64_t sync_change(int fd, const char *path) {
  uint64_t position = change_last();
  int64_t result = flush(fd, path);
  if (result == -EIO) contents_doomed_one(fd, position);
  else if (result == 0 && !settings->lying) contents_synced_one(fd, position);
  return result;
}

static int64_t call_sync(int number) {
  char path[PATH_MAX];
  struct stat stat;
  int fd = take_descriptor(number, path, &stat);
  if (fd < 0) return CONTINUE;
  pthread_mutex_lock(&lock);
  int64_t result = sync_taken(fd, &stat, path);
  pthread_mutex_unlock(&lock);
  close(fd);
  return result;
}

static int64_t call_sync_all(void) {
  pthread_mutex_lock(&lock);
  if (!settings->lying) {
    contents_synced_all(change_last());
    names_synced_directory(change_last());
  }
  pthread_mutex_unlock(&lock);
  return 0;
}

/* ---- contents ---- */

/* Ends a change under the lock: its own sync, the cut, the answer. */
static int64_t finish_change(int64_t result, int is_sync, int fd, const char *path) {
  if (result >= 0 && !power_stays()) result = NO_ANSWER;
  if (result >= 0 && is_sync) {
    int64_t synced = sync_change(fd, path);
    if (synced != 0) result = synced;
  }
  return plug_pulled ? NO_ANSWER : result;
}

/* `vector`: address is an array of `count` iovecs; else one run of `count` bytes. */
static uint8_t *gather(uint64_t address, uint64_t count, int vector, size_t *length) {
  struct iovec runs[IOV_MAX];
  if (!vector) {
    runs[0].iov_base = (void *)(uintptr_t)address;
    runs[0].iov_len = count;
    count = 1;
  } else if (count > IOV_MAX || read_memory(address, runs, count * sizeof runs[0]) != 0) return NULL;
  *length = 0;
  for (uint64_t i = 0; i < count; i++) *length += runs[i].iov_len;
  uint8_t *data = allocate(*length + 1);
  size_t got = 0;
  for (uint64_t i = 0; i < count; i++) {
    if (read_memory((uint64_t)(uintptr_t)runs[i].iov_base, data + got, runs[i].iov_len) != 0) {
      free(data);
      return NULL;
    }
    got += runs[i].iov_len;
  }
  return data;
}

static int64_t call_write(int number, uint64_t address, uint64_t count, int vector, off_t offset) {
  char path[PATH_MAX];
  struct stat stat;
  int fd = take_descriptor(number, path, &stat);
  if (fd < 0) return CONTINUE;
  size_t length = 0;
  int64_t result = -EFAULT;
  uint8_t *data = gather(address, count, vector, &length);
  if (data != NULL) {
    int is_sync = 0;
    pthread_mutex_lock(&lock);
    result = contents_write(fd, data, length, offset, &is_sync);
    result = finish_change(result, is_sync, fd, path);
    pthread_mutex_unlock(&lock);
    free(data);
  }
  close(fd);
  return result;
}

static int64_t call_set_size(int number, off_t size) {
  char path[PATH_MAX];
  struct stat stat;
  int fd = take_descriptor(number, path, &stat);
  if (fd < 0) return CONTINUE;
  pthread_mutex_lock(&lock);
  int64_t result = finish_change(contents_set_size(fd, size), 0, fd, path);
  pthread_mutex_unlock(&lock);
  close(fd);
  return result;
}

static int64_t call_allocate(int number, int mode, off_t offset, off_t length) {
  char path[PATH_MAX];
  struct stat stat;
  int fd = take_descriptor(number, path, &stat);
  if (fd < 0) return CONTINUE;
  pthread_mutex_lock(&lock);
  int64_t result = finish_change(contents_allocate(fd, mode, offset, length), 0, fd, path);
  pthread_mutex_unlock(&lock);
  close(fd);
  return result;
}

static int64_t call_truncate(uint64_t address, off_t size) {
  char path[PATH_MAX];
  if (resolve(AT_FDCWD, address, path) != 0) return CONTINUE;
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return -errno;
  struct stat stat;
  if (fstat(fd, &stat) != 0) harness_failed("cannot stat a truncated file", strerror(errno));
  pthread_mutex_lock(&lock);
  int64_t result = finish_change(contents_set_size(fd, size), 0, fd, path);
  pthread_mutex_unlock(&lock);
  close(fd);
  return result;
}

/* ---- names ---- */

static int64_t hand_over(const struct seccomp_notif *call, int fd, int flags) {
  struct seccomp_notif_addfd add = {
      .id = call->id,
      .flags = SECCOMP_ADDFD_FLAG_SEND,
      .srcfd = (uint32_t)fd,
      .newfd_flags = (uint32_t)(flags & O_CLOEXEC),
  };
  if (ioctl(listener, SECCOMP_IOCTL_NOTIF_ADDFD, &add) < 0 && errno != ENOENT && errno != ESRCH && errno != EINPROGRESS)
    return -errno;
  return NO_ANSWER;
}

/* An open that may create or empty a file. */
static int64_t call_open(const struct seccomp_notif *call, int directory, uint64_t address, int flags, mode_t mode) {
  char path[PATH_MAX];
  struct stat stat;
  if (resolve(directory, address, path) != 0) return CONTINUE;
  pthread_mutex_lock(&lock);
  int exists = lstat(path, &stat) == 0;
  int64_t result = CONTINUE;
  if (exists ? (flags & O_EXCL) == 0 && S_ISREG(stat.st_mode) : (flags & O_CREAT) != 0) {
    int fd = open(path, (flags & ~O_TRUNC) | O_CLOEXEC, mode);
    result = fd < 0 ? -errno : 0;
    if (fd >= 0 && !exists) {
      if (fstat(fd, &stat) != 0) harness_failed("cannot stat a created file", strerror(errno));
      names_created(path, stat.st_ino);
    } else if (fd >= 0 && (flags & O_TRUNC) != 0 && stat.st_size > 0) result = contents_set_size(fd, 0);
    if (fd >= 0) result = finish_change(result, 0, fd, path);
    if (result == 0) result = hand_over(call, fd, flags);
    if (fd >= 0) close(fd);
  }
  pthread_mutex_unlock(&lock);
  return result;
}

static int64_t finish_name(int result) {
  int64_t answer = result == 0 && !power_stays() ? NO_ANSWER : result;
  if (plug_pulled) answer = NO_ANSWER;
  pthread_mutex_unlock(&lock);
  return answer;
}

static int64_t call_make_directory(int directory, uint64_t address, mode_t mode) {
  char path[PATH_MAX];
  if (resolve(directory, address, path) != 0) return CONTINUE;
  pthread_mutex_lock(&lock);
  return finish_name(names_make_directory(path, mode));
}

static int64_t call_unlink(int directory, uint64_t address, int flags) {
  char path[PATH_MAX];
  if (resolve(directory, address, path) != 0) return CONTINUE;
  pthread_mutex_lock(&lock);
  return finish_name((flags & AT_REMOVEDIR) != 0 ? names_remove_directory(path) : names_unlink(path));
}

static int64_t call_rename(int from_dir, uint64_t from, int to_dir, uint64_t to, unsigned flags) {
  char from_path[PATH_MAX];
  char to_path[PATH_MAX];
  int from_watched = resolve(from_dir, from, from_path) == 0;
  int to_watched = resolve(to_dir, to, to_path) == 0;
  if (!from_watched && !to_watched) return CONTINUE;
  /* Moves across the border and exchanges are refused: they could not be undone. */
  if (!from_watched || !to_watched || (flags & ~RENAME_NOREPLACE) != 0) return -EXDEV;
  pthread_mutex_lock(&lock);
  return finish_name(names_rename(from_path, to_path, flags));
}

static int64_t call_link(int from_dir, uint64_t from, int to_dir, uint64_t to) {
  char from_path[PATH_MAX];
  char to_path[PATH_MAX];
  if (resolve(to_dir, to, to_path) != 0) return CONTINUE;
  if (resolve(from_dir, from, from_path) != 0) return -EXDEV;
  pthread_mutex_lock(&lock);
  return finish_name(names_link(from_path, to_path));
}

/* ---- what would pass unseen ---- */

static int64_t call_map(int number) {
  char path[PATH_MAX];
  descriptor_path(number, path);
  if (number >= 0 && is_watched(path)) report_event("{\"event\":\"mapped-writable\",\"path\":\"%s\"}", path);
  return CONTINUE;
}

/* Copies inside the kernel: refused, so that the caller falls back to reads and writes. */
static int64_t refuse_if_watched(int number, int error) {
  char path[PATH_MAX];
  descriptor_path(number, path);
  return is_watched(path) ? -error : CONTINUE;
}

static int64_t call_control(int number, uint64_t request) {
  return request == FICLONE || request == FICLONERANGE ? refuse_if_watched(number, EOPNOTSUPP) : CONTINUE;
}

static int64_t dispatch(const struct seccomp_notif *call) {
  const __u64 *a = call->data.args;
  switch (call->data.nr) {
    case SYS_write: return call_write((int)a[0], a[1], a[2], 0, AT_POSITION);
    case SYS_pwrite64: return call_write((int)a[0], a[1], a[2], 0, (off_t)a[3]);
    case SYS_writev: return call_write((int)a[0], a[1], a[2], 1, AT_POSITION);
    case SYS_pwritev: return call_write((int)a[0], a[1], a[2], 1, (off_t)a[3]);
    case SYS_pwritev2: return call_write((int)a[0], a[1], a[2], 1, (off_t)a[3]);
    case SYS_fsync: return call_sync((int)a[0]);
    case SYS_fdatasync: return call_sync((int)a[0]);
    case SYS_sync: return call_sync_all();
    case SYS_syncfs: return call_sync_all();
    case SYS_ftruncate: return call_set_size((int)a[0], (off_t)a[1]);
    case SYS_truncate: return call_truncate(a[0], (off_t)a[1]);
    case SYS_fallocate: return call_allocate((int)a[0], (int)a[1], (off_t)a[2], (off_t)a[3]);
    case SYS_openat: return call_open(call, (int)a[0], a[1], (int)a[2], (mode_t)a[3]);
    case SYS_mkdirat: return call_make_directory((int)a[0], a[1], (mode_t)a[2]);
    case SYS_unlinkat: return call_unlink((int)a[0], a[1], (int)a[2]);
    case SYS_renameat2: return call_rename((int)a[0], a[1], (int)a[2], a[3], (unsigned)a[4]);
    case SYS_renameat: return call_rename((int)a[0], a[1], (int)a[2], a[3], 0);
    case SYS_linkat: return call_link((int)a[0], a[1], (int)a[2], a[3]);
    case SYS_mmap: return call_map((int)a[4]);
    case SYS_copy_file_range: return refuse_if_watched((int)a[2], ENOSYS);
    case SYS_sendfile: return refuse_if_watched((int)a[0], EINVAL);
    case SYS_splice: return refuse_if_watched((int)a[2], EINVAL);
    case SYS_ioctl: return call_control((int)a[0], a[1]);
#ifdef SYS_open /* the older calls that 64-bit ARM never had */
    case SYS_open: return call_open(call, AT_FDCWD, a[0], (int)a[1], (mode_t)a[2]);
    case SYS_creat: return call_open(call, AT_FDCWD, a[0], O_CREAT | O_WRONLY | O_TRUNC, (mode_t)a[1]);
    case SYS_mkdir: return call_make_directory(AT_FDCWD, a[0], (mode_t)a[1]);
    case SYS_rmdir: return call_unlink(AT_FDCWD, a[0], AT_REMOVEDIR);
    case SYS_unlink: return call_unlink(AT_FDCWD, a[0], 0);
    case SYS_rename: return call_rename(AT_FDCWD, a[0], AT_FDCWD, a[1], 0);
    case SYS_link: return call_link(AT_FDCWD, a[0], AT_FDCWD, a[1]);
#endif
    default: return -ENOSYS; /* openat2, io_uring_setup: callers know how to do without */
  }
}

void *calls_serve(void *unused) {
  (void)unused;
  for (;;) {
    struct seccomp_notif call;
    struct seccomp_notif_resp answer;
    memset(&call, 0, sizeof call);
    memset(&answer, 0, sizeof answer);
    if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &call) != 0) {
      if (errno == EINTR || errno == ENOENT) continue; /* ENOENT: the caller died meanwhile */
      return NULL;
    }
    int64_t result = dispatch(&call);
    if (result == NO_ANSWER) continue;
    answer.id = call.id;
    if (result == CONTINUE) answer.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
    else if (result < 0) answer.error = (int32_t)result;
    else answer.val = result;
    if (ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer) != 0 && errno != ENOENT && errno != EINPROGRESS)
      harness_failed("cannot answer a call", strerror(errno));
  }
}
