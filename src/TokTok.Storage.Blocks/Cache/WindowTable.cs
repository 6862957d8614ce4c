using System.Buffers.Binary;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Encryption;
using TokTok.Storage.Core.Hashing;
using TokTok.Storage.Core.Keys;

namespace TokTok.Storage.Blocks.Cache;

/// <summary>The file that says which windows a cache holds, where, and how often things were used.</summary>
/// <remarks>Format: docs/format.md 16.3. Written whole beside the old one and renamed, without a sync. One that is damaged, or another device's, is as none.</remarks>
internal static class WindowTable
{
    internal const string FileName = "window-table";
    private const string NewSuffix = ".new";
    private const int FileIdBytes = 16;
    private const int HeadBytes = FileIdBytes + sizeof(uint) + sizeof(uint);
    private const int EntryBytes = 64;
    private const int MaxPartBytes = 1 << 20;
    private const int MaxCipherBytes = MaxPartBytes + (1 << 16);

    private enum Part : uint
    {
        Windows = 1,
        Counts = 2,
        End = 3,
    }

    private static ReadOnlySpan<byte> Magic => "TDFSWIN1"u8;

    internal static void Save(IDisk disk, string folder, SecretBytes cacheKey, HitOrder order, WindowCache.Window[] windows, IRandomSource random)
    {
        string path = $"{folder}/{FileName}";
        if (disk.FileExists(path + NewSuffix))
        {
            disk.Delete(path + NewSuffix);
        }

        using (IDiskFile file = disk.Open(path + NewSuffix, DiskOpen.CreateNew))
        using (SecretBytes key = KeyOf(cacheKey))
        {
            var writer = new Writer(file, key, random);
            byte[] entries = new byte[MaxPartBytes / EntryBytes * EntryBytes];
            int filled = 0;
            foreach ((_, int place, bool isTried) in order.InOrder())
            {
                Write(windows[place], place, isTried, entries.AsSpan(filled));
                filled += EntryBytes;
                if (filled == entries.Length)
                {
                    writer.Write(Part.Windows, entries);
                    filled = 0;
                }
            }

            writer.Write(Part.Windows, entries.AsSpan(0, filled));
            for (ReadOnlySpan<byte> counts = order.Counts.Bytes; counts.Length > 0; counts = counts[Math.Min(counts.Length, MaxPartBytes)..])
            {
                writer.Write(Part.Counts, counts[..Math.Min(counts.Length, MaxPartBytes)]);
            }

            writer.Write(Part.End, []);
        }

        disk.Rename(path + NewSuffix, path);
    }

    /// <summary>Fills an order and a table that are empty; what cannot be read leaves them so.</summary>
    internal static void Load(IDisk disk, string folder, SecretBytes cacheKey, HitOrder order, WindowCache.Window[] windows)
    {
        string path = $"{folder}/{FileName}";
        if (!disk.FileExists(path))
        {
            return;
        }

        using IDiskFile file = disk.Open(path, DiskOpen.Read);
        using SecretBytes key = KeyOf(cacheKey);
        var kept = new List<(ulong Key, int Place, bool IsTried)>();
        byte[] counts = new byte[order.Counts.Bytes.Length];
        int counted = 0;
        var reader = new Reader(file, key);
        while (reader.TryRead(out Part part, out ReadOnlySpan<byte> payload))
        {
            switch (part)
            {
                case Part.Windows:
                    for (; payload.Length >= EntryBytes; payload = payload[EntryBytes..])
                    {
                        (WindowCache.Window window, int place, bool isTried) = Read(payload);
                        if (place < windows.Length && kept.Count < windows.Length && window.Bytes is > 0 and <= WindowCache.WindowBytes)
                        {
                            windows[place] = window;
                            kept.Add((WindowCache.KeyOf(window.Arena, window.Fragment, window.Number), place, isTried));
                        }
                    }

                    break;
                case Part.Counts when payload.Length <= counts.Length - counted:
                    payload.CopyTo(counts.AsSpan(counted));
                    counted += payload.Length;
                    break;
                case Part.End:
                    order.Restore(kept);
                    if (counted == counts.Length)
                    {
                        counts.CopyTo(order.Counts.Bytes);
                    }

                    return;
                default:
                    counted = int.MaxValue; // another room's
                    break;
            }
        }

        Array.Clear(windows);
    }

    private static SecretBytes KeyOf(SecretBytes cacheKey)
    {
        Span<byte> key = stackalloc byte[Dare.KeySize];
        Blake3.DeriveKey("TDFS 2026 window cache table", cacheKey.Span, key);
        try
        {
            return SecretBytes.CopyOf(key);
        }
        finally
        {
            key.Clear();
        }
    }

