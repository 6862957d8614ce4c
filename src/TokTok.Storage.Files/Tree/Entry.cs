using System.Text;
using TokTok.Storage.Core;

namespace TokTok.Storage.Files;

/// <summary>What a name stands for.</summary>
public enum EntryType : byte
{
    File = 1,
    Directory = 2,
    Symlink = 3,
    Fifo = 4,
    CharacterDevice = 5,
    BlockDevice = 6,
    Socket = 7,
}

/// <summary>How a file's content is cut into chunks.</summary>
public enum CuttingRule : byte
{
    /// <summary>FastCDC, seeded by the key domain.</summary>
    ContentDefined = 0,

    /// <summary>Pieces of 16 KiB at multiples of 16 KiB, for files that are overwritten in place.</summary>
    Fixed = 1,
}

/// <summary>A time as Linux keeps it: whole seconds since 1970, also before, and nanoseconds into that second.</summary>
public readonly record struct FileTime(long Seconds, uint Nanoseconds) : IComparable<FileTime>
{
    public const uint NanosecondsPerSecond = 1_000_000_000;

    public int CompareTo(FileTime other) => Seconds != other.Seconds ? Seconds.CompareTo(other.Seconds) : Nanoseconds.CompareTo(other.Nanoseconds);

    public static bool operator <(FileTime left, FileTime right) => left.CompareTo(right) < 0;

    public static bool operator >(FileTime left, FileTime right) => left.CompareTo(right) > 0;

    public static bool operator <=(FileTime left, FileTime right) => left.CompareTo(right) <= 0;

    public static bool operator >=(FileTime left, FileTime right) => left.CompareTo(right) >= 0;
}

/// <summary>One extended attribute. Names are bytes, like file names.</summary>
public readonly record struct Xattr(ReadOnlyMemory<byte> Name, ReadOnlyMemory<byte> Value);

/// <summary>An entry's extended attributes as the entry holds them: an encoded list inline, or the block that holds the list.</summary>
/// <remarks>Format: docs/format.md 13.4. Made and read by <see cref="AttributeList"/>.</remarks>
public sealed record StoredAttributes
{
    /// <summary>The encoded list where it is small.</summary>
    public ReadOnlyMemory<byte> Inline { get; init; }

    /// <summary>The block of the encoded list where it is not.</summary>
    public Score Score { get; init; }

    /// <summary>Bytes of that block, 0 for an inline list.</summary>
    public int BlockBytes { get; init; }

    public static StoredAttributes None { get; } = new();

    public bool IsNone => Inline.IsEmpty && BlockBytes == 0;
}

/// <summary>What a directory adds up to, itself not counted.</summary>
/// <param name="Entries">Names below it, at every depth.</param>
/// <param name="Bytes">Sizes of the files below it, by name (a file with two links counts twice).</param>
/// <param name="Links">Names below it whose record lies in the link table.</param>
public readonly record struct DirectoryTotals(ulong Entries, ulong Bytes, ulong Links)
{
    /// <summary>The totals with one more name.</summary>
    /// <param name="stored">The entry as the directory stores it; a linked one gives no size.</param>
    /// <param name="bytes">The file's size, for a linked one from its record.</param>
    public DirectoryTotals With(Entry stored, ulong bytes)
    {
        ArgumentNullException.ThrowIfNull(stored);
        DirectoryTotals below = stored.Type == EntryType.Directory ? stored.Totals : default;
        return new DirectoryTotals(Entries + 1 + below.Entries, Bytes + bytes + below.Bytes, Links + (stored.IsLink ? 1UL : 0) + below.Links);
    }
}

/// <summary>Limits of names and entries.</summary>
public static class EntryLimits
{
    public const int MaxNameBytes = 255;

    public const int MaxSymlinkBytes = 4096;

    /// <summary>Of an owner's or group's name.</summary>
    public const int MaxOwnerBytes = 255;

    public const uint MaxMode = 0xfff;

