#include "base/machine.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#ifdef __linux__
#include <sched.h>
#endif

double zi_monotonic_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

enum { MAX_TEXT = 16384, MAX_PATH = 4096 };

/* Reads the small file folder/name without known size (as in /proc), truncated to MAX_TEXT - 1
 * bytes and closed with a NUL. False: it is absent, unreadable or empty; text is then of no use. */
static bool read_text(const char *folder, const char *name, char text[MAX_TEXT])
{
    char path[2 * MAX_PATH];
    int length = snprintf(path, sizeof path, "%s/%s", folder, name);
    int fd = length < (int)sizeof path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0) return false;
    size_t size = 0;
    ssize_t got;
    while (size < MAX_TEXT - 1 && (got = read(fd, text + size, MAX_TEXT - 1 - size)) > 0)
        size += (size_t)got;
    close(fd);
    text[size] = 0;
    return size > 0;
}

/* Returns the decimal number that the file folder/name starts with, at most LLONG_MAX; SIZE_MAX
 * when the file is absent or the number is negative or none ("max"). */
static size_t read_number(const char *folder, const char *name)
{
    char text[MAX_TEXT], *end;
    if (!read_text(folder, name, text)) return SIZE_MAX;
    long long value = strtoll(text, &end, 10);
    return end == text || value < 0 ? SIZE_MAX : (size_t)value;
}

/* Returns the decimal number, blanks before it skipped, that follows `name` at the start of a line
 * of text (0 if none follows), in the text's unit; `fallback` if no line starts with it. name
 * should end in its delimiter: longer names match, too. */
static size_t number_after(const char *text, const char *name, size_t fallback)
{
    size_t length = strlen(name);
    for (const char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, name, length) == 0) return strtoull(line + length, NULL, 10);
        if (!*line) break;
    }
    return fallback;
}

/* Sets *min to value if that is smaller. */
static void lower_to(size_t *min, size_t value)
{
    if (value < *min) *min = value;
}

/* ---- control groups ---- */

/* A cgroup hierarchy: its controller's name in /proc/self/cgroup ("" for version 2), its mount
 * point, and a function that returns the limit of one group. */
typedef struct {
    const char *controller, *mount;
    size_t (*limit)(const char *group);
} hierarchy;

/* Returns the processors of a CPU quota, quota / period (both in microseconds) rounded down, at
 * least 1; SIZE_MAX, no quota, if one is SIZE_MAX or period is 0. */
static size_t quota_processors(size_t quota, size_t period)
{
    if (quota == SIZE_MAX || period == SIZE_MAX || period == 0) return SIZE_MAX;
    return quota >= period ? quota / period : 1;
}

/* Returns the whole processors that the quota of one group's folder (cgroup version 2, cpu.max)
 * allows, at least 1; SIZE_MAX: none, or no such file. */
static size_t processors_v2(const char *group)
{
    char text[MAX_TEXT];
    unsigned long long quota, period;
    if (!read_text(group, "cpu.max", text)) return SIZE_MAX;
    if (sscanf(text, "%llu %llu", &quota, &period) != 2) return SIZE_MAX; /* "max 100000" */
    return quota_processors(quota, period);
}

/* Returns the whole processors that the quota of one group's folder (cgroup version 1, cpu.cfs_...)
 * allows, at least 1; SIZE_MAX: none, or no such files. */
static size_t processors_v1(const char *group)
{
    return quota_processors(read_number(group, "cpu.cfs_quota_us"),
                            read_number(group, "cpu.cfs_period_us"));
}

/* Returns the bytes that a group may still allocate, 0 at least: limit - used. File caches count as
 * used, but can be dropped (if memory.stat can be read): active and inactive name their lines in
 * the group's memory.stat. SIZE_MAX for limit or used means unknown: then it returns limit. */
static size_t group_memory_left(size_t limit, size_t used, const char *group, const char *active,
                                const char *inactive)
{
    char text[MAX_TEXT];
    if (limit == SIZE_MAX || used == SIZE_MAX) return limit;
    if (read_text(group, "memory.stat", text)) {
        size_t caches = number_after(text, active, 0) + number_after(text, inactive, 0);
        used -= caches < used ? caches : used;
    }
    return used < limit ? limit - used : 0;
}

/* Returns the bytes that the group of this folder (cgroup version 2) may still allocate, file
 * caches dropped; SIZE_MAX: no limit, or no such files. */
static size_t memory_v2(const char *group)
{
    return group_memory_left(read_number(group, "memory.max"), read_number(group, "memory.current"),
                             group, "active_file ", "inactive_file ");
}

