using TokTok.Storage.Core;

namespace TokTok.Storage.Files;

/// <summary>How a volume compares names.</summary>
public enum CaseMode : byte
{
    Sensitive = 0,

    /// <summary>By a frozen fold table, whose version stands beside it. No volume has it yet.</summary>
    Folded = 1,
}

/// <summary>The block that a head names: a volume's present, its snapshots, and what they share.</summary>
/// <remarks>
/// Format: docs/format.md 14.1. A root is never changed; every change of the volume is another root and another head.
/// It repeats what its head says, so that heads are found again where only arenas are left.
/// </remarks>
public sealed record VolumeRoot
{
    public const byte Version = 1;

    public const int MaxNameBytes = 255;

    /// <summary>Devices that ever gave out file ids in one volume.</summary>
    public const int MaxDevices = 4096;

    /// <summary>File ids one device may give out in one volume.</summary>
    public const ulong MaxCounter = (1UL << 40) - 1;

    public required VolumeId Id { get; init; }

    /// <summary>The name people use, as in the head.</summary>
    public string Name { get; init; } = "";

    /// <summary>Device and incarnation name the line of heads, as in the head.</summary>
    public uint Device { get; init; }

    public ulong Incarnation { get; init; }

    /// <summary>The head's place in its line, from 1.</summary>
    public ulong Sequence { get; init; } = 1;

    public long TimeNs { get; init; }

    /// <summary>BLAKE3 of the head before.</summary>
    public UInt256 Previous { get; init; }

    public IReadOnlyList<HeadSeen> Seen { get; init; } = [];

    public CaseMode CaseMode { get; init; }

    public ushort FoldTable { get; init; }

    /// <summary>How files are cut that nobody has given another rule.</summary>
    public CuttingRule DefaultRule { get; init; }

    /// <summary>The journal's intents up to here are in the active tree.</summary>
    public ulong IntentSequence { get; init; }

    /// <summary>Per device the next file id's counter.</summary>
    public IReadOnlyDictionary<uint, ulong> NextFile { get; init; } = new Dictionary<uint, ulong>();

    /// <summary>The number that the next snapshot gets; numbers begin at 1 and are never used again.</summary>
    public ulong NextSnapshot { get; init; } = 1;

    /// <summary>The active tree's topmost directory; null before the first import.</summary>
    public Entry? Active { get; init; }

    /// <summary>The active tree's records of files with several names.</summary>
    public TableRoot Links { get; init; } = TableRoot.Empty;

    public TableRoot Snapshots { get; init; } = TableRoot.Empty;

    /// <summary>The root with the fields of the head that will name it.</summary>
    public VolumeRoot Under(Head head)
    {
        ArgumentNullException.ThrowIfNull(head);
        return this with
        {
            Name = head.VolumeName,
            Device = head.Device,
            Incarnation = head.Incarnation,
            Sequence = head.Sequence,
            TimeNs = head.TimeNs,
            Previous = head.Previous,
            Seen = head.Seen,
        };
    }

    /// <summary>The head that named this root, but for its signature.</summary>
    public Head ToHead(DomainId domain, Score root) => new()
    {
        Volume = Id,
        VolumeName = Name,
        Domain = domain,
        Device = Device,
        Incarnation = Incarnation,
        Sequence = Sequence,
        TimeNs = TimeNs,
        Previous = Previous,
        Seen = Seen,
        Root = root,
    };

    public byte[] Encode()
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(NextFile.Count, MaxDevices);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(Seen.Count, Head.MaxSeenCount);
        var writer = new FormatWriter();
        writer.Byte(Version);
        Span<byte> id = stackalloc byte[VolumeId.Size];
        Id.Write(id);
        writer.Bytes(id);
        writer.Counted(EntryFormat.TextBytes(Name));
        writer.Varint(Device);
        writer.UInt64(Incarnation);
        writer.Varint(Sequence);
        writer.SignedVarint(TimeNs);
        Span<byte> previous = stackalloc byte[UInt256.Size];
        Previous.Write(previous);
        writer.Bytes(previous);
        writer.Varint(Seen.Count);
        foreach (HeadSeen seen in Seen)
        {
            writer.Varint(seen.Device);
            writer.UInt64(seen.Incarnation);
            writer.Varint(seen.Sequence);
        }

        writer.Byte((byte)CaseMode);
        writer.Varint(FoldTable);
        writer.Byte((byte)DefaultRule);
        writer.Varint(IntentSequence);
        writer.Varint(NextSnapshot);
        writer.Varint(NextFile.Count);
        foreach ((uint device, ulong next) in NextFile.OrderBy(pair => pair.Key))
        {
            writer.Varint(device);
            writer.Varint(next);
        }