    public const int MaxInlineContentBytes = 16 * 1024;

    public const int MaxInlineExtentBytes = 1024;

    public const int MaxInlineAttributeBytes = 4096;

    /// <summary>Survive counts above this are not stored.</summary>
    public const int MaxSurvive = 255;

    /// <summary>Directories inside one another.</summary>
    public const int MaxDirectoryDepth = 32 * 1024;
}

/// <summary>What a directory says of one name: everything a Linux backup must keep, and nothing that is local to a machine.</summary>
/// <remarks>
/// Format: docs/format.md 13.1. Source inode, ctime and atime live elsewhere, so equal trees have equal bytes.
/// A file with several names is stored in each directory as a link (type and file id only, <see cref="IsLink"/>); its record lies once in the
/// volume's link table under the file id, and <see cref="LinkCount"/> there says how many names there are.
/// Equality of records compares references of memory; compare <see cref="Encode"/>.
/// </remarks>
public sealed record Entry
{
    public required EntryType Type { get; init; }

    /// <summary>The volume's number of this file: device number in the upper 24 bits, a counter in the lower 40. Kept over renames and commits.</summary>
    public required ulong FileId { get; init; }

    /// <summary>The rest is in the link table under <see cref="FileId"/>.</summary>
    public bool IsLink { get; init; }

    /// <summary>Names of this file in the volume, 1 unless it is a record of the link table.</summary>
    public uint LinkCount { get; init; } = 1;

    /// <summary>The lower twelve bits of st_mode.</summary>
    public uint Mode { get; init; }

    public uint OwnerId { get; init; }

    public uint GroupId { get; init; }

    /// <summary>The owner's name where the source had one, else empty.</summary>
    public string OwnerName { get; init; } = "";

    public string GroupName { get; init; } = "";

    public FileTime Modified { get; init; }

    public StoredAttributes Attributes { get; init; } = StoredAttributes.None;

    /// <summary>The file changed while it was read, twice.</summary>
    public bool IsTorn { get; init; }

    /// <summary>Size and content of a file.</summary>
    public FileContent Content { get; init; } = FileContent.Empty;

    /// <summary>Target of a symlink.</summary>
    public ReadOnlyMemory<byte> Target { get; init; }

    public uint DeviceMajor { get; init; }

    public uint DeviceMinor { get; init; }

    /// <summary>Names of a directory.</summary>
    public TableRoot Children { get; init; } = TableRoot.Empty;

    public DirectoryTotals Totals { get; init; }

    /// <summary>Places whose loss everything below this directory must survive, where it says so itself.</summary>
    public int? Survive { get; init; }

    public const byte Version = 1;

    /// <summary>A link to a record of the link table.</summary>
    public static Entry LinkTo(EntryType type, ulong fileId) => new() { Type = type, FileId = fileId, IsLink = true };

    /// <summary>Whether bytes may stand as a name in a directory.</summary>
    public static bool IsName(ReadOnlySpan<byte> name) =>
        name.Length is > 0 and <= EntryLimits.MaxNameBytes && !name.ContainsAny((byte)'/', (byte)0) && !name.SequenceEqual("."u8) && !name.SequenceEqual(".."u8);

    /// <summary>The entry's bytes: the value in a directory's table, or in the link table.</summary>
    /// <exception cref="ArgumentException">A field is beyond its limit.</exception>
    public byte[] Encode()
    {
        var writer = new FormatWriter();
        EntryFormat.Write(writer, this);
        return writer.ToArray();
    }

    /// <summary>Reads an entry. Its memory is that of <paramref name="value"/>.</summary>
    /// <exception cref="DamagedFormatException">The bytes are no entry.</exception>
    public static Entry Decode(ReadOnlyMemory<byte> value)
    {
        var reader = new FormatReader(value, "entry");
        Entry entry = EntryFormat.Read(ref reader);
        reader.End();
        return entry;
    }
}

/// <summary>What an entry's first fields say.</summary>
internal readonly record struct EntryHead(EntryType Type, ulong FileId, bool IsLink);

