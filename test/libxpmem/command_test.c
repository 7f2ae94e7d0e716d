/* Which command starts the service. */

#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>

#include "../../native/libxpmem/command.h"
#include "../../native/libxpmem/environment.h"
#include "fake.h"

static struct fake fake;

/* A file in the test's directory, whose folders are made. */
static void write_file(const char *name, const char *text, mode_t mode) {
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", fake.directory, name);
    for (char *slash = path + strlen(fake.directory) + 1; (slash = strchr(slash, '/')) != NULL;
         *slash++ = '/') {
        *slash = '\0';
        CHECK(mkdir(path, 0700) == 0 || errno == EEXIST);
    }
    FILE *file = fopen(path, "we");
    CHECK(file != NULL);
    fputs(text, file);
    fclose(file);
    CHECK_EQUAL(chmod(path, mode), 0);
}

static void remove_all(void) {
    char command[PATH_MAX];
    CHECK_EQUAL(setenv("PATH", "/usr/bin:/bin", 1), 0);
    snprintf(command, sizeof command, "rm -r '%s'", fake.directory);
    CHECK_EQUAL(system(command), 0);
}

/* Sets a variable to names in the test's directory, each after a prefix of its own. */
static void set_path(const char *variable, const char *prefix, const char *name) {
    char value[PATH_MAX];
    snprintf(value, sizeof value, "%s%s/%s", prefix, fake.directory, name);
    CHECK_EQUAL(setenv(variable, value, 1), 0);
}

static void finds(const char *name) {
    char path[PATH_MAX];
    char expected[PATH_MAX];
    snprintf(expected, sizeof expected, "%s/%s", fake.directory, name);
    CHECK_EQUAL(xm_environment_copy(), 0);
    CHECK_EQUAL(xm_command_find(path), 0);
    CHECK_EQUAL(strcmp(path, expected), 0);
}

static void finds_nothing(void) {
    char path[PATH_MAX];
    CHECK_EQUAL(xm_environment_copy(), 0);
    CHECK_EQUAL(xm_command_find(path), -ENOENT);
}

static void the_variable_comes_first(void) {
    fake_prepare(&fake);
    write_file("here", "#!/bin/sh\n", 0700);
    write_file("bin/xpmem", "#!/bin/sh\n", 0700);
    set_path("PATH", "/nonexistent:", "bin");
    set_path("XPMEM_COMMAND", "", "here");
    finds("here");
    CHECK_EQUAL(chdir(fake.directory), 0);
    CHECK_EQUAL(setenv("XPMEM_COMMAND", "bin/../here", 1), 0);
    finds("here");
    CHECK_EQUAL(setenv("XPMEM_COMMAND", "", 1), 0);
    finds("bin/xpmem");
    remove_all();
}

static void what_the_variable_names_must_be_a_program(void) {
    fake_prepare(&fake);
    write_file("text", "no program\n", 0600);
    write_file("bin/xpmem", "#!/bin/sh\n", 0700);
    set_path("PATH", "", "bin");
    set_path("XPMEM_COMMAND", "", "text");
    finds_nothing();
    set_path("XPMEM_COMMAND", "", "bin");
    finds_nothing();
    set_path("XPMEM_COMMAND", "", "missing");
    finds_nothing();
    remove_all();
}

static void only_absolute_folders_of_PATH_count(void) {
    fake_prepare(&fake);
    CHECK_EQUAL(unsetenv("XPMEM_COMMAND"), 0);
    write_file("xpmem", "#!/bin/sh\n", 0700);
    write_file("bin/xpmem", "#!/bin/sh\n", 0700);
    write_file("text/xpmem", "no program\n", 0600);
    CHECK_EQUAL(chdir(fake.directory), 0);
    CHECK_EQUAL(setenv("PATH", "", 1), 0);
    finds_nothing();
    CHECK_EQUAL(setenv("PATH", ":.:bin:", 1), 0);
    finds_nothing();
    set_path("PATH", ":.:", "text");
    finds_nothing();
    set_path("PATH", ":.:/nonexistent:", "bin");
    finds("bin/xpmem");
    CHECK_EQUAL(unsetenv("PATH"), 0);
    finds_nothing();
    remove_all();
}

/* Copies the library to where it is to find its command from. */
static void copy_library(const char *name) {
    char command[PATH_MAX];
    write_file(name, "", 0700);
    snprintf(command, sizeof command, "cp '%s' '%s/%s'", LIBRARY, fake.directory, name);
    CHECK_EQUAL(system(command), 0);
}

/* Loads that library and makes a call, which must have run the one command there is. */
static void starts_from(const char *library) {
    char path[PATH_MAX];
    CHECK_EQUAL(unsetenv("XPMEM_COMMAND"), 0);
    CHECK_EQUAL(setenv("PATH", "/usr/bin:/bin", 1), 0);
    snprintf(path, sizeof path, "%s/%s", fake.directory, library);
    void *loaded = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    CHECK(loaded != NULL);
    int (*version)(void);
    *(void **)&version = dlsym(loaded, "xpmem_version");
    CHECK(version != NULL);
    CHECK_EQUAL(version(), -1);
    CHECK_EQUAL(errno, ENOENT);
    snprintf(path, sizeof path, "%s/started", fake.directory);
    CHECK_EQUAL(access(path, F_OK), 0);
    remove_all();
}

/* The command that leaves a trace in the runtime directory, which is its fifth argument. */
static const char trace[] = "#!/bin/sh\n: >\"$5/started\"\n";

static void the_command_is_found_beside_the_library(void) {
    fake_prepare(&fake);
    copy_library("any/libxpmem.so.0");
    write_file("any/xpmem", trace, 0700);
    starts_from("any/libxpmem.so.0");
}

static void the_command_is_found_in_the_prefix_of_the_library(void) {
    fake_prepare(&fake);
    copy_library("prefix/lib/libxpmem.so.0");
    write_file("prefix/bin/xpmem", trace, 0700);
    starts_from("prefix/lib/libxpmem.so.0");
}

static void the_command_is_found_in_the_package_of_the_library(void) {
    fake_prepare(&fake);
    copy_library("package/prebuilds/linux-x64/libxpmem.so.0");
    write_file("package/dist/src/cli/main.js", trace, 0700);
    starts_from("package/prebuilds/linux-x64/libxpmem.so.0");
}

static void a_link_to_the_library_leads_to_the_command(void) {
    char target[PATH_MAX];
    char path[PATH_MAX];
    fake_prepare(&fake);
    copy_library("prefix/lib/libxpmem.so.0");
    write_file("prefix/bin/xpmem", trace, 0700);
    write_file("elsewhere/x", "", 0600);
    snprintf(target, sizeof target, "%s/prefix/lib/libxpmem.so.0", fake.directory);
    snprintf(path, sizeof path, "%s/elsewhere/libxpmem.so.0", fake.directory);
    CHECK_EQUAL(symlink(target, path), 0);
    starts_from("elsewhere/libxpmem.so.0");
}

int main(void) {
    RUN_ALONE(the_variable_comes_first);
    RUN_ALONE(what_the_variable_names_must_be_a_program);
    RUN_ALONE(only_absolute_folders_of_PATH_count);
    RUN_ALONE(the_command_is_found_beside_the_library);
    RUN_ALONE(the_command_is_found_in_the_prefix_of_the_library);
    RUN_ALONE(the_command_is_found_in_the_package_of_the_library);
    RUN_ALONE(a_link_to_the_library_leads_to_the_command);
    return 0;
}
