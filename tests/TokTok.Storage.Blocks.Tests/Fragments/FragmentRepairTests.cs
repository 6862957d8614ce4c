using TokTok.Storage.Blocks.Fragments;
using TokTok.Storage.Blocks.Tests.Store;
using TokTok.Storage.Core;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Blocks.Tests.Fragments;

public sealed class FragmentRepairTests
{
    private const int Slice = 36864;    // two whole groups and a short one

    public enum Damage
    {
        Deleted,
        Truncated,
        BitFlips,
        Swapped,
        Noise,
        FirstRecord,
        SecondRecord,
        BothRecords,
        HashList,
        BadSectors,
    }

    public static TheoryData<int, int, Damage> Cases()
    {
        var cases = new TheoryData<int, int, Damage>();
        foreach ((int data, int parity) in ((int, int)[])[(16, 1), (1, 1), (2, 1), (4, 3)])
        {
            foreach (Damage damage in Enum.GetValues<Damage>())
            {
                cases.Add(data, parity, damage);
            }
        }

        return cases;
    }

    private static async Task<(SimulatedDisk Disk, FolderHolder[] Holders)> SpreadAsync(CodedArena arena, CodedArena other)
    {
        var disk = new SimulatedDisk();
        var holders = new FolderHolder[arena.Data + arena.Parity];
        for (int index = 0; index < holders.Length; index++)
        {
            holders[index] = FolderHolder.Create(disk, $"/h{index}", new SeededRandom(index));
            await arena.PutAsync(holders[index], index);
            await other.PutAsync(holders[index], index);
        }

        return (disk, holders);
    }

