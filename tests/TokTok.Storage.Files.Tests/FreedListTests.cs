using System.Text;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Keys;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Files.Tests;

/// <summary>What is freed, in memory and in its file; and what the walk says of it.</summary>
public sealed class FreedListTests : IDisposable
{
    private static readonly VolumeId s_one = new(new Bytes16(0, 1));
    private static readonly VolumeId s_two = new(new Bytes16(0, 2));

    private readonly TempFolder _folder = new();
    private readonly MemoryVolumeStore _store = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void A_folder_takes_the_place_of_those_below_it_and_goes_with_them()
    {
        FreedList list = FreedList.Empty.With(Folder(s_one, "a/b")).With(Folder(s_one, "a/bc")).With(Folder(s_two, "a"));
        Assert.Equal(3, list.Folders.Count);
        Assert.Same(list, list.With(Folder(s_one, "a/b/c")));
        Assert.Null(list.Find(s_one, Path("a/bd")));
        Assert.Equal("a/b", Text(list.Find(s_one, Path("a/b/c/d"))!));
        FreedList whole = list.With(Folder(s_one, "a"));
        Assert.Equal(["a", "a"], whole.Folders.Select(Text));
        Assert.Same(whole, whole.Without(s_one, Path("a/b"))); // not by itself
        Assert.Equal(s_two, Assert.Single(whole.Without(s_one, Path("")).Folders).Volume);
        Assert.NotNull(FreedList.Empty.With(Folder(s_one, "")).Find(s_one, Path("anything")));
    }

