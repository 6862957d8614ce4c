using System.Collections.Concurrent;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Hashing;
using TokTok.Storage.Node.Wire;

namespace TokTok.Storage.Node.Holders;

/// <summary>The arenas that an account gave up, each with the running day on which it did.</summary>
/// <remarks>
/// Format: docs/format.md 17.2. They lie in the holder's trash, hidden from the account, until <see cref="KeptDays"/> have passed or it takes them back.
/// A file that cannot be read is put aside and counts as empty: its arenas are then simply kept.
/// Durable when a change returns. One thread at a time changes it; any may ask.
/// </remarks>
internal sealed class Releases
{
    internal const uint KeptDays = 30;

    private const int EntrySize = ArenaId.Size + sizeof(uint);

    private readonly IDisk _disk;
    private readonly string _folder;
    private readonly string _path;
    private readonly ConcurrentDictionary<ArenaId, uint> _days = new();

    internal Releases(IDisk disk, string folder, string name, Action<string>? trouble)
    {
        _disk = disk;
        _folder = folder;
        _path = folder + "/" + name + ".released";
        if (!disk.FileExists(_path))
        {
            return;
        }

        try
        {
            Read();
        }
        catch (DamagedFormatException damage)
        {
            _days.Clear();
            disk.Rename(_path, _path + ".bad");
            disk.SyncDirectory(folder);
            trouble?.Invoke($"{damage.Message}; it is put aside, and what it named is kept");
        }
    }

    internal int Count => _days.Count;

    internal uint LastDay => _days.Values.DefaultIfEmpty().Max();

    internal IEnumerable<ArenaId> All => _days.Keys;

    private static ReadOnlySpan<byte> Magic => "TDFSREL1"u8;

    internal bool Has(ArenaId id) => _days.ContainsKey(id);

    internal IReadOnlyList<ArenaId> DueOn(uint day) => [.. _days.Where(each => day >= each.Value && day - each.Value >= KeptDays).Select(static each => each.Key)];

    internal void Add(ArenaId id, uint day) => Add([id], day);

    internal void Add(IReadOnlyList<ArenaId> ids, uint day)
    {
        bool changed = false;
        foreach (ArenaId id in ids)
        {
            changed |= _days.TryAdd(id, day);
        }

        if (changed)
        {
            Write();
        }
    }

    internal void Remove(IEnumerable<ArenaId> ids)
    {
        bool changed = false;
        foreach (ArenaId id in ids)
        {
            changed |= _days.TryRemove(id, out _);
        }

        if (changed)
        {
            Write();
        }
    }

    private void Read()
    {
        byte[] file;
        using (IDiskFile open = _disk.Open(_path, DiskOpen.Read))
        {
            if (open.Length > Magic.Length + sizeof(uint) + ((long)Protocol.MaxListed * EntrySize) + Blake3.HashSize)
            {
                throw new DamagedFormatException($"{_path}: {open.Length} bytes are too many");
            }

            file = new byte[open.Length];
            file = file[..open.Read(0, file)];
        }

        var reader = new FieldReader(file, _path);
        reader.Magic(Magic);
        int count = reader.Count(Protocol.MaxListed, "the count");
        ReadOnlySpan<byte> entries = reader.Bytes(checked(count * EntrySize));
        Span<byte> checksum = stackalloc byte[Blake3.HashSize];
        Blake3.Hash(file.AsSpan(0, reader.Position), checksum);
        if (!reader.Bytes(Blake3.HashSize).SequenceEqual(checksum))
        {
            throw reader.Damaged("the checksum does not match");
        }

        reader.End();
        var each = new FieldReader(entries, _path);
        for (int i = 0; i < count; i++)
        {
            _days[ArenaId.Read(each.Bytes(ArenaId.Size))] = each.U32();
        }
    }

    private void Write()
    {
        var writer = new FieldWriter(Magic.Length + sizeof(uint) + (_days.Count * EntrySize) + Blake3.HashSize);
        writer.Bytes(Magic);
        writer.U32((uint)_days.Count);
        foreach ((ArenaId id, uint day) in _days)
        {
            id.Write(writer.Take(ArenaId.Size));
            writer.U32(day);
        }

        Span<byte> checksum = stackalloc byte[Blake3.HashSize];
        Blake3.Hash(writer.Written, checksum);
        writer.Bytes(checksum);
        WholeFile.Write(_disk, _folder, _path, writer.Written);
    }
}
