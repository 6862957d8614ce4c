using System.Buffers.Binary;
using TokTok.Storage.Blocks.Disks;
using TokTok.Storage.Blocks.Fragments;
using TokTok.Storage.Blocks.Logs;
using TokTok.Storage.Blocks.Tests.Store;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Keys;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Blocks.Tests.Logs;

public sealed class LogCopiesTests : IDisposable
{
    private const ulong Number = 5;
    private const long AllowedBytes = 16 * 1024 * 1024;

    private readonly string _folder = Directory.CreateTempSubdirectory("tdfs-logs-").FullName;
    private readonly SeededRandom _random = new(3);
    private readonly KeyDomain _realm;
    private readonly FolderHolder _holder;

    public LogCopiesTests()
    {
        _realm = KeyDomain.Create(DomainKind.Realm, _random);
        _holder = FolderHolder.Create(PosixDisk.Instance, _folder + "/holder", _random);
    }

    private string HeldPath => $"{_folder}/holder/objects/journal/00000001-{0:x16}-{Number:x16}";

    public void Dispose()
    {
        _holder.Dispose();
        _realm.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    [Fact]
    public async Task A_holder_that_claims_a_terabyte_costs_one_window()
    {
        await PublishAsync([1, 2, 3]);
        using (FileStream held = new(HeldPath, FileMode.Open, FileAccess.Write))
        {
            held.SetLength(1L << 40);
        }

        Assert.Equal([1, 2, 3], await ReadAsync());
    }

    [Theory]
    [InlineData(uint.MaxValue)]
    [InlineData(0x7FFFFFFFu)]
    [InlineData((uint)RecordLog.MaxBodyBytes + 1)]
    [InlineData((uint)RecordLog.MaxBodyBytes)]
    [InlineData(0u)]
    public async Task A_record_of_any_claimed_length_ends_the_log(uint length)
    {
        await PublishAsync([1, 2]);
        byte[] bytes = await File.ReadAllBytesAsync(HeldPath, TestContext.Current.CancellationToken);
        byte[] hostile = new byte[4 * 1024 * 1024];
        bytes.CopyTo(hostile, 0);
        BinaryPrimitives.WriteUInt32LittleEndian(hostile.AsSpan(bytes.Length), length);
        await File.WriteAllBytesAsync(HeldPath, hostile, TestContext.Current.CancellationToken);

        Assert.Equal([1, 2], await ReadAsync());
    }

    [Fact]
    public async Task Records_of_every_size_are_read_alike_here_and_at_a_holder()
    {
        // One under, exact and one over what a window holds behind the header, then the longest, then short ones again.
        int window = RecordLog.WindowBytes - RecordLog.Overhead;
        int[] sizes = [1, window - 1, window, window + 1, 70_000, RecordLog.MaxBodyBytes, 1, .. Enumerable.Repeat(333, 2000)];
        await PublishAsync(sizes);
        Assert.Equal(sizes, await ReadAsync());
        Assert.Equal(sizes, await ReadAsync(isLocal: true));
    }

    [Fact]
    public void After_a_failed_sync_the_appender_stays_failed()
    {
        var disk = new SimulatedDisk();
        var header = new RecordLogHeader { Kind = RecordLogKind.Journal, Domain = _realm.Id, Epoch = 1, Device = 1, Incarnation = 1, Number = Number, LogId = default };
        using var writer = new RecordLogWriter(disk, "/log", header, new byte[32], _random);
        writer.Append([1, 2, 3]);
        writer.Sync();
        long synced = writer.SyncedBytes;
        writer.Append([4]);
        disk.FailAfter(2, DiskFailure.Failed); // the write, then the sync
        Assert.Throws<DiskException>(writer.Sync);
        Assert.True(writer.HasFailed);
        int bytes = disk.ReadAll("/log").Length;
        Assert.Contains("an earlier write failed", Assert.Throws<DiskException>(() => writer.Append([5])).Message, StringComparison.Ordinal);
        Assert.Throws<DiskException>(writer.Sync);
        Assert.Equal(synced, writer.SyncedBytes);
        Assert.Equal(bytes, disk.ReadAll("/log").Length);
    }

    /// <param name="requests">A short file comes whole; of a long one the header and the end are asked for.</param>
    [Theory]
    [InlineData(3, 1)]
    [InlineData(50_000, 2)]
    public async Task What_has_not_grown_is_not_asked_for_again(int bytes, int requests)
    {
        using var world = new TwoHolders(_realm, _random);
        world.Writer.Append(new byte[bytes]);
        await world.PublishAsync();
        Assert.Equal(2 * requests, await world.CompareAsync());
        Assert.Equal(0, await world.CompareAsync());
        world.Writer.Append([4]);
        await world.PublishAsync();
        Assert.Equal(2 * requests, await world.CompareAsync());
        Assert.Equal(0, await world.CompareAsync());
    }

    [Fact(Timeout = 60_000)]
    public async Task Holders_are_published_to_side_by_side()
    {
        using var world = new TwoHolders(_realm, _random);
        var both = new TaskCompletionSource();
        int begun = 0;
        await world.PublishAsync(beforeAppend: _ =>
        {
            if (Interlocked.Increment(ref begun) == 2)
            {
                both.SetResult();
            }

            return both.Task; // the first is not through before the second has begun
        });
        Assert.Equal(2, begun);
    }

    [Fact]
    public async Task What_is_no_header_is_asked_for_until_it_is_put_anew()
    {
        using var world = new TwoHolders(_realm, _random);
        await world.PublishAsync();
        HolderObject whole = (await world.First.ListObjectsAsync("journal/", TestContext.Current.CancellationToken))[0];
        byte[] bytes = new byte[whole.Length];
        Assert.Equal(bytes.Length, await world.First.ReadObjectAsync(whole.Name, 0, bytes, TestContext.Current.CancellationToken));
        await world.First.PutObjectAsync(whole.Name, new byte[bytes.Length], TestContext.Current.CancellationToken);
        Assert.Single(await world.FindAsync());
        Assert.Single(await world.FindAsync());
        await world.First.PutObjectAsync(whole.Name, bytes, TestContext.Current.CancellationToken);
        Assert.Equal(2, (await world.FindAsync()).Count);
    }

    [Fact]
    public async Task What_was_gone_meanwhile_is_asked_for_anew()
    {
        using var world = new TwoHolders(_realm, _random);
        await world.PublishAsync();
        LogCopy before = (await world.FindAsync())[0];
        byte[] other = new byte[before.Bytes];
        Assert.Equal(other.Length, await world.First.ReadObjectAsync(before.ObjectName, 0, other, TestContext.Current.CancellationToken));
        using (RecordLogWriter fork = world.Begin("/elsewhere"))
        {
            await world.First.DeleteObjectAsync(before.ObjectName, TestContext.Current.CancellationToken);
            Assert.Single(await world.FindAsync());
            fork.Sync();
            await world.PublishAsync(fork);
        }

        List<LogCopy> after = await world.FindAsync();
        Assert.Equal(2, after.Count);
        Assert.Equal(before.Bytes, after[0].Bytes);
        Assert.NotEqual(before.Header.LogId, after[0].Header.LogId);
    }

    [Fact]
    public async Task What_a_holder_gets_in_its_own_time_is_synced_with_what_comes_next_even_if_that_is_nothing()
    {
        var disk = new SimulatedDisk();
        disk.CreateDirectory("/holder");
        disk.CreateDirectory("/state");
        var copies = new LogCopies(disk, "/state/journal", "journal", RecordLogKind.Journal, 1, _realm, new LogHeads());
        string name;
        long synced;
        using (var holder = FolderHolder.Create(disk, "/holder", _random))
        using (RecordLogWriter writer = copies.Begin(Number, _random))
        {
            writer.Append([1]);
            writer.Sync();
            await copies.PublishAsync(writer, [holder], isSynced: true, TestContext.Current.CancellationToken);
            name = (await holder.ListObjectsAsync("journal", TestContext.Current.CancellationToken))[0].Name;
            writer.Append([2]);
            writer.Sync();
            int syncs = 0;
            disk.OnOperation = operation =>
            {
                syncs += operation.Kind == SimulatedOperationKind.Sync ? 1 : 0;
                return null;
            };
            await copies.PublishAsync(writer, [holder], isSynced: false, TestContext.Current.CancellationToken);
            Assert.Equal(0, syncs);
            await copies.PublishAsync(writer, [holder], isSynced: true, TestContext.Current.CancellationToken);
            Assert.Equal(1, syncs);
            await copies.PublishAsync(writer, [holder], isSynced: true, TestContext.Current.CancellationToken);
            Assert.Equal(1, syncs);
            synced = writer.SyncedBytes;
            Assert.Empty(copies.Lag);
            Assert.Equal(synced, (await holder.ListObjectsAsync(name, TestContext.Current.CancellationToken))[0].Length);
        }
    }

    private LogCopies Copies() => new(PosixDisk.Instance, _folder + "/journal", "journal", RecordLogKind.Journal, 1, _realm, new LogHeads());

    private async Task PublishAsync(int[] sizes)
    {
        LogCopies copies = Copies();
        using RecordLogWriter writer = copies.Begin(Number, _random);
        foreach (int size in sizes)
        {
            writer.Append(_random.Bytes(size));
        }

        writer.Sync();
        await copies.PublishAsync(writer, [_holder], isSynced: true, TestContext.Current.CancellationToken);
        Assert.Empty(copies.Lag);
    }

    /// <summary>The sizes of the records of the one copy, which must cost no more than a few windows of memory.</summary>
    private async Task<List<int>> ReadAsync(bool isLocal = false)
    {
        LogCopies copies = Copies();
        LogCopy copy = Assert.Single(await copies.FindAsync([_holder], TestContext.Current.CancellationToken), copy => copy.LocalPath is not null == isLocal);
        var sizes = new List<int>();
        long before = GC.GetAllocatedBytesForCurrentThread();
        await copies.ReadAsync(copy, body => sizes.Add(body.Length), TestContext.Current.CancellationToken);
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, AllowedBytes);
        return sizes;
    }

