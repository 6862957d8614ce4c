using TokTok.Storage.Blocks.Cache;
using TokTok.Storage.Blocks.Fragments;
using TokTok.Storage.Blocks.Tests.Store;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Hashing;
using TokTok.Storage.Core.Keys;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Blocks.Tests.Cache;

public sealed class WindowCacheTests : IDisposable
{
    private const int Slice = (3 * WindowCache.WindowBytes) + 4096;

    private readonly SimulatedDisk _disk = new();
    private readonly SeededRandom _random = new(5);
    private readonly SecretBytes _key;
    private readonly FolderHolder _holder;

    public WindowCacheTests()
    {
        _key = SecretBytes.Random(_random, 32);
        _holder = FolderHolder.Create(_disk, "/holder", _random);
    }

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    public void Dispose()
    {
        _holder.Dispose();
        _key.Dispose();
    }

    [Fact]
    public async Task What_was_read_once_is_read_again_with_the_holder_away_in_this_life_and_the_next()
    {
        (ArenaId id, byte[] bytes) = await PutAsync();
        byte[] read = new byte[70_000];
        using (WindowCache cache = Open())
        {
            Assert.Equal(-1, await cache.ReadAsync(null, id, 0, Slice, 50_000, read, Cancel));
            Assert.Equal(read.Length, await cache.ReadAsync(_holder, id, 0, Slice, 50_000, read, Cancel));
            Assert.Equal(bytes.AsSpan(50_000, read.Length).ToArray(), read);
            await AssertKeptAsync(cache);
        }

        using (WindowCache cache = Open())
        {
            await AssertKeptAsync(cache);
            Assert.Equal(2 * WindowCache.WindowBytes, cache.State.Bytes);
        }

        async Task AssertKeptAsync(WindowCache cache)
        {
            read.AsSpan().Clear();
            Assert.Equal(read.Length, await cache.ReadAsync(null, id, 0, Slice, 50_000, read, Cancel));
            Assert.Equal(bytes.AsSpan(50_000, read.Length).ToArray(), read);
            Assert.Equal(1, await cache.ReadAsync(null, id, 0, Slice, 0, read.AsMemory(0, 1), Cancel)); // whole windows are kept
            Assert.Equal(-1, await cache.ReadAsync(null, id, 0, Slice, 3 * WindowCache.WindowBytes, read.AsMemory(0, 4096), Cancel)); // and no others
            Assert.Equal(-1, await cache.ReadAsync(null, id, 1, Slice, 0, read.AsMemory(0, 1), Cancel));
        }
    }

    [Fact]
    public async Task Who_reads_much_asks_the_holder_once_for_what_is_not_here()
    {
        (ArenaId id, byte[] bytes) = await PutAsync();
        using WindowCache cache = Open();
        var asked = new List<int>();
        var holder = new PutHook(_holder, static () => Task.CompletedTask) { BeforeRead = asked.Add };
        byte[] read = new byte[Slice];
        Assert.Equal(1, await cache.ReadAsync(holder, id, 0, Slice, WindowCache.WindowBytes, read.AsMemory(0, 1), Cancel)); // the second window
        Assert.Equal(Slice, await cache.ReadAsync(holder, id, 0, Slice, 0, read, Cancel));
        Assert.Equal(bytes, read);
        Assert.Equal([WindowCache.WindowBytes, WindowCache.WindowBytes, WindowCache.WindowBytes, 4096], asked);

        (ArenaId other, byte[] more) = await PutAsync();
        asked.Clear();
        Assert.Equal(Slice, await cache.ReadAsync(holder, other, 0, Slice, 0, read, Cancel));
        Assert.Equal(more, read);
        Assert.Equal([3 * WindowCache.WindowBytes, 4096], asked);
        Assert.Equal(Slice, await cache.ReadAsync(null, other, 0, Slice, 0, read, Cancel));
        Assert.Equal(more, read);
    }

    [Fact]
    public async Task The_last_window_is_as_long_as_the_fragment_and_what_is_beyond_is_absent()
    {
        (ArenaId id, byte[] bytes) = await PutAsync();
        using WindowCache cache = Open();
        byte[] read = new byte[5000];
        for (int time = 0; time < 2; time++)
        {
            Assert.Equal(4096, await cache.ReadAsync(_holder, id, 0, Slice, 3 * WindowCache.WindowBytes, read, Cancel));
            Assert.Equal(bytes.AsSpan(3 * WindowCache.WindowBytes), read.AsSpan(0, 4096));
        }
    }

    [Fact]
    public async Task A_flipped_bit_in_the_cache_is_a_window_that_is_not_there()
    {
        (ArenaId id, byte[] bytes) = await PutAsync();
        using WindowCache cache = Open();
        byte[] read = new byte[Slice];
        Assert.Equal(Slice, await cache.ReadAsync(_holder, id, 0, Slice, 0, read, Cancel));
        using (IDiskFile file = _disk.Open("/cache/windows", DiskOpen.ReadWrite))
        {
            file.Write(WindowCache.WindowBytes + 17, [(byte)(bytes[WindowCache.WindowBytes + 17] ^ 0xFF)]);
        }

        Assert.Equal(WindowCache.WindowBytes, await cache.ReadAsync(null, id, 0, Slice, 0, read, Cancel)); // to where it ends
        Assert.Equal(Slice, await cache.ReadAsync(_holder, id, 0, Slice, 0, read, Cancel));
        Assert.Equal(bytes, read);
        Assert.Equal(Slice, await cache.ReadAsync(null, id, 0, Slice, 0, read, Cancel)); // it was kept anew
        Assert.Equal(bytes, read);
    }

