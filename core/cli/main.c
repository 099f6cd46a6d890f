/*
 * main.c - the `holdfast` command line tool: a table of subcommands over the daemon's RESP socket.
 *
 * Exit status, for scripts: 0 done, 1 no (absent, refused, lagging, not reachable), 2 the command
 * line is wrong. stdout carries only what a script may read; everything for people goes to stderr,
 * and says what to do next.
 *
 * It must not open the store or speak to an edge's control port: all it knows comes from a daemon,
 * so that it can never disagree with one. Next: cli.h, then the file of a subcommand.
 */
#include "core/cli/cli.h"

#include "hf/stdio.h"
#include "hf/version.h"

#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>

static int run_version(struct hf_cli *cli, int argc, char **argv)
{
    if (!hf_cli_options(cli, NULL, 0, argc, argv)) {
        return cli->status;
    }
    puts("holdfast " HF_VERSION);
    return HF_CLI_OK;
}

static const struct hf_cli_command commands[] = {
    {"put", hf_cli_put, "KEY VALUE|-",
     "write one key\n"
     "VALUE - reads the value from standard input. Returns when the core has it on disk."},
    {"get", hf_cli_get, "[--raw] KEY",
     "print the value of a key\n"
     "Exit status 1 when there is no such key."},
    {"del", hf_cli_del, "KEY...",
     "delete keys, all in one batch\n"
     "Prints how many there were; exit status 1 when none."},
    {"apply", hf_cli_apply, "[OPTIONS] FILE|-",
     "apply a file of changes as one atomic request\n"
     "Each line is put<TAB>KEY<TAB>VALUE or del<TAB>KEY, with \\t \\n \\r \\\\ \\xHH for bytes "
     "that\n"
     "would break the line, or {\"op\":\"put\",\"key\":\"K\",\"value\":\"V\"}. Lines that begin "
     "with #\n"
     "and blank lines are skipped. The request id makes a retry safe: sent again with the same id "
     "and\n"
     "content, the request is answered as before and not applied a second time."},
    {"import", hf_cli_import, "[OPTIONS] FILE|-",
     "write many keys from a file\n"
     "Formats: lines (each line a key, value 1; # and // comments), tsv (KEY<TAB>VALUE with "
     "escapes),\n"
     "jsonl ({\"key\":\"K\",\"value\":V}; key_b64 and value_b64 for bytes), pem (each certificate "
     "under\n"
     "its # label, or its number). Goes out in requests of up to 500 changes, each atomic. "
     "What\n"
     "is there already changes nothing, so an import that was cut short is simply run again."},
    {"export", hf_cli_export, "[OPTIONS] | --for EDGE [--since EPOCH:SEQ] FILE",
     "print all keys in a form that import reads, or carry a transfer\n"
     "The output is not one instant: keys that change meanwhile appear in their old or new form.\n"
     "With --for EDGE, FILE gets what that edge misses, signed and sealed so that only it can read "
     "it;\n"
     "take it there and run holdfast-edge --data DIR --import FILE. EPOCH:SEQ is what `holdfast "
     "status`\n"
     "of that edge shows as epoch and APPLIED."},
    {"log", hf_cli_log, "[OPTIONS] [KEY]",
     "show who changed what and why, the newest first\n"
     "Each batch of the core's log with its seq and time, the author, request id and reason of "
     "what\n"
     "was asked with them, and the keys. With KEY, or --prefix, only changes of those. The log is\n"
     "bounded (--log-bytes, --log-age of the core), and so is this. Exit status 1 when there is "
     "none."},
    {"edge", hf_cli_edge, "invite NAME | add NAME KEY | list | revoke NAME",
     "enrol and revoke edges\n"
     "invite prints a join token for one edge; add enrols an edge whose public key is known."},
    {"status", hf_cli_status, "[OPTIONS] [NAME...]",
     "show the core and how far each edge is\n"
     "With names, only these edges are shown, and only they decide about the exit status; else "
     "all\n"
     "that are enrolled and not revoked. Asked of an edge, it shows that edge. Unknown numbers are "
     "-,\n"
     "null or empty, never 0, and exceed any limit. --max-lag alone does not find an edge that is "
     "cut\n"
     "off while nothing is written; --max-staleness does."},
    {"repair", hf_cli_repair, "",
     "let an edge compare its data with the core and heal what differs\n"
     "Ask the edge: --data DIR or --socket PATH of its own. Only ranges of keys that differ are\n"
     "fetched. An edge begins by itself when it finds damage. Exit status 1 when it could not be\n"
     "done, or when all keys are fetched anew instead."},
    {"keygen", hf_cli_keygen, "FILE", "make a key file and print its public key"},
    {"version", run_version, "", "print the version"},
};

