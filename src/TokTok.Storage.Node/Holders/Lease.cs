using System.Buffers.Binary;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Hashing;

namespace TokTok.Storage.Node.Holders;

/// <summary>On how many days a node ran since it heard of an account last.</summary>
/// <remarks>
/// Format: docs/format.md 17.2. A day counts when it is later than any that was counted since the account was heard of: a clock that jumps forward counts one, and then none until time has caught
/// up, so that a wrong clock can only make a lease longer. What cannot be read begins anew. Days of silence are counted for accounts with a term alone, from when they have one.
/// Durable when a change returns. Not safe from many threads.
/// </remarks>
internal sealed class Lease
{
    /// <summary>After its term nothing happens for so many days but that the node's owner is told.</summary>
    internal const uint GraceDays = 30;

    /// <summary>So many days before the end of the term the owner is told as well.</summary>
    internal const uint NoticeDays = 30;

    private const int Size = 8 + sizeof(uint) + sizeof(uint) + sizeof(uint) + 4;

    private readonly IDisk _disk;
    private readonly string _folder;
    private readonly string _path;

    internal Lease(IDisk disk, string folder, string name)
    {
        _disk = disk;
        _folder = folder;
        _path = folder + "/" + name + ".lease";
        if (!disk.FileExists(_path))
        {
            return;
        }

        byte[] file = new byte[Size + 1];
        using IDiskFile open = disk.Open(_path, DiskOpen.Read);
        int read = open.Read(0, file);
        Span<byte> hash = stackalloc byte[Blake3.HashSize];
        Blake3.Hash(file.AsSpan(0, Size - 4), hash);
        if (read == Size && file.AsSpan(0, 8).SequenceEqual(Magic) && file.AsSpan(Size - 4, 4).SequenceEqual(hash[..4]))
        {
            SilentDays = BinaryPrimitives.ReadUInt32LittleEndian(file.AsSpan(8));
            LastDay = BinaryPrimitives.ReadUInt32LittleEndian(file.AsSpan(12));
            HasExpired = BinaryPrimitives.ReadUInt32LittleEndian(file.AsSpan(16)) != 0;
        }
    }

    /// <summary>Days on which the node ran and nothing was heard.</summary>
    internal uint SilentDays { get; private set; }

    /// <summary>What the account has here was released for its silence.</summary>
    internal bool HasExpired { get; private set; }

    /// <summary>The latest day that was counted, since 1970.</summary>
    internal uint LastDay { get; private set; }

    private static ReadOnlySpan<byte> Magic => "TDFSLEA1"u8;

    /// <summary>The account asked for something.</summary>
    internal void Heard(uint today)
    {
        if (SilentDays != 0 || HasExpired || LastDay != today)
        {
            Write(0, today, false);
        }
    }

    /// <summary>The node runs today.</summary>
    /// <returns>Whether the day counts.</returns>
    internal bool Tick(uint today)
    {
        if (today <= LastDay)
        {
            return false;
        }

        Write(LastDay == 0 ? 0 : SilentDays + 1, today, HasExpired);
        return true;
    }

    internal void Expire() => Write(SilentDays, LastDay, true);

    /// <summary>What the node's owner is told today; null: nothing.</summary>
    internal string? Notice(uint term, string who)
    {
        uint end = term + GraceDays;
        return HasExpired || SilentDays + NoticeDays < term ? null
            : SilentDays < end ? $"peer {who}: nothing was heard of it on {SilentDays} days on which this node ran; after {end - SilentDays} more what is kept for it is released (`tdfs peer set {who} --absence 0s` keeps it)"
            : $"peer {who}: nothing was heard of it on {SilentDays} days on which this node ran, and {term} were agreed on: what is kept for it is released, and is deleted in {Releases.KeptDays} days on which this node runs, unless it is heard of";
    }

    private void Write(uint silentDays, uint lastDay, bool hasExpired)
    {
        byte[] file = new byte[Size];
        Magic.CopyTo(file);
        BinaryPrimitives.WriteUInt32LittleEndian(file.AsSpan(8), silentDays);
        BinaryPrimitives.WriteUInt32LittleEndian(file.AsSpan(12), lastDay);
        BinaryPrimitives.WriteUInt32LittleEndian(file.AsSpan(16), hasExpired ? 1u : 0);
        Span<byte> hash = stackalloc byte[Blake3.HashSize];
        Blake3.Hash(file.AsSpan(0, Size - 4), hash);
        hash[..4].CopyTo(file.AsSpan(Size - 4));
        WholeFile.Write(_disk, _folder, _path, file);
        (SilentDays, LastDay, HasExpired) = (silentDays, lastDay, hasExpired);
    }
}