    private static void Write(in WindowCache.Window window, int place, bool isTried, Span<byte> target)
    {
        target[..EntryBytes].Clear();
        window.Arena.Write(target);
        BinaryPrimitives.WriteUInt16LittleEndian(target[32..], window.Fragment);
        BinaryPrimitives.WriteUInt16LittleEndian(target[34..], window.Number);
        BinaryPrimitives.WriteUInt32LittleEndian(target[36..], (uint)window.Bytes);
        BinaryPrimitives.WriteUInt128LittleEndian(target[40..], window.Sum);
        BinaryPrimitives.WriteUInt32LittleEndian(target[56..], (uint)place);
        target[60] = isTried ? (byte)1 : (byte)0;
    }

    private static (WindowCache.Window Window, int Place, bool IsTried) Read(ReadOnlySpan<byte> source) => (
        new WindowCache.Window
        {
            Arena = ArenaId.Read(source),
            Fragment = BinaryPrimitives.ReadUInt16LittleEndian(source[32..]),
            Number = BinaryPrimitives.ReadUInt16LittleEndian(source[34..]),
            Bytes = (int)Math.Min(BinaryPrimitives.ReadUInt32LittleEndian(source[36..]), int.MaxValue),
            Sum = BinaryPrimitives.ReadUInt128LittleEndian(source[40..]),
        },
        (int)Math.Min(BinaryPrimitives.ReadUInt32LittleEndian(source[56..]), int.MaxValue),
        source[60] == 1);

    private sealed class Writer
    {
        private readonly IDiskFile _file;
        private readonly SecretBytes _key;
        private readonly IRandomSource _random;
        private readonly byte[] _plain = new byte[HeadBytes + MaxPartBytes];
        private readonly byte[] _cipher = new byte[sizeof(uint) + MaxCipherBytes];
        private uint _number;
        private long _end;

        internal Writer(IDiskFile file, SecretBytes key, IRandomSource random)
        {
            (_file, _key, _random) = (file, key, random);
            random.Fill(_plain.AsSpan(0, FileIdBytes));
            file.Write(0, Magic);
            _end = Magic.Length;
        }

        internal void Write(Part part, ReadOnlySpan<byte> payload)
        {
            BinaryPrimitives.WriteUInt32LittleEndian(_plain.AsSpan(FileIdBytes), _number++);
            BinaryPrimitives.WriteUInt32LittleEndian(_plain.AsSpan(FileIdBytes + sizeof(uint)), (uint)part);
            payload.CopyTo(_plain.AsSpan(HeadBytes));
            int bytes = Dare.Encrypt(_key.Span, _random, _plain.AsSpan(0, HeadBytes + payload.Length), _cipher.AsSpan(sizeof(uint)));
            BinaryPrimitives.WriteUInt32LittleEndian(_cipher, (uint)bytes);
            _file.Write(_end, _cipher.AsSpan(0, sizeof(uint) + bytes));
            _end += sizeof(uint) + bytes;
        }
    }

    private sealed class Reader
    {
        private readonly IDiskFile _file;
        private readonly SecretBytes _key;
        private readonly byte[] _plain = new byte[HeadBytes + MaxPartBytes];
        private readonly byte[] _cipher = new byte[MaxCipherBytes];
        private readonly byte[] _fileId = new byte[FileIdBytes];
        private uint _number;
        private long _at;

        internal Reader(IDiskFile file, SecretBytes key)
        {
            (_file, _key) = (file, key);
            Span<byte> magic = stackalloc byte[8];
            _at = file.Read(0, magic) == magic.Length && magic.SequenceEqual(Magic) ? magic.Length : long.MaxValue;
        }

        internal bool TryRead(out Part part, out ReadOnlySpan<byte> payload)
        {
            part = default;
            payload = default;
            Span<byte> length = stackalloc byte[sizeof(uint)];
            if (_at == long.MaxValue || _file.Read(_at, length) != length.Length)
            {
                return false;
            }

            uint bytes = BinaryPrimitives.ReadUInt32LittleEndian(length);
            if (bytes > MaxCipherBytes || _file.Read(_at + sizeof(uint), _cipher.AsSpan(0, (int)bytes)) != bytes
                || !Dare.TryPlainBytes((int)bytes, out int expected) || expected is < HeadBytes or > HeadBytes + MaxPartBytes
                || !Dare.TryDecrypt(_key.Span, _cipher.AsSpan(0, (int)bytes), _plain, out int plainBytes))
            {
                return false;
            }

            ReadOnlySpan<byte> plain = _plain.AsSpan(0, plainBytes);
            if (_number == 0)
            {
                plain[..FileIdBytes].CopyTo(_fileId);
            }

            if (!plain[..FileIdBytes].SequenceEqual(_fileId) || BinaryPrimitives.ReadUInt32LittleEndian(plain[FileIdBytes..]) != _number++)
            {
                return false;
            }

            part = (Part)BinaryPrimitives.ReadUInt32LittleEndian(plain[(FileIdBytes + sizeof(uint))..]);
            payload = plain[HeadBytes..];
            _at += sizeof(uint) + bytes;
            return true;
        }
    }
}