#define COMMAND_COUNT (sizeof commands / sizeof commands[0])

/* ---- messages ---- */

int hf_cli_fail(const char *format, ...)
{
    va_list args;

    fputs("holdfast: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    return HF_CLI_NO;
}

static void print_usage(FILE *out, const struct hf_cli_command *c)
{
    fprintf(out, "usage: holdfast %s%s%s\n", c->name, c->operands[0] == '\0' ? "" : " ",
            c->operands);
}

int hf_cli_usage(const struct hf_cli *cli, const char *format, ...)
{
    va_list args;

    fputs("holdfast: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    if (cli->command != NULL) {
        fputc('\n', stderr);
        print_usage(stderr, cli->command);
    } else {
        fputs("\nholdfast --help lists the subcommands\n", stderr);
    }
    return HF_CLI_USAGE;
}

/* ---- options ---- */

static void print_option(const struct hf_cli_option *o)
{
    char name[40];

    snprintf(name, sizeof name, "--%s%s%s", o->name, o->operand == NULL ? "" : " ",
             o->operand == NULL ? "" : o->operand);
    printf("  %-24s %s\n", name, o->help);
}

static void print_commands(void)
{
    puts("usage: holdfast [--data DIR | --socket PATH | --host ADDR:PORT] SUBCOMMAND ...\n");
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        const char *help = commands[i].help;
        int line = (int)strcspn(help, "\n");

        printf("  %-8s %.*s\n", commands[i].name, line, help);
    }
    puts("\nholdfast SUBCOMMAND --help tells more about one.");
}

static void print_help(const struct hf_cli *cli, const struct hf_cli_option *own, size_t own_count,
                       const struct hf_cli_option *common, size_t common_count)
{
    if (cli->command == NULL) {
        print_commands();
    } else {
        print_usage(stdout, cli->command);
        puts(cli->command->help);
    }
    if (own_count > 0) {
        puts("\nOptions:");
    }
    for (size_t i = 0; i < own_count; i++) {
        print_option(&own[i]);
    }
    puts("\nWhich daemon (default: $HOLDFAST_SOCKET, else ./holdfast.sock):");
    for (size_t i = 0; i < common_count; i++) {
        print_option(&common[i]);
    }
}

static const struct hf_cli_option *find_option(const struct hf_cli_option *o, size_t count,
                                               const char *name, size_t len)
{
    for (size_t i = 0; i < count; i++) {
        if (strlen(o[i].name) == len && memcmp(o[i].name, name, len) == 0) {
            return &o[i];
        }
    }
    return NULL;
}

/* Stores the operand of the option at argv[*i]. False after a message. */
static bool take_option(struct hf_cli *cli, const struct hf_cli_option *o, int argc, char **argv,
                        int *i)
{
    const char *equals = strchr(argv[*i], '=');

    if (o->operand == NULL) {
        if (equals != NULL) {
            cli->status = hf_cli_usage(cli, "--%s takes no value", o->name);
            return false;
        }
        *o->flag = true;
    } else if (equals != NULL) {
        *o->text = equals + 1;
    } else if (*i + 1 < argc) {
        *o->text = argv[++*i];
    } else {
        cli->status = hf_cli_usage(cli, "--%s needs %s", o->name, o->operand);
        return false;
    }
    ++*i;
    return true;
}

static bool names_one_daemon(struct hf_cli *cli)
{
    int named = (cli->data != NULL) + (cli->socket != NULL) + (cli->host != NULL);

    if (named > 1) {
        cli->status = hf_cli_usage(cli, "give one of --data, --socket and --host, not several");
    } else if (cli->host != NULL && !hf_cli_is_host(cli->host)) {
        cli->status = hf_cli_usage(
            cli, "--host %.100s is not ADDR:PORT, for example 127.0.0.1:7412", cli->host);
    } else {
        return true;
    }
    return false;
}

