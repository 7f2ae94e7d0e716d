/* Where the service is looked for. */

#include <sys/prctl.h>

#include "../../native/libxpmem/paths.h"
#include "fake.h"

static struct xm_paths find(const char *runtime, const char *xdg, const char *partition) {
    struct xm_paths paths;
    CHECK_EQUAL(runtime == NULL ? unsetenv("XPMEM_RUNTIME_DIR")
                                : setenv("XPMEM_RUNTIME_DIR", runtime, 1),
                0);
    CHECK_EQUAL(xdg == NULL ? unsetenv("XDG_RUNTIME_DIR") : setenv("XDG_RUNTIME_DIR", xdg, 1), 0);
    CHECK_EQUAL(partition == NULL ? unsetenv("XPMEM_PARTITION")
                                  : setenv("XPMEM_PARTITION", partition, 1),
                0);
    memset(&paths, 0, sizeof paths);
    int error = xm_paths_find(&paths);
    if (error != 0) {
        errno = -error;
        paths.socket[0] = '\0';
    }
    return paths;
}

#define CHECK_TEXT(actual, expected)                                                               \
    do {                                                                                           \
        const char *actual_ = (actual);                                                            \
        if (strcmp(actual_, expected) != 0) {                                                      \
            fprintf(stderr, "%s:%d: '%s' is not '%s'\n", __FILE__, __LINE__, actual_, expected);   \
            _exit(1);                                                                              \
        }                                                                                          \
    } while (0)

static void become(uid_t uid) {
    CHECK_EQUAL(seteuid(uid), 0);
    /* The leak checker must be able to look at this process. */
    CHECK_EQUAL(prctl(PR_SET_DUMPABLE, 1), 0);
}

static void a_named_directory_is_taken(void) {
    struct xm_paths paths = find("/somewhere/else", "/xdg", NULL);
    CHECK_TEXT(paths.directory, "/somewhere/else");
    CHECK_TEXT(paths.socket, "/somewhere/else/default.sock");
    CHECK_TEXT(paths.partition, "default");
    CHECK(!paths.is_default);
}

static void a_partition_names_the_socket(void) {
    CHECK_TEXT(find("/a", NULL, "left-1.x_").socket, "/a/left-1.x_.sock");
    CHECK_TEXT(find("/a", NULL, "").socket, "/a/default.sock");
}

static void a_name_that_no_partition_has_is_EINVAL(void) {
    static const char *const names[] = {".a", "a/b", "a b", "\xc3\xa4", "a\n"};
    char name[66];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        CHECK_TEXT(find("/a", NULL, names[i]).socket, "");
        CHECK_EQUAL(errno, EINVAL);
    }
    memset(name, 'a', 65);
    name[65] = '\0';
    CHECK_TEXT(find("/a", NULL, name).socket, "");
    CHECK_EQUAL(errno, EINVAL);
    name[64] = '\0';
    CHECK(find("/a", NULL, name).socket[0] != '\0');
}

static void a_path_is_made_plain(void) {
    CHECK_TEXT(find("/a//b/./c/../d/", NULL, NULL).directory, "/a/b/d");
    CHECK_TEXT(find("/../..//a", NULL, NULL).directory, "/a");
    CHECK_TEXT(find("/", NULL, NULL).directory, "/");
    CHECK_TEXT(find("/", NULL, NULL).socket, "/default.sock");
    CHECK_EQUAL(chdir("/usr/lib"), 0);
    CHECK_TEXT(find("x", NULL, NULL).directory, "/usr/lib/x");
    CHECK_TEXT(find("../x", NULL, NULL).directory, "/usr/x");
    CHECK_TEXT(find(".", NULL, NULL).directory, "/usr/lib");
}

static void a_socket_path_has_107_bytes_at_the_most(void) {
    char directory[120] = "/";
    memset(directory + 1, 'a', sizeof directory - 2);
    directory[107 - strlen("/default.sock")] = '\0';
    CHECK_EQUAL(strlen(find(directory, NULL, NULL).socket), 107);
    strcat(directory, "a");
    CHECK_TEXT(find(directory, NULL, NULL).socket, "");
    CHECK_EQUAL(errno, ENAMETOOLONG);
}

static void root_has_a_directory_of_the_machine(void) {
    if (geteuid() != 0)
        return;
    CHECK_TEXT(find(NULL, "/xdg", NULL).directory, "/run/xpmem");
    CHECK_TEXT(find("", NULL, NULL).directory, "/run/xpmem");
    CHECK(find(NULL, NULL, NULL).is_default);
}

static void a_user_has_one_in_the_user_s_runtime_directory_or_tmp(void) {
    char expected[64];
    if (geteuid() == 0)
        become(65534);
    CHECK_TEXT(find(NULL, "/xdg/", NULL).directory, "/xdg/xpmem");
    snprintf(expected, sizeof expected, "/tmp/xpmem-%u", (unsigned)geteuid());
    CHECK_TEXT(find(NULL, NULL, NULL).directory, expected);
    CHECK_TEXT(find("", "", NULL).directory, expected);
    CHECK(find(NULL, "", NULL).is_default);
    become(getuid());
}

static void a_default_directory_that_others_could_have_made_is_EACCES(void) {
    struct xm_paths paths = {.is_default = true, .directory = "/tmp/xpmem-test-XXXXXX"};
    CHECK(mkdtemp(paths.directory) != NULL);
    CHECK_EQUAL(xm_paths_check(&paths), 0);
    CHECK_EQUAL(chmod(paths.directory, 0755), 0);
    CHECK_EQUAL(xm_paths_check(&paths), 0);
    CHECK_EQUAL(chmod(paths.directory, 0775), 0);
    CHECK_EQUAL(xm_paths_check(&paths), -EACCES);
    CHECK_EQUAL(chmod(paths.directory, 0702), 0);
    CHECK_EQUAL(xm_paths_check(&paths), -EACCES);
    paths.is_default = false;
    CHECK_EQUAL(xm_paths_check(&paths), 0);
    paths.is_default = true;
    CHECK_EQUAL(chmod(paths.directory, 0700), 0);
    if (geteuid() == 0) {
        CHECK_EQUAL(chown(paths.directory, 65534, 65534), 0);
        CHECK_EQUAL(xm_paths_check(&paths), -EACCES);
        become(65534);
        CHECK_EQUAL(xm_paths_check(&paths), 0);
        become(0);
        CHECK_EQUAL(chown(paths.directory, 0, 0), 0);
        become(65534);
        CHECK_EQUAL(xm_paths_check(&paths), 0);
        become(0);
    }
    CHECK_EQUAL(rmdir(paths.directory), 0);
    CHECK_EQUAL(xm_paths_check(&paths), 0);
    CHECK_EQUAL(symlink("/tmp", paths.directory), 0);
    CHECK_EQUAL(xm_paths_check(&paths), -EACCES);
    CHECK_EQUAL(unlink(paths.directory), 0);
}

int main(void) {
    RUN_ALONE(a_named_directory_is_taken);
    RUN_ALONE(a_partition_names_the_socket);
    RUN_ALONE(a_name_that_no_partition_has_is_EINVAL);
    RUN_ALONE(a_path_is_made_plain);
    RUN_ALONE(a_socket_path_has_107_bytes_at_the_most);
    RUN_ALONE(root_has_a_directory_of_the_machine);
    RUN_ALONE(a_user_has_one_in_the_user_s_runtime_directory_or_tmp);
    RUN_ALONE(a_default_directory_that_others_could_have_made_is_EACCES);
    return 0;
}
