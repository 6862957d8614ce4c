using System.Diagnostics;

namespace TokTok.Storage.Tdfs.Tests.Golden;

/// <summary>tools/reader, which is written in Go from docs/format.md alone, reads the golden store: the page says all that a reader needs.</summary>
/// <remarks>The reader is built here, by tools/reader/build, from the packages that `tools/setup --tests` installs. Without them these tests fail: a proof
/// that is skipped proves nothing. Its test program restores as it does, and prints what it restored besides (tools/reader/manifest_test.go).</remarks>
public sealed class SlowReaderTests(SlowReaderTests.Build build) : IClassFixture<SlowReaderTests.Build>
{
    private static readonly string s_golden = Path.Combine(Build.Root, "tests", "golden", "v1");

    [Fact]
    public async Task A_reader_that_knows_only_the_format_page_restores_the_golden_store()
    {
        string[] holders = Directory.GetDirectories(Path.Combine(s_golden, "holders"));

        (int code, string manifest, string talk) = await build.ReadAsync(holders);

        Assert.Equal(Expected(), manifest);
        Assert.True(code == 0, $"found exit code {code}, expected 0: {talk}");
    }

    [Fact]
    public async Task The_program_itself_restores_the_same_files_as_its_test_program()
    {
        string[] holders = Directory.GetDirectories(Path.Combine(s_golden, "holders"));

        (int code, _, string talk) = await build.ReadAsync(holders, program: "reader");
        string plain = build.Restored;
        await build.ReadAsync(holders);
        (_, string differences, _) = await Build.RunAsync("", "diff", "-r", "--no-dereference", plain, build.Restored);

        Assert.True(code == 0, $"found exit code {code}, expected 0: {talk}");
        Assert.NotEmpty(Directory.GetDirectories(plain));

        // Of pipes, sockets and devices diff says that there are two of them.
        Assert.DoesNotContain(differences.Split('\n', StringSplitOptions.RemoveEmptyEntries), static line => !line.Contains(" while file ", StringComparison.Ordinal));
    }

    [Fact]
    public async Task It_opens_the_same_with_a_keyring_and_its_passphrase()
    {
        string[] holders = Directory.GetDirectories(Path.Combine(s_golden, "holders"));

        (int code, string manifest, string talk) = await build.ReadAsync(holders, Path.Combine(s_golden, "state", "keyring"));

        Assert.Equal(Expected(), manifest);
        Assert.True(code == 0, $"found exit code {code}, expected 0: {talk}");
    }

    [Fact]
    public async Task The_examples_on_the_page_are_what_it_reads()
    {
        (int code, string report, string talk) = await Build.RunAsync("", "go", "test", "-count=1", ".");

        Assert.True(code == 0, $"{report}{talk}");
    }

    [Fact]
    public async Task It_rebuilds_what_is_damaged_with_nothing_but_the_page()
    {
        string copies = Path.Combine(build.Folder, "damaged");
        foreach (string file in Directory.GetFiles(Path.Combine(s_golden, "holders"), "*", SearchOption.AllDirectories))
        {
            string copy = Path.Combine(copies, Path.GetRelativePath(Path.Combine(s_golden, "holders"), file));
            Directory.CreateDirectory(Path.GetDirectoryName(copy)!);
            File.Copy(file, copy);
        }

        // One bit of one fragment of each arena: the last byte before the second record of the file in the first holder that has one.
        HashSet<string> damaged = [];
        foreach (string file in Directory.GetFiles(copies, "*", SearchOption.AllDirectories).Order(StringComparer.Ordinal))
        {
            if (!file.Contains("/fragments/", StringComparison.Ordinal) || !damaged.Add(Path.GetFileName(file)))
            {
                continue;
            }

            byte[] bytes = File.ReadAllBytes(file);
            int secondRecord = bytes.AsSpan().LastIndexOf("TDFSFRG1"u8);
            Assert.True(secondRecord > 0, $"found no second record in {file}");
            bytes[secondRecord - 1] ^= 0x10;
            File.SetUnixFileMode(file, UnixFileMode.UserRead | UnixFileMode.UserWrite);
            File.WriteAllBytes(file, bytes);
        }

        Assert.NotEmpty(damaged);
        (int code, string manifest, string talk) = await build.ReadAsync(Directory.GetDirectories(copies));

        Assert.Equal(Expected(), manifest);
        Assert.True(code == 1, $"found exit code {code}, expected 1, for what it found damaged: {talk}");
        Assert.All(damaged, arena => Assert.Contains(arena, talk, StringComparison.Ordinal));
    }

