namespace TokTok.Storage.Tdfs.Tests.Drills;

/// <summary>A holder that is cached: what was written or read lately is there while its disk is away.</summary>
public sealed class CacheDrillTests
{
    // The first line belongs to the holder that is named last.
    private const string Settings = "cached = true\n[cache]\nsize = \"64 MiB\"\nfloor = \"0\"\n[keys]\nunlock-for = \"0s\"\n";

    [Fact]
    public async Task What_was_written_or_read_lately_is_readable_with_the_only_disk_away()
    {
        using DrillStore store = await new DrillStore(1, Settings).InitAsync();
        string cache = Path.Join(store.State, "cache");
        string tree = Path.Join(store.Folder, "tree");
        Directory.CreateDirectory(tree);
        byte[] noise = new byte[6_000_000];
        new Random(1).NextBytes(noise);
        await File.WriteAllBytesAsync(Path.Join(tree, "noise"), noise, DrillStore.Cancel);
        (await store.RunAsync("import", tree, "--volume", "v", "--no-progress")).Expect(0);
        Assert.InRange((await store.JsonAsync("status")).GetProperty("cacheBytes").GetInt64(), 1 << 20, 64 << 20); // the rest lies in the journal

        Directory.Move(store.Holders[0], store.Holders[0] + "-away"); // what was written
        await AssertReadableAsync();
        Directory.Delete(cache, recursive: true);
        (await store.RunAsync("cat", "v@latest", "noise")).Expect(1, 7, 8);

        Directory.Move(store.Holders[0] + "-away", store.Holders[0]); // what was read
        await AssertReadableAsync();
        Directory.Move(store.Holders[0], store.Holders[0] + "-away");
        await AssertReadableAsync();
        Directory.Move(store.Holders[0] + "-away", store.Holders[0]);
        await store.AssertCleanAsync();

        // It is ciphertext, as at the holder, and its table shows no name.
        byte[] table = await File.ReadAllBytesAsync(Path.Join(cache, "window-table"), DrillStore.Cancel);
        string[] arenas = [.. Directory.EnumerateFiles(store.Holders[0], "*", SearchOption.AllDirectories).Select(static path => Path.GetFileName(path)).Where(static name => name.Length == 64)];
        Assert.NotEmpty(arenas);
        Assert.All(arenas, name => Assert.Equal(-1, table.AsSpan().IndexOf(Convert.FromHexString(name))));

        async Task AssertReadableAsync()
        {
            string copy = Path.Join(store.Folder, "copy");
            (await store.RunAsync("restore", "v@latest", copy, "--no-progress")).Expect(0);
            Assert.Equal(noise, await File.ReadAllBytesAsync(Path.Join(copy, "noise"), DrillStore.Cancel));
            Directory.Delete(copy, recursive: true);
        }
    }
}
