using System.Runtime.InteropServices;
using System.Text;
using TokTok.Storage.Tdfs.Passphrases;

namespace TokTok.Storage.Tdfs.Tests.Passphrases;

public sealed class PassphraseTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("tdfs-pass-").FullName;
    private readonly Dictionary<string, string> _environment = [];

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    private string Write(string name, string text)
    {
        string path = Path.Join(_folder, name);
        File.WriteAllText(path, text);
        return path;
    }

    private static string Text(SecretBuffer secret)
    {
        using (secret)
        {
            return Encoding.UTF8.GetString(secret.Bytes);
        }
    }

    private PassphraseSource Source(int? descriptor = null, string terminal = "/nowhere/tty") => new(descriptor, _environment.GetValueOrDefault, terminal);

    [Theory]
    [InlineData("secret\n", "secret")]
    [InlineData("secret", "secret")]
    [InlineData("with space \nsecond line\n", "with space ")]
    [InlineData("", "")]
    [InlineData("pässwörd\n", "pässwörd")]
    public void A_descriptor_gives_its_first_line(string content, string expected)
    {
        using InheritedFile file = new(Write("pass", content));
        Assert.Equal(expected, Text(Source(file.Descriptor).Read(CancellationToken.None)));
    }

    [Fact]
    public void A_line_beyond_the_limit_is_refused()
    {
        using InheritedFile file = new(Write("pass", new string('x', TerminalPrompt.MaxLineBytes + 1)));
        UserError error = Assert.Throws<UserError>(() => Source(file.Descriptor).Read(CancellationToken.None));
        Assert.Equal(ExitCode.Keys, error.Code);
        using InheritedFile fits = new(Write("fits", new string('x', TerminalPrompt.MaxLineBytes) + "\n"));
        Assert.Equal(TerminalPrompt.MaxLineBytes, Text(Source(fits.Descriptor).Read(CancellationToken.None)).Length);
    }

    [Fact]
    public void A_closed_descriptor_is_one_line_of_trouble()
    {
        UserError error = Assert.Throws<UserError>(() => Source(9999).Read(CancellationToken.None));
        Assert.Equal(ExitCode.Usage, error.Code);
        Assert.StartsWith("descriptor 9999 is not open, expected one that gives the passphrase", error.Message, StringComparison.Ordinal);
        Assert.Equal(ExitCode.Usage, Assert.Throws<UserError>(() => Source(-1).Read(CancellationToken.None)).Code);
    }

    [Fact]
    public void A_descriptor_of_the_runtime_itself_is_not_read()
    {
        using FileStream ours = File.OpenRead(Write("pass", "another's bytes\n"));
        int descriptor = (int)ours.SafeFileHandle.DangerousGetHandle();
        UserError error = Assert.Throws<UserError>(() => Source(descriptor).Read(CancellationToken.None));
        Assert.Equal((ExitCode.Usage, true), (error.Code, error.Message.StartsWith($"descriptor {descriptor} is not open, expected ", StringComparison.Ordinal)));
        Assert.Equal(0, ours.Position);
    }

    [Fact]
    public void A_descriptor_for_writing_alone_is_refused()
    {
        using InheritedFile file = new(Write("pass", ""), flags: 1);
        UserError error = Assert.Throws<UserError>(() => Source(file.Descriptor).Read(CancellationToken.None));
        Assert.Equal((ExitCode.Usage, $"descriptor {file.Descriptor} is open for writing alone, expected one that gives the passphrase"), (error.Code, error.Message));
    }

    [Fact]
    public void The_systemd_credential_is_read_and_the_descriptor_goes_before_it()
    {
        _environment["CREDENTIALS_DIRECTORY"] = _folder;
        Write("tdfs-passphrase", "from systemd\n");
        Assert.Equal("from systemd", Text(Source().Read(CancellationToken.None)));
        using InheritedFile file = new(Write("pass", "from fd\n"));
        Assert.Equal("from fd", Text(Source(file.Descriptor).Read(CancellationToken.None)));
    }

    [Fact]
    public void Without_any_source_the_message_names_them_and_why_the_environment_is_none()
    {
        UserError error = Assert.Throws<UserError>(() => Source().Read(CancellationToken.None));
        Assert.Equal(ExitCode.Keys, error.Code);
        Assert.Contains("--passphrase-fd", error.Message);
        Assert.DoesNotContain("TDFS_PASSPHRASE", error.Message);
        _environment["TDFS_PASSPHRASE"] = "hunter2";
        string message = Assert.Throws<UserError>(() => Source().Read(CancellationToken.None)).Message;
        Assert.Contains("TDFS_PASSPHRASE is not read", message);
        Assert.DoesNotContain("hunter2", message);
    }

    [Fact]
    public async Task The_terminal_asks_shows_nothing_of_what_is_typed_and_is_put_back()
    {
        using PseudoTerminal terminal = new();
        byte[] before = terminal.Settings();
        Task<SecretBuffer> asked = Task.Run(() => Source(terminal: terminal.Path).Read(CancellationToken.None));
        Assert.Equal("Passphrase: ", terminal.ReadUntil("Passphrase: "));
        terminal.Type("secret\n");
        Assert.Equal("secret", Text(await asked));
        Assert.Equal("\r\n", terminal.ReadUntil("\n"));
        Assert.Equal(before, terminal.Settings());
    }

    [Fact]
    public async Task Ctrl_C_at_the_prompt_puts_the_terminal_back()
    {
        using PseudoTerminal terminal = new();
        byte[] before = terminal.Settings();
        using CancellationTokenSource cancel = new();
        Task<SecretBuffer> asked = Task.Run(() => Source(terminal: terminal.Path).Read(cancel.Token));
        terminal.ReadUntil("Passphrase: ");
        Assert.NotEqual(before, terminal.Settings());
        await cancel.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => asked);
        Assert.Equal(before, terminal.Settings());
    }

    [Fact]
    public async Task A_new_passphrase_is_asked_again_until_both_lines_agree()
    {
        using PseudoTerminal terminal = new();
        Task<SecretBuffer> asked = Task.Run(() => Source(terminal: terminal.Path).ReadNew(CancellationToken.None));
        foreach (string line in (string[])["one", "two", "three", "three"])
        {
            terminal.ReadUntil(": ");
            terminal.Type(line + "\n");
        }

        Assert.Equal("three", Text(await asked));
    }

    [Fact]
    public void A_secret_is_zeroed_when_disposed_and_says_nothing()
    {
        SecretBuffer secret = SecretBuffer.Copy("abc"u8);
        Assert.Equal("(secret)", secret.ToString());
        byte[] memory = secret.Memory;
        secret.Dispose();
        Assert.Equal(new byte[3], memory);
    }
}

