namespace TokTok.Storage.Tdfs.Passphrases;

/// <summary>A descriptor that the caller opened for a secret: --passphrase-fd N, --words-fd N.</summary>
/// <remarks>
/// The runtime opens descriptors of its own (pipes, event queues, files) before the first line of the command runs, so that a number the caller forgot to open is
/// often open all the same, and reading it would wait for ever or give another's bytes. The runtime's are all closed on exec (FD_CLOEXEC), and one that came through
/// exec cannot be: that tells them apart.
/// </remarks>
internal static class GivenDescriptor
{
    private const int CloseOnExecFlag = 1;
    private const int AccessMask = 3;
    private const int WriteOnly = 1;

    /// <summary>Its first line.</summary>
    /// <param name="option">"--passphrase-fd": what the number was given to.</param>
    /// <param name="what">"the passphrase": what is read.</param>
    internal static SecretBuffer ReadLine(int number, string option, string what, CancellationToken cancel)
    {
        if (number < 0)
        {
            throw new UserError(ExitCode.Usage, $"found {option} {number}, expected a descriptor of 0 or more");
        }

        int flags = Posix.Control(number, Posix.GetDescriptorFlags);
        if (flags < 0 || (flags & CloseOnExecFlag) != 0)
        {
            throw new UserError(ExitCode.Usage, $"descriptor {number} is not open, expected one that gives {what}; open it, as in `{option} 3 3< file`");
        }

        if ((Posix.Control(number, Posix.GetStatusFlags) & AccessMask) == WriteOnly)
        {
            throw new UserError(ExitCode.Usage, $"descriptor {number} is open for writing alone, expected one that gives {what}");
        }

        return TerminalPrompt.ReadLine(number, what, cancel);
    }
}