    [Fact]
    public async Task The_file_is_encrypted_read_back_and_refused_when_it_is_damaged()
    {
        var disk = new SimulatedDisk();
        disk.CreateDirectory("/state");
        using var key = new SecretBytes(32);
        var file = new FreedFile(disk, "/state", key, new SeededRandom(1), TimeProvider.System);
        Assert.Empty(file.Read().Folders);
        await file.ChangeAsync(list => list.With(Folder(s_one, "diary/2019")), CancellationToken.None);
        Assert.Equal("diary/2019", Text(Assert.Single(new FreedFile(disk, "/state", key, new SeededRandom(2), TimeProvider.System).Read().Folders)));
        using (IDiskFile open = disk.Open("/state/freed", DiskOpen.ReadWrite))
        {
            byte[] bytes = new byte[open.Length];
            open.Read(0, bytes);
            Assert.Equal("TDFSFRE1", Encoding.ASCII.GetString(bytes, 0, 8));
            Assert.DoesNotContain("diary", Encoding.Latin1.GetString(bytes), StringComparison.Ordinal);
            open.Write(30, new byte[] { 1, 2, 3 });
        }

        Assert.Contains("expected what `tdfs free` wrote", Assert.Throws<DamagedFormatException>(() => file.Read()).Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task An_empty_file_has_the_bytes_of_the_format_page()
    {
        var disk = new SimulatedDisk();
        disk.CreateDirectory("/state");
        using var key = new SecretBytes(32);
        var file = new FreedFile(disk, "/state", key, new SeededRandom(1), TimeProvider.System);
        FreedList one = await file.ChangeAsync(list => list.With(Folder(s_one, "a")), CancellationToken.None);
        await file.ChangeAsync(list => list.Without(s_one, Path("a")), CancellationToken.None);
        Assert.Single(one.Folders);
        using IDiskFile open = disk.Open("/state/freed", DiskOpen.Read);
        byte[] bytes = new byte[open.Length];
        open.Read(0, bytes);
        Assert.Equal((80, "54444653465245312" + "4000000"), (bytes.Length, Convert.ToHexStringLower(bytes.AsSpan(0, 12))));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public async Task Freed_is_what_only_freed_paths_refer_to_whatever_is_walked_first(int seed)
    {
        var random = new Random(seed);
        Grow(random);
        var ids = new SeededRandom(seed);
        var volumes = new List<Volume>();
        foreach (string name in new[] { "v", "w" })
        {
            Volume volume = await Volume.OpenOrCreateAsync(_store, name, ids, CancellationToken.None);
            for (int round = 0; round < 2; round++)
            {
                File.WriteAllBytes(System.IO.Path.Combine(_folder.Path, $"x{round}"), Bytes(1000 + round, 3000)); // so that roots differ, and their parts do not
                var options = new ImportOptions { Sources = [_folder.Path], Workers = 2, Cache = new ImportCachePlace(new MemoryDisk(), "/cache", new SecretBytes(32), ids), Table = new TableOptions { TargetBytes = 512, InlineBytes = 64 } };
                await new Importer(_store, volume, ids, new LaterClock()).RunAsync(options, new SnapshotTexts(), null, CancellationToken.None);
            }

            volumes.Add(volume);
        }

        string[] folders = [.. Directory.GetDirectories(_folder.Path, "*", SearchOption.AllDirectories).Select(folder => System.IO.Path.GetRelativePath(_folder.Path, folder)).Order(StringComparer.Ordinal)];
        FreedList freed = FreedList.Empty;
        for (int i = 0; i < folders.Length / 2; i++)
        {
            foreach (Volume volume in volumes.Where(_ => random.Next(4) > 0))
            {
                freed = freed.With(new FreedFolder(volume.Root.Id, Path(folders[random.Next(folders.Length)]), 1));
            }
        }

        // Two ways to one answer: the walk, in either order of the volumes, and every file of every snapshot by its path.
        HashSet<Score> expectedKept = [];
        HashSet<Score> expectedFreed = [];
        foreach (Volume volume in volumes)
        {
            foreach (SnapshotRecord snapshot in await volume.ListSnapshotsAsync(CancellationToken.None))
            {
                await foreach (TreeItem item in TreeReader.Of(volume, snapshot).WalkAsync(snapshot.Root, default, CancellationToken.None))
                {
                    if (item.Entry.Type == EntryType.File)
                    {
                        var blocks = new Collector();
                        await TreeWalker.MarkEntryAsync(item.Entry, _store.Blocks, blocks, null, CancellationToken.None);
                        (freed.Find(volume.Root.Id, item.Path) is null || item.IsLink ? expectedKept : expectedFreed).UnionWith(blocks.Data);
                    }
                }
            }
        }

        expectedFreed.ExceptWith(expectedKept);
        Assert.NotEmpty(expectedFreed);
        foreach (IEnumerable<Volume> order in new[] { volumes, Enumerable.Reverse(volumes) })
        {
            var marks = new Marks();
            foreach (Volume volume in order)
            {
                await new TreeWalker(freed).MarkAsync(volume.Head!, _store.Blocks, marks, CancellationToken.None);
            }

            Assert.Equal(expectedFreed, marks.Freed);
            Assert.True(expectedKept.IsSubsetOf(marks.Kept));
        }
    }

    private void Grow(Random random)
    {
        var folders = new List<string> { "" };
        for (int i = 0; i < 12; i++)
        {
            string name = System.IO.Path.Join(folders[random.Next(folders.Count)], $"d{i}");
            Directory.CreateDirectory(System.IO.Path.Combine(_folder.Path, name));
            folders.Add(name);
        }

        for (int i = 0; i < 100; i++)
        {
            // Equal content in several places, and equal subtrees too.
            string name = System.IO.Path.Join(folders[random.Next(folders.Count)], $"f{i % 40}");
            File.WriteAllBytes(System.IO.Path.Combine(_folder.Path, name), Bytes(i % 60, 5000));
        }

        for (int i = 0; i < 3; i++)
        {
            Copy(System.IO.Path.Combine(_folder.Path, folders[1 + i]), System.IO.Path.Combine(_folder.Path, $"copy{i}"));
        }

        File.WriteAllBytes(System.IO.Path.Combine(_folder.Path, folders[^1], "large"), Bytes(500, 2_500_000));
    }

    private static void Copy(string from, string to)
    {
        Directory.CreateDirectory(to);
        foreach (string file in Directory.GetFiles(from))
        {
            File.Copy(file, System.IO.Path.Combine(to, System.IO.Path.GetFileName(file)));
        }

        foreach (string folder in Directory.GetDirectories(from))
        {
            Copy(folder, System.IO.Path.Combine(to, System.IO.Path.GetFileName(folder)));
        }
    }

    private static byte[] Bytes(int seed, int count)
    {
        byte[] bytes = new byte[count];
        new Random(seed).NextBytes(bytes);
        return bytes;
    }

    private static FreedFolder Folder(VolumeId volume, string path) => new(volume, Path(path), 1);

    private static byte[] Path(string path) => Encoding.UTF8.GetBytes(path);

    private static string Text(FreedFolder folder) => Encoding.UTF8.GetString(folder.Path.Span);

    private sealed class Collector : IBlockMarker
    {
        internal HashSet<Score> Data { get; } = [];

        public bool Mark(Score score, BlockType type) => type != BlockType.Data || Data.Add(score);
    }

    /// <summary>The marker by its contract alone.</summary>
    private sealed class Marks : IFreedMarker
    {
        private readonly HashSet<(Score Score, BlockType Type)> _walked = [];
        private readonly HashSet<(Score Score, BlockType Type)> _walkedFreed = [];
        private readonly HashSet<Score> _freed = [];

        internal HashSet<Score> Kept { get; } = [];

        internal HashSet<Score> Freed => [.. _freed.Except(Kept)];

        public int DefaultSurvive => MemoryBlocks.DefaultSurvive;

        public bool Mark(Score score, BlockType type) => Mark(score, type, DefaultSurvive);

        public bool Mark(Score score, BlockType type, int survive) => Mark(score, type, survive, isFreed: false);

        public bool Mark(Score score, BlockType type, int survive, bool isFreed)
        {
            if (type == BlockType.Data)
            {
                _ = (isFreed ? _freed : Kept).Add(score);
            }

            return isFreed ? !_walked.Contains((score, type)) && _walkedFreed.Add((score, type)) : _walked.Add((score, type));
        }

        public int Raise(Score score, BlockType type, int survive) => DefaultSurvive;
    }
}
