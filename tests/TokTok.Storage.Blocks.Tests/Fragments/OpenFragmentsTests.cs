using TokTok.Storage.Blocks.Fragments;
using TokTok.Storage.Core;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Blocks.Tests.Fragments;

/// <summary>Files kept open never show a reader less than the file that has the name now.</summary>
public sealed class OpenFragmentsTests
{
    private readonly SimulatedDisk _disk = new();

    [Fact]
    public async Task A_read_after_a_mend_or_a_replacement_gives_the_new_bytes()
    {
        CodedArena arena = CodedArena.Make(2, 1, 20480);
        using FolderHolder holder = FolderHolder.Create(_disk, "/h", new SeededRandom(1));
        await arena.PutAsync(holder, 0, 1, 2);
        byte[] target = await ReadAsync(holder, arena);
        Assert.Equal(arena.Fragments[0].Bytes.ToArray(), target);

        using (IDiskFile file = _disk.Open(arena.Path("/h"), DiskOpen.ReadWrite))
        {
            file.Write(4096 + 7, new byte[] { 1, 2, 3 });
        }

        Assert.NotEqual(arena.Fragments[0].Bytes.ToArray(), await ReadAsync(holder, arena));
        await holder.RewriteGroupsAsync(arena.Id, 0, [0], arena.Fragments[0].Bytes[..16384], default);
        Assert.Equal(arena.Fragments[0].Bytes.ToArray(), await ReadAsync(holder, arena));

        // Only fragment 1 remains, at another place of another file.
        await holder.ReplaceAsync(arena.Id, 2, 1, arena.Slice, [arena.Fragments[1]], default);
        Assert.Equal(-1, await holder.ReadAsync(arena.Id, 0, 0, target, default));
        Assert.Equal(arena.Slice, await holder.ReadAsync(arena.Id, 1, 0, target, default));
        Assert.Equal(arena.Fragments[1].Bytes.ToArray(), target);
    }

    [Fact]
    public async Task What_another_process_replaced_is_seen_once_damage_is_suspected()
    {
        CodedArena arena = CodedArena.Make(2, 1, 20480);
        using FolderHolder reader = FolderHolder.Create(_disk, "/h", new SeededRandom(1));
        await arena.PutAsync(reader, 1);
        Assert.Equal(-1, await reader.ReadAsync(arena.Id, 0, 0, new byte[10], default));
        using FolderHolder repairer = FolderHolder.Open(_disk, "/h", new SeededRandom(2));
        await arena.PutAsync(repairer, 0, 2);
        Assert.Equal(3, (await reader.InspectAsync(arena.Id, default))!.Fragments.Count);
        Assert.Equal(arena.Fragments[0].Bytes.ToArray(), await ReadAsync(reader, arena));

        await repairer.ReplaceAsync(arena.Id, 2, 1, arena.Slice, [arena.Fragments[2], arena.Fragments[1]], default);
        _ = await reader.ReadGroupHashesAsync(arena.Id, 0, arena.Fragments[0].Name, default);
        Assert.Equal(-1, await reader.ReadAsync(arena.Id, 0, 0, new byte[10], default));
    }

    [Fact]
    public async Task Nothing_is_read_of_what_was_deleted_or_trashed_and_purged()
    {
        CodedArena arena = CodedArena.Make(1, 1, 4096);
        using FolderHolder holder = FolderHolder.Create(_disk, "/h", new SeededRandom(1));
        await arena.PutAsync(holder, 0);
        _ = await ReadAsync(holder, arena);
        await holder.TrashAsync(arena.Id, default);
        Assert.Equal(arena.Fragments[0].Bytes.ToArray(), await ReadAsync(holder, arena));
        await holder.PurgeAsync(arena.Id, default);
        Assert.Equal(-1, await holder.ReadAsync(arena.Id, 0, 0, new byte[10], default));
        await arena.PutAsync(holder, 0);
        _ = await ReadAsync(holder, arena);
        await holder.DeleteAsync(arena.Id, default);
        Assert.Equal(-1, await holder.ReadAsync(arena.Id, 0, 0, new byte[10], default));
    }

    [Fact]
    public async Task However_many_arenas_are_read_few_files_stay_open()
    {
        using FolderHolder holder = FolderHolder.Create(_disk, "/h", new SeededRandom(1));
        CodedArena[] arenas = [.. Enumerable.Range(0, 50).Select(seed => CodedArena.Make(1, 0, 4096, seed + 1))];
        foreach (CodedArena arena in arenas)
        {
            await arena.PutAsync(holder, 0);
        }

        foreach (CodedArena arena in (CodedArena[])[.. arenas, .. arenas])
        {
            Assert.Equal(arena.Fragments[0].Bytes.ToArray(), await ReadAsync(holder, arena));
            Assert.InRange(holder.OpenFileCount, 1, 32);
        }
    }

    [Fact]
    public void A_file_closes_when_it_is_neither_kept_nor_read()
    {
        var open = new OpenFragments(2);
        CountedFile[] files = [.. Enumerable.Range(0, 4).Select(_ => new CountedFile())];
        ArenaId[] ids = [.. Enumerable.Range(0, 4).Select(seed => ArenaId.New(new SeededRandom(seed + 1)))];
        Assert.Null(open.Rent(ids[0], out long ticket));
        OpenFragment first = open.Keep(ids[0], files[0], Record(ids[0]), ticket);
        open.Drop(ids[0]);
        Assert.Equal(0, files[0].Disposals);
        Assert.Null(open.Rent(ids[0], out _));
        open.Return(first);
        Assert.Equal(1, files[0].Disposals);

        // Opened before the drop: it may be what was replaced, so it serves this read alone.
        open.Return(open.Keep(ids[1], files[1], Record(ids[1]), ticket));
        Assert.Equal((1, 0), (files[1].Disposals, open.KeptCount));

        Assert.Null(open.Rent(ids[2], out ticket));
        open.Return(open.Keep(ids[2], files[2], Record(ids[2]), ticket));
        open.Return(open.Keep(ids[3], files[3], Record(ids[3]), ticket));
        Assert.Equal((0, 0, 2), (files[2].Disposals, files[3].Disposals, open.KeptCount));
        OpenFragment inUse = open.Rent(ids[3], out _)!;
        open.Dispose();
        Assert.Equal((1, 0), (files[2].Disposals, files[3].Disposals));
        open.Return(inUse);
        Assert.Equal(1, files[3].Disposals);
    }

    private static FragmentFile Record(ArenaId id) => FragmentFile.Of(id, 1, 0, 4096, [new HeldFragment(0, default)]);

    private static async Task<byte[]> ReadAsync(FolderHolder holder, CodedArena arena)
    {
        byte[] target = new byte[arena.Slice];
        Assert.Equal(arena.Slice, await holder.ReadAsync(arena.Id, 0, 0, target, default));
        return target;
    }

    private sealed class CountedFile : IDiskFile
    {
        public int Disposals { get; private set; }

        public long Length => 0;

        public int Read(long offset, Span<byte> target) => 0;

        public void Write(long offset, ReadOnlySpan<byte> source)
        {
        }

        public void Truncate(long length)
        {
        }

        public void Sync()
        {
        }

        public void Dispose() => Disposals++;
    }
}