        writer.Counted(Active?.Encode() ?? []);
        Links.Write(writer);
        Snapshots.Write(writer);
        return writer.ToArray();
    }

    public static VolumeRoot Decode(ReadOnlyMemory<byte> block)
    {
        var reader = new FormatReader(block, "volume root");
        reader.Expect(Version, "version");
        VolumeId id = VolumeId.Read(reader.Bytes(VolumeId.Size, "volume id").Span);
        string name = EntryFormat.Text(ref reader, "volume name", MaxNameBytes);
        uint writtenBy = (uint)reader.Varint("device", uint.MaxValue);
        ulong incarnation = reader.UInt64("incarnation");
        ulong sequence = reader.Varint("sequence");
        if (sequence == 0)
        {
            throw reader.Damaged("sequence", "at least 1", "0");
        }

        long timeNs = reader.SignedVarint("time");
        UInt256 previousHead = UInt256.Read(reader.Bytes(UInt256.Size, "previous head").Span);
        var seen = new HeadSeen[reader.Length("heads seen", Math.Min(Head.MaxSeenCount, reader.Remaining / 10))];
        for (int at = 0; at < seen.Length; at++)
        {
            seen[at] = new HeadSeen((uint)reader.Varint("device seen", uint.MaxValue), reader.UInt64("incarnation seen"), reader.Varint("sequence seen"));
            if (at > 0 && (seen[at].Device, seen[at].Incarnation).CompareTo((seen[at - 1].Device, seen[at - 1].Incarnation)) <= 0)
            {
                throw reader.Damaged("heads seen", "lines that ascend", $"device {seen[at].Device} again or out of order");
            }
        }

        byte caseMode = reader.Byte("case mode");
        ushort fold = (ushort)reader.Varint("fold table", 0); // version 1 has one table
        byte rule = reader.Byte("cutting rule");
        if (caseMode > (byte)CaseMode.Folded || rule > (byte)CuttingRule.Fixed)
        {
            throw reader.Damaged("modes", "at most 1 each", $"{caseMode} and {rule}");
        }

        ulong intents = reader.Varint("intent sequence");
        ulong nextSnapshot = reader.Varint("next snapshot", SnapshotRecord.MaxNumber);
        if (nextSnapshot == 0)
        {
            throw reader.Damaged("next snapshot", "at least 1", "0");
        }

        int devices = reader.Length("devices", Math.Min(MaxDevices, reader.Remaining / 2));
        Dictionary<uint, ulong> next = new(devices);
        long previous = -1;
        for (int at = 0; at < devices; at++)
        {
            uint device = (uint)reader.Varint("device", FileIds.MaxDevice);
            if (device <= previous)
            {
                throw reader.Damaged("device", "numbers that ascend", $"{device} after {previous}");
            }

            previous = device;
            next.Add(device, reader.Varint("next file", MaxCounter));
        }

        ReadOnlyMemory<byte> active = reader.Counted("active tree", TableLimits.MaxValueBytes);
        Entry? root = active.IsEmpty ? null : Entry.Decode(active);
        if (root is not null && root.Type != EntryType.Directory)
        {
            throw reader.Damaged("active tree", "a directory", $"{root.Type}");
        }

        TableRoot links = TableRoot.Read(ref reader);
        TableRoot snapshots = TableRoot.Read(ref reader);
        reader.End();
        return new VolumeRoot
        {
            Id = id,
            Name = name,
            Device = writtenBy,
            Incarnation = incarnation,
            Sequence = sequence,
            TimeNs = timeNs,
            Previous = previousHead,
            Seen = seen,
            CaseMode = (CaseMode)caseMode,
            FoldTable = fold,
            DefaultRule = (CuttingRule)rule,
            IntentSequence = intents,
            NextSnapshot = nextSnapshot,
            NextFile = next,
            Active = root,
            Links = links,
            Snapshots = snapshots,
        };
    }
}

/// <summary>Gives out a volume's file ids: the device's number in the upper 24 bits, a counter in the lower 40. Safe from many threads.</summary>
public sealed class FileIds
{
    public const uint MaxDevice = (1 << 24) - 1;
    private readonly uint _device;
    private long _next;

    public FileIds(VolumeRoot root, uint device)
    {
        ArgumentNullException.ThrowIfNull(root);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(device, MaxDevice);
        _device = device;

        // Zero names no file, so that a field nobody filled in is noticed.
        _next = (long)root.NextFile.GetValueOrDefault(device, 1UL);
    }

    public ulong Next()
    {
        ulong counter = (ulong)(Interlocked.Increment(ref _next) - 1);
        return counter < VolumeRoot.MaxCounter
            ? ((ulong)_device << 40) | counter
            : throw new InvalidOperationException($"Device {_device} has given out all {VolumeRoot.MaxCounter} file ids of the volume.");
    }

    /// <summary>Takes note that an id was given out before.</summary>
    public void Pass(ulong fileId)
    {
        long counter = (long)(fileId & VolumeRoot.MaxCounter);
        if (fileId >> 40 != _device)
        {
            return;
        }

        for (long next = Interlocked.Read(ref _next); next <= counter; next = Interlocked.Read(ref _next))
        {
            _ = Interlocked.CompareExchange(ref _next, counter + 1, next);
        }
    }

    /// <summary>The root with the counter as it stands now.</summary>
    public VolumeRoot Apply(VolumeRoot root)
    {
        ArgumentNullException.ThrowIfNull(root);
        ulong next = Math.Max((ulong)Interlocked.Read(ref _next), root.NextFile.GetValueOrDefault(_device));
        return root with { NextFile = new Dictionary<uint, ulong>(root.NextFile) { [_device] = next } };
    }
}
