using TokTok.Storage.Blocks.Arenas;
using TokTok.Storage.Blocks.Fragments;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Erasure;
using TokTok.Storage.Core.Hashing;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Blocks.Tests.Fragments;

/// <summary>An arena coded into fragments, kept in one folder or in a folder each.</summary>
internal sealed class CodedArena
{
    private CodedArena(int data, int parity, int slice, long seed)
    {
        var random = new SeededRandom(seed);
        Id = ArenaId.New(random);
        (Data, Parity, Slice) = (data, parity, slice);
        byte[] image = random.Bytes(data * slice);
        byte[] coded = new byte[parity * slice];
        new ReedSolomon(data, parity).Encode(image, coded, slice);
        byte[] all = [.. image, .. coded];
        for (int index = 0; index < data + parity; index++)
        {
            byte[] bytes = all[(index * slice)..((index + 1) * slice)];
            byte[] hashes = new byte[Blake3Tree.GroupCount(slice) * Blake3.HashSize];
            byte[] root = new byte[Blake3.HashSize];
            Blake3Tree.HashWithGroups(bytes, hashes, root);
            Fragments.Add(new FragmentData(index, bytes, FragmentName.Read(root), hashes));
        }
    }

    internal ArenaId Id { get; }

    internal int Data { get; }

    internal int Parity { get; }

    internal int Slice { get; }

    internal List<FragmentData> Fragments { get; } = [];

    internal static CodedArena Make(int data, int parity, int slice, long seed = 1) => new(data, parity, slice, seed);

    internal ValueTask PutAsync(FolderHolder holder, params int[] indexes) =>
        holder.PutAsync(Id, Data, Parity, Slice, [.. indexes.Select(index => Fragments[index])], default);

    internal FragmentSet Set(Func<int, IFragmentHolder?> holder) =>
        new(Id, new ArenaLayout(Data, Parity, Slice), [.. Fragments.Select(fragment => new FragmentSource(fragment.Name, holder(fragment.Index)))]);

    internal string Path(string root) => $"{root}/fragments/{Id.ToString()[..2]}/{Id}";
}

public sealed class FolderHolderTests
{
    private readonly SimulatedDisk _disk = new();

    [Fact]
    public async Task What_a_second_writer_is_writing_stays_when_the_first_has_ended_and_a_third_begins()
    {
        CodedArena arena = CodedArena.Make(1, 1, 64 * 1024);
        FolderHolder first = Holder();
        using FolderHolder second = Holder();
        first.Dispose();
        FolderHolder? third = null;
        _disk.OnOperation = operation =>
        {
            if (operation.Kind == SimulatedOperationKind.Sync && operation.Path.StartsWith("h/tmp/", StringComparison.Ordinal))
            {
                _disk.OnOperation = null;
                third = FolderHolder.Open(_disk, "/h", new SeededRandom(10));
            }

            return null;
        };
        await arena.PutAsync(second, 0);
        Assert.NotNull(third);
        third.Dispose();
        Assert.NotNull(await second.InspectAsync(arena.Id, default));
    }

    [Fact]
    public void What_a_second_writer_left_behind_goes_when_the_next_one_begins()
    {
        Holder().Dispose();
        string[] left = ["/h/tmp/0123456789abcdef0123456789abcdef", "/h/tmp/1-0123456789abcdef0123456789abcdef", "/h/tmp/99-x"];
        foreach (string path in left)
        {
            _disk.Plant(path, [1]);
        }

        using IDisposable? another = _disk.TryLock("/h/lock-1");
        Holder().Dispose();
        Assert.Equal(["1-0123456789abcdef0123456789abcdef"], _disk.List("/h/tmp").Select(static entry => entry.Name));
        another!.Dispose();
        Holder().Dispose();
        Assert.Empty(_disk.List("/h/tmp"));
    }