    private static string Expected() => File.ReadAllText(Path.Combine(s_golden, "expected.txt"));

    /// <summary>The built reader, and a folder for what it restores.</summary>
    public sealed class Build : IAsyncLifetime
    {
        private static readonly string s_source = Path.Combine(FindRoot(), "tools", "reader");

        /// <summary>The top folder of the project.</summary>
        public static string Root { get; } = FindRoot();

        public string Folder { get; } = Directory.CreateTempSubdirectory("tdfs-reader-").FullName;

        public async ValueTask InitializeAsync()
        {
            (int code, string _, string talk) = await RunAsync("", Path.Combine(s_source, "build"), Path.Combine(Folder, "reader"));
            Assert.True(code == 0, $"tools/reader could not be built: run tools/setup --tests, which installs Go and what it needs. {talk}");
            (code, string _, talk) = await RunAsync("", "go", "test", "-c", "-o", Path.Combine(Folder, "manifest"), ".");
            Assert.True(code == 0, $"the tests of tools/reader could not be built: {talk}");
        }

        // By rm: the golden store has names that are no text, which .NET cannot delete.
        public async ValueTask DisposeAsync() => await RunAsync("", "rm", "-rf", Folder);

        /// <summary>What the last run restored.</summary>
        public string Restored { get; private set; } = "";

        /// <summary>Runs a program (the reader, or its test program, which prints what it restored) and puts its lines in the order of expected.txt.</summary>
        public async Task<(int Code, string Manifest, string Talk)> ReadAsync(string[] holders, string? keyring = null, string program = "manifest")
        {
            string output = Directory.CreateDirectory(Path.Combine(Folder, Guid.NewGuid().ToString("N"))).FullName;
            string keys = keyring ?? Path.Combine(s_golden, "words.txt");
            string passphrase = keyring is null ? "" : await File.ReadAllTextAsync(Path.Combine(s_golden, "passphrase.txt"));
            Restored = output;
            (int code, string lines, string talk) = await RunAsync(passphrase, Path.Combine(Folder, program), [keys, .. holders, output]);
            return (code, string.Concat(lines.Split('\n', StringSplitOptions.RemoveEmptyEntries).Order(StringComparer.Ordinal).Select(static line => line + "\n")), talk);
        }

        public static async Task<(int Code, string Output, string Talk)> RunAsync(string input, string program, params string[] arguments)
        {
            ProcessStartInfo start = new(program, arguments)
            {
                RedirectStandardInput = true,
                RedirectStandardOutput = true,
                RedirectStandardError = true,
                UseShellExecute = false,
                WorkingDirectory = s_source,
            };
            start.Environment["GO111MODULE"] = "off";
            start.Environment["GOPATH"] = "/usr/share/gocode";
            using Process process = Process.Start(start)!;
            await process.StandardInput.WriteAsync(input);
            process.StandardInput.Close();
            Task<string> talk = process.StandardError.ReadToEndAsync();
            string output = await process.StandardOutput.ReadToEndAsync();
            await process.WaitForExitAsync();
            return (process.ExitCode, output, await talk);
        }

        private static string FindRoot()
        {
            string folder = AppContext.BaseDirectory;
            while (!File.Exists(Path.Combine(folder, "TokTok.Storage.sln")))
            {
                folder = Path.GetDirectoryName(folder) ?? throw new InvalidOperationException("found no TokTok.Storage.sln above the tests, expected one");
            }

            return folder;
        }
    }
}