bool hf_cli_options(struct hf_cli *cli, const struct hf_cli_option *options, size_t count, int argc,
                    char **argv)
{
    const struct hf_cli_option common[] = {
        {"data", "DIR", &cli->data, NULL, "the daemon whose data is in DIR (DIR/holdfast.sock)"},
        {"socket", "PATH", &cli->socket, NULL, "its unix socket"},
        {"host", "ADDR:PORT", &cli->host, NULL, "its RESP address"},
    };
    const size_t common_count = sizeof common / sizeof common[0];
    int i = 1;

    while (i < argc && strncmp(argv[i], "--", 2) == 0 && argv[i][2] != '\0') {
        size_t len = strcspn(argv[i] + 2, "=");
        const struct hf_cli_option *o = find_option(options, count, argv[i] + 2, len);

        if (strcmp(argv[i], "--help") == 0) {
            print_help(cli, options, count, common, common_count);
            cli->status = HF_CLI_OK;
            return false;
        }
        if (o == NULL) {
            o = find_option(common, common_count, argv[i] + 2, len);
        }
        if (o == NULL) {
            cli->status = hf_cli_usage(cli, "unknown option %.60s", argv[i]);
            return false;
        }
        if (!take_option(cli, o, argc, argv, &i)) {
            return false;
        }
    }
    if (i < argc && strcmp(argv[i], "--") == 0) {
        i++;
    }
    cli->first = i;
    return names_one_daemon(cli);
}

/* ---- main ---- */

static const struct hf_cli_command *find_command(const char *name)
{
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        if (strcmp(commands[i].name, name) == 0) {
            return &commands[i];
        }
    }
    return NULL;
}

/* What stands before the subcommand, or in place of it. */
static bool tool_options(struct hf_cli *cli, int argc, char **argv, bool *version)
{
    const struct hf_cli_option options[] = {
        {"version", NULL, NULL, version, "print the version"},
    };

    return hf_cli_options(cli, options, 1, argc, argv);
}

/* "help", "-h" and "help SUBCOMMAND", for who expects these. */
static int help(struct hf_cli *cli, const char *of)
{
    bool version = false;
    char word[] = "--help";
    char *argv[] = {word, word, NULL};

    cli->command = of == NULL ? NULL : find_command(of);
    if (cli->command != NULL) {
        return cli->command->run(cli, 2, argv);
    }
    if (of != NULL) {
        return hf_cli_usage(cli, "there is no subcommand %.60s", of);
    }
    tool_options(cli, 2, argv, &version);
    return cli->status;
}

static int run(struct hf_cli *cli, int argc, char **argv)
{
    bool version = false;
    int at;

    if (!tool_options(cli, argc, argv, &version)) {
        return cli->status;
    }
    if (version) {
        puts("holdfast " HF_VERSION);
        return HF_CLI_OK;
    }
    at = cli->first;
    if (at == argc) {
        return hf_cli_usage(cli, "a subcommand is missing");
    }
    if (strcmp(argv[at], "-h") == 0) {
        return help(cli, NULL);
    }
    if (strcmp(argv[at], "help") == 0) {
        return help(cli, at + 1 < argc ? argv[at + 1] : NULL);
    }
    cli->command = find_command(argv[at]);
    if (cli->command == NULL) {
        return hf_cli_usage(cli, "there is no subcommand %.60s", argv[at]);
    }
    return cli->command->run(cli, argc - at, argv + at);
}

int main(int argc, char **argv)
{
    struct hf_cli cli = {0};
    int status;

    hf_stdio_open();
    /* A daemon that goes away must end in a message, not in a signal. */
    signal(SIGPIPE, SIG_IGN);
    status = run(&cli, argc, argv);
    hf_cli_disconnect(&cli);
    /* Output that did not reach its file (full disk, closed pipe) is a failure of the command. */
    if (!hf_stdio_finish("holdfast") && status == HF_CLI_OK) {
        status = HF_CLI_NO;
    }
    return status;
}
