using TokTok.Storage.Core;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Blocks.Tests.Disks;

/// <summary>The simulated disk keeps the disk contract, and loses what a real one may lose.</summary>
public sealed class SimulatedDiskTests : DiskContract
{
    private readonly SimulatedDisk _disk = new();

    public SimulatedDiskTests() => _disk.CreateDirectory("/r");

    protected override IDisk Disk => _disk;

    protected override string Root => "/r";

    private static IEnumerable<int> Seeds => Enumerable.Range(0, 200);

    private IDiskFile Create(string path, byte fill, int length)
    {
        IDiskFile file = _disk.Open(path, DiskOpen.CreateNew);
        byte[] bytes = new byte[length];
        Array.Fill(bytes, fill);
        file.Write(0, bytes);
        return file;
    }

    [Fact]
    public void What_was_synced_with_its_name_survives_every_power_cut()
    {
        using IDiskFile file = Create("/r/a", 1, 2000);
        file.Sync();
        _disk.SyncDirectory("/r");
        byte[] expected = _disk.ReadAll("/r/a");
        Assert.All(Seeds, seed => Assert.Equal(expected, _disk.Recover(seed).ReadAll("/r/a")));
    }

    [Fact]
    public void What_was_written_through_survives_every_power_cut_and_what_was_not_need_not()
    {
        using IDiskFile file = Create("/r/a", 1, 2048);
        file.Sync();
        _disk.SyncDirectory("/r");
        byte[] twos = new byte[1024];
        Array.Fill(twos, (byte)2);
        file.Write(1024, twos);
        Assert.True(file.TryWriteThrough(512, twos));
        Assert.All(Seeds, seed => Assert.Equal(twos, _disk.Recover(seed).ReadAll("/r/a")[512..1536]));
        Assert.Contains(Seeds, seed => _disk.Recover(seed).ReadAll("/r/a")[1536] == 1);
        Assert.Throws<ArgumentException>(() => file.TryWriteThrough(1536, twos)); // beyond the end
        Assert.Throws<ArgumentException>(() => file.TryWriteThrough(1, twos));
    }

    [Fact]
    public void Unsynced_sectors_are_lost_each_on_its_own()
    {
        using IDiskFile file = Create("/r/a", 1, 1024);
        file.Sync();
        _disk.SyncDirectory("/r");
        byte[] changed = new byte[1024];
        Array.Fill(changed, (byte)2);
        file.Write(0, changed);
        var seen = Seeds.Select(seed => _disk.Recover(seed).ReadAll("/r/a")).Select(bytes => ((int)bytes[0], (int)bytes[512])).ToHashSet();
        Assert.Equal([(1, 1), (1, 2), (2, 1), (2, 2)], seen.Order());
    }

    [Fact]
    public void A_failed_sync_loses_its_sectors_even_if_a_later_one_succeeds()
    {
        using IDiskFile file = Create("/r/a", 1, 512);
        _disk.SyncDirectory("/r");
        _disk.FailAfter(1, DiskFailure.Failed);
        _ = Assert.Throws<DiskException>(file.Sync);
        _ = Assert.Throws<DiskException>(file.Sync);
        using (IDiskFile again = _disk.Open("/r/a", DiskOpen.ReadWrite))
        {
            again.Sync();
        }

        Assert.Contains(Seeds, seed => _disk.Recover(seed).ReadAll("/r/a")[0] == 0);
    }

    [Fact]
    public void An_unsynced_name_may_be_lost_or_kept_and_a_rename_happens_whole()
    {
        using IDiskFile old = Create("/r/b", 1, 1);
        old.Sync();
        using IDiskFile file = Create("/r/a", 2, 1);
        file.Sync();
        _disk.SyncDirectory("/r");
        _disk.Rename("/r/a", "/r/b");
        using IDiskFile other = Create("/r/c", 3, 1);
        var seen = new HashSet<(bool HasA, int B, bool HasC)>();
        foreach (int seed in Seeds)
        {
            SimulatedDisk recovered = _disk.Recover(seed);
            seen.Add((recovered.FileExists("/r/a"), recovered.ReadAll("/r/b")[0], recovered.FileExists("/r/c")));
        }

        Assert.Equal([(false, 2, false), (false, 2, true), (true, 1, false), (true, 1, true)], seen.Order());
    }