    private FolderHolder Holder(string root = "/h") =>
        _disk.FileExists(root + "/holder") ? FolderHolder.Open(_disk, root, new SeededRandom(9)) : FolderHolder.Create(_disk, root, new SeededRandom(root.Length));

    [Fact]
    public async Task Fragments_come_back_as_they_were_put_and_more_can_be_added()
    {
        CodedArena arena = CodedArena.Make(4, 3, 20480);
        using FolderHolder holder = Holder();
        await arena.PutAsync(holder, 2, 0);
        await arena.PutAsync(holder, 0, 5);
        byte[] target = new byte[arena.Slice];
        foreach (int index in (int[])[0, 2, 5])
        {
            Assert.Equal(arena.Slice, await holder.ReadAsync(arena.Id, index, 0, target, default));
            Assert.Equal(arena.Fragments[index].Bytes.ToArray(), target);
            Assert.Equal(arena.Fragments[index].GroupHashes.ToArray(), await holder.ReadGroupHashesAsync(arena.Id, index, arena.Fragments[index].Name, default));
        }

        Assert.Equal(-1, await holder.ReadAsync(arena.Id, 1, 0, target, default));
        HeldArena? held = await holder.InspectAsync(arena.Id, default);
        Assert.Equal([0, 2, 5], held!.Fragments.Select(fragment => fragment.Index));
        Assert.False(held.IsRecordDamaged);
    }

    [Fact]
    public async Task A_file_begins_as_the_format_page_shows()
    {
        CodedArena arena = CodedArena.Make(2, 1, 8192);
        using FolderHolder holder = Holder();
        await arena.PutAsync(holder, 2);
        byte[] file = _disk.ReadAll(arena.Path("/h"));
        Assert.Equal(4096 + 8192 + 4096, file.Length);
        Assert.Equal("TDFSFRG1"u8.ToArray(), file[..8]);
        Assert.Equal("0201010000200000" + "02000000" + "00100000" + "00200000", Convert.ToHexString(file.AsSpan(40, 20)));
        Assert.Equal(file[..4096], file[^4096..]);
    }

    [Fact]
    public async Task Trash_is_readable_can_be_taken_back_and_is_purged_only_from_the_trash()
    {
        CodedArena arena = CodedArena.Make(1, 1, 4096);
        using FolderHolder holder = Holder();
        await arena.PutAsync(holder, 0, 1);
        byte[] target = new byte[10];
        await holder.PurgeAsync(arena.Id, default);
        await holder.TrashAsync(arena.Id, default);
        Assert.Equal(10, await holder.ReadAsync(arena.Id, 1, 0, target, default));
        Assert.True(Assert.Single(await holder.ListAsync(default)).IsInTrash);
        await holder.DeleteAsync(arena.Id, default);
        await holder.RestoreAsync(arena.Id, default);
        Assert.False(Assert.Single(await holder.ListAsync(default)).IsInTrash);
        await holder.TrashAsync(arena.Id, default);
        await holder.PurgeAsync(arena.Id, default);
        Assert.Equal(-1, await holder.ReadAsync(arena.Id, 1, 0, target, default));
    }

    [Fact]
    public async Task Objects_are_replaced_appended_listed_and_kept_within_their_folder()
    {
        using FolderHolder holder = Holder();
        await holder.AppendObjectAsync("catalog/00000001-02", 0, new byte[] { 1, 2 }, isSynced: true, default);
        await holder.AppendObjectAsync("catalog/00000001-02", 2, new byte[] { 3 }, isSynced: true, default);
        await holder.PutObjectAsync("anchor", new byte[] { 9 }, default);
        _ = await Assert.ThrowsAsync<DiskException>(async () => await holder.AppendObjectAsync("catalog/00000001-02", 2, new byte[] { 4 }, isSynced: true, default));
        byte[] target = new byte[8];
        Assert.Equal(2, await holder.ReadObjectAsync("catalog/00000001-02", 1, target, default));
        Assert.Equal([2, 3], target[..2]);
        Assert.Equal(0, await holder.ReadObjectAsync("none", 0, target, default));
        Assert.Equal([new HolderObject("catalog/00000001-02", 3)], await holder.ListObjectsAsync("catalog/0", default));
        Assert.Equal(2, (await holder.ListObjectsAsync("", default)).Count);
        foreach (string bad in (string[])["", "..", "../x", "a/../../x", "/x", "a//b", "A", "a/b/c/d", ".x", "a\0", new string('a', 101)])
        {
            _ = await Assert.ThrowsAsync<ArgumentException>(async () => await holder.PutObjectAsync(bad, new byte[1], default));
        }

        await holder.DeleteObjectAsync("anchor", default);
        Assert.Empty(await holder.ListObjectsAsync("anchor", default));
    }

