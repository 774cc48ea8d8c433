/* Untrusted data from a hub: URLs, file names, repository ids, digests. */
#include "harness.h"

#include "base/text.h"
#include "hub/cache.h"
#include "hub/digest.h"
#include "hub/http_client.h"
#include "hub/repo.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static bool is_private(const char *text)
{
    struct sockaddr_in four = {.sin_family = AF_INET};
    struct sockaddr_in6 six = {.sin6_family = AF_INET6};
    if (inet_pton(AF_INET, text, &four.sin_addr) == 1)
        return zi_sockaddr_is_private((struct sockaddr *)&four);
    CHECK(inet_pton(AF_INET6, text, &six.sin6_addr) == 1);
    return zi_sockaddr_is_private((struct sockaddr *)&six);
}

static void addresses(void)
{
    static const char *const private_ones[] = {
        "0.0.0.0",
        "10.0.0.0",
        "10.255.255.255",
        "100.64.0.0",
        "100.127.255.255",
        "127.0.0.1",
        "127.255.255.255",
        "169.254.169.254",
        "172.16.0.0",
        "172.31.255.255",
        "192.0.0.1",
        "192.168.255.255",
        "198.18.0.0",
        "198.19.255.255",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:10.1.2.3",
        "64:ff9b::7f00:1",
        "fc00::1",
        "fdff::1",
        "fe80::1",
        "febf::1",
        "fec0::1",
        "ff02::1",
    };
    static const char *const public_ones[] = {
        "9.255.255.255",    "11.0.0.0",        "100.63.255.255", "100.128.0.0",
        "126.255.255.255",  "128.0.0.0",       "169.253.0.1",    "172.15.255.255",
        "172.32.0.0",       "192.0.1.0",       "192.167.0.1",    "198.17.0.1",
        "198.20.0.0",       "223.255.255.255", "2600:9000::1",   "::ffff:8.8.8.8",
        "64:ff9b::808:808", "fbff::1",         "fe00::1",
    };
    for (size_t i = 0; i < sizeof private_ones / sizeof *private_ones; i++)
        CHECK_MSG(is_private(private_ones[i]), "%s", private_ones[i]);
    for (size_t i = 0; i < sizeof public_ones / sizeof *public_ones; i++)
        CHECK_MSG(!is_private(public_ones[i]), "%s", public_ones[i]);
    CHECK(zi_host_is_private("LocalHost") && zi_host_is_private("a.localhost"));
    CHECK(zi_host_is_private("[::1]") && zi_host_is_private("[fe80::1%25eth0]"));
    CHECK(!zi_host_is_private("[2600:9000::1]") && !zi_host_is_private("8.8.8.8"));
    CHECK(!zi_host_is_private("huggingface.co") && !zi_host_is_private("notlocalhost"));
}

static void origins(void)
{
    zi_url_origin a, b;
    zi_error error = {0};
    CHECK(zi_url_origin_parse("https://Huggingface.co/x?y", &a, &error));
    CHECK(zi_url_origin_parse("https://huggingface.co:443/z", &b, &error));
    CHECK(zi_url_origin_equal(&a, &b));
    zi_url_origin_free(&b);
    static const char *const others[] = {"http://huggingface.co/", "https://huggingface.co:444/",
                                         "https://huggingface.co.evil.example/",
                                         "https://cdn.huggingface.co/"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        CHECK(zi_url_origin_parse(others[i], &b, &error));
        CHECK_MSG(!zi_url_origin_equal(&a, &b), "%s", others[i]);
        zi_url_origin_free(&b);
    }
    zi_url_origin_free(&a);
    static const char *const wrong[] = {"", "file:///etc/passwd", "ftp://x/", "/x",
                                        "https://huggingface.co@evil.example/"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        bool read = zi_url_origin_parse(wrong[i], &b, &error);
        CHECK_MSG(!read, "%s", wrong[i]);
        if (read) zi_url_origin_free(&b);
    }
}