/// <summary>The bytes of an <see cref="Entry"/>.</summary>
internal static class EntryFormat
{
    private const ulong LinkFlag = 1;
    private const ulong TornFlag = 2;
    private const ulong AttributesFlag = 4;
    private const ulong NamesFlag = 8;
    private const ulong LinkCountFlag = 16;
    private const ulong SurviveFlag = 32;
    private const ulong AllFlags = 63;
    private static readonly UTF8Encoding s_utf8 = new(false, true);

    public static void Write(FormatWriter writer, Entry entry)
    {
        Check(entry);
        ulong flags = (entry.IsLink ? LinkFlag : 0)
            | (entry.IsTorn ? TornFlag : 0)
            | (entry.Attributes.IsNone ? 0 : AttributesFlag)
            | (entry.OwnerName.Length + entry.GroupName.Length > 0 ? NamesFlag : 0)
            | (entry.LinkCount != 1 ? LinkCountFlag : 0)
            | (entry.Survive is null ? 0 : SurviveFlag);
        writer.Byte(Entry.Version);
        writer.Byte((byte)entry.Type);
        writer.Varint(entry.IsLink ? LinkFlag : flags);
        writer.Varint(entry.FileId);
        if (entry.IsLink)
        {
            return;
        }

        writer.Varint(entry.Mode);
        writer.Varint(entry.OwnerId);
        writer.Varint(entry.GroupId);
        writer.SignedVarint(entry.Modified.Seconds);
        writer.Varint(entry.Modified.Nanoseconds);
        if ((flags & LinkCountFlag) != 0)
        {
            writer.Varint(entry.LinkCount);
        }

        if ((flags & NamesFlag) != 0)
        {
            writer.Counted(s_utf8.GetBytes(entry.OwnerName));
            writer.Counted(s_utf8.GetBytes(entry.GroupName));
        }

        if ((flags & AttributesFlag) != 0)
        {
            AttributeList.Write(writer, entry.Attributes);
        }

        if (entry.Survive is int survive)
        {
            writer.Byte((byte)survive);
        }

        switch (entry.Type)
        {
            case EntryType.File:
                entry.Content.Write(writer);
                break;
            case EntryType.Directory:
                entry.Children.Write(writer);
                writer.Varint(entry.Totals.Entries);
                writer.Varint(entry.Totals.Bytes);
                writer.Varint(entry.Totals.Links);
                break;
            case EntryType.Symlink:
                writer.Counted(entry.Target.Span);
                break;
            case EntryType.CharacterDevice or EntryType.BlockDevice:
                writer.Varint(entry.DeviceMajor);
                writer.Varint(entry.DeviceMinor);
                break;
            default:
                break;
        }
    }