    [Fact]
    public void A_folder_that_is_no_holder_is_refused_in_words()
    {
        _disk.CreateDirectory("/x");
        Assert.Contains("not a holder", Assert.Throws<DiskException>(() => FolderHolder.Open(_disk, "/x", new SeededRandom(1))).Message, StringComparison.Ordinal);
        Assert.Contains("mounted", Assert.Throws<DiskException>(() => FolderHolder.Open(_disk, "/y", new SeededRandom(1))).Message, StringComparison.Ordinal);
        using (FolderHolder holder = Holder())
        {
            Assert.Equal(DiskFailure.AlreadyExists, Assert.Throws<DiskException>(() => FolderHolder.Create(_disk, "/h", new SeededRandom(1))).Failure);
            using FolderHolder again = Holder();
            Assert.Equal(holder.Id, again.Id);
        }

        _disk.Plant("/x/photo.jpg", [1]);
        Assert.Contains("not empty", Assert.Throws<DiskException>(() => FolderHolder.Create(_disk, "/x", new SeededRandom(1))).Message, StringComparison.Ordinal);
        _disk.Corrupt("/h/holder", 7, 3);
        Assert.Contains("TDFSHLD", Assert.Throws<DamagedFormatException>(() => Holder()).Message, StringComparison.Ordinal);
        _disk.Corrupt("/h/holder", 7, 3);
        _disk.Corrupt("/h/holder", 12, 1);
        _ = Assert.Throws<DamagedFormatException>(() => Holder());
    }