    /// <summary>A journal at two holders that another device looks at, with one memory of what it saw.</summary>
    private sealed class TwoHolders : IDisposable
    {
        private readonly SimulatedDisk _disk = new();
        private readonly LogHeads _heads = new();
        private readonly KeyDomain _realm;
        private readonly SeededRandom _random;
        private readonly LogCopies _ours;
        private readonly FolderHolder[] _folders;
        private readonly IFragmentHolder[] _holders;
        private int _reads;

        internal TwoHolders(KeyDomain realm, SeededRandom random)
        {
            (_realm, _random) = (realm, random);
            _disk.CreateDirectory("/one");
            _disk.CreateDirectory("/other");
            _folders = [FolderHolder.Create(_disk, "/one", random), FolderHolder.Create(_disk, "/other", random)];
            _holders = [.. _folders.Select(folder => new PutHook(folder, static () => Task.CompletedTask) { BeforeReadObject = (_, _) => _reads++ })];
            _ours = CopiesIn("/state", new LogHeads());
            Writer = _ours.Begin(Number, random);
            Writer.Sync();
        }

        internal RecordLogWriter Writer { get; }

        internal IFragmentHolder First => _folders[0];

        internal RecordLogWriter Begin(string state) => CopiesIn(state, new LogHeads()).Begin(Number, _random);