    private static void Inflict(SimulatedDisk disk, string path, string otherPath, Damage damage)
    {
        byte[] file = disk.ReadAll(path);
        int second = file.Length - 4096;
        switch (damage)
        {
            case Damage.Deleted:
                disk.Remove(path);
                break;
            case Damage.Truncated:
                disk.Plant(path, file.AsSpan(0, 4096 + 20000));
                break;
            case Damage.BitFlips:
                disk.Corrupt(path, 4096 + 17000, 0x10);
                disk.Corrupt(path, 4096 + 17001, 0x01);
                break;
            case Damage.Swapped:
                disk.Plant(path, disk.ReadAll(otherPath));
                break;
            case Damage.Noise:
                disk.Plant(path, new SeededRandom(3).Bytes(file.Length));
                break;
            case Damage.FirstRecord:
                disk.Corrupt(path, 50, 0xFF);
                break;
            case Damage.SecondRecord:
                disk.Corrupt(path, second + 50, 0xFF);
                break;
            case Damage.BothRecords:
                disk.Corrupt(path, 3, 0xFF);
                disk.Corrupt(path, second + 3, 0xFF);
                break;
            case Damage.HashList:
                disk.Corrupt(path, 130, 0xFF);
                disk.Corrupt(path, second + 130, 0xFF);
                break;
            case Damage.BadSectors:
                disk.FailReads(path, 0, 512);
                disk.FailReads(path, 4096 + 1024, 512);
                break;
            default:
                throw new ArgumentOutOfRangeException(nameof(damage));
        }
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public async Task Damage_to_as_many_fragments_as_there_is_parity_is_read_around_and_repaired(int data, int parity, Damage damage)
    {
        CodedArena arena = CodedArena.Make(data, parity, Slice, seed: 5);
        CodedArena other = CodedArena.Make(data, parity, Slice, seed: 6);
        (SimulatedDisk disk, FolderHolder[] holders) = await SpreadAsync(arena, other);
        for (int index = 0; index < parity; index++)
        {
            Inflict(disk, arena.Path($"/h{index}"), other.Path($"/h{index}"), damage);
        }

        byte[] window = new byte[20000];
        await FragmentRepair.ReadWindowAsync(arena.Set(index => holders[index]), 0, 10000, window, default);
        Assert.Equal(arena.Fragments[0].Bytes.Slice(10000, 20000).ToArray(), window);

        Assert.True(await FragmentRepair.IsReadableAsync(arena.Set(index => holders[index]), default));
        RepairReport report = await FragmentRepair.RepairAsync(arena.Set(index => holders[index]), default);
        Assert.True(report.IsWhole, string.Join("; ", report.After));
        Assert.Contains(report.Before, found => found.Health != FragmentHealth.Good || found.IsRecordDamaged);
        Assert.All(report.Before.Skip(parity), found => Assert.Equal(FragmentHealth.Good, found.Health));
        for (int index = 0; index < parity; index++)
        {
            byte[] file = disk.ReadAll(arena.Path($"/h{index}"));
            Assert.Equal(arena.Fragments[index].Bytes.ToArray(), file[4096..^4096]);
            Assert.Equal(file[..4096], file[^4096..]);
            Assert.Equal(damage == Damage.Swapped ? 1 : 0, disk.List($"/h{index}/damaged").Count);
        }
    }

    [Theory]
    [InlineData(16, 1)]
    [InlineData(1, 1)]
    [InlineData(2, 1)]
    [InlineData(4, 3)]
    public async Task One_more_than_parity_fails_in_words_and_writes_nothing_wrong(int data, int parity)
    {
        CodedArena arena = CodedArena.Make(data, parity, Slice, seed: 5);
        (SimulatedDisk disk, FolderHolder[] holders) = await SpreadAsync(arena, CodedArena.Make(data, parity, Slice, seed: 6));
        for (int index = 0; index <= parity; index++)
        {
            Inflict(disk, arena.Path($"/h{index}"), "", Damage.BitFlips);
        }

        byte[] good = new byte[100];
        await FragmentRepair.ReadWindowAsync(arena.Set(index => holders[index]), 0, 0, good, default);
        Assert.Equal(arena.Fragments[0].Bytes[..100].ToArray(), good);
        DamagedBlockException e = await Assert.ThrowsAsync<DamagedBlockException>(
            async () => await FragmentRepair.ReadWindowAsync(arena.Set(index => holders[index]), 0, 17000, good, default));
        Assert.Contains(arena.Id.ToString(), e.Message, StringComparison.Ordinal);
        Assert.Contains("group 1 of fragment 0", e.Message, StringComparison.Ordinal);

        Assert.False(await FragmentRepair.IsReadableAsync(arena.Set(index => holders[index]), default));
        long before = disk.WrittenBytes;
        RepairReport report = await FragmentRepair.RepairAsync(arena.Set(index => holders[index]), default);
        Assert.False(report.IsWhole);
        Assert.Equal(before, disk.WrittenBytes);
        Assert.Equal(parity + 1, report.After.Count(found => found.Health == FragmentHealth.Damaged));
    }

    [Theory]
    [InlineData(2, 1)]
    [InlineData(4, 3)]
    public async Task Of_a_fragment_that_is_away_no_more_than_the_groups_are_rebuilt_and_the_whole_is_held_to_its_name(int data, int parity)
    {
        CodedArena arena = CodedArena.Make(data, parity, Slice, seed: 5);
        (_, FolderHolder[] holders) = await SpreadAsync(arena, CodedArena.Make(data, parity, Slice, seed: 6));
        long asked = 0;
        FragmentSet set = arena.Set(index => index < parity ? null : new PutHook(holders[index], static () => Task.CompletedTask) { BeforeRead = bytes => Interlocked.Add(ref asked, bytes) });
        byte[] window = new byte[100];
        await FragmentRepair.ReadWindowAsync(set, 0, 17000, window, default);
        Assert.Equal(arena.Fragments[0].Bytes.Slice(17000, 100).ToArray(), window);
        Assert.Equal(data * 16 * 1024, asked);

        byte[] whole = new byte[Slice];
        await FragmentRepair.ReadWindowAsync(set, 0, 0, whole, default);
        Assert.Equal(arena.Fragments[0].Bytes.ToArray(), whole);
        FragmentSet misnamed = set with { Fragments = [set.Fragments[0] with { Name = set.Fragments[1].Name }, .. set.Fragments.Skip(1)] };
        DamagedBlockException wrong = await Assert.ThrowsAsync<DamagedBlockException>(async () => await FragmentRepair.ReadWindowAsync(misnamed, 0, 0, whole, default));
        Assert.Contains("does not match its name", wrong.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task What_the_disk_said_is_told_with_what_is_damaged()
    {
        CodedArena arena = CodedArena.Make(2, 1, Slice);
        (SimulatedDisk disk, FolderHolder[] holders) = await SpreadAsync(arena, CodedArena.Make(2, 1, Slice, seed: 6));
        Inflict(disk, arena.Path("/h0"), "", Damage.BitFlips);
        disk.FailReads(arena.Path("/h1"), 4096 + 17000, 512);
        DamagedBlockException e = await Assert.ThrowsAsync<DamagedBlockException>(
            async () => await FragmentRepair.ReadWindowAsync(arena.Set(index => holders[index]), 0, 17000, new byte[100], default));
        Assert.Contains("group 1 of fragment 0", e.Message, StringComparison.Ordinal);
        Assert.Contains(arena.Path("h1"), e.Message, StringComparison.Ordinal);
        Assert.Contains("input/output error", e.Message, StringComparison.Ordinal);
        FragmentReport found = (await FragmentRepair.VerifyAsync(arena.Set(index => holders[index]), default))[1];
        Assert.Equal([1], found.DamagedGroups);
        Assert.Contains("input/output error", found.Detail!, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Only_damaged_groups_are_written()
    {
        CodedArena arena = CodedArena.Make(4, 3, Slice);
        (SimulatedDisk disk, FolderHolder[] holders) = await SpreadAsync(arena, CodedArena.Make(4, 3, Slice, seed: 6));
        disk.Corrupt(arena.Path("/h1"), 4096 + 16384 + 5, 1);
        disk.Corrupt(arena.Path("/h6"), 4096 + 32768 + 5, 1);
        long before = disk.WrittenBytes;
        RepairReport report = await FragmentRepair.RepairAsync(arena.Set(index => holders[index]), default);
        Assert.True(report.IsWhole);
        Assert.Equal(2, report.RewrittenGroups);
        Assert.Equal([1], report.Before[1].DamagedGroups);
        Assert.Equal([2], report.Before[6].DamagedGroups);
        Assert.Equal(16384 + 4096, disk.WrittenBytes - before);
    }

    [Fact]
    public async Task Different_groups_may_be_damaged_in_every_fragment()
    {
        CodedArena arena = CodedArena.Make(2, 1, Slice);
        (SimulatedDisk disk, FolderHolder[] holders) = await SpreadAsync(arena, CodedArena.Make(2, 1, Slice, seed: 6));
        for (int index = 0; index < 3; index++)
        {
            disk.Corrupt(arena.Path($"/h{index}"), 4096 + (index * 16384), 0x40);
        }

        Assert.True((await FragmentRepair.RepairAsync(arena.Set(index => holders[index]), default)).IsWhole);
    }

    [Fact]
    public async Task An_unreachable_holder_is_not_a_missing_fragment()
    {
        CodedArena arena = CodedArena.Make(2, 1, Slice);
        (_, FolderHolder[] holders) = await SpreadAsync(arena, CodedArena.Make(2, 1, Slice, seed: 6));
        IReadOnlyList<FragmentReport> reports = await FragmentRepair.VerifyAsync(arena.Set(index => index == 1 ? null : holders[index]), default);
        Assert.Equal([FragmentHealth.Good, FragmentHealth.Unreachable, FragmentHealth.Good], reports.Select(report => report.Health));
    }

    [Theory]
    [InlineData(Damage.BitFlips)]
    [InlineData(Damage.FirstRecord)]
    [InlineData(Damage.SecondRecord)]
    [InlineData(Damage.BothRecords)]
    [InlineData(Damage.HashList)]
    [InlineData(Damage.Truncated)]
    public async Task A_repair_cut_off_anywhere_loses_nothing_and_can_be_repeated(Damage damage)
    {
        CodedArena arena = CodedArena.Make(2, 1, Slice);
        for (int crash = 1; ; crash++)
        {
            var disk = new SimulatedDisk();
            using (FolderHolder holder = FolderHolder.Create(disk, "/h", new SeededRandom(1)))
            {
                await arena.PutAsync(holder, 0, 1, 2);
                DamageOneFile(disk, arena.Path("/h"), damage);
                disk.CrashAfter(crash);
                try
                {
                    _ = await FragmentRepair.RepairAsync(arena.Set(_ => holder), default);
                }
                catch (SimulatedCrashException)
                {
                }
            }

            for (int seed = 0; seed < 4; seed++)
            {
                SimulatedDisk after = disk.Recover(seed);
                using FolderHolder holder = FolderHolder.Open(after, "/h", new SeededRandom(2));
                RepairReport report = await FragmentRepair.RepairAsync(arena.Set(_ => holder), default);
                Assert.True(report.IsWhole, $"crash {crash} seed {seed}: {string.Join("; ", report.After)}");
            }

            if (!disk.HasCrashed)
            {
                Assert.InRange(crash, 2, 100);
                return;
            }
        }
    }

    /// <summary>All three fragments in one file: damage that its own parity can still mend.</summary>
    private static void DamageOneFile(SimulatedDisk disk, string path, Damage damage)
    {
        byte[] file = disk.ReadAll(path);
        int second = file.Length - 4096;
        if (damage == Damage.Truncated)
        {
            disk.Plant(path, file.AsSpan(0, 4096 + (2 * Slice) + 5000));
        }
        else if (damage == Damage.HashList)
        {
            int hashes = 48 + (3 * 44) + 32 + 5;
            disk.Corrupt(path, hashes, 1);
            disk.Corrupt(path, second + hashes, 1);
        }
        else
        {
            Inflict(disk, path, "", damage);
        }

        if (damage != Damage.Truncated)
        {
            disk.Corrupt(path, 4096 + Slice + 100, 0x20);
        }
    }
}
