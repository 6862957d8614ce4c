using System.Text;
using TokTok.Storage.Core;
using TokTok.Storage.Files.Posix;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Files.Tests;

public sealed class StatCacheTests
{
    private static readonly VolumeId s_volume = new(new Bytes16(0, 77));
    private static readonly byte[] s_key = [.. Enumerable.Range(0, 32).Select(i => (byte)i)];
    private static readonly byte[] s_settings = [.. Enumerable.Range(100, 32).Select(i => (byte)i)];
    private static readonly SnapshotId[] s_bases = [new(1), new(ulong.MaxValue)];

    [Fact]
    public void What_was_written_is_read_in_order()
    {
        var disk = new MemoryDisk();
        Fill(disk, 5000);
        using StatCacheReader? reader = Open(disk, out string? trouble);
        Assert.Null(trouble);
        Assert.Equal(s_bases, reader!.Bases);
        Assert.Equal(StatRecordKind.Enter, reader.Kind);
        reader.MoveNext();
        for (int i = 0; i < 5000; i++)
        {
            StatRecord record = reader.Current;
            Assert.Equal(StatRecordKind.Entry, record.Kind);
            Assert.Equal($"name{i:d6}", Encoding.ASCII.GetString(record.Name));
            Assert.Equal(i % 5 != 0, record.IsTrusted);
            Assert.True(record.Stat.IsSameAs(StatOf(i)));
            Assert.Equal(Encoding.ASCII.GetBytes($"entry {i}"), record.Entry.ToArray());
            Assert.Equal(i % 3 == 0 ? "link"u8.ToArray() : [], record.Link.ToArray());
            reader.MoveNext();
        }

        Assert.Equal(StatRecordKind.Leave, reader.Kind);
        reader.MoveNext();
        Assert.Equal(StatRecordKind.End, reader.Kind);
        Assert.Null(reader.Trouble);
    }

