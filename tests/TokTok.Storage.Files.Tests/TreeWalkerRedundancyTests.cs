using System.Text;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Keys;
using TokTok.Storage.Files.Posix;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Files.Tests;

/// <summary>What the walk asks of blocks is what the importer gave them: two ways to one answer, over random trees with random wishes.</summary>
public sealed class TreeWalkerRedundancyTests : IDisposable
{
    private readonly TempFolder _folder = new();
    private readonly MemoryVolumeStore _store = new();

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(4)]
    public async Task No_block_is_weaker_than_the_walk_asks_and_none_is_stronger_than_anything_asks(int seed)
    {
        var random = new Random(seed);
        var disk = new MemoryDisk();
        var ids = new SeededRandom(seed);
        Grow(random);
        Volume volume = await Volume.OpenOrCreateAsync(_store, "v", ids, CancellationToken.None);
        for (int round = 0; round < 3; round++)
        {
            Wish(random);
            var options = new ImportOptions { Sources = [_folder.Path], Workers = 2, Cache = new ImportCachePlace(disk, "/cache", new SecretBytes(32), ids), Table = new TableOptions { TargetBytes = 512, InlineBytes = 64 } };
            SnapshotRecord snapshot = (await new Importer(_store, volume, ids, new LaterClock()).RunAsync(options, new SnapshotTexts(), null, CancellationToken.None)).Snapshot;
            var asked = new Recorder();
            await TreeWalker.MarkSnapshotAsync(snapshot, _store.Blocks, asked, CancellationToken.None);
            Assert.True(asked.Wanted.Count > 50, $"{asked.Wanted.Count} blocks");
            foreach (((Score score, BlockType type), int wanted) in asked.Wanted)
            {
                int kept = _store.Blocks.SurviveOf(score, type);
                Assert.True(kept >= wanted, $"seed {seed}, round {round}: {type} block {score} outlives {kept}, {wanted} are wanted");
                Assert.True(round > 0 || kept == wanted || kept == 1, $"seed {seed}: {type} block {score} outlives {kept}, only {wanted} are wanted");
            }

            if (round == 0)
            {
                var all = new Recorder();
                await new TreeWalker().MarkAsync(volume.Head!, _store.Blocks, all, CancellationToken.None);
                Assert.All(all.Wanted, block => Assert.True(_store.Blocks.SurviveOf(block.Key.Score, block.Key.Type) >= block.Value, $"seed {seed}: {block.Key.Type} on the way to the snapshot"));
                Assert.Equal(all.Wanted.Values.Max(), all.Wanted[(volume.Head!.Root, BlockType.VolumeRoot)]);
            }
        }
    }

    /// <summary>Some folders, equal files in different ones, files of several names, one large enough for a tree of extents.</summary>
    private void Grow(Random random)
    {
        var folders = new List<string> { "" };
        for (int i = 0; i < 24; i++)
        {
            string name = Path.Join(folders[random.Next(folders.Count)], $"d{i}");
            Directory.CreateDirectory(At(name));
            folders.Add(name);
        }

        int fd = PosixCalls.OpenPath(Encoding.UTF8.GetBytes(_folder.Path));
        for (int i = 0; i < 160; i++)
        {
            string name = Path.Join(folders[random.Next(folders.Count)], $"f{i}");
            byte[] content = new byte[random.Next(4) == 0 ? 100 : 3000];
            new Random(i % 100).NextBytes(content);
            File.WriteAllBytes(At(name), content);
            if (random.Next(8) == 0)
            {
                string other = Path.Join(folders[random.Next(folders.Count)], $"l{i}");
                Assert.Equal(0, PosixCalls.HardLink(fd, Encoding.UTF8.GetBytes(name), fd, Encoding.UTF8.GetBytes(other)));
            }
        }

        byte[] large = new byte[2_500_000];
        random.NextBytes(large);
        File.WriteAllBytes(At(Path.Join(folders[^1], "large")), large);
        PosixCalls.Close(fd);
    }

    private void Wish(Random random)
    {
        foreach (string folder in Directory.GetDirectories(_folder.Path, "*", SearchOption.AllDirectories).Order(StringComparer.Ordinal))
        {
            int choice = random.Next(12);
            if (choice < 4)
            {
                DirectoryRedundancy.Set(folder, new RedundancyWish(choice));
            }
            else if (choice == 4)
            {
                DirectoryRedundancy.Set(folder, null);
            }
        }
    }

    private string At(string name) => Path.Combine(_folder.Path, name);

    /// <summary>The marker by its contract alone.</summary>
    private sealed class Recorder : IRedundancyMarker
    {
        private readonly Dictionary<(Score Score, BlockType Type), int> _walked = [];

        internal Dictionary<(Score Score, BlockType Type), int> Wanted { get; } = [];

        public int DefaultSurvive => MemoryBlocks.DefaultSurvive;

        public bool Mark(Score score, BlockType type) => Mark(score, type, DefaultSurvive);

        public bool Mark(Score score, BlockType type, int survive)
        {
            _ = Raise(score, type, survive);
            if (_walked.TryGetValue((score, type), out int walked) && walked >= survive)
            {
                return false;
            }

            _walked[(score, type)] = survive;
            return true;
        }

        public int Raise(Score score, BlockType type, int survive)
        {
            int wanted = Wanted.TryGetValue((score, type), out int present) ? Math.Max(present, survive) : survive;
            Wanted[(score, type)] = wanted;
            return wanted;
        }
    }
}