static void names(void)
{
    static const char *const good[] = {"a",    "a/b/c.json", ".gitattributes",
                                       "a..b", "..a/b",      "\xe6\x97\xa5.json"};
    static const char *const bad[] = {"",     "/",     "/a",   "a/", "a//b", ".",    "..",  "a/..",
                                      "../a", "a/./b", "a\\b", "c:", "a\nb", "\xff", "\x7f"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        CHECK_MSG(zi_relative_path_is_safe(good[i]), "%s", good[i]);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK_MSG(!zi_relative_path_is_safe(bad[i]), "%s", bad[i]);
    CHECK(zi_revision_valid("main") && zi_revision_valid("refs/pr/1"));
    CHECK(!zi_revision_valid("../x") && !zi_revision_valid("") && !zi_revision_valid("a b"));
    CHECK(zi_digest_valid(ZI_DIGEST_GIT_BLOB, "0123456789abcdef0123456789abcdef01234567"));
    CHECK(!zi_digest_valid(ZI_DIGEST_GIT_BLOB, "0123456789ABCDEF0123456789abcdef01234567"));
    CHECK(!zi_digest_valid(ZI_DIGEST_SHA256, "0123456789abcdef0123456789abcdef01234567"));
}

static void repositories(void)
{
    zi_repo_id name;
    zi_error error = {0};
    CHECK(zi_repo_id_parse(NULL, &name, &error));
    CHECK(!strcmp(name.repo, "Tongyi-MAI/Z-Image-Turbo") && !strcmp(name.revision, "main"));
    zi_repo_id_free(&name);
    CHECK(zi_repo_id_parse("a.b/c_d-e@v1/x", &name, &error));
    CHECK(!strcmp(name.repo, "a.b/c_d-e") && !strcmp(name.revision, "v1/x"));
    zi_repo_id_free(&name);
    static const char *const bad[] = {"",    "a",      "a/",    "/b",   "a/b/c",  "a/..",
                                      "./b", "a--b/c", "a b/c", "a/b@", "a/b@..", "@main"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        bool read = zi_repo_id_parse(bad[i], &name, &error);
        CHECK_MSG(!read, "%s", bad[i]);
        CHECK_ERROR(error, ZI_ERROR_INVALID_ARGUMENT, "repo");
        if (read) zi_repo_id_free(&name);
    }
    char longest[] = "owner/"
                     "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
                     "aaaaaaaaaaaaa";
    char too_long[sizeof longest + 1];
    snprintf(too_long, sizeof too_long, "%sa", longest);
    CHECK(strlen(longest) == 96 && zi_repo_id_valid(longest, 96));
    CHECK(!zi_repo_id_valid(too_long, 97) && zi_repo_id_valid(too_long, 96));
}

/* What is not in the cache is no error; what cannot be a repository is one. */
static void models_that_are_not_there(void)
{
    zi_error error = {0};
    char here[] = "here", *path = here;
    zi_hub hub = {.cache = zi_test_path("cache")};
    CHECK_OK(zi_hub_find_cached(&hub, "a/b", &path, &error), error);
    CHECK(!path);
    path = here;
    CHECK_OK(zi_hub_find_cached(&(zi_hub){0}, NULL, &path, &error), error);
    CHECK(!path);
    path = here;
    CHECK(!zi_hub_find_cached(&hub, "a", &path, &error) && path == here);
    CHECK_ERROR(error, ZI_ERROR_INVALID_ARGUMENT, "repo");
    CHECK(!zi_hub_remove(&(zi_hub){0}, "a/b", &error));
    CHECK_ERROR(error, ZI_ERROR_INVALID_ARGUMENT, "cache");
    CHECK(!zi_hub_remove(&hub, "a/b", &error));
    CHECK_ERROR(error, ZI_ERROR_NOT_FOUND, "name");
    CHECK_MSG(strstr(error.text, "a/b: is not in the cache of Hugging Face, "), "%s", error.text);
    zi_download_result result;
    const zi_download_options offline = {.hub.offline = true, .repo = "a/b", .local_dir = here};
    CHECK(!zi_download(&offline, &result, &error));
    CHECK_ERROR(error, ZI_ERROR_NOT_FOUND, "a/b");
    CHECK_MSG(!strstr(error.text, "(null)"), "%s", error.text);
}

/* A hasher that writes a file by pieces of any size says what one reading says. */
static void digests(void)
{
    static const size_t pieces[] = {1, 1 << 20, 3000000, 17, (1 << 20) - 1};
    char followed[ZI_DIGEST_HEX_SIZE], read[ZI_DIGEST_HEX_SIZE];
    const char *path = zi_test_path("digest");
    zi_error error = {0};
    zi_hash_writer *hasher = NULL;
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    size_t total = 0, done = 0;
    CHECK(fd >= 0);
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) total += pieces[i];
    char *data = malloc(total), *back = malloc(total);
    for (size_t i = 0; i < total; i++) data[i] = (char)(i * 2654435761u >> 13);
    CHECK(zi_hash_writer_start(fd, 0, total, ZI_DIGEST_SHA256, &hasher, &error));
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        CHECK(!zi_hash_writer_finished(hasher, followed));
        CHECK(zi_hash_writer_write(hasher, data + done, pieces[i]));
        done += pieces[i];
    }
    while (!zi_hash_writer_finished(hasher, followed)) usleep(1000);
    zi_hash_writer_stop(hasher);
    CHECK(zi_digest_file(path, ZI_DIGEST_SHA256, read, &error) && !strcmp(read, followed));
    /* Of what was there before, more than buffers hold, it reads the file. */
    CHECK(ftruncate(fd, 4000017) == 0);
    CHECK(zi_hash_writer_start(fd, 4000017, total, ZI_DIGEST_SHA256, &hasher, &error));
    CHECK(zi_hash_writer_write(hasher, data + 4000017, total - 4000017));
    while (!zi_hash_writer_finished(hasher, followed)) usleep(1000);
    zi_hash_writer_stop(hasher);
    CHECK(!strcmp(read, followed));
    /* One that is given up ends, and what it took is in the file. */
    CHECK(ftruncate(fd, 0) == 0);
    CHECK(zi_hash_writer_start(fd, 0, total, ZI_DIGEST_SHA256, &hasher, &error));
    CHECK(zi_hash_writer_write(hasher, data, 3000005));
    zi_hash_writer_stop(hasher);
    CHECK(pread(fd, back, total, 0) == 3000005 && !memcmp(back, data, 3000005));
    /* One whose file cannot be written says so. */
    int closed = open("/dev/null", O_RDONLY);
    CHECK(zi_hash_writer_start(closed, 0, total, ZI_DIGEST_SHA256, &hasher, &error));
    CHECK(!zi_hash_writer_write(hasher, data, total) && errno == EBADF);
    zi_hash_writer_stop(hasher);
    close(closed);
    /* What git hash-object says of "hello\n", and sha256sum of nothing. */
    CHECK(ftruncate(fd, 0) == 0 && zi_digest_file(path, ZI_DIGEST_SHA256, read, &error));
    CHECK(!strcmp(read, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"));
    CHECK(pwrite(fd, "hello\n", 6, 0) == 6 &&
          zi_digest_file(path, ZI_DIGEST_GIT_BLOB, read, &error));
    CHECK(!strcmp(read, "ce013625030ba8dba906f756967f9e9ca394464a"));
    close(fd);
    free(data);
    free(back);
}

/* Neither thread misses what the other one did: it would wait for ever. */
static void many_digests(void)
{
    enum { SIZE = 3000000, PIECE = 500000 };
    char text[ZI_DIGEST_HEX_SIZE], first[ZI_DIGEST_HEX_SIZE] = "";
    const char *path = zi_test_path("digest");
    zi_error error = {0};
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    char *data = calloc(1, SIZE);
    CHECK(fd >= 0);
    for (int round = 0; round < 200; round++) {
        zi_hash_writer *hasher = NULL;
        CHECK(zi_hash_writer_start(fd, 0, SIZE, ZI_DIGEST_SHA256, &hasher, &error));
        for (size_t at = 0; at < SIZE; at += PIECE)
            CHECK(zi_hash_writer_write(hasher, data + at, SIZE - at < PIECE ? SIZE - at : PIECE));
        while (!zi_hash_writer_finished(hasher, text)) usleep(200);
        zi_hash_writer_stop(hasher);
        if (!round) memcpy(first, text, sizeof text);
        CHECK(*text && !strcmp(text, first));
    }
    close(fd);
    free(data);
}

static void sizes(void)
{
    char text[32];
    CHECK(!strcmp(zi_format_bytes(0, text), "0 bytes") &&
          !strcmp(zi_format_bytes(999, text), "999 bytes"));
    CHECK(!strcmp(zi_format_bytes(12300000000, text), "12.3 GB"));
    CHECK(!strcmp(zi_format_bytes(999600, text), "1.0 MB"));
    CHECK(!strcmp(zi_format_bytes(UINT64_MAX, text), "18447 PB"));
}

int main(void)
{
    RUN(addresses);
    RUN(origins);
    RUN(names);
    RUN(repositories);
    RUN(models_that_are_not_there);
    RUN(digests);
    RUN(many_digests);
    RUN(sizes);
    return zi_test_result();
}
