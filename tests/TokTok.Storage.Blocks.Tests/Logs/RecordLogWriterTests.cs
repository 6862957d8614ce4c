using TokTok.Storage.Blocks.Disks;
using TokTok.Storage.Blocks.Logs;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Keys;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Blocks.Tests.Logs;

/// <summary>A log that is synced often is written in place, past the cache: what a sync acknowledged is there whatever happens, and costs sectors.</summary>
public sealed class RecordLogWriterTests : IDisposable
{
    private const string Log = "/log";
    private const int BusySyncs = 17;

    private readonly byte[] _key = new byte[32];
    private readonly KeyDomain _realm;
    private readonly RecordLogHeader _header;

    public RecordLogWriterTests()
    {
        _realm = KeyDomain.Create(DomainKind.Realm, new SeededRandom(3));
        _header = new RecordLogHeader { Kind = RecordLogKind.Journal, Domain = _realm.Id, Epoch = 1, Device = 1, Incarnation = 1, Number = 5, LogId = default };
    }

    public void Dispose() => _realm.Dispose();

    [Theory]
    [InlineData(false, true)]
    [InlineData(true, true)]
    [InlineData(true, false)]
    public void What_a_sync_acknowledged_survives_a_power_cut_at_every_operation(bool isTakenOver, bool writesThrough)
    {
        List<byte[]> bodies = Bodies();
        var whole = new SimulatedDisk { WritesThrough = writesThrough };
        if (isTakenOver)
        {
            Plant(whole);
        }

        Assert.Equal(int.MaxValue, WriteUntilTheEnd(whole, isTakenOver));
        long operations = whole.OperationCount;
        Assert.InRange(operations, 90, 1000);
        for (int cut = 1; cut <= operations; cut++)
        {
            var disk = new SimulatedDisk { WritesThrough = writesThrough };
            if (isTakenOver)
            {
                Plant(disk);
            }

            disk.CrashAfter(cut);
            int acknowledged = WriteUntilTheEnd(disk, isTakenOver);
            for (int seed = 0; seed < 3; seed++)
            {
                List<byte[]> read = ReadBodies(disk.Recover((cut * 3) + seed));
                Assert.True(read.Count >= Math.Min(acknowledged, bodies.Count), $"cut {cut}: {read.Count} records read, {acknowledged} acknowledged");
                Assert.All(read.Zip(bodies), pair => Assert.Equal(pair.Second, pair.First));
            }
        }
    }

