namespace TokTok.Storage.Tdfs.Passphrases;

/// <summary>Where a passphrase comes from: --passphrase-fd, a systemd credential, the terminal. In this order.</summary>
/// <remarks>
/// No environment variable: the environment goes to every child process, into /proc/PID/environ and into crash reports, and shells keep it in their history.
/// TDFS_PASSPHRASE set gets a sentence that says so.
/// </remarks>
internal sealed class PassphraseSource(int? descriptor, Func<string, string?> environment, string terminal = "/dev/tty")
{
    internal const string CredentialName = "tdfs-passphrase";
    private const string What = "the passphrase";

    /// <summary>The passphrase of an existing keyring.</summary>
    internal SecretBuffer Read(CancellationToken cancel) => Ask("Passphrase: ", cancel);

    /// <summary>A new passphrase, typed twice at a terminal. Empty: none.</summary>
    internal SecretBuffer ReadNew(CancellationToken cancel)
    {
        if (TryUnattended(cancel) is SecretBuffer given)
        {
            return given;
        }

        while (true)
        {
            SecretBuffer first = AskTerminal("New passphrase (empty for none): ", cancel);
            using SecretBuffer second = AskTerminal("The same again: ", cancel);
            if (System.Security.Cryptography.CryptographicOperations.FixedTimeEquals(first.Bytes, second.Bytes))
            {
                return first;
            }

            first.Dispose();
        }
    }

    private SecretBuffer Ask(string prompt, CancellationToken cancel) => TryUnattended(cancel) ?? AskTerminal(prompt, cancel);

    private SecretBuffer AskTerminal(string prompt, CancellationToken cancel)
    {
        if (TerminalPrompt.TryAsk(prompt, What, terminal, cancel) is SecretBuffer typed)
        {
            return typed;
        }

        string aside = environment("TDFS_PASSPHRASE") is null ? "" : "; TDFS_PASSPHRASE is not read, since the environment is seen by other processes";
        throw new UserError(ExitCode.Keys, $"found no terminal to ask for the passphrase, expected one, or --passphrase-fd N, or a systemd credential {CredentialName}{aside}");
    }

    private SecretBuffer? TryUnattended(CancellationToken cancel)
    {
        if (descriptor is int number)
        {
            return GivenDescriptor.ReadLine(number, "--passphrase-fd", What, cancel);
        }

        if (environment("CREDENTIALS_DIRECTORY") is not { Length: > 0 } folder)
        {
            return null;
        }

        string path = Path.Join(folder, CredentialName);
        int file = Posix.Open(path, Posix.CloseOnExec);
        if (file < 0)
        {
            return null;
        }

        try
        {
            return TerminalPrompt.ReadLine(file, What, cancel);
        }
        finally
        {
            _ = Posix.Close(file);
        }
    }
}
