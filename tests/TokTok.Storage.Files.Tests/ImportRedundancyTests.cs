using System.Text;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Keys;
using TokTok.Storage.Files.Posix;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Files.Tests;

/// <summary>Directories that ask for another redundancy than the store's own, by their extended attribute. The store in memory survives 1 place by itself, 3 at the most.</summary>
public sealed class ImportRedundancyTests : IDisposable
{
    private readonly TempFolder _folder = new();
    private readonly MemoryDisk _disk = new();
    private readonly MemoryVolumeStore _store = new();
    private readonly SeededRandom _random = new(11);
    private readonly List<string> _notes = [];
    private Volume? _volume;

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task What_lies_below_inherits_until_a_directory_says_otherwise_and_what_leads_there_is_as_strong()
    {
        Write("plain.bin", 1);
        Write("strong/a.bin", 2);
        Write("strong/deep/b.bin", 3);
        Write("strong/weaker/c.bin", 4);
        Ask("strong", "survive=2");
        Ask("strong/weaker", "survive=0");
        SnapshotRecord snapshot = await ImportAsync();

        Assert.Equal(1, await WeakestOfAsync(snapshot, "plain.bin"));
        Assert.Equal(2, await WeakestOfAsync(snapshot, "strong/a.bin"));
        Assert.Equal(2, await WeakestOfAsync(snapshot, "strong/deep/b.bin"));
        Assert.Equal(0, await WeakestOfAsync(snapshot, "strong/weaker/c.bin"));
        TreeReader tree = TreeReader.Of(_volume!, snapshot);
        Assert.Equal(2, (await tree.ResolveAsync(snapshot.Root, "strong"u8.ToArray(), CancellationToken.None))!.Value.Entry.Survive);
        Assert.Equal(0, (await tree.ResolveAsync(snapshot.Root, "strong/weaker"u8.ToArray(), CancellationToken.None))!.Value.Entry.Survive);
        Assert.Null((await tree.ResolveAsync(snapshot.Root, "strong/deep"u8.ToArray(), CancellationToken.None))!.Value.Entry.Survive);
        Assert.Equal(2, _volume!.Survive);
        Assert.Equal(2, _store.Blocks.SurviveOf(_volume.Head!.Root, BlockType.VolumeRoot));
        Assert.Empty(_notes);
    }

    [Fact]
    public async Task The_blocks_on_the_way_to_a_strong_directory_are_strong_and_their_siblings_are_not()
    {
        for (int i = 0; i < 400; i++)
        {
            Write($"many/f{i:d4}", i, 40);
        }

        Write("many/f0200.d/strong.bin", 7);
        Ask("many/f0200.d", "survive=3");
        SnapshotRecord snapshot = await ImportAsync();
        Entry many = (await TreeReader.Of(_volume!, snapshot).ResolveAsync(snapshot.Root, "many"u8.ToArray(), CancellationToken.None))!.Value.Entry;
        int[] leaves = [.. _store.Blocks.Known.Where(static block => block.Type == BlockType.TableLeaf).Select(block => _store.Blocks.SurviveOf(block.Score, block.Type))];
        Assert.True(many.Children.Depth > 1, $"depth {many.Children.Depth}: the directory is to have several blocks");
        Assert.Contains(1, leaves);
        Assert.Contains(3, leaves);
        Assert.Equal(3, _store.Blocks.SurviveOf(many.Children.Top.Score, BlockType.TableNode));
    }

    [Fact]
    public async Task Unchanged_files_gain_when_more_is_wanted_of_them()
    {
        Write("photos/a.bin", 1);
        Write("photos/deep/b.bin", 2);
        Write("other.bin", 3);
        SnapshotRecord before = await ImportAsync();
        Assert.Equal(1, await WeakestOfAsync(before, "photos/a.bin"));
        Ask("photos", "survive=2");
        SnapshotRecord after = await ImportAsync();
        Assert.Equal(2, await WeakestOfAsync(after, "photos/a.bin"));
        Assert.Equal(2, await WeakestOfAsync(after, "photos/deep/b.bin"));
        Assert.Equal(1, await WeakestOfAsync(after, "other.bin"));

        // And then there is nothing left to gain: nothing is read, nothing is written.
        long written = _store.Blocks.WrittenBytes;
        ImportResult third = await RunAsync();
        Assert.Equal((0L, 3L), (third.Progress.ReadBytes, third.Progress.UnchangedCount));
        Assert.InRange(_store.Blocks.WrittenBytes - written, 0, 5000); // the new snapshot, and what names it
        Assert.Equal(after.Root, third.Snapshot.Root);
    }

