using System.Diagnostics;
using System.Text.Json;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Tdfs.Tests.Drills;

/// <summary>Real trees in and out: the kernel's source, the SDK's folder, a 1 GiB ext4 image. Only in the long run (TDFS_LONG=1).</summary>
/// <remarks>bench/inputs makes the inputs, in TDFS_INPUTS or its own default folder; they stay there for the next run. Takes minutes and 8 GB.</remarks>
[Collection("Real trees, one after another")]
public sealed class RealTreeDrillTests : IDisposable
{
    private readonly DrillStore _store = new(1);

    private static string Inputs => Environment.GetEnvironmentVariable("TDFS_INPUTS") is { Length: > 0 } folder ? folder : Path.Join(Path.GetTempPath(), "tdfs-inputs");

    public void Dispose() => _store.Dispose();

    [Theory]
    [InlineData("kernel")]
    [InlineData("sdk")]
    [InlineData("image")]
    public async Task A_real_tree_comes_back_without_a_difference_and_a_second_import_adds_next_to_nothing(string name)
    {
        Assert.SkipUnless(Drill.IsLong, "long: tools/test --long");
        // A copy: nobody changes it meanwhile, and a lone file gets a folder.
        string source = Path.Join(_store.Folder, "source");
        string input = await InputAsync(name);
        bool isFile = File.Exists(input);
        Directory.CreateDirectory(source);
        await RunAsync("cp", ["-a", "--sparse=always", isFile ? input : input + "/.", source]);

        await _store.InitAsync();
        JsonElement first = await ImportAsync(source);
        Assert.Equal(0, first.GetProperty("unchangedFiles").GetInt64());
        long before = FileBytes();
        int fragmentFiles = FragmentFiles();

        JsonElement second = await ImportAsync(source);
        long sourceBytes = second.GetProperty("snapshot").GetProperty("bytes").GetInt64();
        Assert.Equal(0, second.GetProperty("readBytes").GetInt64());
        Assert.Equal(second.GetProperty("files").GetInt64(), second.GetProperty("unchangedFiles").GetInt64());
        Assert.Equal(fragmentFiles, FragmentFiles());
        Assert.InRange(FileBytes() - before, long.MinValue, sourceBytes / 1000);
        await _store.AssertRestoresAsync("latest", source);
        await _store.AssertCleanAsync();
    }

    [Fact]
    public async Task A_renamed_directory_and_edits_in_2_percent_of_the_files_add_about_what_changed()
    {
        Assert.SkipUnless(Drill.IsLong, "long: tools/test --long");
        string kernel = await InputAsync("kernel");
        string edited = await InputAsync("kernel-edited");
        await _store.InitAsync();
        await ImportAsync(kernel);
        long before = FileBytes();
        JsonElement changed = await ImportAsync(edited);

        // What is new: the edited files, of which at most a chunk on each side of the edit, and the directories that name them.
        long editedBytes = 0;
        foreach (string file in Directory.EnumerateFiles(edited, "*", new EnumerationOptions { RecurseSubdirectories = true, AttributesToSkip = FileAttributes.ReparsePoint }))
        {
            string original = file.Replace(edited, kernel, StringComparison.Ordinal).Replace("-renamed/", "/", StringComparison.Ordinal);
            var now = new FileInfo(file);
            editedBytes += File.Exists(original) && new FileInfo(original).Length == now.Length ? 0 : now.Length;
        }

        Assert.InRange(editedBytes, 1, long.MaxValue);
        Assert.InRange(changed.GetProperty("storedBytes").GetInt64(), 1, editedBytes);
        Assert.InRange(FileBytes() - before, 1, 2 * editedBytes);
        await _store.AssertRestoresAsync("latest", edited);
        await _store.AssertCleanAsync();
    }

    private Task<JsonElement> ImportAsync(string folder) => _store.JsonAsync("import", folder, "--volume", "v", "--no-progress");

    private long FileBytes() => ((string[])[_store.State, .. _store.Holders])
        .SelectMany(static folder => Directory.GetFiles(folder, "*", SearchOption.AllDirectories)).Sum(static file => new FileInfo(file).Length);

    private int FragmentFiles() => _store.Holders.Sum(static holder => Directory.GetFiles(Path.Join(holder, "fragments"), "*", SearchOption.AllDirectories).Length);

    private static async Task<string> InputAsync(string name) =>
        (await RunAsync(Path.Join(Repository.Root, "bench", "inputs"), [Inputs, name])).Split('\n', StringSplitOptions.RemoveEmptyEntries)[^1].Split('\t')[1];

    private static async Task<string> RunAsync(string program, string[] arguments)
    {
        using Process process = Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true })!;
        string text = await process.StandardOutput.ReadToEndAsync(DrillStore.Cancel);
        await process.WaitForExitAsync(DrillStore.Cancel);
        Assert.Equal(0, process.ExitCode);
        return text;
    }
}
