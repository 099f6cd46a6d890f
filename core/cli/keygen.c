/*
 * keygen.c - `holdfast keygen FILE`: makes an identity and prints its public key.
 *
 * For an edge that is enrolled by its key (`holdfast edge add NAME KEY`) instead of a join token.
 * The file is made with mode 0600 and never overwritten: a lost identity cannot be had back.
 *
 * It must not print the secret, nor talk to a daemon. Next: hf/keyfile.h for the form of the file.
 */
#include "core/cli/cli.h"

#include "hf/keyfile.h"

int hf_cli_keygen(struct hf_cli *cli, int argc, char **argv)
{
    char hex[2 * HF_KEY_BYTES + 1];
    struct hf_identity id = {0};
    struct hf_error e = {0};

    if (!hf_cli_options(cli, NULL, 0, argc, argv)) {
        return cli->status;
    }
    if (argc - cli->first != 1) {
        return hf_cli_usage(cli, "keygen takes the name of the file to make");
    }
    if (hf_crypto_init() != HF_OK) {
        return hf_cli_fail("libsodium cannot start");
    }
    if (hf_keyfile_create(argv[cli->first], &id, &e) != HF_OK) {
        return hf_cli_fail("%s", e.text);
    }
    hf_hex(id.public_key.b, HF_KEY_BYTES, hex);
    puts(hex);
    hf_identity_free(&id);
    return HF_CLI_OK;
}
