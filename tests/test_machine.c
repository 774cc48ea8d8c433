/* What control groups and the kernel say about processors and memory, read from made-up trees. */
#include "harness.h"
#include "base/file.h"
#include "base/machine.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char root[] = "machine-XXXXXX";

enum { FILES = 10 };
typedef struct {
    const char *path, *text;
} file;

/* A file below the root, with the folders it lies in. */
static void make(const file *f)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", root, f->path);
    for (char *slash = path + strlen(root) + 1; (slash = strchr(slash, '/')); *slash++ = '/') {
        *slash = 0;
        mkdir(path, 0700);
    }
    FILE *stream = fopen(path, "w");
    if (!CHECK_MSG(stream != NULL, "cannot make %s", path)) return;
    fputs(f->text, stream);
    CHECK(fclose(stream) == 0);
}

static void unmake(const file *f)
{
    char path[512], *slash;
    snprintf(path, sizeof path, "%s/%s", root, f->path);
    unlink(path);
    /* Folders go with their last file. */
    while ((slash = strrchr(path, '/')) && (size_t)(slash - path) > strlen(root)) {
        *slash = 0;
        rmdir(path);
    }
}

typedef struct {
    const char *name;
    file files[FILES];
    size_t wanted;
} row;

static void compare(const row *rows, size_t count, size_t (*ask)(const char *))
{
    for (size_t i = 0; i < count; i++) {
        const file *f = rows[i].files;
        for (int j = 0; j < FILES && f[j].path; j++) make(&f[j]);
        size_t got = ask(root);
        CHECK_MSG(got == rows[i].wanted, "%s: %zu, wanted %zu", rows[i].name, got, rows[i].wanted);
        for (int j = 0; j < FILES && f[j].path; j++) unmake(&f[j]);
    }
}

#define SELF "proc/self/cgroup"
#define V2 "sys/fs/cgroup/"
#define UNIFIED "sys/fs/cgroup/unified/"
#define CPU "sys/fs/cgroup/cpu/"
#define MEMORY "sys/fs/cgroup/memory/"

static void processors(void)
{
    static const row rows[] = {
        {"nothing is known", {{0}}, SIZE_MAX},
        {"no limit", {{SELF, "0::/\n"}, {V2 "cpu.max", "max 100000\n"}}, SIZE_MAX},
        {"at the root of a container", {{SELF, "0::/\n"}, {V2 "cpu.max", "400000 100000\n"}}, 4},
        {"rounded down", {{SELF, "0::/\n"}, {V2 "cpu.max", "399999 100000\n"}}, 3},
        {"less than one", {{SELF, "0::/\n"}, {V2 "cpu.max", "5000 100000\n"}}, 1},
        {"an own group",
         {{SELF, "0::/a/b\n"}, {V2 "a/b/cpu.max", "300000 100000\n"}, {V2 "a/cpu.max", "max 1\n"}},
         3},
        {"the smallest on the way is above",
         {{SELF, "0::/a/b/c\n"},
          {V2 "a/b/c/cpu.max", "800000 100000\n"},
          {V2 "a/b/cpu.max", "max 100000\n"},
          {V2 "a/cpu.max", "200000 100000\n"}},
         2},
        {"others' groups do not matter",
         {{SELF, "0::/a/b\n"},
          {V2 "a/b/cpu.max", "300000 100000\n"},
          {V2 "a/bc/cpu.max", "100000 100000\n"},
          {V2 "c/cpu.max", "100000 100000\n"}},
         3},
        {"the host's path in a container",
         {{SELF, "0::/docker/0123\n"}, {V2 "cpu.max", "500000 100000\n"}},
         5},
        {"version 2 beside version 1",
         {{SELF, "1:name=systemd:/\n0::/a\n"}, {UNIFIED "a/cpu.max", "100000 50000\n"}},
         2},
        {"version 1",
         {{SELF, "3:memory:/m\n2:cpu,cpuacct:/a/b\n"},
          {CPU "a/b/cpu.cfs_quota_us", "-1\n"},
          {CPU "a/b/cpu.cfs_period_us", "100000\n"},
          {CPU "a/cpu.cfs_quota_us", "600000\n"},
          {CPU "a/cpu.cfs_period_us", "100000\n"}},
         6},
        {"version 1, listed last",
         {{SELF, "2:cpuacct,cpu:/a"},
          {CPU "a/cpu.cfs_quota_us", "70000\n"},
          {CPU "a/cpu.cfs_period_us", "10000\n"}},
         7},
        {"cpuset is another controller",
         {{SELF, "2:cpuset:/a\n"},
          {CPU "a/cpu.cfs_quota_us", "100000\n"},
          {CPU "a/cpu.cfs_period_us", "100000\n"}},
         SIZE_MAX},
        {"no period", {{SELF, "0::/\n"}, {V2 "cpu.max", "100000 0\n"}}, SIZE_MAX},
        {"rubbish", {{SELF, "::::\n\n0\nx:y\n0::/\n"}, {V2 "cpu.max", "many 5\n"}}, SIZE_MAX},
        {"no lines", {{SELF, "\n"}, {V2 "cpu.max", "200000 100000\n"}}, 2},
    };
    compare(rows, sizeof rows / sizeof *rows, zi_cgroup_processors);
    CHECK(zi_usable_processors() >= 1 && zi_usable_processors() <= zi_cgroup_processors(""));
}

