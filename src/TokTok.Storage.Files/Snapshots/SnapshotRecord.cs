using System.Globalization;
using System.Buffers.Binary;
using TokTok.Storage.Core;

namespace TokTok.Storage.Files;

/// <summary>The random 64-bit name of a snapshot. People write its hexadecimal digits, or the first few of them.</summary>
public readonly record struct SnapshotId(ulong Value)
{
    public const int Size = sizeof(ulong);

    public static SnapshotId New(IRandomSource random)
    {
        ArgumentNullException.ThrowIfNull(random);
        Span<byte> bytes = stackalloc byte[Size];
        random.Fill(bytes);
        return new SnapshotId(BinaryPrimitives.ReadUInt64BigEndian(bytes));
    }

    public override string ToString() => Value.ToString("x16", CultureInfo.InvariantCulture);
}

/// <summary>A frozen root of a volume, and what is known of how it came about.</summary>
/// <remarks>
/// Format: docs/format.md 14.2. It lies in the volume's table of snapshots under its time and id, so the table is in order of time.
/// The time is the clock of whoever made it: for people and for keep rules, which count and never subtract it from now.
/// </remarks>
public sealed record SnapshotRecord
{
    public const byte Version = 1;
    public const int MaxTextBytes = 4096;
    public const int MaxTexts = 256;

    public const ulong MaxNumber = long.MaxValue;

    public required SnapshotId Id { get; init; }

    /// <summary>Its number within the volume, from 1, which people use; given out once, when it is added.</summary>
    public ulong Number { get; init; }

    /// <summary>Nanoseconds since 1970, not below zero.</summary>
    public required long TimeNs { get; init; }

    public string Host { get; init; } = "";

    public IReadOnlyList<string> Labels { get; init; } = [];

    /// <summary>Paths on the host, as bytes.</summary>
    public IReadOnlyList<ReadOnlyMemory<byte>> Sources { get; init; } = [];

    /// <summary>Kept whatever the keep rules say.</summary>
    public bool IsMarked { get; init; }

    /// <summary>False: an import was broken off, and the next one continues from here.</summary>
    public bool IsFinished { get; init; } = true;

    /// <summary>Files that changed while read, twice.</summary>
    public ulong TornCount { get; init; }

    /// <summary>Names that were gone when their turn came.</summary>
    public ulong VanishedCount { get; init; }

    public ulong UnreadableCount { get; init; }

    /// <summary>The tree's topmost directory; its totals are the snapshot's.</summary>
    public required Entry Root { get; init; }

    /// <summary>Records of the files with several names.</summary>
    public TableRoot Links { get; init; } = TableRoot.Empty;

    /// <summary>Version of the program that made it.</summary>
    public string Program { get; init; } = "";

    public const int KeySize = sizeof(long) + SnapshotId.Size;

    /// <summary>Time and id, big endian: ascending keys are ascending times.</summary>
    public byte[] Key()
    {
        byte[] key = new byte[KeySize];
        BinaryPrimitives.WriteInt64BigEndian(key, TimeNs);
        BinaryPrimitives.WriteUInt64BigEndian(key.AsSpan(sizeof(long)), Id.Value);
        return key;
    }

    public byte[] Encode()
    {
        ArgumentOutOfRangeException.ThrowIfNegative(TimeNs);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(Labels.Count, MaxTexts);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(Sources.Count, MaxTexts);
        var writer = new FormatWriter();
        writer.Byte(Version);
        writer.Byte((byte)((IsMarked ? 1 : 0) | (IsFinished ? 2 : 0)));
        writer.Varint(Number);
        Text(writer, Host);
        Text(writer, Program);
        writer.Varint(Labels.Count);
        foreach (string label in Labels)
        {
            Text(writer, label);
        }

        writer.Varint(Sources.Count);
        foreach (ReadOnlyMemory<byte> source in Sources)
        {
            ArgumentOutOfRangeException.ThrowIfGreaterThan(source.Length, MaxTextBytes);
            writer.Counted(source.Span);
        }

        writer.Varint(TornCount);
        writer.Varint(VanishedCount);
        writer.Varint(UnreadableCount);
        writer.Counted(Root.Encode());
        Links.Write(writer);
        return writer.Position <= TableLimits.MaxValueBytes
            ? writer.ToArray()
            : throw new ArgumentException($"A snapshot's record takes {writer.Position} bytes; with its labels and sources it may take {TableLimits.MaxValueBytes}.");
    }

    public static SnapshotRecord Decode(TableItem item)
    {
        if (item.Key.Length != KeySize)
        {
            throw new DamagedFormatException($"snapshot: expected a key of {KeySize} bytes, found {item.Key.Length}");
        }

        var reader = new FormatReader(item.Value, "snapshot");
        long time = BinaryPrimitives.ReadInt64BigEndian(item.Key.Span);
        if (time < 0)
        {
            throw reader.Damaged("time", "a time since 1970", $"{time}");
        }

        reader.Expect(Version, "version");
        byte flags = reader.Byte("flags");
        if (flags > 3)
        {
            throw reader.Damaged("flags", "at most 3", $"{flags}");
        }

        ulong number = reader.Varint("number", MaxNumber);
        if (number == 0)
        {
            throw reader.Damaged("number", "at least 1", "0");
        }

        string host = EntryFormat.Text(ref reader, "host", MaxTextBytes);
        string program = EntryFormat.Text(ref reader, "program", MaxTextBytes);
        string[] labels = new string[reader.Length("labels", Math.Min(MaxTexts, reader.Remaining))];
        for (int at = 0; at < labels.Length; at++)
        {
            labels[at] = EntryFormat.Text(ref reader, "label", MaxTextBytes);
        }

        var sources = new ReadOnlyMemory<byte>[reader.Length("sources", Math.Min(MaxTexts, reader.Remaining))];
        for (int at = 0; at < sources.Length; at++)
        {
            sources[at] = reader.Counted("source", MaxTextBytes);
        }

        ulong torn = reader.Varint("torn");
        ulong vanished = reader.Varint("vanished");
        ulong unreadable = reader.Varint("unreadable");
        Entry root = Entry.Decode(reader.Counted("root", TableLimits.MaxValueBytes));
        if (root.Type != EntryType.Directory)
        {
            throw reader.Damaged("root", "a directory", $"{root.Type}");
        }

        TableRoot links = TableRoot.Read(ref reader);
        reader.End();
        return new SnapshotRecord
        {
            Id = new SnapshotId(BinaryPrimitives.ReadUInt64BigEndian(item.Key.Span[sizeof(long)..])),
            TimeNs = time,
            Number = number,
            Host = host,
            Program = program,
            Labels = labels,
            Sources = sources,
            IsMarked = (flags & 1) != 0,
            IsFinished = (flags & 2) != 0,
            TornCount = torn,
            VanishedCount = vanished,
            UnreadableCount = unreadable,
            Root = root,
            Links = links,
        };
    }

    private static void Text(FormatWriter writer, string text)
    {
        byte[] bytes = EntryFormat.TextBytes(text);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(bytes.Length, MaxTextBytes);
        writer.Counted(bytes);
    }
}