    [Fact]
    public void A_synced_rename_does_not_bring_its_source_back()
    {
        _disk.CreateDirectory("/r/t");
        using IDiskFile file = Create("/r/t/a", 2, 1);
        file.Sync();
        _disk.Rename("/r/t/a", "/r/a");
        _disk.SyncDirectory("/r");
        Assert.All(Seeds, seed => Assert.Equal(["r/a"], _disk.Recover(seed).Files()));
    }

    [Fact]
    public void The_power_goes_in_the_chosen_operation_and_stays_off()
    {
        using IDiskFile file = Create("/r/a", 1, 1);
        _disk.CrashAfter(2);
        file.Write(0, [2]);
        _ = Assert.Throws<SimulatedCrashException>(file.Sync);
        _ = Assert.Throws<SimulatedCrashException>(() => _disk.FileExists("/r/a"));
        Assert.True(_disk.HasCrashed);
    }

    [Fact]
    public void A_restart_of_the_process_keeps_everything_and_frees_locks()
    {
        using IDiskFile file = Create("/r/a", 1, 1);
        using IDisposable? held = _disk.TryLock("/r/lock");
        _disk.RestartProcess();
        Assert.Equal([1], _disk.ReadAll("/r/a"));
        _ = Assert.Throws<ObjectDisposedException>(() => file.Length);
        using IDisposable? again = _disk.TryLock("/r/lock");
        Assert.NotNull(again);
    }

    [Fact]
    public void A_full_and_a_read_only_disk_say_so_and_change_nothing()
    {
        using IDiskFile file = Create("/r/a", 1, 100);
        _disk.CapacityBytes = 120;
        Assert.Equal(20, _disk.FreeBytes("/r"));
        Assert.Equal(DiskFailure.Full, Assert.Throws<DiskException>(() => file.Write(100, new byte[21])).Failure);
        Assert.Equal(100, file.Length);
        _disk.IsReadOnly = true;
        Assert.Equal(DiskFailure.ReadOnly, Assert.Throws<DiskException>(() => file.Write(0, [2])).Failure);
        Assert.Equal(DiskFailure.ReadOnly, Assert.Throws<DiskException>(() => _disk.Delete("/r/a")).Failure);
        Assert.Equal(1, _disk.ReadAll("/r/a")[0]);
    }

    [Fact]
    public void Flipped_bits_stay_and_bad_sectors_fail_until_written()
    {
        using IDiskFile file = Create("/r/a", 1, 100);
        _disk.Corrupt("/r/a", 3, 0x80);
        Assert.Equal(0x81, _disk.ReadAll("/r/a")[3]);
        _disk.FailReads("/r/a", 10, 1);
        byte[] target = new byte[20];
        _ = Assert.Throws<DiskException>(() => file.Read(0, target));
        Assert.Equal(10, file.Read(0, target.AsSpan(0, 10)));
        file.Write(10, [4]);
        Assert.Equal(20, file.Read(0, target));
    }

    [Fact]
    public void A_manual_clock_fires_timers_in_order_and_only_when_advanced()
    {
        var clock = new ManualClock();
        var fired = new List<(string Name, TimeSpan At)>();
        DateTimeOffset start = clock.GetUtcNow();
        using ITimer every = clock.CreateTimer(_ => fired.Add(("every", clock.GetUtcNow() - start)), null, TimeSpan.FromSeconds(2), TimeSpan.FromSeconds(2));
        using ITimer once = clock.CreateTimer(_ => fired.Add(("once", clock.GetUtcNow() - start)), null, TimeSpan.FromSeconds(3), Timeout.InfiniteTimeSpan);
        Assert.Empty(fired);
        clock.Advance(TimeSpan.FromSeconds(5));
        Assert.Equal([("every", TimeSpan.FromSeconds(2)), ("once", TimeSpan.FromSeconds(3)), ("every", TimeSpan.FromSeconds(4))], fired);
        Assert.Equal(TimeSpan.FromSeconds(5), clock.GetElapsedTime(0));
    }

    [Fact]
    public void Seeded_randomness_repeats_and_seeds_differ()
    {
        Assert.Equal(new SeededRandom(7).Bytes(33), new SeededRandom(7).Bytes(33));
        Assert.NotEqual(new SeededRandom(7).Bytes(33), new SeededRandom(8).Bytes(33));
        Assert.Equal(0xE220A8397B1DCDAFUL, BitConverter.ToUInt64(new SeededRandom(0).Bytes(8)));
    }
}