/// <summary>A file opened as a caller's descriptor arrives: not to be closed on exec.</summary>
internal sealed class InheritedFile : IDisposable
{
    internal InheritedFile(string path, int flags = 0)
    {
        Descriptor = Posix.Open(path, flags);
        Assert.True(Descriptor >= 0, $"{path} cannot be opened");
    }

    internal int Descriptor { get; }

    public void Dispose() => _ = Posix.Close(Descriptor);
}

/// <summary>A terminal without a window: the test types and reads at the master's end.</summary>
internal sealed unsafe partial class PseudoTerminal : IDisposable
{
    private readonly int _master;
    private readonly int _slave;

    public PseudoTerminal()
    {
        _master = Posix.Open("/dev/ptmx", Posix.ReadWrite | Posix.NoControllingTerminal | Posix.CloseOnExec);
        Assert.True(_master >= 0 && Grant(_master) == 0 && Unlock(_master) == 0, "no pseudo-terminal here");
        byte* name = stackalloc byte[128];
        Assert.Equal(0, Name(_master, name, 128));
        Path = Marshal.PtrToStringUTF8((nint)name)!;
        // Held open, so that the settings live on between the prompt's opening and ours.
        _slave = Posix.Open(Path, Posix.ReadWrite | Posix.NoControllingTerminal | Posix.CloseOnExec);
    }

    public string Path { get; }

    public byte[] Settings()
    {
        byte[] settings = new byte[256];
        fixed (byte* target = settings)
        {
            Assert.Equal(0, Posix.GetTerminal(_slave, target));
        }

        return settings;
    }

    public void Type(string text)
    {
        byte[] bytes = Encoding.UTF8.GetBytes(text);
        fixed (byte* source = bytes)
        {
            Assert.Equal(bytes.Length, Posix.Write(_master, source, (nuint)bytes.Length));
        }
    }

    public string ReadUntil(string end)
    {
        StringBuilder seen = new();
        byte* one = stackalloc byte[1];
        while (!seen.ToString().EndsWith(end, StringComparison.Ordinal))
        {
            Posix.PollEntry entry = new() { Descriptor = _master, Wanted = 1 };
            Assert.True(Posix.Poll(&entry, 1, 10000) == 1, $"the terminal went silent after \"{seen}\"");
            Assert.Equal(1, Posix.Read(_master, one, 1));
            seen.Append((char)one[0]);
        }

        return seen.ToString();
    }

    public void Dispose()
    {
        _ = Posix.Close(_slave);
        _ = Posix.Close(_master);
    }

    [LibraryImport("libc", EntryPoint = "grantpt")]
    private static partial int Grant(int master);

    [LibraryImport("libc", EntryPoint = "unlockpt")]
    private static partial int Unlock(int master);

    [LibraryImport("libc", EntryPoint = "ptsname_r")]
    private static partial int Name(int master, byte* target, nuint bytes);
}