    public static Entry Read(ref FormatReader reader)
    {
        reader.Expect(Entry.Version, "version");
        var type = (EntryType)reader.Byte("type");
        if (type is < EntryType.File or > EntryType.Socket)
        {
            throw reader.Damaged("type", "1 to 7", $"{(byte)type}");
        }

        ulong flags = reader.Varint("flags", AllFlags);
        ulong fileId = reader.Varint("file id");
        if ((flags & LinkFlag) != 0)
        {
            return flags == LinkFlag && type != EntryType.Directory
                ? Entry.LinkTo(type, fileId)
                : throw reader.Damaged("flags", "a link to something other than a directory, and no other flag", $"{flags}");
        }

        var entry = new Entry
        {
            Type = type,
            FileId = fileId,
            IsTorn = (flags & TornFlag) != 0,
            Mode = (uint)reader.Varint("mode", EntryLimits.MaxMode),
            OwnerId = (uint)reader.Varint("owner id", uint.MaxValue),
            GroupId = (uint)reader.Varint("group id", uint.MaxValue),
            Modified = new FileTime(reader.SignedVarint("modified"), (uint)reader.Varint("nanoseconds", FileTime.NanosecondsPerSecond - 1)),
        };
        if ((flags & LinkCountFlag) != 0)
        {
            uint links = (uint)reader.Varint("link count", uint.MaxValue);
            entry = links != 1 ? entry with { LinkCount = links } : throw reader.Damaged("link count", "another number than 1", "1");
        }

        if ((flags & NamesFlag) != 0)
        {
            entry = entry with { OwnerName = Text(ref reader, "owner name"), GroupName = Text(ref reader, "group name") };
            if (entry.OwnerName.Length + entry.GroupName.Length == 0)
            {
                throw reader.Damaged("names", "a name", "two empty ones");
            }
        }

        if ((flags & AttributesFlag) != 0)
        {
            entry = entry with { Attributes = AttributeList.Read(ref reader) };
        }

        if ((flags & SurviveFlag) != 0)
        {
            entry = type == EntryType.Directory ? entry with { Survive = reader.Byte("survive") } : throw reader.Damaged("survive", "a directory", $"{type}");
        }

        if (entry.IsTorn && type != EntryType.File)
        {
            throw reader.Damaged("torn", "a file", $"{type}");
        }

        switch (type)
        {
            case EntryType.File:
                return entry with { Content = FileContent.Read(ref reader) };
            case EntryType.Directory:
                TableRoot children = TableRoot.Read(ref reader);
                var totals = new DirectoryTotals(reader.Varint("entries below"), reader.Varint("bytes below"), reader.Varint("links below"));
                return entry with { Children = children, Totals = totals };
            case EntryType.Symlink:
                ReadOnlyMemory<byte> target = reader.Counted("symlink target", EntryLimits.MaxSymlinkBytes);
                return entry with { Target = target };
            case EntryType.CharacterDevice or EntryType.BlockDevice:
                uint major = (uint)reader.Varint("device major", uint.MaxValue);
                uint minor = (uint)reader.Varint("device minor", uint.MaxValue);
                return entry with { DeviceMajor = major, DeviceMinor = minor };
            default:
                return entry;
        }
    }

    /// <summary>Which file an entry is of, without the rest of it.</summary>
    public static EntryHead ReadHead(ReadOnlyMemory<byte> value)
    {
        var reader = new FormatReader(value, "entry");
        reader.Expect(Entry.Version, "version");
        var type = (EntryType)reader.Byte("type");
        ulong flags = reader.Varint("flags", AllFlags);
        return new EntryHead(type, reader.Varint("file id"), (flags & LinkFlag) != 0);
    }

    internal static string Text(ref FormatReader reader, string field, int limit = EntryLimits.MaxOwnerBytes)
    {
        ReadOnlyMemory<byte> bytes = reader.Counted(field, limit);
        try
        {
            return s_utf8.GetString(bytes.Span);
        }
        catch (DecoderFallbackException)
        {
            throw reader.Damaged(field, "UTF-8", "other bytes");
        }
    }

    internal static byte[] TextBytes(string text) => s_utf8.GetBytes(text);

    private static void Check(Entry entry)
    {
        if (entry.Type is < EntryType.File or > EntryType.Socket
            || (entry.IsLink && entry.Type == EntryType.Directory)
            || entry.Mode > EntryLimits.MaxMode
            || entry.Modified.Nanoseconds >= FileTime.NanosecondsPerSecond
            || entry.Target.Length > EntryLimits.MaxSymlinkBytes
            || s_utf8.GetByteCount(entry.OwnerName) > EntryLimits.MaxOwnerBytes
            || s_utf8.GetByteCount(entry.GroupName) > EntryLimits.MaxOwnerBytes
            || (entry.IsTorn && entry.Type != EntryType.File)
            || entry.Survive is < 0 or > EntryLimits.MaxSurvive
            || (entry.Survive is not null && entry.Type != EntryType.Directory))
        {
            throw new ArgumentException($"An entry of type {entry.Type} has a field beyond its limit (docs/format.md 13.1).", nameof(entry));
        }
    }
}
