using System.Runtime.InteropServices;
using System.Text;

namespace TokTok.Storage.Tdfs.Passphrases;

/// <summary>Asks for a line at a terminal without showing what is typed.</summary>
/// <remarks>
/// Source: POSIX termios. Only ECHO is taken off, so the line can be edited as usual and the end of the line is shown. Settings are put back on every way out,
/// Ctrl-C included: the wait polls, and sees the cancellation that the command's signal handler asks for.
/// The bytes go straight into a zeroed buffer: no string of the passphrase ever exists.
/// </remarks>
internal static unsafe class TerminalPrompt
{
    internal const int MaxLineBytes = 1024;

    // struct termios of Linux: four 32-bit flag words, the fourth (at 12) the local flags; 60 bytes in all with glibc, fewer with musl.
    private const int SettingsBytes = 256;
    private const int LocalFlagsOffset = 12;
    private const uint EchoFlag = 0x8;
    private const int SetAndFlush = 2;
    private const short PollIn = 1;
    private const int PollMilliseconds = 100;

    /// <summary>The line typed, without its end; null when there is no terminal.</summary>
    internal static SecretBuffer? TryAsk(string prompt, string what, string device, CancellationToken cancel)
    {
        if (!OperatingSystem.IsLinux())
        {
            return null;
        }

        int terminal = Posix.Open(device, Posix.ReadWrite | Posix.NoControllingTerminal | Posix.CloseOnExec);
        if (terminal < 0)
        {
            return null;
        }

        byte* settings = stackalloc byte[SettingsBytes];
        byte* silent = stackalloc byte[SettingsBytes];
        try
        {
            if (Posix.GetTerminal(terminal, settings) != 0)
            {
                return null;
            }

            new ReadOnlySpan<byte>(settings, SettingsBytes).CopyTo(new Span<byte>(silent, SettingsBytes));
            Span<byte> flags = new(silent + LocalFlagsOffset, sizeof(uint));
            MemoryMarshal.Write(flags, MemoryMarshal.Read<uint>(flags) & ~EchoFlag);
            if (Posix.SetTerminal(terminal, SetAndFlush, silent) != 0)
            {
                throw new UserError(ExitCode.Keys, "found a terminal that shows what is typed, expected one that can be silenced; use --passphrase-fd");
            }

            try
            {
                WriteAll(terminal, prompt);
                return ReadLine(terminal, what, cancel);
            }
            finally
            {
                _ = Posix.SetTerminal(terminal, SetAndFlush, settings);
                WriteAll(terminal, "\n");
            }
        }
        finally
        {
            _ = Posix.Close(terminal);
        }
    }

    /// <summary>Reads bytes up to a line's end or the end of the input. Cancellation is seen within a tenth of a second.</summary>
    /// <param name="what">"the passphrase": what an error calls it.</param>
    internal static SecretBuffer ReadLine(int descriptor, string what, CancellationToken cancel)
    {
        SecretBuffer line = new(MaxLineBytes + 1);
        try
        {
            fixed (byte* room = line.Room)
            {
                while (true)
                {
                    cancel.ThrowIfCancellationRequested();
                    Posix.PollEntry entry = new() { Descriptor = descriptor, Wanted = PollIn };
                    int ready = Posix.Poll(&entry, 1, PollMilliseconds);
                    if (ready == 0 || (ready < 0 && Marshal.GetLastPInvokeError() == Posix.Interrupted))
                    {
                        continue;
                    }

                    // One byte at a time: what follows the line belongs to whoever reads next.
                    nint got = Posix.Read(descriptor, room + line.Length, 1);
                    if (got < 0)
                    {
                        throw new UserError(ExitCode.Keys, $"reading {what}: {Marshal.GetPInvokeErrorMessage(Marshal.GetLastPInvokeError())}; expected a readable descriptor");
                    }

                    if (got == 0 || room[line.Length] == (byte)'\n')
                    {
                        return line;
                    }

                    if (++line.Length > MaxLineBytes)
                    {
                        throw new UserError(ExitCode.Keys, $"found more than {MaxLineBytes} bytes for {what}, expected at most that on one line");
                    }
                }
            }
        }
        catch
        {
            line.Dispose();
            throw;
        }
    }

    private static void WriteAll(int descriptor, string text)
    {
        byte[] bytes = Encoding.UTF8.GetBytes(text);
        fixed (byte* source = bytes)
        {
            for (int done = 0; done < bytes.Length;)
            {
                nint wrote = Posix.Write(descriptor, source + done, (nuint)(bytes.Length - done));
                if (wrote <= 0)
                {
                    return;
                }

                done += (int)wrote;
            }
        }
    }
}