    [Fact]
    public async Task A_table_of_before_other_windows_came_gives_none_of_their_bytes()
    {
        byte[] table;
        var arenas = new List<(ArenaId Id, byte[] Bytes)>();
        using (WindowCache cache = Open())
        {
            for (int at = 0; at < 300; at++)
            {
                arenas.Add((ArenaId.New(_random), _random.Bytes(4 * WindowCache.WindowBytes)));
                cache.KeepAll(arenas[^1].Id, 0, arenas[^1].Bytes);
            }
        }

        table = Bytes("/cache/window-table");
        using (WindowCache cache = Open())
        {
            for (int at = 0; at < 300; at++)
            {
                cache.KeepAll(ArenaId.New(_random), 0, _random.Bytes(4 * WindowCache.WindowBytes));
            }
        }

        Replace("/cache/window-table", table);
        using WindowCache old = Open();
        int found = 0;
        byte[] read = new byte[4 * WindowCache.WindowBytes];
        foreach ((ArenaId id, byte[] bytes) in arenas)
        {
            int got = await old.ReadAsync(null, id, 0, read.Length, 0, read, Cancel);
            found += Math.Max(got, 0);
            Assert.Equal(bytes.AsSpan(0, Math.Max(got, 0)), read.AsSpan(0, Math.Max(got, 0)));
        }

        Assert.True(found > 0);
    }

    [Fact]
    public async Task A_table_that_is_damaged_anywhere_or_another_devices_is_as_none()
    {
        (ArenaId id, _) = await PutAsync();
        byte[] read = new byte[Slice];
        using (WindowCache cache = Open())
        {
            _ = await cache.ReadAsync(_holder, id, 0, Slice, 0, read, Cancel);
        }

        byte[] table = Bytes("/cache/window-table");
        for (int at = 0; at < table.Length; at += 97)
        {
            byte[] damaged = [.. table];
            damaged[at] ^= 0x40;
            Replace("/cache/window-table", at % 2 == 0 ? damaged : table[..at]);
            using WindowCache cache = Open();
            Assert.Equal(-1, await cache.ReadAsync(null, id, 0, Slice, 0, read, Cancel));
            Replace("/cache/window-table", table);
        }

        using SecretBytes other = SecretBytes.Random(_random, 32);
        using WindowCache others = WindowCache.TryOpen(_disk, "/cache", other, WindowCache.LeastBytes, 0, _random)!;
        Assert.Equal(-1, await others.ReadAsync(null, id, 0, Slice, 0, read, Cancel));
    }

    [Fact]
    public async Task A_second_process_reads_and_keeps_nothing()
    {
        (ArenaId id, _) = await PutAsync();
        byte[] read = new byte[Slice];
        using WindowCache writer = Open();
        _ = await writer.ReadAsync(_holder, id, 0, Slice, 0, read, Cancel);
        using (WindowCache reader = Open())
        {
            Assert.Equal(Slice, await reader.ReadAsync(_holder, id, 0, Slice, 0, read, Cancel));
            Assert.Equal(-1, await reader.ReadAsync(null, id, 0, Slice, 0, read, Cancel));
        }

        Assert.Equal(Slice, await writer.ReadAsync(null, id, 0, Slice, 0, read, Cancel));
    }

    [Fact]
    public void The_quota_holds_and_the_floor_takes_space_back()
    {
        using WindowCache cache = Open();
        byte[] fragment = _random.Bytes(16 * WindowCache.WindowBytes);
        for (int at = 0; at < 100; at++)
        {
            cache.KeepAll(ArenaId.New(_random), 0, fragment);
        }

        Assert.InRange(Length("/cache/windows"), WindowCache.LeastBytes - (16 * WindowCache.WindowBytes), WindowCache.LeastBytes);
        _disk.CapacityBytes -= _disk.FreeBytes("/cache"); // the floor is passed
        cache.KeepAll(ArenaId.New(_random), 0, _random.Bytes(65 * WindowCache.WindowBytes));
        Assert.InRange(Length("/cache/windows"), 0, WindowCache.LeastBytes / 2);
        Assert.Equal(Length("/cache/windows"), cache.State.Bytes, 20.0 * WindowCache.WindowBytes);
    }

    private WindowCache Open() => WindowCache.TryOpen(_disk, "/cache", _key, WindowCache.LeastBytes, WindowCache.LeastBytes / 2, _random)!;

    private async Task<(ArenaId Id, byte[] Bytes)> PutAsync()
    {
        ArenaId id = ArenaId.New(_random);
        byte[] bytes = _random.Bytes(Slice);
        byte[] groups = new byte[32 * Blake3Tree.GroupCount(Slice)];
        byte[] name = new byte[32];
        Blake3Tree.HashWithGroups(bytes, groups, name);
        await _holder.PutAsync(id, 1, 1, Slice, [new FragmentData(0, bytes, FragmentName.Read(name), groups)], Cancel);
        return (id, bytes);
    }

    private long Length(string path)
    {
        using IDiskFile file = _disk.Open(path, DiskOpen.Read);
        return file.Length;
    }

    private byte[] Bytes(string path)
    {
        using IDiskFile file = _disk.Open(path, DiskOpen.Read);
        byte[] bytes = new byte[file.Length];
        Assert.Equal(bytes.Length, file.Read(0, bytes));
        return bytes;
    }

    private void Replace(string path, byte[] bytes)
    {
        using IDiskFile file = _disk.Open(path, DiskOpen.ReadWrite);
        file.Truncate(0);
        file.Write(0, bytes);
    }
}