    [Fact]
    public void Another_key_volume_or_setting_leaves_the_cache_unused_and_says_so()
    {
        var disk = new MemoryDisk();
        Fill(disk, 10);
        byte[] other = [.. s_key.Reverse()];
        Assert.Null(StatCacheReader.TryOpen(disk, "cache", other, s_volume, s_settings, out string? trouble));
        Assert.Contains("another device's", trouble, StringComparison.Ordinal);
        Assert.Null(StatCacheReader.TryOpen(disk, "cache", s_key, new VolumeId(new Bytes16(0, 5)), s_settings, out trouble));
        Assert.Contains("something else", trouble, StringComparison.Ordinal);
        Assert.Null(StatCacheReader.TryOpen(disk, "cache", s_key, s_volume, other, out trouble));
        Assert.Contains("other settings", trouble, StringComparison.Ordinal);
        Assert.Null(StatCacheReader.TryOpen(disk, "none", s_key, s_volume, s_settings, out trouble));
        Assert.Null(trouble);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public void A_flipped_bit_anywhere_is_noticed_and_never_believed(int seed)
    {
        var disk = new MemoryDisk();
        Fill(disk, 3000);
        byte[] good = disk.Files["cache"];
        var random = new Random(seed);
        for (int round = 0; round < 60; round++)
        {
            byte[] bad = [.. good];
            int at = round < 10 ? random.Next(48) : random.Next(bad.Length);
            bad[at] ^= (byte)(1 << random.Next(8));
            disk.Files["cache"] = bad;
            Assert.True(NamesUntilTrouble(disk) is not null, $"seed {seed}: the bit at {at} went unseen");
        }
    }

    [Fact]
    public void A_cache_cut_short_anywhere_is_noticed()
    {
        var disk = new MemoryDisk();
        Fill(disk, 3000);
        byte[] good = disk.Files["cache"];
        for (int bytes = 0; bytes < good.Length; bytes += 1 + (good.Length / 50))
        {
            disk.Files["cache"] = good[..bytes];
            Assert.NotNull(NamesUntilTrouble(disk));
        }
    }

    [Fact]
    public void A_skipped_directory_is_passed_with_all_below_it()
    {
        var disk = new MemoryDisk();
        using (StatCacheWriter writer = StatCacheWriter.Create(disk, "cache", s_key, SystemRandom.Instance))
        {
            writer.Write(StatRecordKind.Enter, true, default, "a"u8, [], []);
            writer.Write(StatRecordKind.Enter, true, default, "b"u8, [], []);
            writer.Write(StatRecordKind.Entry, true, default, "c"u8, [], []);
            writer.Write(StatRecordKind.Leave, true, default, [], [], []);
            writer.Write(StatRecordKind.Leave, true, default, [], [], []);
            writer.Write(StatRecordKind.Entry, true, default, "z"u8, [], []);
            writer.Commit(s_volume, s_settings, []);
        }

        using StatCacheReader? reader = Open(disk, out _);
        reader!.SkipDirectory();
        Assert.Equal("z"u8.ToArray(), reader.Current.Name.ToArray());
    }

    [Fact]
    public void No_name_stands_in_the_file()
    {
        var disk = new MemoryDisk();
        Fill(disk, 100);
        Assert.True(disk.Files["cache"].AsSpan().IndexOf("name0000"u8) < 0);
    }

    [Fact]
    public void A_full_disk_leaves_the_old_cache_in_place()
    {
        var disk = new MemoryDisk();
        Fill(disk, 10);
        byte[] old = disk.Files["cache"];
        using (StatCacheWriter writer = StatCacheWriter.Create(disk, "cache", s_key, SystemRandom.Instance))
        {
            disk.IsFull = true;
            writer.Write(StatRecordKind.Entry, true, default, "x"u8, [], []);
            writer.Commit(s_volume, s_settings, []);
            Assert.Contains("no space left", writer.Trouble, StringComparison.Ordinal);
        }

        Assert.Same(old, disk.Files["cache"]);
        _ = Assert.Single(disk.Files);
    }

    [Fact]
    public void The_header_and_a_record_are_the_example_of_the_format_page()
    {
        byte[] example = Repository.FormatExample("16.1");
        var disk = new MemoryDisk();
        using (StatCacheWriter writer = StatCacheWriter.Create(disk, "cache", s_key, new Ascending()))
        {
            var stat = new FileStat { Inode = 5, ModifyNs = 1, ChangeNs = 1, Mode = 0x81A4, LinkCount = 1 };
            writer.Write(StatRecordKind.Entry, true, stat, "a"u8, [0xe0, 0xe1], []);
            writer.Commit(s_volume, s_settings, []);
        }

        byte[] file = disk.Files["cache"];
        Assert.Equal(example[..StatCache.HeaderBytes], file[..StatCache.HeaderBytes]);
        byte[] segment = file[StatCache.HeaderBytes..^StatCache.FooterBytes];
        int bytes = segment.Length - StatCache.SegmentHeadBytes - StatCache.TagBytes;
        byte[] plain = new byte[bytes];
        byte[] associated = [.. file[16..32], .. new byte[8], .. segment[..4]];
        using var cipher = new System.Security.Cryptography.AesGcm(s_key, StatCache.TagBytes);
        cipher.Decrypt(segment[4..16], segment[16..(16 + bytes)], segment[(16 + bytes)..], plain, associated);
        Assert.Equal(example[StatCache.HeaderBytes..], plain);
    }

    private sealed class Ascending : IRandomSource
    {
        public void Fill(Span<byte> target)
        {
            for (int i = 0; i < target.Length; i++)
            {
                target[i] = (byte)i;
            }
        }
    }

    // The number of names read in order before the trouble; null if there was none.
    private static int? NamesUntilTrouble(MemoryDisk disk)
    {
        using StatCacheReader? reader = Open(disk, out string? trouble);
        if (reader is null)
        {
            return trouble is null ? null : 0;
        }

        int names = 0;
        for (; reader.Kind != StatRecordKind.End; reader.MoveNext())
        {
            if (reader.Kind == StatRecordKind.Entry)
            {
                Assert.Equal($"name{names:d6}", Encoding.ASCII.GetString(reader.Current.Name));
                names++;
            }
        }

        return reader.Trouble is null ? null : names;
    }

    private static StatCacheReader? Open(MemoryDisk disk, out string? trouble) =>
        StatCacheReader.TryOpen(disk, "cache", s_key, s_volume, s_settings, out trouble);

    private static void Fill(MemoryDisk disk, int count)
    {
        using StatCacheWriter writer = StatCacheWriter.Create(disk, "cache", s_key, SystemRandom.Instance);
        writer.Write(StatRecordKind.Enter, true, default, [], [], []);
        for (int i = 0; i < count; i++)
        {
            writer.Write(
                StatRecordKind.Entry, i % 5 != 0, StatOf(i), Encoding.ASCII.GetBytes($"name{i:d6}"), Encoding.ASCII.GetBytes($"entry {i}"), i % 3 == 0 ? "link"u8 : []);
        }

        writer.Write(StatRecordKind.Leave, true, StatOf(1), [], "directory"u8, []);
        writer.Commit(s_volume, s_settings, s_bases);
        Assert.Null(writer.Trouble);
    }

    private static FileStat StatOf(int i) => new()
    {
        Inode = (ulong)i + 1,
        SizeBytes = i * 3L,
        ModifyNs = -i,
        ChangeNs = i * 1_000_000_007L,
        Mode = 0x81A4,
        Uid = (uint)i,
        Gid = 4_000_000_000,
        LinkCount = 2,
    };
}