    [Fact]
    public void A_small_record_costs_the_sectors_that_it_lies_in()
    {
        var disk = new SimulatedDisk();
        using RecordLogWriter writer = BusyWriter(disk);
        for (int i = 0; i < 8; i++)
        {
            (long bytes, long operations) = (disk.WrittenBytes, disk.OperationCount);
            writer.Append(new byte[4096]);
            writer.Sync();
            Assert.InRange(disk.WrittenBytes - bytes, 4096 + RecordLog.Overhead, 4096 + RecordLog.Overhead + (2 * IDiskFile.SectorBytes));
            Assert.Equal(1, disk.OperationCount - operations);
        }
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void What_was_synced_is_read_back_as_the_file_has_it_whichever_way_it_was_written(bool areSmall)
    {
        List<byte[]> bodies = areSmall ? [.. Enumerable.Range(0, 800).Select(static i => new SeededRandom(i).Bytes(3800 + i))] : Bodies();
        string folder = Directory.CreateTempSubdirectory("tdfs-log-").FullName;
        try
        {
            var random = new SeededRandom(7);
            using (RecordLogWriter writer = new(PosixDisk.Instance, folder + Log, _header, _key, random, isAhead: true))
            {
                int count = 0;
                foreach (byte[] body in bodies)
                {
                    writer.Append(body);
                    if (++count % 3 != 0)
                    {
                        writer.Sync();
                    }

                    long from = random.Next((int)Math.Max(1, writer.SyncedBytes));
                    byte[] back = new byte[writer.SyncedBytes - from + 10];
                    int read = 0;
                    for (int part = -1; part != 0; read += part)
                    {
                        part = writer.ReadSynced(from + read, back.AsSpan(read));
                    }

                    Assert.Equal(writer.SyncedBytes - from, read);
                    Assert.Equal(File.ReadAllBytes(folder + Log).AsSpan((int)from, read), back.AsSpan(0, read));
                }

                writer.Sync();
            }

            List<byte[]> written = [];
            using IDiskFile file = PosixDisk.Instance.Open(folder + Log, DiskOpen.Read);
            RecordLogExtent extent = RecordLogReader.Read(file, _key, body => written.Add(body.ToArray()));
            Assert.False(extent.HasTail);
            Assert.Equal(bodies, written);
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    [Fact]
    public void A_write_past_the_cache_that_fails_leaves_the_writer_failed()
    {
        var disk = new SimulatedDisk();
        using RecordLogWriter writer = BusyWriter(disk);
        long synced = writer.SyncedBytes;
        writer.Append([4]);
        disk.FailAfter(1, DiskFailure.Failed);
        Assert.Throws<DiskException>(writer.Sync);
        Assert.True(writer.HasFailed);
        Assert.Contains("an earlier write failed", Assert.Throws<DiskException>(() => writer.Append([5])).Message, StringComparison.Ordinal);
        Assert.Equal(synced, writer.SyncedBytes);
        byte[] back = new byte[synced];
        Assert.Equal(synced, writer.ReadSynced(0, back));
        Assert.Equal(disk.ReadAll(Log)[..(int)synced], back);
    }

    /// <summary>Small ones, some of many sectors, some of more than goes past the cache, and some that are written out before their sync.</summary>
    private static List<byte[]> Bodies()
    {
        var random = new SeededRandom(11);
        return [.. Enumerable.Range(0, 90).Select(i => random.Bytes(i % 30 == 19 ? 150_000 : i % 30 == 28 ? 300_000 : i % 7 == 6 ? 1 + random.Next(30_000) : 1 + random.Next(600)))];
    }

    private static void Plant(SimulatedDisk disk) => disk.Plant(Log, new SeededRandom(5).Bytes(1_500_001));

    private RecordLogWriter BusyWriter(SimulatedDisk disk)
    {
        var writer = new RecordLogWriter(disk, Log, _header, _key, new SeededRandom(1), isAhead: true);
        for (int i = 0; i < BusySyncs; i++)
        {
            writer.Append([1]);
            writer.Sync();
        }

        return writer;
    }

    /// <summary>How many records a sync had acknowledged when the power went; more than there are if it did not.</summary>
    private int WriteUntilTheEnd(SimulatedDisk disk, bool isTakenOver)
    {
        int acknowledged = 0;
        try
        {
            using var writer = new RecordLogWriter(disk, Log, _header, _key, new SeededRandom(1), isAhead: true, isTakenOver);
            int written = 0;
            foreach (byte[] body in Bodies())
            {
                writer.Append(body);
                written++;
                if (written % 10 != 9)
                {
                    writer.Sync();
                    acknowledged = written;
                }
            }

            writer.Sync();
            return int.MaxValue;
        }
        catch (SimulatedCrashException)
        {
            return acknowledged;
        }
    }

    private List<byte[]> ReadBodies(SimulatedDisk disk)
    {
        List<byte[]> bodies = [];
        if (!disk.FileExists(Log))
        {
            return bodies;
        }

        using IDiskFile file = disk.Open(Log, DiskOpen.Read);
        try
        {
            _ = RecordLogReader.ReadHeader(file, Log);
        }
        catch (DamagedFormatException)
        {
            return bodies; // it was not written yet
        }

        _ = RecordLogReader.Read(file, _key, body => bodies.Add(body.ToArray()));
        return bodies;
    }
}