static void memory(void)
{
    static const row rows[] = {
        {"nothing is known", {{0}}, SIZE_MAX},
        {"the machine",
         {{"proc/meminfo",
           "MemTotal:  9 kB\nMemFree:   1 kB\nMemAvailable:    7 kB\nBuffers: 1 kB\n"}},
         7168},
        {"an old kernel that does not tell", {{"proc/meminfo", "MemTotal: 9 kB\n"}}, SIZE_MAX},
        {"no limit",
         {{SELF, "0::/\n"}, {V2 "memory.max", "max\n"}, {V2 "memory.current", "5\n"}},
         SIZE_MAX},
        {"a limit less what is used",
         {{SELF, "0::/a\n"}, {V2 "a/memory.max", "1000\n"}, {V2 "a/memory.current", "300\n"}},
         700},
        {"caches of files give way",
         {{SELF, "0::/a\n"},
          {V2 "a/memory.max", "1000\n"},
          {V2 "a/memory.current", "900\n"},
          {V2 "a/memory.stat", "anon 200\nfile 700\ninactive_file 500\nactive_file 150\n"}},
         750},
        {"more is used than allowed",
         {{SELF, "0::/\n"}, {V2 "memory.max", "1000\n"}, {V2 "memory.current", "1200\n"}},
         0},
        {"the smallest on the way is above",
         {{SELF, "0::/a/b\n"},
          {V2 "a/b/memory.max", "1000\n"},
          {V2 "a/b/memory.current", "100\n"},
          {V2 "a/memory.max", "2000\n"},
          {V2 "a/memory.current", "1500\n"}},
         500},
        {"the machine has less than the group",
         {{SELF, "0::/\n"},
          {V2 "memory.max", "100000\n"},
          {V2 "memory.current", "100\n"},
          {"proc/meminfo", "MemAvailable: 2 kB\n"}},
         2048},
        {"version 1",
         {{SELF, "4:memory:/a\n0::/\n"},
          {MEMORY "a/memory.limit_in_bytes", "1000\n"},
          {MEMORY "a/memory.usage_in_bytes", "900\n"},
          {MEMORY "a/memory.stat", "active_file 1\ntotal_inactive_file 50\ntotal_active_file 60\n"},
          {MEMORY "memory.limit_in_bytes", "9223372036854771712\n"},
          {MEMORY "memory.usage_in_bytes", "12345\n"}},
         210},
    };
    compare(rows, sizeof rows / sizeof *rows, zi_available_memory);
    CHECK(zi_available_memory("") > 0);
}

/* Paths of any length are no harm. */
static void long_paths(void)
{
    static char text[20000] = "0::";
    memset(text + 3, 'a', sizeof text - 4);
    for (size_t i = 3; i < sizeof text; i += 50) text[i] = '/';
    text[sizeof text - 1] = 0;
    const row rows[] = {
        {"a long path", {{SELF, text}, {V2 "cpu.max", "200000 100000\n"}}, 2},
        {"a shorter one", {{SELF, text + 17000}, {V2 "cpu.max", "200000 100000\n"}}, 2},
    };
    compare(rows, sizeof rows / sizeof *rows, zi_cgroup_processors);
}

int main(void)
{
    if (!CHECK(mkdtemp(root) != NULL)) return 1;
    RUN(processors);
    RUN(memory);
    RUN(long_paths);
    CHECK(rmdir(root) == 0);
    return zi_test_result();
}