    [Fact]
    public async Task Unchanged_files_that_a_commit_in_between_left_unchecked_have_their_turn_in_the_next_pass()
    {
        string[] names = [.. Enumerable.Range(0, 12).Select(static i => $"photos/{i:d2}.bin")];
        for (int i = 0; i < names.Length; i++)
        {
            Write(names[i], i);
        }

        _ = await ImportAsync();
        Ask("photos", "survive=2");
        ImportResult result = await RunAsync(workers: 1, commitBytes: 1); // the walk is over long before the first file is looked at
        Assert.True(result.IsFinished);
        foreach (string name in names)
        {
            Assert.Equal((name, 2), (name, await WeakestOfAsync(result.Snapshot, name)));
        }
    }

    [Fact]
    public async Task A_file_of_several_names_is_as_strong_as_the_strongest_of_their_directories()
    {
        Write("a/name.bin", 1);
        Directory.CreateDirectory(At("b"));
        int fd = PosixCalls.OpenPath(Encoding.UTF8.GetBytes(_folder.Path));
        Assert.Equal(0, PosixCalls.HardLink(fd, "a/name.bin"u8, fd, "b/name.bin"u8));
        PosixCalls.Close(fd);
        Ask("b", "2+2");
        for (int round = 0; round < 2; round++)
        {
            SnapshotRecord snapshot = await ImportAsync();
            Assert.Equal(2, await WeakestOfAsync(snapshot, "a/name.bin"));
            Assert.Equal(2, await WeakestOfAsync(snapshot, "b/name.bin"));
        }
    }

    [Fact]
    public async Task A_wish_above_the_source_is_in_force_too()
    {
        Write("source/a.bin", 1);
        Ask("", "survive=2");
        SnapshotRecord snapshot = await ImportAsync("source");
        Assert.Equal(2, await WeakestOfAsync(snapshot, "a.bin"));
        Assert.Equal(2, snapshot.Root.Survive);
    }