        internal async Task PublishAsync(RecordLogWriter? writer = null, Func<string, Task>? beforeAppend = null)
        {
            (writer ?? Writer).Sync();
            LogCopies copies = writer is null ? _ours : CopiesIn("/elsewhere", new LogHeads());
            IFragmentHolder[] holders = [.. _folders.Select(folder => new PutHook(folder, static () => Task.CompletedTask) { BeforeAppend = beforeAppend })];
            await copies.PublishAsync(writer ?? Writer, holders, isSynced: true, CancellationToken.None);
        }

        internal ValueTask<List<LogCopy>> FindAsync() => CopiesIn("/another", _heads).FindAsync(_holders, CancellationToken.None);

        /// <returns>Reads that it took.</returns>
        internal async Task<int> CompareAsync()
        {
            int before = _reads;
            LogCopies copies = CopiesIn("/another", _heads);
            List<LogCopy> found = await copies.FindAsync(_holders, CancellationToken.None);
            Assert.Equal(2, found.Count);
            Assert.True(await copies.IsPrefixAsync(found[0], found[1], CancellationToken.None));
            return _reads - before;
        }

        public void Dispose()
        {
            Writer.Dispose();
            Array.ForEach(_folders, static folder => folder.Dispose());
        }

        private LogCopies CopiesIn(string state, LogHeads heads)
        {
            _disk.CreateDirectory(state);
            return new LogCopies(_disk, state + "/journal", "journal", RecordLogKind.Journal, 1, _realm, heads);
        }
    }
}