/* Returns the bytes that the group of this folder (cgroup version 1) may still allocate, file
 * caches dropped; SIZE_MAX: no limit, or no such files. */
static size_t memory_v1(const char *group)
{
    return group_memory_left(read_number(group, "memory.limit_in_bytes"),
                             read_number(group, "memory.usage_in_bytes"), group,
                             "total_active_file ", "total_inactive_file ");
}

/* Whether a controller is in a comma-separated list of `length` bytes, such as "cpu,cpuacct"; "" is
 * in the empty list only. */
static bool list_has(const char *controller, const char *list, size_t length)
{
    size_t size = strlen(controller);
    for (const char *end = list + length; list < end;) {
        const char *comma = memchr(list, ',', (size_t)(end - list));
        size_t word = (size_t)((comma ? comma : end) - list);
        if (word == size && memcmp(list, controller, size) == 0) return true;
        list += word + 1;
    }
    return length == 0 && size == 0;
}

/* Sets path to the group of this process ("/path", "/" for the root) in the hierarchy of a
 * controller ("" for version 2). groups: text of /proc/self/cgroup, lines "4:memory:/path". Sets ""
 * when there is none or it is too long. */
static void find_group_path(const char *groups, const char *controller, char path[MAX_PATH])
{
    path[0] = 0;
    for (const char *line = groups; line && *line; line = strchr(line, '\n')) {
        line += *line == '\n';
        size_t length = strcspn(line, "\n");
        const char *list = memchr(line, ':', length);
        const char *name = list ? memchr(list + 1, ':', length - (size_t)(list + 1 - line)) : NULL;
        if (!name || !list_has(controller, list + 1, (size_t)(name - list - 1))) continue;
        size_t size = length - (size_t)(name + 1 - line);
        if (size >= MAX_PATH) return;
        memcpy(path, name + 1, size);
        path[size] = 0;
        return;
    }
}

/* Returns the smallest limit of one hierarchy from this process's group up to the root, in the unit
 * of h->limit; SIZE_MAX: none. root is put before /proc and the mount point. Within a container,
 * the group's path may be the host's; then only the root's files exist. */
static size_t min_limit(const char *root, const hierarchy *h)
{
    char groups[MAX_TEXT], path[MAX_PATH], folder[2 * MAX_PATH - 16];
    size_t min = SIZE_MAX;
    snprintf(folder, sizeof folder, "%s/proc/self", root);
    if (!read_text(folder, "cgroup", groups)) return min;
    find_group_path(groups, h->controller, path);
    for (;;) {
        snprintf(folder, sizeof folder, "%s%s%s", root, h->mount, path);
        lower_to(&min, h->limit(folder));
        char *slash = strrchr(path, '/');
        if (!slash) return min;
        *slash = 0;
    }
}

#define MOUNT "/sys/fs/cgroup"

/* Returns the smallest limit that any of the `count` hierarchies imposes, in the unit of their
 * limit functions (processors or bytes); SIZE_MAX: none does. */
static size_t min_of_hierarchies(const char *root, const hierarchy *trees, size_t count)
{
    size_t min = SIZE_MAX;
    for (size_t i = 0; i < count; i++) lower_to(&min, min_limit(root, &trees[i]));
    return min;
}

size_t zi_cgroup_processors(const char *root)
{
    /* besides version 1, version 2 may be mounted at "unified" */
    static const hierarchy trees[] = {{"", MOUNT, processors_v2},
                                      {"", MOUNT "/unified", processors_v2},
                                      {"cpu", MOUNT "/cpu", processors_v1}};
    return min_of_hierarchies(root, trees, sizeof trees / sizeof *trees);
}

size_t zi_available_memory(const char *root)
{
    static const hierarchy trees[] = {{"", MOUNT, memory_v2},
                                      {"", MOUNT "/unified", memory_v2},
                                      {"memory", MOUNT "/memory", memory_v1}};
    char text[MAX_TEXT], folder[MAX_PATH];
    size_t min = min_of_hierarchies(root, trees, sizeof trees / sizeof *trees);
    snprintf(folder, sizeof folder, "%s/proc", root);
    if (read_text(folder, "meminfo", text)) {
        size_t kilobytes = number_after(text, "MemAvailable:", SIZE_MAX);
        if (kilobytes < SIZE_MAX / 1024) lower_to(&min, kilobytes * 1024);
    }
    return min;
}

size_t zi_usable_processors(void)
{
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    size_t count = online > 0 ? (size_t)online : 1;
#ifdef __linux__
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) count = (size_t)CPU_COUNT(&set);
#endif
    lower_to(&count, zi_cgroup_processors(""));
    return count;
}