    [Fact]
    public async Task What_the_places_do_not_allow_is_kept_as_strong_as_they_do_and_said()
    {
        Write("a/a.bin", 1);
        Write("b/b.bin", 2);
        Ask("a", "survive=7");
        Ask("b", "very well");
        SnapshotRecord snapshot = await ImportAsync();
        Assert.Equal(3, await WeakestOfAsync(snapshot, "a/a.bin"));
        Assert.Equal(1, await WeakestOfAsync(snapshot, "b/b.bin"));
        Assert.Equal(7, (await TreeReader.Of(_volume!, snapshot).ResolveAsync(snapshot.Root, "a"u8.ToArray(), CancellationToken.None))!.Value.Entry.Survive);
        Assert.Contains(_notes, static line => line.EndsWith("a/: survive=7 needs 8 places; until there are so many, what lies below survives the loss of 3", StringComparison.Ordinal));
        Assert.Contains(_notes, static line => line.Contains("found 'very well' in user.tdfs.redundancy, expected survive=N or k+m", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("survive=0", 0, null)]
    [InlineData("survive=16", 16, null)]
    [InlineData("4+2", 2, 4)]
    [InlineData("survive=17", -1, null)]
    [InlineData("survive=-1", -1, null)]
    [InlineData("survive= 1", -1, null)]
    [InlineData("survive", -1, null)]
    [InlineData("2", -1, null)]
    [InlineData("0+2", -1, null)]
    [InlineData("2+0", -1, null)]
    [InlineData("2+17", -1, null)]
    [InlineData("", -1, null)]
    public void A_wish_is_survive_and_a_number_or_two_numbers(string text, int survive, int? data)
    {
        Assert.Equal(survive >= 0, DirectoryRedundancy.TryParse(text, out RedundancyWish wish));
        if (survive >= 0)
        {
            Assert.Equal(new RedundancyWish(survive, data), wish);
            Assert.Equal(text, wish.ToString());
        }
    }

    [Fact]
    public void A_wish_is_set_found_from_below_and_taken_away()
    {
        Directory.CreateDirectory(At("a/b/c"));
        Assert.True(DirectoryRedundancy.Set(At("a"), new RedundancyWish(2)));
        Assert.Equal((new RedundancyWish(2), At("a")), DirectoryRedundancy.InForce(At("a/b/c")));
        Assert.True(DirectoryRedundancy.Set(At("a/b"), new RedundancyWish(1, 3)));
        Assert.Equal((new RedundancyWish(1, 3), At("a/b")), DirectoryRedundancy.InForce(At("a/b/c")));
        Assert.True(DirectoryRedundancy.Set(At("a/b"), null));
        Assert.False(DirectoryRedundancy.Set(At("a/b"), null));
        Assert.Equal((new RedundancyWish(2), At("a")), DirectoryRedundancy.InForce(At("a/b/c")));
    }

    /// <summary>The weakest block of what a path holds, and of the names that lead to it below the root where they are strong.</summary>
    private async Task<int> WeakestOfAsync(SnapshotRecord snapshot, string path)
    {
        TreeReader tree = TreeReader.Of(_volume!, snapshot);
        Entry entry = (await tree.ResolveAsync(snapshot.Root, Encoding.UTF8.GetBytes(path), CancellationToken.None))!.Value.Entry;
        if (entry.IsLink)
        {
            entry = await LinkTable.ResolveAsync(_volume!.Tables, snapshot.Links, entry, CancellationToken.None);
        }

        var marker = new WeakestMarker(_store.Blocks);
        await TreeWalker.MarkEntryAsync(entry, _store.Blocks, marker, null, CancellationToken.None);
        return marker.Weakest;
    }

    private sealed class WeakestMarker(MemoryBlocks blocks) : IBlockMarker
    {
        internal int Weakest { get; private set; } = int.MaxValue;

        public bool Mark(Score score, BlockType type)
        {
            Weakest = Math.Min(Weakest, blocks.SurviveOf(score, type));
            return true;
        }
    }

    private async Task<SnapshotRecord> ImportAsync(string source = "") => (await RunAsync(source)).Snapshot;

    private async Task<ImportResult> RunAsync(string source = "", int workers = 3, long commitBytes = long.MaxValue)
    {
        _volume ??= await Volume.OpenOrCreateAsync(_store, "v", _random, CancellationToken.None);
        var options = new ImportOptions
        {
            Sources = [At(source)],
            Workers = workers,
            CommitBytes = commitBytes,
            Cache = new ImportCachePlace(_disk, "/cache", new SecretBytes(32), _random),
        };
        return await new Importer(_store, _volume, _random, new LaterClock()).RunAsync(options, new SnapshotTexts(), new Notes(_notes), CancellationToken.None);
    }

    private sealed class Notes(List<string> lines) : IImportObserver
    {
        public void Started(ImportProgress progress)
        {
        }

        public void Trouble(ImportTrouble trouble) => lines.Add(trouble.ToString());

        public void Note(string line) => lines.Add(line);
    }

    private string At(string name) => name.Length == 0 ? _folder.Path : Path.Combine(_folder.Path, name);

    private void Write(string name, int seed, int bytes = 30_000)
    {
        byte[] content = new byte[bytes];
        new Random(seed).NextBytes(content);
        Directory.CreateDirectory(Path.GetDirectoryName(At(name))!);
        File.WriteAllBytes(At(name), content);
    }

    private void Ask(string name, string wish)
    {
        if (DirectoryRedundancy.TryParse(wish, out RedundancyWish parsed))
        {
            DirectoryRedundancy.Set(At(name), parsed);
        }
        else
        {
            int fd = PosixCalls.OpenPath(Encoding.UTF8.GetBytes(At(name)));
            Assert.Equal(0, PosixCalls.SetXattr(fd, "user.tdfs.redundancy\0"u8, Encoding.UTF8.GetBytes(wish)));
            PosixCalls.Close(fd);
        }
    }
}
