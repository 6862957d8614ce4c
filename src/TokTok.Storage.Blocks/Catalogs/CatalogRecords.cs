using TokTok.Storage.Blocks.Arenas;
using TokTok.Storage.Core;

namespace TokTok.Storage.Blocks.Catalogs;

/// <summary>Where an arena stands in its life. An announced one that was never sealed has no record, only its id.</summary>
public enum ArenaState : byte
{
    Sealed = 1,

    /// <summary>Reclaim is about to copy what lives in it: hits on it are misses, reads still succeed.</summary>
    Condemned = 2,

    /// <summary>A tombstone: its fragments lie in the holders' trash until enough running days have passed.</summary>
    Trashed = 3,
}

/// <summary>One fragment: its name, and the catalog's number of the holder that has it.</summary>
public readonly record struct FragmentPlace(FragmentName Name, ushort Holder)
{
    /// <summary>No holder has it yet: lag, until repair places it.</summary>
    public const ushort Nowhere = ushort.MaxValue;
}

/// <summary>What the catalog knows of an arena. Immutable: a change is a new record.</summary>
/// <remarks>Format: docs/format.md 9, record 5.</remarks>
public sealed record ArenaRecord
{
    public required uint Ordinal { get; init; }

    public required ArenaId Id { get; init; }

    public required ArenaState State { get; init; }

    public required int Survive { get; init; }

    public required ArenaLayout Layout { get; init; }

    public required DomainId Domain { get; init; }

    public required uint Epoch { get; init; }

    public required uint Owner { get; init; }

    public required int ClumpCount { get; init; }

    public required int DirectoryOffset { get; init; }

    public required long SealedAtSeconds { get; init; }

    public required ulong SealSequence { get; init; }

    /// <summary>Of a trashed arena.</summary>
    public uint TrashedOnDay { get; init; }

    /// <summary>Of one that is not: the running day on which it was taken up from a holder, where another line had left it and may still write what wants it. 0: this line sealed it.</summary>
    public uint AdoptedOnDay { get; init; }

    /// <summary>It was written for what is freed on this device: its fragments lie, and are mended, at holders on other machines alone. A record of its own says so (129), not this one.</summary>
    public bool IsAway { get; init; }

    /// <summary>k + m places, by fragment index. Never changed in place.</summary>
    public required IReadOnlyList<FragmentPlace> Fragments { get; init; }

    /// <summary>Bytes of clumps: what the arena is for.</summary>
    public int ClumpBytes => DirectoryOffset - ArenaHeader.Size;

    /// <summary>What an arena's own header says of it, and where its fragments are. The log gives it its place in the order of sealing.</summary>
    internal static ArenaRecord Of(ArenaHeader header, uint ordinal, IReadOnlyList<FragmentPlace> fragments) => new()
    {
        Ordinal = ordinal,
        Id = header.Id,
        State = ArenaState.Sealed,
        Survive = header.Survive,
        Layout = header.Layout,
        Domain = header.Domain,
        Epoch = header.Epoch,
        Owner = header.Owner,
        ClumpCount = header.ClumpCount,
        DirectoryOffset = header.DirectoryOffset,
        SealedAtSeconds = header.SealedAtSeconds,
        SealSequence = 0,
        Fragments = fragments,
    };

    internal void Write(FieldWriter writer)
    {
        writer.U8((byte)CatalogRecordKind.Arena);
        writer.U32(Ordinal);
        writer.U8((byte)State);
        writer.U8((byte)Survive);
        writer.U8((byte)Layout.DataFragments);
        writer.U8((byte)Layout.ParityFragments);
        Id.Write(writer.Take(ArenaId.Size));
        Domain.Write(writer.Take(DomainId.Size));
        writer.U32(Epoch);
        writer.U32(Owner);
        writer.U32((uint)Layout.SliceBytes);
        writer.U32((uint)ClumpCount);
        writer.U32((uint)DirectoryOffset);
        writer.I64(SealedAtSeconds);
        writer.U64(SealSequence);
        writer.U32(State == ArenaState.Trashed ? TrashedOnDay : AdoptedOnDay);
        foreach (FragmentPlace fragment in Fragments)
        {
            fragment.Name.Write(writer.Take(FragmentName.Size));
            writer.U16(fragment.Holder);
        }
    }

    internal static ArenaRecord Read(ref FieldReader reader)
    {
        uint ordinal = reader.U32();
        byte state = reader.U8();
        int survive = reader.U8();
        int dataFragments = reader.U8();
        int parityFragments = reader.U8();
        ArenaId id = ArenaId.Read(reader.Bytes(ArenaId.Size));
        DomainId domain = DomainId.Read(reader.Bytes(DomainId.Size));
        uint epoch = reader.U32();
        uint owner = reader.U32();
        uint sliceBytes = reader.U32();
        int clumpCount = reader.Count(ArenaHeader.MaxClumpCount, "clump count");
        int directoryOffset = reader.Count(ArenaLayout.MaxImageBytes, "directory offset");
        long sealedAt = reader.I64();
        ulong sealSequence = reader.U64();
        uint day = reader.U32();
        if (state is < 1 or > 3 || !ArenaLayout.IsValid(dataFragments, parityFragments, sliceBytes) || directoryOffset < ArenaHeader.Size)
        {
            throw reader.Damaged($"arena {ordinal}: state {state}, {dataFragments}+{parityFragments}, slice {sliceBytes}, directory at {directoryOffset}");
        }

        var fragments = new FragmentPlace[dataFragments + parityFragments];
        for (int i = 0; i < fragments.Length; i++)
        {
            fragments[i] = new FragmentPlace(FragmentName.Read(reader.Bytes(FragmentName.Size)), reader.U16());
        }

        return new ArenaRecord
        {
            Ordinal = ordinal,
            Id = id,
            State = (ArenaState)state,
            Survive = survive,
            Layout = new ArenaLayout(dataFragments, parityFragments, (int)sliceBytes),
            Domain = domain,
            Epoch = epoch,
            Owner = owner,
            ClumpCount = clumpCount,
            DirectoryOffset = directoryOffset,
            SealedAtSeconds = sealedAt,
            SealSequence = sealSequence,
            TrashedOnDay = state == (byte)ArenaState.Trashed ? day : 0,
            AdoptedOnDay = state == (byte)ArenaState.Trashed ? 0 : day,
            Fragments = fragments,
        };
    }
}

/// <summary>A holder as the catalog numbers it.</summary>
public sealed record HolderRecord(ushort Number, HolderId Id, bool IsGone, string Place);

internal enum CatalogRecordKind : byte
{
    Begin = 1,
    End = 2,
    Holder = 3,
    Announce = 4,
    Arena = 5,
    Forget = 6,
    Head = 7,
    Day = 8,
    Seen = 9,
    Certificate = 10,

    /// <summary>An epoch that was begun. A release that does not know them must not go on: what it cannot open would look to it as if nothing were there.</summary>
    Epoch = 11,

    /// <summary>A statement about a device; a store of one device has none. This kind and those above may be skipped by a reader that does not know them.</summary>
    Device = 128,

    /// <summary>A device's word for another; a store in which nobody was revoked has none.</summary>
    Vouch = 129,

    /// <summary>Which arenas are away; a store in which nothing was freed has none.</summary>
    Away = 130,
}