    [Fact]
    public async Task A_folder_is_free_when_nothing_is_in_it_but_what_an_interrupted_creation_leaves()
    {
        Assert.True(FolderHolder.IsFree(_disk, "/n"));
        foreach (string left in (string[])["lost+found", "fragments", "tmp"])
        {
            _disk.CreateDirectory("/n/" + left);
        }

        _disk.Plant("/n/tmp/half-a-holder-file", [1]);
        Assert.True(FolderHolder.IsFree(_disk, "/n"));
        FolderHolder.Create(_disk, "/n", new SeededRandom(1)).Dispose();
        Assert.False(FolderHolder.IsFree(_disk, "/n"));

        // A holder that lost its name still has fragments: another name over them would make them strangers.
        CodedArena arena = CodedArena.Make(2, 1, 4096);
        using (FolderHolder holder = FolderHolder.Open(_disk, "/n", new SeededRandom(1)))
        {
            await arena.PutAsync(holder, 0);
        }

        _disk.Remove("/n/holder");
        Assert.False(FolderHolder.IsFree(_disk, "/n"));
        DiskException refused = Assert.Throws<DiskException>(() => FolderHolder.Create(_disk, "/n", new SeededRandom(2)));
        Assert.Contains("the folder is not empty: it has 'fragments'", refused.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Hostile_records_are_damage_never_a_crash()
    {
        CodedArena arena = CodedArena.Make(2, 1, 4096);
        using FolderHolder holder = Holder();
        await arena.PutAsync(holder, 0, 1, 2);
        byte[] file = _disk.ReadAll(arena.Path("/h"));
        var random = new SeededRandom(77);
        for (int round = 0; round < 400; round++)
        {
            byte[] hostile = file[..random.Next(file.Length)];
            for (int flip = 0; flip < 4 && hostile.Length > 0; flip++)
            {
                int at = random.Next(Math.Min(hostile.Length, 220));
                hostile[at] = random.Bytes(1)[0];
                if (hostile.Length > file.Length - 4096 + at)
                {
                    hostile[file.Length - 4096 + at] = random.Bytes(1)[0];
                }
            }

            _disk.Plant(arena.Path("/h"), hostile);
            try
            {
                HeldArena? held = await holder.InspectAsync(arena.Id, default);
                Assert.Equal(arena.Slice, held!.SliceBytes);    // a checksum that holds means the true facts
            }
            catch (DamagedFormatException)
            {
            }
        }
    }

    [Fact]
    public async Task A_put_cut_off_anywhere_leaves_what_was_there_or_everything()
    {
        CodedArena arena = CodedArena.Make(2, 1, 4096);
        for (int crash = 1; ; crash++)
        {
            var disk = new SimulatedDisk();
            using (FolderHolder holder = FolderHolder.Create(disk, "/h", new SeededRandom(1)))
            {
                await arena.PutAsync(holder, 0);
                disk.CrashAfter(crash);
                try
                {
                    await arena.PutAsync(holder, 1, 2);
                    disk.CrashAfter(1);
                }
                catch (SimulatedCrashException)
                {
                }
            }

            bool finished = !disk.HasCrashed;
            for (int seed = 0; seed < 8; seed++)
            {
                SimulatedDisk after = disk.Recover(seed);
                using FolderHolder holder = FolderHolder.Open(after, "/h", new SeededRandom(2));
                HeldArena? held = await holder.InspectAsync(arena.Id, default);
                Assert.False(held!.IsRecordDamaged);
                Assert.True(held.Fragments.Count == 3 || (held.Fragments.Count == 1 && !finished), $"crash {crash} seed {seed}: {held.Fragments.Count}");
                byte[] target = new byte[arena.Slice];
                foreach (HeldFragment fragment in held.Fragments)
                {
                    _ = await holder.ReadAsync(arena.Id, fragment.Index, 0, target, default);
                    Assert.Equal(arena.Fragments[fragment.Index].Bytes.ToArray(), target);
                }

                Assert.Empty(after.List("/h/tmp"));
            }

            if (finished)
            {
                Assert.InRange(crash, 5, 100);
                return;
            }
        }
    }

    [Fact]
    public void Who_only_reads_leaves_a_writer_its_temporaries_and_the_lock()
    {
        FolderHolder writer = Holder();
        using (_disk.Open("/h/tmp/00112233445566778899aabbccddeeff", DiskOpen.CreateNew))
        {
        }

        writer.Dispose(); // as a writer that began while a reader held the lock: it works without one
        using (FolderHolder reader = FolderHolder.Open(_disk, "/h", new SeededRandom(3), mayWrite: false))
        {
            Assert.Single(_disk.List("/h/tmp"));
            using IDisposable? free = _disk.TryLock("/h/lock");
            Assert.NotNull(free);
        }

        using FolderHolder next = FolderHolder.Open(_disk, "/h", new SeededRandom(4));
        Assert.Empty(_disk.List("/h/tmp"));
        Assert.Null(_disk.TryLock("/h/lock"));
    }

    [Fact]
    public async Task A_full_disk_refuses_a_put_and_leaves_nothing_behind()
    {
        CodedArena arena = CodedArena.Make(2, 1, 4096);
        using FolderHolder holder = Holder();
        _disk.CapacityBytes = 8000;
        DiskException e = await Assert.ThrowsAsync<DiskException>(async () => await arena.PutAsync(holder, 0, 1));
        Assert.Equal(DiskFailure.Full, e.Failure);
        Assert.Empty(_disk.List("/h/tmp"));
        Assert.Null(await holder.InspectAsync(arena.Id, default));
    }
}
