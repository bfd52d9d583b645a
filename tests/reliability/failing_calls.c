/* A library for LD_PRELOAD: the n-th call that works on a path below one folder fails, or ends the process.

   fail_arm(folder, n, error, kinds, lasting, report) starts to count. A call counts if its kind is in `kinds`.
   error > 0: the n-th call fails with this errno, and with `lasting` all later ones too. error == 0: the process
   kills itself with SIGKILL before the n-th call; a write is done by half first. n == 0: count only. The name of
   the call and its path or descriptor are written to the descriptor `report`. fail_count() is the number of calls.
   Relative paths count: the current folder is below the folder. */

#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { READS = 1, WRITES = 2, NAMES = 4, OPENS = 8, OPENS_TO_WRITE = 16, SYNCS = 32, CLOSES = 64, REMOVES = 128 };
enum { N_DESCRIPTORS = 65536 };

static char folder[4096];
static size_t folder_length;
static long target;
static int code, mask, is_lasting, report_to = -1, is_armed;
static long count;
static char is_below[N_DESCRIPTORS]; /* 1: opened for reading, 2: for writing */

#define REAL(type, name, ...)                                                  \
  static type (*real)(__VA_ARGS__);                                            \
  if (!real) real = (type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

static ssize_t write_raw(int fd, const void *data, size_t size) {
  REAL(ssize_t, "write", int, const void *, size_t);
  return real(fd, data, size);
}

void fail_arm(const char *root, long n, int error, int kinds, int lasting, int report) {
  folder_length = strlen(root);
  memcpy(folder, root, folder_length + 1);
  memset(is_below, 0, sizeof is_below);
  target = n, code = error, mask = kinds, is_lasting = lasting, report_to = report;
  count = 0;
  is_armed = 1;
}

void fail_disarm(void) { is_armed = 0; }

long fail_count(void) { return count; }

static int counts_path(int at, const char *path) {
  if (!is_armed || !path) return 0;
  if (path[0] == '/')
    return !strncmp(path, folder, folder_length) && (path[folder_length] == '/' || !path[folder_length]);
  return at == AT_FDCWD || (at >= 0 && at < N_DESCRIPTORS && is_below[at]);
}

static int counts_descriptor(int fd) { return is_armed && fd >= 0 && fd < N_DESCRIPTORS && is_below[fd]; }

/* Return 0 if the call goes on, 1 if it fails, 2 if the process must end after half of it. */
static int hit(int kind, const char *name, const char *path, int fd) {
  if (!(mask & kind)) return 0;
  long number = __atomic_add_fetch(&count, 1, __ATOMIC_SEQ_CST);
  if (!target || number < target || (number > target && !is_lasting)) return 0;
  if (number == target && report_to >= 0) {
    char text[4400], link[64], name_of_fd[4096] = "";
    if (!path) {
      snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
      ssize_t length = readlink(link, name_of_fd, sizeof name_of_fd - 1);
      name_of_fd[length > 0 ? length : 0] = 0;
    }
    int length = snprintf(text, sizeof text, "%s %s\n", name, path ? path : name_of_fd);
    if (write_raw(report_to, text, (size_t)length) < 0) _exit(97);
  }
  if (!code) return 2;
  errno = code;
  return 1;
}

static void end(void) {
  kill(getpid(), SIGKILL);
  for (;;) pause();
}

static int hit_or_end(int kind, const char *name, const char *path, int fd) {
  int result = hit(kind, name, path, fd);
  if (result == 2) end();
  return result;
}

static int open_any(const char *symbol, int at, const char *path, int flags, mode_t mode) {
  REAL(int, "openat", int, const char *, int, ...);
  int writes = (flags & O_ACCMODE) != O_RDONLY || (flags & O_CREAT);
  int counted = counts_path(at, path);
  if (counted && hit_or_end(writes ? OPENS_TO_WRITE : OPENS, symbol, path, -1)) return -1;
  int fd = real(at, path, flags, mode);
  if (fd >= 0 && fd < N_DESCRIPTORS) is_below[fd] = counted ? (char)(writes ? 2 : 1) : 0;
  return fd;
}

#define MODE(flags)                                                            \
  mode_t mode = 0;                                                             \
  if ((flags) & (O_CREAT | __O_TMPFILE)) {                                     \
    va_list more;                                                              \
    va_start(more, flags);                                                     \
    mode = va_arg(more, mode_t);                                               \
    va_end(more);                                                              \
  }

int open(const char *path, int flags, ...) { MODE(flags) return open_any("open", AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE(flags) return open_any("open", AT_FDCWD, path, flags, mode); }
int openat(int at, const char *path, int flags, ...) { MODE(flags) return open_any("openat", at, path, flags, mode); }
int openat64(int at, const char *path, int flags, ...) { MODE(flags) return open_any("openat", at, path, flags, mode); }
int creat(const char *path, mode_t mode) { return open_any("creat", AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }

DIR *opendir(const char *path) {
  REAL(DIR *, "opendir", const char *);
  if (counts_path(AT_FDCWD, path) && hit_or_end(OPENS, "opendir", path, -1)) return NULL;
  return real(path);
}

int close(int fd) {
  REAL(int, "close", int);
  int counted = counts_descriptor(fd) && is_below[fd] == 2;
  int result = counted ? hit_or_end(CLOSES, "close", NULL, fd) : 0;
  if (fd >= 0 && fd < N_DESCRIPTORS) is_below[fd] = 0;
  int closed = real(fd);
  if (result) errno = code;
  return result ? -1 : closed;
}

ssize_t read(int fd, void *data, size_t size) {
  REAL(ssize_t, "read", int, void *, size_t);
  if (counts_descriptor(fd) && hit_or_end(READS, "read", NULL, fd)) return -1;
  return real(fd, data, size);
}

ssize_t pread64(int fd, void *data, size_t size, off64_t offset) {
  REAL(ssize_t, "pread64", int, void *, size_t, off64_t);
  if (counts_descriptor(fd) && hit_or_end(READS, "pread", NULL, fd)) return -1;
  return real(fd, data, size, offset);
}
ssize_t pread(int fd, void *data, size_t size, off_t offset) { return pread64(fd, data, size, offset); }

ssize_t write(int fd, const void *data, size_t size) {
  int result = counts_descriptor(fd) ? hit(WRITES, "write", NULL, fd) : 0;
  if (result == 2) {
    if (write_raw(fd, data, size / 2) >= 0) end();
    end();
  }
  return result ? -1 : write_raw(fd, data, size);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset) {
  REAL(ssize_t, "pwrite64", int, const void *, size_t, off64_t);
  if (counts_descriptor(fd) && hit_or_end(WRITES, "pwrite", NULL, fd)) return -1;
  return real(fd, data, size, offset);
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) { return pwrite64(fd, data, size, offset); }

ssize_t writev(int fd, const struct iovec *parts, int n) {
  REAL(ssize_t, "writev", int, const struct iovec *, int);
  if (counts_descriptor(fd) && hit_or_end(WRITES, "writev", NULL, fd)) return -1;
  return real(fd, parts, n);
}

ssize_t sendfile64(int to, int from, off64_t *offset, size_t size) {
  REAL(ssize_t, "sendfile64", int, int, off64_t *, size_t);
  if (counts_descriptor(to) && hit_or_end(WRITES, "sendfile", NULL, to)) return -1;
  return real(to, from, offset, size);
}
ssize_t sendfile(int to, int from, off_t *offset, size_t size) { return sendfile64(to, from, offset, size); }

#define ON_DESCRIPTOR(name, kind)                                              \
  int name(int fd) {                                                           \
    REAL(int, #name, int);                                                     \
    if (counts_descriptor(fd) && hit_or_end(kind, #name, NULL, fd)) return -1; \
    return real(fd);                                                           \
  }
ON_DESCRIPTOR(fsync, SYNCS)
ON_DESCRIPTOR(fdatasync, SYNCS)

#define TRUNCATE(name)                                                              \
  int name(int fd, off64_t size) {                                                  \
    REAL(int, #name, int, off64_t);                                                 \
    if (counts_descriptor(fd) && hit_or_end(WRITES, "ftruncate", NULL, fd)) return -1; \
    return real(fd, size);                                                          \
  }
TRUNCATE(ftruncate)
TRUNCATE(ftruncate64)

#define ON_PATH(name, kind)                                                             \
  int name(const char *path) {                                                          \
    REAL(int, #name, const char *);                                                     \
    if (counts_path(AT_FDCWD, path) && hit_or_end(kind, #name, path, -1)) return -1;    \
    return real(path);                                                                  \
  }
ON_PATH(unlink, REMOVES)
ON_PATH(rmdir, REMOVES)

int unlinkat(int at, const char *path, int flags) {
  REAL(int, "unlinkat", int, const char *, int);
  if (counts_path(at, path) && hit_or_end(REMOVES, "unlinkat", path, -1)) return -1;
  return real(at, path, flags);
}

int mkdir(const char *path, mode_t mode) {
  REAL(int, "mkdir", const char *, mode_t);
  if (counts_path(AT_FDCWD, path) && hit_or_end(NAMES, "mkdir", path, -1)) return -1;
  return real(path, mode);
}

int mkdirat(int at, const char *path, mode_t mode) {
  REAL(int, "mkdirat", int, const char *, mode_t);
  if (counts_path(at, path) && hit_or_end(NAMES, "mkdirat", path, -1)) return -1;
  return real(at, path, mode);
}

#define TWO_PATHS(name)                                                                  \
  int name(const char *from, const char *to) {                                           \
    REAL(int, #name, const char *, const char *);                                        \
    if (counts_path(AT_FDCWD, to) && hit_or_end(NAMES, #name, to, -1)) return -1;        \
    return real(from, to);                                                               \
  }
TWO_PATHS(rename)
TWO_PATHS(link)
TWO_PATHS(symlink)

int renameat(int at, const char *from, int at_to, const char *to) {
  REAL(int, "renameat", int, const char *, int, const char *);
  if (counts_path(at_to, to) && hit_or_end(NAMES, "renameat", to, -1)) return -1;
  return real(at, from, at_to, to);
}

int renameat2(int at, const char *from, int at_to, const char *to, unsigned int flags) {
  REAL(int, "renameat2", int, const char *, int, const char *, unsigned int);
  if (counts_path(at_to, to) && hit_or_end(NAMES, "renameat2", to, -1)) return -1;
  return real(at, from, at_to, to, flags);
}

int linkat(int at, const char *from, int at_to, const char *to, int flags) {
  REAL(int, "linkat", int, const char *, int, const char *, int);
  if (counts_path(at_to, to) && hit_or_end(NAMES, "linkat", to, -1)) return -1;
  return real(at, from, at_to, to, flags);
}
